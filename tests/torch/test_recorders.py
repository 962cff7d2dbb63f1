"""What records what a program does to tensors records the layer: replayed at other values it gives their solutions, or it refuses.

A row is a tool and how to record a function at an example with it; the replay is a function again.
"""

from __future__ import annotations

import gc
import io
import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cvxpy as cp
import jax
import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx
from torch.overrides import TorchFunctionMode
from torch.package import PackageExporter, PackageImporter
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from cvxpylayers import InputError, OptionError, ProblemError
from cvxpylayers._engines.foreign.clarabel import ClarabelEngine
from cvxpylayers.jax import CvxpyLayer as JaxLayer
from cvxpylayers.jax import export_checks
from cvxpylayers.torch import CvxpyLayer
from tests.processes import python

Tensors = tuple[torch.Tensor, torch.Tensor]
Function = Callable[..., torch.Tensor]
Recorder = Callable[[Function, Tensors], Function]


def problem() -> tuple[cp.Problem, list[cp.Parameter], list[cp.Variable]]:
    x, A, b = cp.Variable(2), cp.Parameter((3, 2), name="A"), cp.Parameter(3, name="b")
    return cp.Problem(cp.Minimize(cp.sum_squares(A @ x - b)), [x >= 0]), [A, b], [x]


class Model(torch.nn.Module):
    def __init__(self, layer: CvxpyLayer) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, A: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return self.layer(2 * A, b)[0]


def values(seed: int) -> Tensors:
    random = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(*shape, dtype=torch.float64, generator=random) for shape in ((4, 3, 2), (3,)))


