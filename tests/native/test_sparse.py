"""Derivatives with cones kept sparse, instance by instance: the native kernel's laws, and its numbers."""

from __future__ import annotations

import pickle
from typing import Any

import cvxpy as cp
import numpy as np
import pytest

from cvxpylayers._canon import compile_problem
from cvxpylayers._engines.judge.clarabel import solve_program
from cvxpylayers._engines.judge.program import ConeProgram
from cvxpylayers._engines.native.costs import Costs
from cvxpylayers._engines.native.engine import NativeEngine
from cvxpylayers._engines.native.sparse import SparseDerivative
from cvxpylayers._engines.registry import automatic
from cvxpylayers._program import Batch
from cvxpylayers.errors import DerivativeError
from cvxpylayers.numpy import CvxpyLayer
from problems.conic_families import ALL, CONIC_SMALL
from problems.families import SMALL, Family
from problems.programs import Array, family_batch, pick
from problems.rows import EVERY, Row
from tests.checks import Case, assert_adjoint, differentiate, settled

COUNT = 3  # each instance has a factorization of its own


class Sparse(NativeEngine):
    """Solutions of the native engine, derivatives of the other kind."""

    def vjp(self, *arguments: Any) -> Any:
        return SparseDerivative(self.compiled, lambda: self, 1).vjp(*arguments)

    def jvp(self, *arguments: Any, **options: Any) -> Any:
        return SparseDerivative(self.compiled, lambda: self, 1).jvp(*arguments, **options)


def both(native: NativeEngine, batch: Batch) -> tuple[Case, Case]:
    kept = settled(native, batch)
    return differentiate(Sparse(native.compiled, {}), kept), differentiate(native, kept)


def assert_agree(found: Case, expected: Case) -> None:
    """Equal flags, equal numbers where there are none, relative to the largest of an instance."""
    assert [list(f) for f in found.flags] == [list(f) for f in expected.flags]
    regular = ~expected.flags[0] & ~expected.flags[1]
    assert regular.any()
    for ours, theirs in [(found.pushed, expected.pushed), *zip(found.gradients, expected.gradients, strict=True)]:
        a, b = ours[regular], theirs[regular]
        assert np.max(np.abs(a - b).max(axis=1, initial=0.0) / np.maximum(1e-3, np.abs(b).max(axis=1, initial=0.0))) < 1e-6


@pytest.mark.parametrize("row", EVERY.values(), ids=EVERY)
def test_every_kind_and_cone_against_the_kernel(row: Row) -> None:
    d = row.draw(COUNT, 31)
    found, expected = both(NativeEngine(d.compiled, {}), pick(d.batch, range(COUNT)))
    assert_adjoint(found)
    if row.regular:
        assert_agree(found, expected)


FAMILIES = {name: family for name, family in {**SMALL, **CONIC_SMALL}.items() if not family.gp}


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_families_against_the_kernel(family: Family) -> None:
    found, expected = both(*family_batch(family, COUNT, seed=32))
    assert_adjoint(found)
    assert_agree(found, expected)


# ---- in layers ---------------------------------------------------------------------------------------------------------------


def ball(n: int) -> tuple[cp.Problem, list[cp.Parameter], list[cp.Variable]]:
    """min gᵀx, ‖x‖ ≤ 1: x = -g/‖g‖, dx = -(I - ĝĝᵀ) dg / ‖g‖."""
    g, x = cp.Parameter(n), cp.Variable(n)
    return cp.Problem(cp.Minimize(g @ x), [cp.norm(x) <= 1]), [g], [x]


def differential(g: Array, moved: Array) -> Array:
    unit = g / np.linalg.norm(g)
    return -(moved - unit * (unit @ moved)) / np.linalg.norm(g)


def test_a_large_ball_in_both_modes_and_several_directions() -> None:
    problem, parameters, variables = ball(1000)
    layer = CvxpyLayer(problem, parameters, variables)
    assert layer.explain()["engine"] == "CLARABEL"
    rng = np.random.default_rng(0)
    g, moved, weight = (rng.normal(size=(3, 1000)) for _ in range(3))
    linear = layer.linearize(g)
    (x,) = linear.outputs
    np.testing.assert_allclose(x, -g / np.linalg.norm(g, axis=1, keepdims=True), atol=1e-10)
    (pushed,) = linear.jvp(moved)
    (pulled,) = linear.vjp(weight)
    for i in range(3):
        np.testing.assert_allclose(pushed[i], differential(g[i], moved[i]), atol=1e-10)
        np.testing.assert_allclose(pulled[i], differential(g[i], weight[i]), atol=1e-10)
    assert abs(np.sum(pushed * weight) - np.sum(pulled * moved)) <= 1e-12 * np.sum(np.abs(pushed * weight))
    ((jacobian,),) = CvxpyLayer(*ball(320)).jacobian(g[:, :320])
    for i in range(3):
        expected = [differential(g[i, :320], unit) for unit in np.eye(320)]
        np.testing.assert_allclose(jacobian[i], np.array(expected).T, atol=1e-10)


