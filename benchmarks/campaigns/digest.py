"""Tells whether a change of the code changed a bit of its results.

    python -m benchmarks.campaigns.digest [--write FILE | --against FILE]

Prints one hash per family, engine, options and front end, over a solve and its VJP, JVP and HVP, with and without an axis of
directions: outputs, statuses, iterations, residuals, margins, gradients and flags. Bits are those of one machine, instruction set
and set of packages, so digests are compared there and not kept. ``--against`` names the lines that differ, and then fails.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import cvxpy as cp
import jax
import numpy as np
import torch

from cvxpylayers import MissingPackageError, SolveInfo, UnsupportedConeError
from cvxpylayers.engines import names
from cvxpylayers.errors import DerivativeError, OptionError
from cvxpylayers.jax import CvxpyLayer as JaxLayer
from cvxpylayers.numpy import CvxpyLayer
from cvxpylayers.torch import CvxpyLayer as TorchLayer
from problems.conic_families import ALL, CONIC_SMALL
from problems.families import SMALL, Array, Arrays, Family, Parametrized, Rng, status_family

BATCH, DIRECTIONS = 3, 2
NATIVE = {
    "": {},
    "smoothed": {"derivative": "smoothed", "smoothing": 1e-3},
    "narrow": {"lane_width": 4, "tolerance": 1e-6, "fallback": False},
    "loose": {"max_iterations": 3},  # instances that the loop leaves open, and another solver finishes
}
FOREIGN = tuple(name for name in names() if name not in ("NATIVE", "MPAX", "CUCLARABEL"))  # MPAX compiles for seconds
Layer = Callable[..., tuple[Any, ...]]


def statuses() -> Family:
    """Instances without a solution among others."""
    family = status_family()
    return Family("statuses", family.make, lambda rng, B: family.draw(rng, 4 * B)[0])


def bounds(n: int = 6) -> Family:
    """A projection to a box, some of whose sides are at infinity."""

    def make() -> Parametrized:
        x, y, low, high = cp.Variable(n), *(cp.Parameter(n) for _ in range(3))
        return Parametrized(cp.Problem(cp.Minimize(cp.sum_squares(x - y)), [x >= low, x <= high]), [y, low, high], [x])

    def draw(rng: Rng, B: int) -> Arrays:
        y, sides = rng.normal(size=(B, n)), rng.uniform(0.1, 1.0, (2, B, n))
        sides[rng.random(sides.shape) < 0.3] = np.inf
        return y, -sides[0], sides[1]

    return Family("bounds", make, draw)


def ball(n: int = 400) -> Family:
    """A second-order cone that is kept sparse where no engine is named."""

    def make() -> Parametrized:
        x, c, r = cp.Variable(n), cp.Parameter(n), cp.Parameter()
        return Parametrized(cp.Problem(cp.Minimize(c @ x + x[0] ** 2), [cp.norm(x) <= r, x[1] >= 0]), [c, r], [x])

    return Family("ball", make, lambda rng, B: (rng.normal(size=(B, n)), np.array(2.0)))


def numpy_parts(layer: CvxpyLayer, values: Arrays, rng: np.random.Generator) -> Iterator[Any]:
    """What one call gives, in the order in which it is hashed."""
    point = layer.linearize(*values)
    yield point.outputs
    yield point.vjp(*(rng.normal(size=o.shape) for o in point.outputs))
    yield point.jvp(*(rng.normal(size=v.shape) for v in values))
    if sum(o.size for o in point.outputs) <= 200:
        yield point.jacobian()
    yield [getattr(point.info, f.name) for f in fields(SolveInfo) if f.name != "warm_start"]


def torch_parts(layer: Layer, values: Arrays, rng: np.random.Generator) -> Iterator[Any]:
    """First and second derivatives along some directions at once, and by autograd."""
    theta = tuple(torch.tensor(v, requires_grad=True) for v in values)
    weights = [torch.tensor(rng.normal(size=o.shape)) for o in layer(*theta)]

    def loss(*at: torch.Tensor) -> torch.Tensor:
        return sum(((o * w).sum() for o, w in zip(layer(*at), weights, strict=True)), torch.zeros(()))

    along = tuple(torch.tensor(rng.normal(size=(DIRECTIONS, *v.shape))) for v in values)
    yield torch.func.vmap(lambda *v: torch.func.jvp(layer, theta, v)[1])(*along)
    yield (first := torch.autograd.grad(loss(*theta), theta, create_graph=True))
    yield torch.autograd.grad(sum((g * v[0]).sum() for g, v in zip(first, along, strict=True)), theta, allow_unused=True)
    gradient = torch.func.grad(loss, tuple(range(len(theta))))
    yield torch.func.vmap(lambda *v: torch.func.jvp(gradient, theta, v)[1])(*along)


def jax_parts(layer: Layer, values: Arrays, rng: np.random.Generator) -> Iterator[Any]:
    """The same in JAX."""
    theta = tuple(map(jax.numpy.asarray, values))
    weights = [rng.normal(size=o.shape) for o in layer(*theta)]
    along = tuple(rng.normal(size=(DIRECTIONS, *v.shape)) for v in values)
    gradient = jax.grad(lambda at: sum((o * w).sum() for o, w in zip(layer(*at), weights, strict=True)))
    yield gradient(theta)
    yield jax.vmap(lambda v: jax.jvp(lambda *at: tuple(layer(*at)), theta, v)[1])(along)
    yield jax.vmap(lambda v: jax.jvp(gradient, (theta,), (v,))[1])(along)


def arrays(part: Any) -> Iterator[Array]:
    """The arrays of nested results, in order; what is missing leaves a mark."""
    if isinstance(part, tuple | list):
        for entry in part:
            yield from arrays(entry)
    else:
        yield np.zeros(0) if part is None else np.asarray(part.detach() if isinstance(part, torch.Tensor) else part)


def digest(parts: Iterator[Any]) -> str:
    """16 digits; what is refused counts by its words."""
    total = hashlib.blake2b(digest_size=8)
    try:
        for part in parts:
            for array in arrays(part):
                total.update(f"{array.dtype.str}{array.shape}".encode() + np.ascontiguousarray(array).tobytes())
    except DerivativeError as error:
        total.update(str(error).encode())
    return total.hexdigest()


def lines(family: Family, engine: str, label: str, options: dict[str, Any], fronts: str) -> Iterator[str]:
    """The digests of one family by one engine, none where it does not take the problem."""
    values = family.sample(BATCH)
    makers = {"numpy": (CvxpyLayer, numpy_parts), "torch": (TorchLayer, torch_parts), "jax": (JaxLayer, jax_parts)}
    for front in fronts.split():
        make, parts = makers[front]
        try:
            layer: Any = make(*family.make(), solver=engine, gp=family.gp, on_failure="nan", solver_args=options)
        except (MissingPackageError, UnsupportedConeError, OptionError):
            return
        yield f"{family.name} {engine} {label or '-'} {front} {digest(parts(layer, values, np.random.default_rng(1)))}"


SMALLEST = {**SMALL, **CONIC_SMALL, **{family.name: family for family in (statuses(), bounds())}}


def everything() -> Iterator[str]:
    """All lines: the native engine everywhere, the others on small families."""
    for family in {**ALL, **SMALLEST}.values():
        small = family.name in SMALLEST
        for label, options in NATIVE.items():
            fronts = "numpy torch jax" if small and label in ("", "smoothed") else "numpy torch" if small else "numpy"
            yield from lines(family, "NATIVE", label, options, fronts)
    yield from lines(ball(), "AUTO", "", {}, "numpy torch")
    for family in SMALLEST.values():
        for engine in FOREIGN:
            yield from lines(family, engine, "", {}, "numpy torch jax" if engine == "CLARABEL" else "numpy")
        yield from lines(family, "CLARABEL", "smoothed", {"derivative": "smoothed"}, "numpy torch")
        yield from lines(family, "DIFFCP", "lsqr", {"mode": "lsqr"}, "numpy")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", type=Path, metavar="FILE", help="keep the lines")
    parser.add_argument("--against", type=Path, metavar="FILE", help="compare with lines that were kept")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    before = {} if options.against is None else dict(line.rsplit(" ", 1) for line in options.against.read_text().splitlines())
    kept, changed = [], []
    with jax.enable_x64(True):
        for line in everything():
            kept.append(line)
            name, value = line.rsplit(" ", 1)
            if before.pop(name, value if options.against is None else None) != value:
                changed.append(name)
                line += "  differs"
            if options.against is None or line.endswith("differs"):
                print(line, flush=True)
    if options.write is not None:
        options.write.write_text("\n".join(kept) + "\n")
    if options.against is not None:
        print(f"{len(kept) - len(changed)} lines are equal, {len(changed)} differ, {len(before)} are gone")
        sys.exit(bool(changed or before))


if __name__ == "__main__":
    main()