EXAMPLE, OTHER = values(0), values(1)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """TorchScript is deprecated, says PyTorch."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


@pytest.fixture(params=[None, "CLARABEL"], ids=["native", "clarabel"])
def model(request: pytest.FixtureRequest) -> Model:
    return Model(CvxpyLayer(*problem(), solver=request.param))


def saved(function: Function, example: Tensors) -> Function:
    file = io.BytesIO()
    torch.jit.save(torch.jit.trace(function, example), file)
    file.seek(0)
    return torch.jit.load(file)


def packaged(function: Function, example: Tensors) -> Function:
    file = io.BytesIO()
    with PackageExporter(file) as exporter:
        exporter.extern(__name__)
        exporter.save_pickle("model", "model.pkl", function)
    file.seek(0)
    return PackageImporter(file).load_pickle("model", "model.pkl")


class Tape(TorchDispatchMode):
    """Notes every operator with its arguments and results, and plays them back with other arguments."""

    def __init__(self) -> None:
        super().__init__()
        self.notes: list[tuple[Any, Any, Any]] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        self.notes.append((function, args, result))
        return result

    def replay(self, known: dict[int, torch.Tensor]) -> None:
        """Adds the results at the ``known`` tensors, by the identity of those that they stand for."""

        def at(value: Any) -> Any:
            return [at(v) for v in value] if isinstance(value, list | tuple) else known.get(id(value), value)

        for function, args, result in self.notes:
            again = function(*map(at, args))
            pairs = zip(result, again, strict=True) if isinstance(result, list | tuple) else [(result, again)]
            known.update({id(old): new for old, new in pairs})


class FunctionTape(TorchFunctionMode):
    """The same, of functions as Python sees them."""

    def __init__(self) -> None:
        super().__init__()
        self.notes: list[tuple[Any, Any, Any]] = []

    __torch_function__ = Tape.__torch_dispatch__
    replay = Tape.replay


class Watched(torch.Tensor):
    """A tensor that notes what is done to it."""

    tape = FunctionTape()

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = super().__torch_function__(function, types, args, kwargs or {})
        cls.tape.notes.append((function, args, result))
        return result


def taped(mode: type[Tape] | type[FunctionTape]) -> Recorder:
    def record(function: Function, example: Tensors) -> Function:
        with mode() as tape:
            result = function(*example)
        return replayed(tape, example, result)

    return record


def by_subclass(function: Function, example: Tensors) -> Function:
    Watched.tape = FunctionTape()
    watched = tuple(t.as_subclass(Watched) for t in example)
    return replayed(Watched.tape, watched, function(*watched))


def replayed(tape: Any, example: Tensors, result: torch.Tensor) -> Function:
    def replay(*others: torch.Tensor) -> torch.Tensor:
        known = {id(old): new for old, new in zip(example, others, strict=True)}
        tape.replay(known)
        return known[id(result)]

    return replay


def counted(function: Function, example: Tensors) -> Function:
    def count(*others: torch.Tensor) -> torch.Tensor:
        with FlopCounterMode(display=False):
            return function(*others)

    return count


RECORDERS: dict[str, Recorder] = {
    "torch.jit.trace": torch.jit.trace,
    "torch.jit.trace, unchecked": lambda f, example: torch.jit.trace(f, example, check_trace=False),
    "torch.jit.trace of a function": lambda f, example: torch.jit.trace(lambda *p: f(*p), example),
    "torch.jit.trace, with gradients": lambda f, example: torch.jit.trace(f, tuple(t.clone().requires_grad_() for t in example)),
    "torch.jit.save": saved,
    "torch.fx.symbolic_trace": lambda f, _: torch.fx.symbolic_trace(f),
    **{
        f"make_fx, {mode}{', before dispatch' if early else ''}": lambda f, example, m=mode, e=early: make_fx(
            f, tracing_mode=m, pre_dispatch=e
        )(*example)
        for mode in ("real", "fake", "symbolic")
        for early in (False, True)
    },
    "torch.export": lambda f, example: torch.export.export(f, example).module(),
    "torch.compile": lambda f, _: torch.compile(f, fullgraph=True, backend="aot_eager"),
    "torch.package": packaged,
    "FlopCounterMode": counted,
    "TorchDispatchMode": taped(Tape),
    "TorchFunctionMode": taped(FunctionTape),
    "__torch_function__ of a subclass": by_subclass,
}


@pytest.mark.parametrize("record", RECORDERS.values(), ids=RECORDERS)
def test_a_recording_is_the_function(model: Model, record: Recorder) -> None:
    replay, expected = record(model, EXAMPLE), model(*OTHER)
    assert not torch.equal(expected, model(*EXAMPLE))
    assert torch.equal(replay(*OTHER), expected)


# Modes are told of what is below autograd, or have no derivative at all.
DIFFERENTIABLE = [name for name in RECORDERS if not name.startswith("Torch")]


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_a_recording_has_the_gradient(model: Model, name: str) -> None:
    leaves = [t.clone().requires_grad_() for t in OTHER]
    replay = RECORDERS[name](model, EXAMPLE)
    found, expected = (torch.autograd.grad(f(*leaves).square().sum(), leaves) for f in (replay, model))
    assert all(torch.equal(f, e) for f, e in zip(found, expected, strict=True))


@pytest.mark.parametrize("name", ["torch.jit.trace", "torch.fx.symbolic_trace", "make_fx, real", "torch.export", "torch.package"])
def test_a_recording_outlives_the_model(name: str) -> None:
    model = Model(CvxpyLayer(*problem()))
    expected = model(*OTHER)
    replay = RECORDERS[name](model, EXAMPLE)
    if name != "torch.jit.trace":  # a script module keeps what it was traced from
        del model
        gc.collect()
    assert torch.equal(replay(*OTHER), expected)


def test_a_derivative_is_recorded_like_a_solve(model: Model) -> None:
    gradient = torch.func.grad(lambda A, b: model(A, b).square().sum())
    for mode in ("real", "fake", "symbolic"):
        assert torch.equal(make_fx(gradient, tracing_mode=mode)(*EXAMPLE)(*OTHER), gradient(*OTHER))
    _, push = torch.func.linearize(model, *OTHER)
    torch.testing.assert_close(push(*EXAMPLE), torch.func.jvp(model, OTHER, EXAMPLE)[1], rtol=1e-12, atol=1e-12)


def test_options_are_recorded_with_a_call(model: Model) -> None:
    A, b = OTHER
    with FlopCounterMode(display=False), pytest.raises(OptionError, match="must be numbers and words; give"):
        model.layer(A, b, solver_args={"solver": ClarabelEngine})
    with FlopCounterMode(display=False):
        (x,) = model.layer(A, b, solver_args={"max_iterations": np.int64(50)})
    assert torch.equal(x, model.layer(A, b, solver_args={"max_iterations": 50})[0])


FRESH = """
import sys, torch, cvxpylayers.torch
print(torch.jit.load(sys.argv[1])(*torch.load(sys.argv[2])).tolist())
"""


def test_a_saved_trace_runs_in_a_new_process(tmp_path: Path) -> None:
    model = Model(CvxpyLayer(*problem()))
    torch.jit.save(torch.jit.trace(model, EXAMPLE), tmp_path / "trace.pt")
    torch.save(OTHER, tmp_path / "values.pt")
    found = python("-c", FRESH, tmp_path / "trace.pt", tmp_path / "values.pt")
    assert found.stdout.strip() == str(model(*OTHER).tolist()), found.stderr


def captured(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CUDA graph is being captured, for all that PyTorch says."""
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)


REFUSALS: dict[str, tuple[Callable[[Model], Any], type[Exception], str]] = {
    "torch.onnx.export": (lambda m: torch.onnx.export(m, EXAMPLE, io.BytesIO(), dynamo=False), ProblemError, r"torch\.export"),
    "torch.jit.script": (torch.jit.script, ProblemError, r"use torch\.export or torch\.jit\.trace"),
    "torch.fx, the layer alone": (lambda m: torch.fx.symbolic_trace(m.layer), InputError, "trace a module that holds it"),
}


@pytest.mark.parametrize("tool", REFUSALS)
def test_what_cannot_hold_a_layer_is_told_what_to_use(model: Model, tool: str) -> None:
    use, kind, words = REFUSALS[tool]
    with pytest.raises(kind, match=words):
        use(model)