def bounded(n: int) -> tuple[cp.Problem, list[cp.Parameter], list[cp.Variable]]:
    g, x = cp.Parameter(n), cp.Variable(n)
    rows = [cp.norm(x) <= 1, x <= 0.5 / np.sqrt(n), cp.sum(x) == 0]
    return cp.Problem(cp.Minimize(g @ x), rows), [g], [x]


def several(n: int) -> tuple[cp.Problem, list[cp.Parameter], list[cp.Variable]]:
    g, x = cp.Parameter(n), cp.Variable(n)
    return cp.Problem(cp.Minimize(g @ x), [cp.norm(x) <= 1, cp.norm(x - 1 / n) <= 1, cp.norm(2 * x[::2]) <= 1.1]), [g], [x]


def sum_of_norms(n: int) -> tuple[cp.Problem, list[cp.Parameter], list[cp.Variable]]:
    A, x = cp.Parameter((n, 5)), cp.Variable(n)
    return cp.Problem(cp.Minimize(cp.sum([cp.norm(x - A[:, k]) for k in range(5)]))), [A], [x]


def mixed(n: int) -> tuple[cp.Problem, list[cp.Parameter], list[cp.Variable]]:
    """A large cone beside a quadratic objective and small cones of other kinds."""
    b, x, t = cp.Parameter(n), cp.Variable(n), cp.Variable(2)
    cones = [cp.norm(x) <= 2, cp.PowCone3D(t[0], 1, t[1], 0.3), t[0] <= 1, cp.exp(t[1]) <= 2 + x[0]]
    return cp.Problem(cp.Minimize(cp.sum_squares(x - b) + cp.sum_squares(t) - t[1]), cones), [b], [x, t]


def cut(n: int) -> tuple[cp.Problem, list[cp.Parameter], list[cp.Variable]]:
    """A semidefinite cone of single variables, beside a small one that is not."""
    k = n // 8
    C, X, t = cp.Parameter((k, k), symmetric=True), cp.Variable((k, k), symmetric=True), cp.Variable()
    rows = [X >> 0, cp.diag(X) == 1, cp.bmat([[1, t], [t, X[0, 1] + 1]]) >> 0, cp.sum(X[0]) >= 1]
    return cp.Problem(cp.Minimize(cp.trace(C @ X) + cp.square(t - 2)), rows), [C], [X, t]


LARGE = [*((make, "CLARABEL") for make in (ball, bounded, mixed)), *((make, "SCS") for make in (several, sum_of_norms))]


@pytest.mark.parametrize(("make", "engine"), LARGE, ids=lambda value: getattr(value, "__name__", value))
def test_solutions_and_gradients_of_large_cones_are_those_of_the_native_engine(make: Any, engine: str) -> None:
    problem, parameters, variables = make(320)
    kept, filled = (CvxpyLayer(problem, parameters, variables, solver=solver) for solver in (None, "NATIVE"))
    assert (kept.explain()["engine"], filled.explain()["engine"]) == (engine, "NATIVE")
    assert CvxpyLayer(problem, parameters, variables).explain()["engine"] == engine  # whatever was named for the same problem
    rng = np.random.default_rng(1)
    value = rng.normal(size=(2, *parameters[0].shape))
    ours, theirs = kept.linearize(value), filled.linearize(value)
    weights = [rng.normal(size=v.shape) for v in ours.outputs]
    for a, b in zip((*ours.outputs, *ours.vjp(*weights)), (*theirs.outputs, *theirs.vjp(*weights)), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-8 * max(1.0, np.abs(b).max()))


@pytest.mark.parametrize("family", ALL.values(), ids=ALL)
def test_everything_else_stays_with_the_native_engine(family: Family) -> None:
    problem, parameters, variables = family.make()
    assert automatic(compile_problem(problem, parameters, variables, gp=family.gp), {})[0].name == "NATIVE"


def test_dense_rows_and_large_cones_of_other_kinds_stay_with_the_native_engine() -> None:
    for make in (dense_norm, semidefinite, exponential):
        assert Costs.of(compile_problem(*make()).structure).better is None


