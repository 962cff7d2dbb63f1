"""Geometric programs: solutions and duals are CVXPY's, derivatives those of closed forms, the chain rule that of its parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import cvxpy as cp
import numpy as np
import pytest
import scipy.sparse as sp

from cvxpylayers._canon import compile_problem
from cvxpylayers._engines.engine import Engine
from cvxpylayers._engines.log_space import LogSpaceEngine, posed
from cvxpylayers._layer.layer import Layer
from cvxpylayers._program import Batch, CompiledProblem, OutputSpec, ParameterSpec, Solution, Tape
from cvxpylayers.errors import ProblemError, SolverError
from problems.oracles import OracleEngine, unbroadcast

Array = np.ndarray[Any, Any]


def positive(name: str, *shape: int, **more: Any) -> cp.Variable:
    return cp.Variable(shape, pos=True, name=name, **more)


def given(name: str, *shape: int, pos: bool = True) -> cp.Parameter:
    return cp.Parameter(shape, pos=pos, name=name)


# ---- against CVXPY -----------------------------------------------------------------------------------------------------------


class Case(NamedTuple):
    problem: cp.Problem
    values: dict[cp.Parameter, Any]


def box() -> Case:
    h, w, d = positive("h"), positive("w"), positive("d")
    wall, floor, alpha = given("wall"), given("floor"), given("alpha")
    constraints = [2 * (h * w + h * d) <= wall, w * d <= floor, h / w >= alpha, h / w <= 2, d / w >= 0.5, d / w <= 2]
    return Case(cp.Problem(cp.Maximize(h * w * d), constraints), {wall: 20.0, floor: 5.0, alpha: 0.7})


def exponents() -> Case:
    x, y = positive("x"), positive("y")
    a, b, c = given("a"), given("b"), given("c", pos=False)
    return Case(cp.Problem(cp.Minimize(a * x**c + b / x + y), [y >= x**a, x * y >= b]), {a: 0.7, b: 2.0, c: -0.4})


def matrices() -> Case:
    X, A, e = positive("X", 2, 2), given("A", 2, 2), given("e", 3, 2, pos=False)
    y = positive("y", 2)
    objective = cp.sum(X @ A) + cp.prod(y) + cp.sum(cp.gmatmul(e, y))
    values = {A: np.array([[1.0, 2.0], [3.0, 4.0]]), e: np.array([[0.5, -1.0], [1.0, 0.3], [-0.7, 0.2]])}
    return Case(cp.Problem(cp.Minimize(objective), [X[0] >= y, X[1, 0] * X[1, 1] >= 2, cp.geo_mean(y) >= 0.5]), values)


def symmetric_and_bounded() -> Case:
    S, low = positive("S", 2, 2, symmetric=True), given("low")
    x = positive("x", 2, bounds=[low, 3.0])
    C = cp.Parameter((2, 2), pos=True, symmetric=True, name="C")
    objective = cp.sum(cp.multiply(C, S)) + x[0] / x[1]
    problem = cp.Problem(cp.Minimize(objective), [S[0, 0] * S[0, 1] * S[1, 1] >= 1, S >= 0.3, x[0] >= S[0, 0]])
    return Case(problem, {low: 0.2, C: np.array([[1.0, 2.0], [2.0, 4.0]])})


CASES = [box, exponents, matrices, symmetric_and_bounded]


@pytest.mark.parametrize("make", CASES)
def test_values_and_duals_are_those_of_cvxpy(make: Callable[[], Case]) -> None:
    problem, values = make()
    outputs = [*problem.variables(), *(c.dual_variables[0] for c in problem.constraints)]
    layer = Layer(problem, list(values), outputs, gp=True, solver="CLARABEL")
    call = layer.solve([np.asarray(v) for v in values.values()])
    for parameter, value in values.items():
        parameter.value = value
    problem.solve(gp=True, solver=cp.CLARABEL, tol_gap_abs=1e-10, tol_gap_rel=1e-10, tol_feas=1e-10)
    assert call.info.objective == pytest.approx(problem.value, rel=1e-7)
    for found, wanted in zip(call.outputs, outputs, strict=True):
        np.testing.assert_allclose(found, wanted.value, rtol=1e-5, atol=1e-6, err_msg=wanted.name())


def test_parameters_enter_in_the_forms_in_which_they_occur() -> None:
    problem, values = exponents()
    compiled = compile_problem(problem, list(values), problem.variables(), gp=True)
    assert [spec.forms for spec in compiled.parameters] == [("value", "log"), ("log",), ("value",)]
    assert [spec.exp for spec in compiled.outputs] == [True, True]
    assert compiled.M.shape[1] == 5
    assert [spec.forms for spec in posed(compiled).parameters] == [("value",)] * 4


# ---- against closed forms ----------------------------------------------------------------------------------------------------


def monomial(solver: type[Engine] | None = OracleEngine) -> Layer:
    """min a x + b / x^c has the solution (b c / a)^(1 / (c + 1)); c is an exponent, and its inverse too a parameter's."""
    x, a, b, c = positive("x"), given("a"), given("b"), given("c")
    return Layer(cp.Problem(cp.Minimize(a * x + b * (1 / x) ** c)), [a, b, c], [x], gp=True, solver=solver)


