"""Every advice is followed to the letter, and what was refused then works; `test_canon_advice` does so for CVXPY's rules."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import cvxpy as cp
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from cvxpylayers import WarmStart
from cvxpylayers.errors import (
    DerivativeError,
    InputError,
    InputTypeError,
    MissingPackageError,
    OptionError,
    ProblemError,
    SolverError,
    UnsupportedConeError,
)
from cvxpylayers.jax import CvxpyLayer as JaxLayer
from cvxpylayers.numpy import CvxpyLayer as NumpyLayer
from cvxpylayers.torch import CvxpyLayer


def minimize(expression: Any, *constraints: Any) -> cp.Problem:
    return cp.Problem(cp.Minimize(expression), list(constraints))


ONES = torch.ones(2)
x, b, c = cp.Variable(2, name="x"), cp.Parameter(2, name="b"), cp.Parameter(2, name="c")
SQUARES = cp.Problem(cp.Minimize(cp.sum_squares(x - b)), [x >= 0])
TWO = cp.Problem(cp.Minimize(cp.sum_squares(x - b) + c @ x), [x >= 0])
BOUNDED = cp.Problem(cp.Minimize(c @ x), [x >= b])


MATRIX = minimize(cp.sum_squares(cp.Parameter((3, 2), name="A") @ x - 1))


def of(problem: cp.Problem, kind: Any = CvxpyLayer, **arguments: Any) -> Any:
    return kind(problem, sorted(problem.parameters(), key=lambda p: p.name()), [x], **arguments)


def squares(kind: Any = CvxpyLayer, **arguments: Any) -> Any:
    return of(SQUARES, kind, **arguments)


class Advice(NamedTuple):
    """What is refused, as what, words of the advice, and what follows it."""

    wrong: Callable[[], Any]
    kind: type[BaseException]
    words: str
    right: Callable[[], Any]


def only(problem: cp.Problem, parameters: Any, variables: Any, **arguments: Any) -> Callable[[], Any]:
    return lambda: CvxpyLayer(problem, parameters, variables, **arguments)


def complex_variable(real_outputs: bool) -> Any:
    z, u, v = cp.Variable(complex=True, name="z"), cp.Variable(), cp.Variable()
    rows = [u == cp.real(z), v == cp.imag(z)] if real_outputs else []
    return CvxpyLayer(minimize(cp.abs(z - 1 - 2j), *rows), [], [u, v] if real_outputs else [z])


def complex_parameter() -> cp.Problem:
    z = cp.Variable(complex=True)
    return minimize(cp.abs(z - cp.Parameter(complex=True, name="a")) + cp.sum_squares(x))


def two_real_parameters() -> cp.Problem:
    z, a_re, a_im = cp.Variable(complex=True), cp.Parameter(name="a_re"), cp.Parameter(name="a_im")
    return minimize(cp.abs(z - (a_re + 1j * a_im)) + cp.sum_squares(x))


def single_power(split: bool) -> cp.Problem:
    z = cp.Variable()
    cone = cp.abs(z) <= x[0] if split else cp.constraints.PowConeND(x[:1], z, np.ones(1))
    return minimize(-z + cp.sum_squares(x - b), cone)


def relaxed(**attributes: Any) -> Callable[[], Any]:
    y = cp.Variable(2, name="y", **attributes)
    return only(minimize(cp.sum_squares(y - b)), [b], [y])


def dual() -> Any:
    return SQUARES.constraints[0]


def geometric(**arguments: Any) -> Callable[[], Any]:
    y, p = cp.Variable(pos=True), cp.Parameter(pos=True)
    return only(minimize(y**0.5 / p, y >= p), [p], [y], **arguments)


def leaf(**attributes: Any) -> Callable[[], Any]:
    y = cp.Variable((2, 2), pos=True, **attributes)
    return only(minimize(cp.sum(y), y >= 1), [], [y], gp=True)


def exported(**arguments: Any) -> Any:
    layer = squares(JaxLayer)
    return jax.export.export(jax.jit(lambda v: layer(v)[0]), **arguments)(jnp.ones(2))


def checks() -> Any:
    import cvxpylayers.jax

    return cvxpylayers.jax.export_checks()


class Model(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = squares()

    def forward(self, value: torch.Tensor) -> torch.Tensor:
        return self.layer(value)[0]


def forward_over_forward(second: Callable[..., Any]) -> Any:
    layer = squares()
    return second(lambda v: layer(v)[0].sum())(ONES)


def used_elsewhere() -> WarmStart:
    _, info = of(MATRIX, NumpyLayer).solve(np.ones((3, 2)), warm_start=WarmStart())
    assert info.warm_start is not None
    return info.warm_start


def epigraph() -> cp.Problem:
    t = cp.Variable()
    return minimize(t, cp.sum_squares(x - b) <= t)


def curvature(layer: Any) -> Any:
    return torch.autograd.functional.hessian(lambda v: layer(v)[0].square().sum(), ONES.double())


def failed_once(**arguments: Any) -> Any:
    problem = minimize(cp.sum(x), x >= b, x <= c)
    outputs, info = of(problem).solve(ONES, 0 * ONES, **arguments)
    return outputs, str(info.status)


ADVICE: dict[str, Advice] = {
    # The arguments of a layer
    "a parameter without a list": Advice(only(SQUARES, b, [x]), InputTypeError, r"write parameters=\[b\]", squares),
    "a variable without a list": Advice(only(SQUARES, [b], x), InputTypeError, r"write variables=\[x\]", squares),
    "swapped lists": Advice(only(SQUARES, [x], [b]), InputTypeError, r"parameters=\[\.\.\.\], variables=\[\.\.\.\]", squares),
    "an expression": Advice(only(SQUARES, [b], [2 * x]), InputTypeError, "is an expression of other objects: list those", squares),
    "a constraint": Advice(
        only(SQUARES, [b], [dual()]),
        InputTypeError,
        r"write constraint\.dual_variables\[0\]",
        only(SQUARES, [b], [dual().dual_variables[0]]),
    ),
    "a parameter that is missing": Advice(only(TWO, [b], [x]), ProblemError, "missing: c. Add them", only(TWO, [b, c], [x])),
    "a parameter of no use": Advice(only(SQUARES, [b, c], [x]), ProblemError, r"these parameters: c\. Remove them", squares),
    "a parameter twice": Advice(only(SQUARES, [b, b], [x]), ProblemError, "List each once", squares),
    "no outputs": Advice(only(SQUARES, [b], []), ProblemError, r"for instance variables=\[x\]", squares),
    "an output of another problem": Advice(
        only(SQUARES, [b], [cp.Variable(name="w")]), ProblemError, r"The problem's variables are x\.", squares
    ),
    "a complex output": Advice(
        lambda: complex_variable(False), ProblemError, r"u == cp\.real\(z\), v == cp\.imag\(z\)", lambda: complex_variable(True)
    ),
    "a complex parameter": Advice(
        lambda: of(complex_parameter()), ProblemError, r"two real parameters, a_re \+ 1j \* a_im", lambda: of(two_real_parameters())
    ),
    "an integer variable": Advice(
        relaxed(boolean=True), ProblemError, r"cp\.Variable\(\.\.\., bounds=\[0, 1\]\)", relaxed(bounds=[0, 1])
    ),
    "a power cone of one factor": Advice(
        lambda: of(single_power(False)), ProblemError, r"write it as cp\.abs\(z\) <= W", lambda: of(single_power(True))
    ),
    "a geometric program": Advice(geometric(), ProblemError, "pass gp=True", geometric(gp=True)),
    "an attribute in a geometric program": Advice(lambda: leaf(PSD=True)(), ProblemError, "leave it at pos=True", lambda: leaf()()),
    "a backend": Advice(
        lambda: squares(canon_backend="FAST"),
        ProblemError,
        "None or one of CPP, SCIPY, COO",
        lambda: squares(canon_backend="SCIPY"),
    ),
    "an infinite constant": Advice(
        lambda: of(minimize(cp.sum_squares(x - b), x >= np.inf)),
        ProblemError,
        "x <= np.inf, may be",
        lambda: of(minimize(cp.sum_squares(x - b), x <= np.inf)),
    ),
    # Engines and options
    "a misspelt solver": Advice(lambda: squares(solver="OSPQ"), OptionError, "Did you mean 'OSQP'", lambda: squares(solver="OSQP")),
    "a solver that is not here": Advice(
        lambda: squares(solver="GUROBI"), MissingPackageError, r"Here are .*CLARABEL", lambda: squares(solver="CLARABEL")
    ),
    "a cone that the engine lacks": Advice(
        lambda: of(minimize(cp.norm(x - b)), solver="OSQP"),
        UnsupportedConeError,
        "would do: 'NATIVE'",
        lambda: of(minimize(cp.norm(x - b)), solver="NATIVE"),
    ),
    "a misspelt option": Advice(
        lambda: squares(solver_args={"tolerence": 1e-9}),
        OptionError,
        "did you mean 'tolerance'",
        lambda: squares(solver_args={"tolerance": 1e-9}),
    ),
    "an option of no name": Advice(
        lambda: squares(solver_args={"nonsense": 1}),
        OptionError,
        r"valid are .*max_iterations",
        lambda: squares(solver_args={"max_iterations": 9}),
    ),
    "an impossible value": Advice(
        lambda: squares(solver_args={"tolerance": 2}),
        OptionError,
        "between 0 and 1, for example 1e-8",
        lambda: squares(solver_args={"tolerance": 1e-8}),
    ),
    "options that are no dict": Advice(
        lambda: squares(solver_args=1e-9),
        InputTypeError,
        r'must be a dict, for example \{"tolerance": 1e-9\}',
        lambda: squares(solver_args={"tolerance": 1e-9}),
    ),
    "an option of the constructor": Advice(
        lambda: squares()(ONES, solver_args={"derivative": "smoothed"}),
        OptionError,
        r"CvxpyLayer\(\.\.\., solver_args=\{\.\.\.\}\)",
        lambda: squares(solver_args={"derivative": "smoothed"})(ONES),
    ),
    "smoothing of exact derivatives": Advice(
        lambda: squares()(ONES, solver_args={"smoothing": 1e-3}),
        OptionError,
        r'solver_args=\{"derivative": "smoothed"\} in the constructor',
        lambda: squares(solver_args={"derivative": "smoothed"})(ONES, solver_args={"smoothing": 1e-3}),
    ),
    "a mode of failure": Advice(
        lambda: squares(on_failure="ignore"), OptionError, "'raise', 'nan', 'warn'", lambda: squares(on_failure="nan")
    ),
    # Calls
    "too few parameters": Advice(
        lambda: of(TWO)(ONES), InputError, r"2 parameters \(b: \(2,\), c: \(2,\)\); got 1", lambda: of(TWO)(ONES, ONES)
    ),
    "parameters in a list": Advice(
        lambda: of(TWO)([ONES, ONES]), InputTypeError, r"layer\(\*values\)", lambda: of(TWO)(*[ONES, ONES])
    ),
    "a parameter of CVXPY": Advice(
        lambda: squares()(b),
        InputTypeError,
        r"torch\.as_tensor\(parameter\.value\)",
        lambda: squares()(torch.as_tensor(np.ones(2))),
    ),
    "an array for a tensor": Advice(
        lambda: squares()(np.ones(2)),
        InputTypeError,
        r"use torch\.as_tensor\(value\)",
        lambda: squares()(torch.as_tensor(np.ones(2))),
    ),
    "a sparse tensor": Advice(
        lambda: squares()(ONES.to_sparse()),
        InputTypeError,
        r"use value\.to_dense\(\)",
        lambda: squares()(ONES.to_sparse().to_dense()),
    ),
    "a list for an array of JAX": Advice(
        lambda: squares(JaxLayer)([1.0, 1.0]),
        InputTypeError,
        r"use jnp\.asarray\(value\)",
        lambda: squares(JaxLayer)(jnp.asarray([1.0, 1.0])),
    ),
    "a parameter of CVXPY for an array": Advice(
        lambda: squares(NumpyLayer)(b), InputTypeError, r"pass its value, parameter\.value", lambda: squares(NumpyLayer)(np.ones(2))
    ),
    "an unknown name": Advice(
        lambda: squares(JaxLayer)(a=jnp.ones(2)),
        InputError,
        "the layer takes b in this order",
        lambda: squares(JaxLayer)(b=jnp.ones(2)),
    ),
    "too many cotangents": Advice(
        lambda: squares(NumpyLayer).linearize(np.ones(2)).vjp(np.ones(2), None),
        InputError,
        "One cotangent per output is needed, None for zero: 1",
        lambda: squares(NumpyLayer).linearize(np.ones(2)).vjp(np.ones(2)),
    ),
    "a cotangent of another shape": Advice(
        lambda: squares(NumpyLayer).linearize(np.ones(2)).vjp(np.ones(3)),
        InputError,
        r"the shape of its output, \(2,\)",
        lambda: squares(NumpyLayer).linearize(np.ones(2)).vjp(np.ones(2)),
    ),
    "a warm start by True": Advice(
        lambda: squares(JaxLayer).solve(jnp.ones(2), warm_start=True),
        UserWarning,
        r"layer\.cold_start\(\) begins a chain",
        lambda: squares(JaxLayer).solve(jnp.ones(2), warm_start=squares(JaxLayer).cold_start()),
    ),
    "a warm start of no kind": Advice(
        lambda: squares(JaxLayer).solve(jnp.ones(2), warm_start=3),
        InputTypeError,
        r"as of layer\.cold_start\(\)",
        lambda: squares(JaxLayer).solve(jnp.ones(2), warm_start=squares(JaxLayer).cold_start()),
    ),
    "a warm start of another problem": Advice(
        lambda: squares(JaxLayer).solve(jnp.ones(2), warm_start=of(minimize(cp.norm(x - b)), JaxLayer).cold_start()),
        InputError,
        r"begin with layer\.cold_start\(\)",
        lambda: squares(JaxLayer).solve(jnp.ones(2), warm_start=squares(JaxLayer).cold_start()),
    ),
    "no batch to divide": Advice(
        lambda: list(squares().solve_many(ONES, chunk_size=2)),
        InputError,
        "A batch axis",
        lambda: list(squares().solve_many(ONES[None], chunk_size=2)),
    ),
    "a raise in compiled code": Advice(
        lambda: jax.jit(lambda v: squares(JaxLayer)(v, on_failure="raise")[0])(jnp.ones(2)),
        OptionError,
        'use on_failure="nan"',
        lambda: jax.jit(lambda v: squares(JaxLayer)(v, on_failure="nan")[0])(jnp.ones(2)),
    ),
    "axes in the wrong order": Advice(
        lambda: of(MATRIX)(torch.ones(2, 3)),
        InputError,
        r"Swap its last two axes: value\.mT",
        lambda: of(MATRIX)(torch.ones(2, 3).mT),
    ),
    "a batch axis at the end": Advice(
        lambda: squares()(torch.ones(2, 5)), InputError, "Batch axes come first", lambda: squares()(torch.ones(5, 2))
    ),
    "an axis too many": Advice(
        lambda: of(MATRIX)(torch.ones(3, 2, 1)),
        InputError,
        r"for example by value\.squeeze\(-1\)",
        lambda: of(MATRIX)(torch.ones(3, 2, 1).squeeze(-1)),
    ),
    "batches that do not fit": Advice(
        lambda: of(TWO)(torch.ones(5, 2), torch.ones(4, 2)),
        InputError,
        "broadcast against each other as in NumPy",
        lambda: of(TWO)(torch.ones(5, 1, 2), torch.ones(4, 2)),
    ),
    "a warm start by True, in NumPy": Advice(
        lambda: squares(NumpyLayer)(np.ones(2), warm_start=True),
        UserWarning,
        r"a cvxpylayers\.WarmStart does it by hand",
        lambda: squares(NumpyLayer)(np.ones(2), warm_start=WarmStart()),
    ),
    "a warm start of another problem, in NumPy": Advice(
        lambda: squares(NumpyLayer).solve(np.ones(2), warm_start=used_elsewhere()),
        InputError,
        r"start again with cvxpylayers\.WarmStart\(\)",
        lambda: squares(NumpyLayer).solve(np.ones(2), warm_start=WarmStart()),
    ),
    "numbers of a tensor without any": Advice(
        lambda: squares().solve(torch.ones(2, device="meta")),
        InputError,
        r"call layer\(\.\.\.\)",
        lambda: squares()(torch.ones(2, device="meta")),
    ),
    # Outcomes
    "no solution": Advice(
        failed_once, SolverError, 'on_failure="nan" or "warn" goes on without it', lambda: failed_once(on_failure="nan")
    ),
    "infeasible": Advice(
        failed_once, SolverError, "relax a constraint or add a slack", lambda: of(minimize(cp.sum(x), x >= b))(ONES)
    ),
    "unbounded": Advice(
        lambda: of(minimize(b @ x))(ONES),
        SolverError,
        "bound the variables or add a convex term",
        lambda: (of(minimize(b @ x, x >= 0))(ONES), of(minimize(b @ x + cp.sum_squares(x)))(ONES)),
    ),
    "too few iterations": Advice(
        lambda: squares(solver_args={"max_iterations": 1, "polish": False, "fallback": False})(ONES),
        SolverError,
        "raise max_iterations",
        lambda: squares(solver_args={"max_iterations": 100, "polish": False, "fallback": False})(ONES),
    ),
    # Derivatives, recorders
    "forward mode twice": Advice(
        lambda: forward_over_forward(lambda f: torch.func.jacfwd(torch.func.jacfwd(f))),
        DerivativeError,
        r"use torch\.func\.hessian, or jacrev of jacrev",
        lambda: [forward_over_forward(torch.func.hessian), forward_over_forward(lambda f: torch.func.jacrev(torch.func.jacrev(f)))],
    ),
    "diffcp's own derivative of a quadratic": Advice(
        lambda: squares(solver="DIFFCP", solver_args={"mode": "lsqr"}),
        OptionError,
        r"Leave 'mode' away .* or bound a quadratic term by a variable: sum_squares\(…\) <= t",
        lambda: (squares(solver="DIFFCP"), of(epigraph(), solver="DIFFCP", solver_args={"mode": "lsqr"})(ONES)),
    ),
    "second derivatives of diffcp": Advice(
        lambda: curvature(of(epigraph(), solver="DIFFCP", solver_args={"mode": "lsqr"})),
        DerivativeError,
        "leave 'mode' away",
        lambda: curvature(of(epigraph(), solver="DIFFCP")),
    ),
    "torch.jit.script": Advice(
        lambda: torch.jit.script(squares()),
        ProblemError,
        r"use torch\.export or torch\.jit\.trace",
        lambda: (torch.export.export(Model(), (ONES,)), torch.jit.trace(Model(), (ONES,))),
    ),
    "torch.fx": Advice(
        lambda: torch.fx.symbolic_trace(squares()),
        InputError,
        "trace a module that holds it",
        lambda: torch.fx.symbolic_trace(Model()),
    ),
    "torch.onnx.export": Advice(
        lambda: torch.onnx.export(Model(), (ONES,), io.BytesIO(), dynamo=False),
        ProblemError,
        r"torch\.export\.export makes a program that carries the layer",
        lambda: torch.export.export(Model(), (ONES,)),
    ),
    "jax.export": Advice(
        exported, ValueError, r"disabled_checks=cvxpylayers\.jax\.export_checks\(\)", lambda: exported(disabled_checks=checks())
    ),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("advice", ADVICE.values(), ids=ADVICE)
def test_what_follows_an_advice_works(advice: Advice) -> None:
    if issubclass(advice.kind, Warning):
        with pytest.warns(advice.kind, match=advice.words):
            advice.wrong()
    else:
        with pytest.raises(advice.kind, match=advice.words):
            advice.wrong()
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        advice.right()
