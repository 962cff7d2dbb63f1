"""``python -m cvxpylayers``: what is installed, what this machine runs it with, and whether the answers are right."""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import platform
import sys
import time
from collections.abc import Iterator

import numpy as np

from cvxpylayers import _core
from cvxpylayers._engines import registry
from cvxpylayers._engines.native.threads import default_threads
from cvxpylayers._layer.layer import Layer
from cvxpylayers._typing import Float64, NDArray
from cvxpylayers.errors import CvxpyLayersError

_REQUIRED = ("numpy", "scipy", "cvxpy", "clarabel")
_FRONT_ENDS = ("torch", "jax", "mlx")
_BATCH, _ROWS, _COLUMNS = 256, 12, 8
_TOLERANCE = 1e-5


def _versions(names: tuple[str, ...]) -> str:
    """Names with versions, from the metadata: nothing is imported for it."""
    words = []
    for name in names:
        try:
            words.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            words.append(f"{name} not installed")
    return ", ".join(words)


def _about() -> Iterator[tuple[str, str]]:
    yield "versions", f"{_versions(('cvxpylayers',))}, python {platform.python_version()}, {_versions(_REQUIRED)}"
    yield "front ends", _versions(_FRONT_ENDS)
    yield "engines", ", ".join(registry.names())
    yield "instruction sets", ", ".join(_core.available_instruction_sets())
    count, source = default_threads()
    yield "threads", f"{count} ({source})"
    yield "CUDA", _cuda()
    if importlib.util.find_spec("jax"):
        yield "compiled JAX", f"calls {_compiled_jax()}"


def _cuda() -> str:
    """Whether tensors on the first device can be solved there."""
    try:
        _core.require_device(0)
    except _core.DeviceError as error:
        return str(error)
    return "kernels and a driver"


def _compiled_jax() -> str:
    """What compiled programs call; JAX must be imported to know."""
    try:
        from cvxpylayers.jax._handlers import REFUSAL
    except Exception as error:  # whatever a broken installation raises
        return f"nothing: {error}"
    return f"Python: {REFUSAL}" if REFUSAL else "the kernel"


def _layer(solver: str | None, tolerance: float) -> Layer:
    """Least squares over the simplex, with every number a parameter."""
    import cvxpy as cp
    from cvxpy.atoms.sum_squares import sum_squares

    F, g, x = cp.Parameter((_ROWS, _COLUMNS), name="F"), cp.Parameter(_ROWS, name="g"), cp.Variable(_COLUMNS, name="x")
    problem = cp.Problem(cp.Minimize(sum_squares(F @ x - g)), [x.sum() == 1, x >= 0])
    return Layer(problem, [F, g], [x], solver=solver, solver_args={"tolerance": tolerance})


def _self_check() -> Iterator[tuple[str, str, bool]]:
    """Solutions against Clarabel at 1e-10, a directional derivative against central differences of Clarabel's solutions."""
    rng = np.random.default_rng(0)
    point: list[Float64] = [rng.standard_normal((_BATCH, _ROWS, _COLUMNS)), rng.standard_normal((_BATCH, _ROWS))]
    direction: list[Float64] = [rng.standard_normal(array.shape) for array in point]
    cotangent = rng.standard_normal((_BATCH, _COLUMNS))
    layer, peer = _layer(None, 1e-8), _layer("CLARABEL", 1e-10)
    yield "engine", ", ".join(f"{name} {value}" for name, value in layer.engine.describe().items()), True

    layer.solve(point)
    began = time.perf_counter()
    call = layer.solve(point, tape=True)
    (found,), info = call.outputs, call.info
    gradients = layer.vjp(call.point, [cotangent], [True, True])
    rate = _BATCH / (time.perf_counter() - began)
    yield "solved", f"{int(info.solved.sum())} of {_BATCH}, {int(info.fallback.sum())} by fallback", bool(info.solved.all())

    def solution(step: float) -> Float64:
        arrays: list[NDArray[np.generic]] = [array + step * towards for array, towards in zip(point, direction, strict=True)]
        return peer.solve(arrays).outputs[0]

    error = float(np.abs(found - solution(0.0)).max())
    yield "solution", f"differs from Clarabel's by at most {error:.1e}", error < _TOLERANCE

    step = 1e-4
    expected = ((solution(step) - solution(-step)) / (2 * step) * cotangent).sum(axis=1)
    pulled = [np.zeros(0) if gradient is None else gradient.reshape(_BATCH, -1) for gradient in gradients]
    derivative = sum((g * d.reshape(_BATCH, -1)).sum(axis=1) for g, d in zip(pulled, direction, strict=True))
    # An active set that changes within the step makes the difference, not the derivative, meaningless: hence the median.
    error = float(np.median(np.abs(derivative - expected) / (1 + np.abs(expected))))
    yield "gradient", f"differs from central differences by {error:.1e}", error < _TOLERANCE
    yield "speed", f"{rate:,.0f} problems of {_COLUMNS} variables a second, solved and differentiated", True


def main(arguments: list[str] | None = None) -> int:
    """Print the report, 0 where every check passed; or what follows ``solve``."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] == ["solve"]:
        from cvxpylayers._tables import command

        return command.main(arguments[1:])
    parser = argparse.ArgumentParser(
        prog="python -m cvxpylayers",
        description=__doc__,
        epilog="python -m cvxpylayers solve --help: solve a folder of Parquet files",
    )
    parser.add_argument("--instruction-sets", action="store_true", help="print the instruction sets of this machine, one a line")
    if parser.parse_args(arguments).instruction_sets:
        print("\n".join(_core.available_instruction_sets()))
        return 0
    try:
        failed = _report()
    except CvxpyLayersError as error:  # of what the environment asks for
        failed = [str(error)]
    print(f"\n{'FAILED: ' + ', '.join(failed) if failed else 'All well.'}")
    return int(bool(failed))


def _report() -> list[str]:
    """Print what is found; the names of checks that fail."""
    for name, text in _about():
        print(f"{name:<17}{text}")
    print("\nself-check")
    failed = []
    for name, text, passed in _self_check():
        print(f"{name:<17}{text}{'' if passed else '   WRONG'}")
        failed += [] if passed else [name]
    return failed


if __name__ == "__main__":
    sys.exit(main())