def test_a_cuda_graph_takes_no_layer(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    leaves = [t.clone().requires_grad_() for t in OTHER]
    result = model(*leaves)
    captured(monkeypatch)
    for call in (lambda: model(*OTHER), lambda: model.layer.solve(*OTHER), lambda: result.sum().backward()):
        with pytest.raises(InputError, match="capture the parts of the model before and after it"):
            call()


@pytest.mark.parametrize("name", [n for n in RECORDERS if n.startswith(("torch.jit", "torch.fx", "make_fx"))])
def test_what_a_solve_reports_is_no_part_of_a_recording(model: Model, name: str) -> None:
    class Reporting(Model):
        def forward(self, A: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
            return self.layer.solve(A, b)[0][0]

    with pytest.raises(InputError, match=r"call layer\(\.\.\.\), which is an operator"):
        RECORDERS[name](Reporting(model.layer), EXAMPLE)


def test_what_a_solve_reports_needs_numbers(model: Model) -> None:
    with FakeTensorMode() as mode, pytest.raises(InputError, match="'A' is a FakeTensor and holds no numbers"):
        model.layer.solve(*(mode.from_tensor(t) for t in EXAMPLE))


def test_the_default_device_is_no_recorder() -> None:
    """Nor does a module lose its warm starts to it."""
    layer, (A, b) = CvxpyLayer(*problem()), OTHER
    with torch.device("cpu"):
        layer(A, b, warm_start=True)
    assert layer._latest.x.shape == (4, layer._layer.compiled.structure.n)


# ---- JAX ----


def jaxpr(function: Any, example: Any) -> Any:
    closed = jax.make_jaxpr(function)(*example)
    return lambda *others: jax.core.eval_jaxpr(closed.jaxpr, closed.consts, *others)[0]


def exported(function: Any, example: Any) -> Any:
    return jax.export.export(jax.jit(function), disabled_checks=export_checks())(*example).call


JAX_RECORDERS = {
    "jax.make_jaxpr": jaxpr,
    "jax.export": exported,
    "ahead of time": lambda f, example: jax.jit(f).lower(*example).compile(),
}
JAX_FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "call": lambda layer: lambda A, b: layer(2 * A, b)[0],
    "solve": lambda layer: lambda A, b: layer.solve(2 * A, b)[0][0],
    "gradient": lambda layer: jax.grad(lambda A, b: (layer(2 * A, b)[0] ** 2).sum()),
    "Hessian": lambda layer: jax.hessian(lambda A, b: (layer(2 * A, b)[0] ** 2).sum(), 1),
}


@pytest.mark.parametrize("record", JAX_RECORDERS.values(), ids=JAX_RECORDERS)
@pytest.mark.parametrize("make", JAX_FUNCTIONS.values(), ids=JAX_FUNCTIONS)
def test_a_recording_in_jax_is_the_function(record: Any, make: Any) -> None:
    function = make(JaxLayer(*problem()))
    example, others = ([t.numpy().astype(np.float32) for t in ts] for ts in (EXAMPLE, OTHER))
    expected = np.asarray(jax.jit(function)(*others))
    assert np.abs(expected - function(*example)).max() > 1e-3
    np.testing.assert_allclose(record(function, example)(*others), expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("make", JAX_FUNCTIONS.values(), ids=JAX_FUNCTIONS)
def test_jax_export_is_told_of_layers(make: Any) -> None:
    function = make(JaxLayer(*problem()))
    with pytest.raises(ValueError, match=r"disabled_checks=cvxpylayers\.jax\.export_checks\(\)"):
        jax.export.export(jax.jit(function))(*(t.numpy() for t in EXAMPLE))


@pytest.mark.parametrize(("solver", "platform"), [("CLARABEL", "cpu"), (None, "cuda")])
def test_jax_export_takes_no_calls_of_python(solver: str | None, platform: str) -> None:
    layer = JaxLayer(*problem(), solver=solver)
    with pytest.raises(ProblemError, match=r"use solver=None and platforms=\['cpu'\]"):
        jax.export.export(jax.jit(lambda A, b: layer(A, b)[0]), platforms=[platform])(*(t.numpy() for t in EXAMPLE))


# ---- MLX ----


def test_mlx_recorders_are_told_what_to_use(tmp_path: Path) -> None:
    mx = pytest.importorskip("mlx.core")
    from cvxpylayers.mlx import CvxpyLayer as MlxLayer

    layer = MlxLayer(*problem())
    function = lambda *params: layer(*params)[0]
    arrays = [mx.array(t.numpy().astype(np.float32)) for t in EXAMPLE]
    recorders = {
        "compile": lambda: mx.compile(function)(*arrays),
        "vmap": lambda: mx.vmap(function, (0, None))(*arrays),
        "export": lambda: mx.export_function(os.fspath(tmp_path / "function.mlxfn"), function, *arrays),
    }
    for record in recorders.values():
        with pytest.raises(InputError, match=r"outside mx\.compile and mx\.export_function"):
            record()