def both(solver: type[Engine] | None = OracleEngine) -> Layer:
    """min a x + b / x^a has the solution b^(1 / (a + 1)): a occurs as an exponent and as a coefficient."""
    x, a, b = positive("x"), given("a"), given("b")
    return Layer(cp.Problem(cp.Minimize(a * x + b * (1 / x) ** a)), [a, b], [x], gp=True, solver=solver)


CLOSED: dict[str, tuple[Callable[[], Layer], Callable[..., Any]]] = {
    "monomial": (monomial, lambda a, b, c: (b * c / a) ** (1 / (c + 1))),
    "both": (both, lambda a, b: b ** (1 / (a + 1))),
}


@pytest.mark.parametrize("solver", [OracleEngine, None], ids=["ORACLE", "NATIVE"])
@pytest.mark.parametrize("name", CLOSED)
def test_closed_forms_and_their_derivatives(name: str, solver: type[Engine] | None) -> None:
    make, solution = CLOSED[name]
    layer, rng = make(solver), np.random.default_rng(0)
    count = len(layer.compiled.parameters)
    values = [rng.uniform(0.5, 2.0, 4) for _ in range(count - 1)] + [np.array(1.3)]  # the last one is shared
    call = layer.solve(values, tape=True)
    np.testing.assert_allclose(call.outputs[0], solution(*values), rtol=1e-10)
    u, h = rng.normal(size=4), 1e-6
    slopes = []
    for i in range(count):
        ends = [[v + (k == i) * sign * h for k, v in enumerate(values)] for sign in (1, -1)]
        slopes.append((solution(*ends[0]) - solution(*ends[1])) / (2 * h))
    gradients = layer.vjp(call.point, [u], [True] * count)
    for gradient, value, slope in zip(gradients, values, slopes, strict=True):
        np.testing.assert_allclose(gradient.reshape(value.shape), unbroadcast(u * slope, value.shape), rtol=1e-8)
    tangents = [rng.normal(size=v.shape) for v in values]
    pushed = layer.jvp(call.point, tangents)[0]
    np.testing.assert_allclose(pushed, sum(t * s for t, s in zip(tangents, slopes, strict=True)), rtol=1e-8)


@pytest.mark.parametrize("name", CLOSED)
def test_second_derivatives_of_closed_forms(name: str) -> None:
    make, solution = CLOSED[name]
    layer, rng, h = make(None), np.random.default_rng(1), 1e-4
    count = len(layer.compiled.parameters)
    values, steps = rng.uniform(0.5, 2.0, (count, 4)), rng.normal(size=(count, 4))
    batch, u = layer.batch(list(values)), rng.normal(size=(4, 1))
    tape = layer.solve(list(values), tape=True).tape
    found, _ = layer.engine.hvp(batch, tape, u, [step[:, None] for step in steps], [True] * count)
    for i, gradient in enumerate(found):
        e = h * np.eye(count)[i][:, None]
        ends = [solution(*(values + a * e + b * h * steps)) for a, b in ((1, 1), (1, -1), (-1, 1), (-1, -1))]
        mixed = (ends[0] - ends[1] - ends[2] + ends[3]) / (4 * h * h)
        np.testing.assert_allclose(gradient[:, 0], u[:, 0] * mixed, rtol=1e-5, atol=1e-6)


# ---- the chain rule ----------------------------------------------------------------------------------------------------------