def dense_norm() -> tuple[cp.Problem, list[cp.Parameter], list[cp.Variable]]:
    A, x = cp.Parameter((500, 400)), cp.Variable(400)
    return cp.Problem(cp.Minimize(cp.norm(A @ x - 1))), [A], [x]


def semidefinite() -> tuple[cp.Problem, list[cp.Parameter], list[cp.Variable]]:
    C, X = cp.Parameter((30, 30), symmetric=True), cp.Variable((30, 30), symmetric=True)
    return cp.Problem(cp.Minimize(cp.trace(C @ X)), [X >> 0, cp.diag(X) == 1]), [C], [X]


def exponential() -> tuple[cp.Problem, list[cp.Parameter], list[cp.Variable]]:
    c, x = cp.Parameter(2000), cp.Variable(2000)
    return cp.Problem(cp.Minimize(c @ x - cp.sum(cp.entr(x))), [cp.sum(x) == 1]), [c], [x]


def test_what_needs_the_native_factor_gets_it_or_says_what_to_type() -> None:
    problem, parameters, variables = ball(320)
    smoothed = CvxpyLayer(problem, parameters, variables, solver_args={"derivative": "smoothed"})
    assert smoothed.explain()["engine"] == "NATIVE"
    assert smoothed.explain()["why"].startswith("derivative='smoothed' is its own, although large second-order cones")
    layer = CvxpyLayer(problem, parameters, variables)
    assert layer.explain()["derivative"] == "cones kept sparse, one instance at a time"
    rng = np.random.default_rng(2)
    g, weight, moved = (rng.normal(size=320) for _ in range(3))
    (curved,) = layer._layer.hvp(layer._layer.solve([g], tape=True).point, [weight], [moved], [True])
    h = 1e-5
    slope = (differential(g + h * moved, weight) - differential(g - h * moved, weight)) / (2 * h)
    np.testing.assert_allclose(curved, slope, atol=1e-7)
    larger = CvxpyLayer(*ball(2500))
    g = rng.normal(size=2500)
    point = larger._layer.solve([g], tape=True).point
    with pytest.raises(DerivativeError, match='solver="NATIVE" insists'):
        larger._layer.hvp(point, [g], [g], [True])


def test_compiled_programs_of_jax_and_pickles_take_the_same_way() -> None:
    jax = pytest.importorskip("jax")
    from cvxpylayers.jax import CvxpyLayer as JaxLayer

    problem, parameters, variables = ball(320)
    layer = JaxLayer(problem, parameters, variables)
    rng = np.random.default_rng(3)
    g, weight = (rng.normal(size=320).astype(np.float32) for _ in range(2))
    pulled = jax.jit(jax.grad(lambda v: (layer(v)[0] * weight).sum()))(g)
    np.testing.assert_allclose(pulled, differential(g.astype(float), weight.astype(float)), atol=1e-6)
    plain = pickle.loads(pickle.dumps(CvxpyLayer(problem, parameters, variables)))
    np.testing.assert_allclose(plain.linearize(g).vjp(weight)[0], pulled, atol=1e-6)


@pytest.mark.parametrize("size", [1e-4, 1e-6])
def test_a_rough_point_on_a_large_cone_is_refined(size: float) -> None:
    def rough(program: ConeProgram) -> tuple[Array, Array]:
        near, noise = solve_program(program), np.random.default_rng(0)
        return near.x + size * noise.uniform(-1, 1, near.x.shape) / 30, near.z + size * noise.uniform(-1, 1, near.z.shape) / 30

    problem, parameters, variables = ball(1000)
    g = np.random.default_rng(4).normal(size=1000)
    (x,), info = CvxpyLayer(problem, parameters, variables, solver=rough).solve(g)
    assert max(info.primal_residual, info.dual_residual, info.gap) <= 1e-11
    np.testing.assert_allclose(x, -g / np.linalg.norm(g), atol=1e-10)


def test_scs_hands_over_what_it_does_not_solve_where_it_is_asked_to() -> None:
    problem, parameters, variables = cut(40)
    S = np.random.default_rng(5).normal(size=parameters[0].shape)
    options = {"max_iterations": 1, "polish": False}
    alone = CvxpyLayer(problem, parameters, variables, solver="SCS", solver_args=options)
    assert not alone.solve(S + S.T, on_failure="nan")[1].solved.any()
    helped = CvxpyLayer(problem, parameters, variables, solver="SCS", solver_args={**options, "fallback": True})
    outputs, info = helped.solve(S + S.T)
    assert info.solved.all()
    for found, expected in zip(outputs, CvxpyLayer(problem, parameters, variables)(S + S.T), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-5)
