"""Derivatives: adjoint to each other, equal to dense oracles and to differences; minimum-norm where degenerate."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import numpy as np
import pytest

from cvxpylayers._engines.native.engine import NativeEngine
from cvxpylayers._program import Batch
from problems.families import SMALL, Family
from problems.kinds import DEPENDENT, KINDS, SCALED, scale
from problems.oracles import jacobian, reference, unbroadcast
from problems.programs import PARTS, Array, Kind, Program, Rng, batch_of, draw, family_batch
from problems.rows import DEFINITE, EVERY, LOW_RANK, QUADRATIC, Row
from tests.checks import ENGINES, Case, Tried, assert_adjoint, assert_close, differentiate, engine, made, settled, tape_of

COUNT = 12
INDEPENDENT = {
    **{name: row for name, row in QUADRATIC.items() if name not in SCALED | DEPENDENT},
    **DEFINITE,
    **LOW_RANK,
}
families = pytest.mark.parametrize("family", SMALL.values(), ids=SMALL)


# ---- the two derivatives are adjoint -----------------------------------------------------------------------------------------


@pytest.mark.isa
@pytest.mark.parametrize("row", EVERY.values(), ids=EVERY)
@pytest.mark.parametrize("primal_only", [True, False], ids=["x", "xz"])
def test_adjoint_identity_on_random_structures(row: Row, primal_only: bool) -> None:
    """Whatever the right-hand sides meet in the gap between what the precision can tell from zero and what it cannot."""
    d = row.draw(COUNT, 31)
    native = NativeEngine(d.compiled, {})
    assert_adjoint(differentiate(native, settled(native, d.batch), primal_only=primal_only))


@families
def test_adjoint_identity_on_families(family: Family) -> None:
    assert_adjoint(differentiate(*family_batch(family, COUNT, seed=32)))


# ---- against dense oracles ---------------------------------------------------------------------------------------------------


def equilibrated_solve(K: Array, r: Array) -> Array:
    """K⁻¹ r for a symmetric K with rows of any size: Ruiz scaling, then one step of refinement in extended precision."""
    S = np.ones(len(K))
    for _ in range(60):
        S /= np.sqrt(np.abs(S[:, None] * K * S).max(axis=0))
    scaled = S[:, None] * K * S
    y = np.linalg.solve(scaled, S * r)
    residual = (S * r).astype(np.longdouble) - scaled.astype(np.longdouble) @ y.astype(np.longdouble)
    return np.asarray(S * (y + np.linalg.solve(scaled, residual.astype(np.float64))))


def gradients_of_vectors(p: Program, cotangent: Array) -> tuple[Array, Array]:
    """Gradients of q and b from the active system of the known solution."""
    n, on = len(p.x), np.flatnonzero((np.arange(len(p.s)) < p.zero) | (p.s < p.z))
    K = np.block([[p.P, p.A[on].T], [p.A[on], np.zeros((len(on), len(on)))]])
    solution, b = equilibrated_solve(K, np.r_[cotangent[:n], cotangent[n:][on]]), np.zeros(len(p.s))
    b[on] = solution[n:]
    return -solution[:n], b


@pytest.mark.isa
@pytest.mark.parametrize("kind", [k for k in KINDS.values() if k.regular], ids=[name for name, k in KINDS.items() if k.regular])
def test_regular_instances_at_every_scale(kind: Kind) -> None:
    """Unflagged, and right in every entry relative to the largest of its instance, whatever the units of rows and columns."""
    problem, programs = draw(kind, COUNT, seed=33)
    case = differentiate(engine(problem), batch_of(problem, programs))
    assert not case.flags[0].any()
    assert not case.flags[1].any()
    for i, p in enumerate(programs):
        for found, true in zip(
            (case.gradients[1][i], case.gradients[3][i]), gradients_of_vectors(p, case.cotangent[i]), strict=True
        ):
            assert np.max(np.abs(found - true), initial=0.0) <= 1e-7 * np.max(np.abs(true), initial=1e-300)


@pytest.mark.parametrize("twist", [scale(3, 3, 0), scale(0, 3, 3), scale(2, 2, 4)], ids=["rows_columns", "columns_cost", "all"])
def test_scales_do_not_make_degenerate(twist: Callable[[Rng, Program], Program]) -> None:
    problem, programs = draw(Kind(twists=(twist,)), 4 * COUNT, seed=34)
    case = differentiate(engine(problem), batch_of(problem, programs))
    assert not np.any(case.flags)
    for i, p in enumerate(programs):
        true, _ = gradients_of_vectors(p, case.cotangent[i])
        assert np.max(np.abs(case.gradients[1][i] - true)) <= 1e-6 * np.max(np.abs(true))


@pytest.mark.parametrize("tried", ENGINES.values(), ids=ENGINES)
@pytest.mark.parametrize("row", INDEPENDENT.values(), ids=INDEPENDENT)
def test_dense_jacobian_with_a_pseudoinverse(tried: Tried, row: Row) -> None:
    """Every parameter and output; where the system is singular, its minimum-norm least-squares answer. Regular: no flags.

    On curved cones derivatives are compared at the known solution, so that they may err as the solution does.
    """
    native = tried is ENGINES["NATIVE"]
    d = row.draw(COUNT if native else 3, 35)
    solver = made(tried, d.compiled)
    linear = d.compiled.structure.cones.polyhedral
    point, near = (tape_of(solver.solve(d.batch, {}, tape=True)), 1e-8) if linear else (d, 1e-6)
    theta = d.batch.theta()[:, :-1]
    jacobians = [jacobian(d.compiled, *instance) for instance in zip(theta, point.x, point.z, point.s, strict=True)]
    for primal_only in (True, False) if native else (False,):  # the oracle does not ask what is zero
        case = differentiate(solver, d.batch, primal_only=primal_only)
        assert not (row.regular and np.any(case.flags))
        gradients, tangents = np.concatenate(case.gradients, axis=1), np.concatenate(case.tangents, axis=1)
        for i, J in enumerate(jacobians):
            assert_close(gradients[i], J.T @ case.cotangent[i], 1e-6 if case.flags[0][i] else near)
            assert_close(case.pushed[i], J @ tangents[i], 1e-6 if case.flags[1][i] else near)
        assert_adjoint(case)


def pieces(p: Program, cotangent: Array) -> Array:
    """Gradients of q and b, a row for every vertex of the polytope of multipliers: the pieces of x(q, b) that meet here."""
    equalities, active = range(p.zero), np.flatnonzero((np.arange(len(p.s)) >= p.zero) & (p.s == 0.0))
    found, gradient = [], p.A.T @ p.z
    for size in range(len(active) + 1):
        for chosen in combinations(active, size):
            rows = [*equalities, *chosen]
            A = p.A[rows]
            if len(rows) and np.linalg.matrix_rank(A, tol=1e-9) < len(rows):
                continue
            z = np.linalg.lstsq(A.T, gradient, rcond=None)[0]
            if np.max(np.abs(A.T @ z - gradient), initial=0.0) > 1e-9 or np.any(z[p.zero :] < -1e-9):
                continue
            K = np.block([[p.P, A.T], [A, np.zeros((len(rows), len(rows)))]])
            solution, b = np.linalg.pinv(K, rcond=1e-11, hermitian=True) @ np.r_[cotangent, np.zeros(len(rows))], np.zeros(len(p.s))
            b[rows] = solution[len(p.x) :]
            found.append(np.r_[-solution[: len(p.x)], b])
    return np.array(found)


@pytest.mark.parametrize("name", sorted(DEPENDENT - {"tied"}))
def test_what_every_choice_of_multipliers_agrees_on_is_the_derivative(name: str) -> None:
    """Unmarked: the gradient of every piece. Marked: that of one. Cotangents are active rows: A_i x may follow b_i always."""
    problem, programs = draw(KINDS[name], 4 * COUNT, seed=36)
    native, batch, n = engine(problem), batch_of(problem, programs), problem.structure.n
    cotangent = np.zeros((len(programs), problem.R.shape[0]))
    for i, p in enumerate(programs):
        active = np.flatnonzero((p.s == 0.0) & p.A.any(axis=1))
        cotangent[i, :n] = p.A[active[i % len(active)]]
    (_, q, _, b, _), flags = native.vjp(batch, tape_of(native.solve(batch, {}, tape=True)), cotangent, [True] * 5)
    assert q is not None
    assert b is not None
    for i, p in enumerate(programs):
        distance = np.abs(pieces(p, cotangent[i, :n]) - np.r_[q[i], b[i]]).max(axis=1)
        assert distance.min() <= 1e-7
        assert flags[i] or distance.max() <= 1e-7
    assert flags.all() == (name == "all_fixed_by_bounds")


@pytest.mark.parametrize("kind", ["lp_face", "qp_face", "unconstrained_low_rank", "lp_equalities_free", "tied"])
def test_solutions_that_are_not_differentiable_are_flagged(kind: str) -> None:
    problem, programs = draw(KINDS[kind], COUNT, seed=37)
    case = differentiate(engine(problem), batch_of(problem, programs))
    assert np.all(case.flags)


# ---- against differences of a tighter solve ----------------------------------------------------------------------------------


@families
def test_central_differences(family: Family) -> None:
    native, batch = family_batch(family, 4, seed=38)
    case, problem, h = differentiate(native, batch), native.compiled, 1e-5
    for i in range(4):
        theta, v = batch.theta([i])[0, :-1], np.concatenate([t[i] for t in case.tangents])
        v[theta == 0.0] = 0.0
        ends = [reference(problem, theta + sign * h * v) for sign in (1.0, -1.0)]
        plus, minus = (problem.R @ np.concatenate([o.x, o.z]) for o in ends)
        pushed, _ = native.jvp(batch, tape_of(native.solve(batch, {}, tape=True)), _row(v, case, i))
        assert_close(pushed[i], (plus - minus) / (2 * h), 1e-5)


def _row(v: Array, case: Case, i: int) -> list[Array]:
    """``v`` as tangents of instance ``i``, zero elsewhere."""
    tangents = [np.zeros_like(t) for t in case.tangents]
    for tangent, part in zip(tangents, np.split(v, np.cumsum([t.shape[1] for t in tangents])[:-1]), strict=True):
        tangent[i] = part
    return tangents


# ---- sums, zeros, and what is wanted -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("shared", ["P", "qb", "PqAbd"])
def test_gradient_of_a_shared_parameter_is_the_sum(shared: str) -> None:
    problem, programs = draw(KINDS["dense_qp"], 37, seed=40)
    native, batch = engine(problem), batch_of(problem, [programs[0]] * 37, shared)
    solution = native.solve(batch, {}, tape=True)
    cotangent = np.random.default_rng(0).normal(size=solution.outputs.shape)
    summed, _ = native.vjp(batch, tape_of(solution), cotangent, [True] * 5)
    full = batch._replace(arrays=tuple(np.broadcast_to(a, (37, a.shape[-1])) for a in batch.arrays))
    single, _ = native.vjp(full, tape_of(solution), cotangent, [True] * 5)
    for name, total, each in zip(PARTS, summed, single, strict=True):
        assert total is not None
        assert each is not None
        expected = each.sum(axis=0) if name in shared else each
        assert np.max(np.abs(total - expected), initial=0.0) <= 1e-14 * np.abs(each).sum(axis=0).max(initial=1e-300)


def test_sums_over_the_axes_that_were_broadcast() -> None:
    """Parameters with some of the batch axes: their gradients have their shapes, and are the sums of the written-out ones."""
    problem, programs = draw(KINDS["dense_qp"], 6, seed=43)
    native, (P, q, A, b, d) = engine(problem), batch_of(problem, programs).arrays
    crossed = Batch((P[0], q.reshape(2, 3, -1), A[None, 0], np.stack([b[0]] * 3), d[:2, None]), (2, 3))
    written = crossed._replace(arrays=tuple(np.broadcast_to(a, (2, 3, a.shape[-1])).copy() for a in crossed.arrays))
    solution = native.solve(crossed, {}, tape=True)
    cotangent = np.random.default_rng(0).normal(size=solution.outputs.shape)
    found, expected = (native.vjp(batch, tape_of(solution), cotangent, [True] * 5)[0] for batch in (crossed, written))
    for array, total, each in zip(crossed.arrays, found, expected, strict=True):
        assert total is not None
        assert each is not None
        assert total.shape == array.shape
        assert_close(total, unbroadcast(each, array.shape), 1e-14)


def test_tangents_broadcast() -> None:
    problem, programs = draw(KINDS["dense_qp"], 6, seed=44)
    native, batch = engine(problem), batch_of(problem, programs)
    tape = tape_of(native.solve(batch, {}, tape=True))
    flat = [np.random.default_rng(0).normal(size=a.shape[1]) for a in batch.arrays]
    pushed = [native.jvp(batch, tape, t)[0] for t in (flat, [v[None] for v in flat], [np.stack([v] * 6) for v in flat])]
    assert np.array_equal(pushed[0], pushed[1])
    assert np.array_equal(pushed[0], pushed[2])


def test_failed_instances_contribute_exactly_zero() -> None:
    problem, programs = draw(KINDS["dense_qp"], 9, seed=41)
    native, batch = engine(problem), batch_of(problem, programs)
    tape = tape_of(native.solve(batch, {}, tape=True))
    cotangent = np.random.default_rng(0).normal(size=(9, problem.R.shape[0]))
    bad = np.arange(9) % 4 == 1
    tape.points[bad], batch.arrays[0][bad] = np.nan, np.nan
    tangents = [np.ones_like(a) for a in batch.arrays]
    gradients, flags = native.vjp(batch, tape, cotangent, [True] * 5)
    curved, _ = native.hvp(batch, tape, cotangent, tangents, [True] * 5)
    assert all(g is not None and np.isfinite(g).all() and not g[bad].any() for g in (*gradients, *curved))
    assert not native.jvp(batch, tape, tangents)[0][bad].any()
    assert not flags[bad].any()
    shared = batch._replace(arrays=(*batch.arrays[:4], np.zeros(1)))
    assert np.isfinite(native.vjp(shared, tape, cotangent, [True] * 5)[0][4]).all()


def test_only_what_is_wanted() -> None:
    problem, programs = draw(KINDS["dense_qp"], 5, seed=42)
    case = differentiate(engine(problem), batch_of(problem, programs))
    tape = tape_of(case.native.solve(case.batch, {}, tape=True))
    gradients, _ = case.native.vjp(case.batch, tape, case.cotangent, [False, True, False, True, False])
    assert [g is None for g in gradients] == [True, False, True, False, True]
    assert np.array_equal(gradients[1], case.gradients[1])
    pushed, _ = case.native.jvp(case.batch, tape, [None, case.tangents[1], None, None, None])
    zeros = [t * (k == 1) for k, t in enumerate(case.tangents)]
    assert np.array_equal(pushed, case.native.jvp(case.batch, tape, zeros)[0])