class Smooth(Engine):
    """u = C θ + ½ θᵀ Q θ for each output, in place of a solution; every derivative by hand."""

    name: ClassVar[str] = "SMOOTH"

    def __init__(self, compiled: CompiledProblem, options: Mapping[str, Any]) -> None:
        super().__init__(compiled, options)
        rng, p, k = np.random.default_rng(1), sum(s.size for s in compiled.parameters), compiled.R.shape[0]
        Q = rng.normal(size=(k, p, p))
        self.C, self.Q = rng.normal(size=(k, p)), (Q + Q.swapaxes(1, 2)) / 4

    @classmethod
    def option_names(cls) -> frozenset[str]:
        return frozenset()

    def solve(self, batch: Batch, options: Mapping[str, Any], *, tape: bool) -> Solution:
        theta, B = batch.theta()[:, :-1], batch.size
        u = theta @ self.C.T + 0.5 * np.einsum("kij,bi,bj->bk", self.Q, theta, theta)
        status, residuals = np.zeros(B, dtype=np.int8), np.zeros((B, 4))
        made = Tape(u.copy(), u.shape[1])
        return Solution(u, status, np.zeros(B, np.int32), residuals, np.zeros(B, bool), np.zeros(B), made)

    def _jacobian(self, batch: Batch) -> Array:
        return self.C + np.einsum("kij,bj->bki", self.Q, batch.theta()[:, :-1])

    def vjp(self, batch: Batch, tape: Tape, outputs: Array, wanted: Sequence[bool]) -> Any:
        return self._split(batch, np.einsum("...bk,bki->...bi", outputs, self._jacobian(batch)), outputs.shape[:-2], wanted)

    def jvp(self, batch: Batch, tape: Tape, arrays: Sequence[Array | None], *, directions: int | None = None) -> Any:
        pushed = np.einsum("bki,...bi->...bk", self._jacobian(batch), self._tangent(batch, arrays, directions))
        return pushed, np.zeros(batch.size, bool)

    def hvp(self, batch: Batch, tape: Tape, outputs: Array, arrays: Any, wanted: Any, *, directions: int | None = None) -> Any:
        tangent = self._tangent(batch, arrays, directions)
        return self._split(batch, np.einsum("...bk,kij,...bj->...bi", outputs, self.Q, tangent), outputs.shape[:-2], wanted)

    def _tangent(self, batch: Batch, arrays: Sequence[Array | None], directions: int | None) -> Array:
        lead = () if directions is None else (directions,)
        columns = []
        for spec, a in zip(self.compiled.parameters, arrays, strict=True):
            a = np.zeros((*(1 for _ in lead), spec.size)) if a is None else a
            a = a.reshape(a.shape[: len(lead)] + (1,) * (len(lead) + len(batch.shape) + 1 - a.ndim) + a.shape[len(lead) :])
            columns.append(np.broadcast_to(a, (*lead, *batch.shape, spec.size)).reshape(*lead, batch.size, spec.size))
        return np.concatenate(columns, axis=-1)

    def _split(self, batch: Batch, full: Array, lead: tuple[int, ...], wanted: Sequence[bool]) -> Any:
        cuts = np.cumsum([s.size for s in self.compiled.parameters])[:-1]
        found: list[Array | None] = []
        for part, array, want in zip(np.split(full, cuts, axis=-1), batch.arrays, wanted, strict=True):
            part = part.reshape(*lead, *batch.shape, -1)
            each = [unbroadcast(p, array.shape) for p in part.reshape(-1, *part.shape[len(lead) :])]
            found.append(np.array(each).reshape(*lead, *array.shape) if want else None)
        return found, np.zeros(batch.size, bool)

    def describe(self) -> Mapping[str, Any]:
        return {"name": self.name}


def curved() -> LogSpaceEngine:
    problem, values = exponents()
    compiled = compile_problem(problem, list(values), problem.variables(), gp=True)
    specs = (ParameterSpec("a", (2,), forms=("value", "log")), ParameterSpec("b", (3,), forms=("log",)), ParameterSpec("c", (1,)))
    outputs = (OutputSpec("y", (2,), exp=True), OutputSpec("v", (2,)))
    R = sp.csr_array(sp.eye_array(4))
    compiled = CompiledProblem(compiled.structure, compiled.M, R, specs, outputs, log_space=True)
    return LogSpaceEngine(compiled, Smooth(posed(compiled), {}))


BATCHES = {"batched": ((3,), (3,), (3,)), "shared": ((3,), (), ()), "two_axes": ((2, 1), (3,), ()), "none": ((), (), ())}


@pytest.mark.parametrize("axes", BATCHES.values(), ids=BATCHES)
@pytest.mark.parametrize("directions", [None, 2])
def test_the_chain_rule_to_second_order(axes: tuple[tuple[int, ...], ...], directions: int | None) -> None:
    engine, rng, h = curved(), np.random.default_rng(2), 1e-6
    shape, lead = np.broadcast_shapes(*axes), () if directions is None else (directions,)
    batch = Batch(
        tuple(rng.uniform(0.5, 2, (*own, spec.size)) for own, spec in zip(axes, engine.compiled.parameters, strict=True)), shape
    )
    # Tangents have all batch axes, also where the parameter is shared: nested transformations ask for this.
    tangents = [rng.normal(size=(*lead, *shape, a.shape[-1])) for a in batch.arrays]
    full = Batch(tuple(np.broadcast_to(a, (*shape, a.shape[-1])) for a in batch.arrays), shape)
    u, everything = rng.normal(size=(*lead, batch.size, 4)), [True] * 3

    def at(k: int, step: float) -> tuple[Batch, Solution]:
        moved = tuple(a + step * (t[k] if lead else t) for a, t in zip(full.arrays, tangents, strict=True))
        return (b := Batch(moved, shape)), engine.solve(b, {}, tape=True)

    tape = engine.solve(batch, {}, tape=True).tape
    pushed, _ = engine.jvp(batch, tape, tangents, directions=directions)
    gradients, _ = engine.vjp(batch, tape, u, everything)
    second, _ = engine.hvp(batch, tape, u, tangents, everything, directions=directions)
    for k in range(directions or 1):
        (there, up), (back, down) = at(k, h), at(k, -h)
        mine = u[k] if lead else u
        slope = (up.outputs - down.outputs) / (2 * h)
        np.testing.assert_allclose(pushed[k] if lead else pushed, slope, rtol=1e-6, atol=1e-6)
        inner = sum(
            float(np.sum(g * (t[k] if lead else t)))
            for g, t in zip(engine.vjp(full, tape, mine, everything)[0], tangents, strict=True)
        )
        assert inner == pytest.approx(float(np.sum(mine * slope)), rel=1e-6)
        ends = engine.vjp(there, up.tape, mine, everything)[0], engine.vjp(back, down.tape, mine, everything)[0]
        for i, array in enumerate(batch.arrays):
            first = gradients[i][k] if lead else gradients[i]
            np.testing.assert_allclose(
                first, unbroadcast(engine.vjp(full, tape, mine, everything)[0][i], array.shape), rtol=1e-10, atol=1e-12
            )
            bent = unbroadcast((ends[0][i] - ends[1][i]) / (2 * h), array.shape)
            np.testing.assert_allclose(second[i][k] if lead else second[i], bent, rtol=1e-5, atol=1e-6)


# ---- failures ----------------------------------------------------------------------------------------------------------------


def test_only_the_instance_with_a_parameter_that_is_not_positive_fails() -> None:
    layer = monomial()
    values = [np.array([1.0, 0.0, -1.0, 2.0]), np.array(2.0), np.array(1.0)]
    call = layer.solve(values, on_failure="nan", tape=True)
    assert [str(s) for s in call.info.status] == ["solved", "invalid_input", "invalid_input", "solved"]
    gradients = layer.vjp(call.point, [np.ones(4)], [True] * 3)
    assert all(np.isfinite(g).all() for g in gradients)
    assert gradients[0].ravel()[1:3].tolist() == [0.0, 0.0]
    with pytest.raises(SolverError, match="parameter 'a' is not positive"):
        layer.solve(values)


def test_an_infimum_that_is_not_attained_is_an_unbounded_logarithm() -> None:
    x, a = positive("x"), given("a")
    layer = Layer(cp.Problem(cp.Minimize(a * x)), [a], [x], gp=True, solver="CLARABEL")
    assert [str(s) for s in layer.solve([np.ones(2)], on_failure="nan").info.status] == ["dual_infeasible"] * 2


REFUSED: dict[str, tuple[Callable[[], cp.Problem], bool, str]] = {
    "sign of a variable": (
        lambda: cp.Problem(cp.Minimize(positive("x") * cp.Variable(name="y"))),
        True,
        "y is positive, with pos=True",
    ),
    "sign of a parameter": (
        lambda: cp.Problem(cp.Minimize(positive("x") * given("p", pos=False))),
        True,
        "p is positive, with pos=True",
    ),
    "difference": (lambda: cp.Problem(cp.Minimize(2 - positive("x"))), True, "It is convex as it stands: pass gp=False"),
    "curvature": (lambda: cp.Problem(cp.Minimize(1 / (positive("x") + positive("y")))), True, r"until problem.is_dgp\(\) is True"),
    "two exponents": (
        lambda: cp.Problem(cp.Minimize((positive("x") ** given("p")) ** given("q"))),
        True,
        "not DPP.*add the constraint y ==",
    ),
    "attribute": (lambda: cp.Problem(cp.Minimize(cp.sum(positive("X", 2, 2, PSD=True)))), True, "X has an attribute"),
    "not declared": (lambda: cp.Problem(cp.Minimize(positive("x") * positive("y"))), False, "It is geometric: pass gp=True"),
}


@pytest.mark.parametrize(("make", "gp", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_not_geometric_is_refused(make: Callable[[], cp.Problem], gp: bool, message: str) -> None:
    problem = make()
    with pytest.raises(ProblemError, match=message):
        compile_problem(problem, problem.parameters(), problem.variables(), gp=gp)
