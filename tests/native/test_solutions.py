"""Solutions are found: those around which programs are built, by us and by the oracle, and of the families, against Clarabel."""

from __future__ import annotations

import cvxpy as cp
import numpy as np
import pytest

from cvxpylayers._engines.foreign.clarabel import solve_instance
from cvxpylayers._program import Batch, Cones, Status
from cvxpylayers.numpy import CvxpyLayer
from problems.conic import random_conic
from problems.families import SMALL, Family
from problems.kinds import KINDS
from problems.mixes import random_cones
from problems.oracles import dense
from problems.programs import Array, Draw, Kind, batch_of, compiled, draw, family_batch
from problems.rows import DEFINITE, LOW_RANK, QUADRATIC, Row
from tests.checks import ENGINES, Tried, engine, engines, made, tape_of

COUNT = 24
ROWS = {**QUADRATIC, **DEFINITE, **LOW_RANK}
rows = pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
families = pytest.mark.parametrize("family", SMALL.values(), ids=SMALL)


def relative(found: Array, true: Array) -> float:
    return float(np.max(np.abs(found - true), initial=0.0) / max(1.0, np.max(np.abs(true), initial=0.0)))


def optimality(d: Draw, i: int, x: Array, z: Array, s: Array) -> float:
    """Largest violation of the optimality conditions, relative to the terms that cancel; linear rows' signs must hold exactly."""
    cones, (P, q, A, b) = d.compiled.structure.cones, dense(d.compiled, d.compiled.M @ d.batch.theta([i])[0])
    linear = slice(cones.zero, cones.zero + cones.nonneg)
    assert (s[linear] >= 0).all()
    assert (z[linear] >= 0).all()
    assert not s[: cones.zero].any()
    largest = [np.max(np.abs(v), initial=1.0) for v in (P @ x, A.T @ z, q, A @ x, s, b)]
    primal = np.max(np.abs(A @ x + s - b), initial=0.0) / max(largest[3:])
    dual = np.max(np.abs(P @ x + A.T @ z + q), initial=0.0) / max(largest[:3])
    cost = 0.5 * x @ P @ x
    gap = abs(2 * cost + q @ x + b @ z) / max(1.0, abs(cost + q @ x))
    return float(max(primal, dual, gap))


@engines
@rows
def test_known_solutions_are_found(tried: Tried, row: Row) -> None:
    """Statuses, optimality conditions and objectives always; x, z and s where they are unique; the outputs are R (x, z)."""
    d = row.draw(COUNT if tried is ENGINES["NATIVE"] else 3, 0)
    solution = made(tried, d.compiled).solve(d.batch, {}, tape=True)
    assert [Status(k) for k in solution.status] == [Status.SOLVED] * d.batch.size
    tape = tape_of(solution)
    assert np.array_equal(solution.outputs, np.concatenate([tape.x, tape.z], axis=1))
    np.testing.assert_allclose(solution.objective, d.objectives, rtol=1e-8, atol=1e-8)
    for i, (x, z, s) in enumerate(zip(tape.x, tape.z, tape.s, strict=True)):
        assert optimality(d, i, x, z, s) < 1e-8
        near = 1e-7 * (max(1.0, np.abs(d.x[i]).max(), np.abs(d.z[i]).max(initial=0.0)) if row.scaled else 1.0)
        if row.unique:
            np.testing.assert_allclose(x, d.x[i], rtol=1e-7, atol=near)
        if row.regular:
            np.testing.assert_allclose(np.r_[z, s], np.r_[d.z[i], d.s[i]], rtol=1e-7, atol=near)


@engines
@pytest.mark.parametrize("seed", range(8))
def test_random_mixes(tried: Tried, seed: int) -> None:
    rng = np.random.default_rng(seed)
    cones = random_cones(rng, rows=20)
    d = random_conic(rng, int(rng.integers(cones.zero + 1, 16)), cones, 3, density=float(rng.choice([1.0, 0.5])))
    found = made(tried, d.compiled).solve(d.batch, {}, tape=True)
    assert not found.status.any()
    np.testing.assert_allclose(tape_of(found).x, d.x, rtol=1e-7, atol=1e-7)


@rows
def test_reported_residuals_are_those_of_the_point(row: Row) -> None:
    d = row.draw(4, 1)
    solution = engine(d.compiled).solve(d.batch, {}, tape=True)
    tape = tape_of(solution)
    norm = lambda v: np.max(np.abs(v), initial=0.0)
    for i, (x, z, s) in enumerate(zip(tape.x, tape.z, tape.s, strict=True)):
        P, q, A, b = dense(d.compiled, d.compiled.M @ d.batch.theta([i])[0])
        primal = norm(A @ x + s - b) / max(1.0, norm(b) + norm(x) + norm(s))
        dual = norm(P @ x + A.T @ z + q) / max(1.0, norm(q) + norm(x) + norm(z))
        assert solution.primal_residual[i] == pytest.approx(primal, abs=1e-13)
        assert solution.dual_residual[i] == pytest.approx(dual, abs=1e-13)


@pytest.mark.isa
@families
def test_families_agree_with_clarabel(family: Family) -> None:
    native, batch = family_batch(family, 40, seed=3)
    solution = native.solve(batch, {}, tape=True)
    values = (native.compiled.M @ batch.theta().T).T
    assert not solution.status.any()
    for x, objective, numbers in zip(tape_of(solution).x, solution.objective, values, strict=True):
        other = solve_instance(native.compiled.structure, numbers, tolerance=1e-10)
        assert objective == pytest.approx(native.compiled.objective_sign * other.objective, rel=1e-7, abs=1e-7)
        assert relative(x, other.x) < 1e-6


@families
def test_outputs_are_the_users_variables(family: Family) -> None:
    """Against CVXPY itself: order, shape and sign of what a layer returns."""
    native, batch = family_batch(family, 2, seed=4)
    solution = native.solve(batch, {}, tape=True)
    problem, parameters, variables = family.make()
    values = family.sample(2, seed=4)
    for i in range(2):
        for parameter, value in zip(parameters, values, strict=True):
            parameter.value = value[i] if value.ndim > parameter.ndim else value
        problem.solve(solver=cp.CLARABEL, tol_gap_abs=1e-10, tol_gap_rel=1e-10, tol_feas=1e-10)
        assert solution.objective[i] == pytest.approx(problem.value, rel=1e-7, abs=1e-7)
        for v, found in zip(variables, np.split(solution.outputs[i], np.cumsum([v.size for v in variables])[:-1]), strict=True):
            assert relative(found.reshape(v.shape), np.asarray(v.value)) < 1e-6


def test_wide_and_large_structures() -> None:
    """Sizes that cross the blocks of the factorization: every n from 1 to 40, dense."""
    for n in range(1, 41):
        problem, programs = draw(Kind(n=n, zero=n // 5, nonneg=n + 3, rank=n, active=n // 3), 3, seed=n)
        solution = engine(problem).solve(batch_of(problem, programs), {}, tape=True)
        assert not solution.status.any()
        assert max(relative(x, p.x) for x, p in zip(tape_of(solution).x, programs, strict=True)) < 1e-6


@pytest.mark.parametrize("equilibrate", [True, False])
@pytest.mark.parametrize("polish", [True, False])
def test_every_path_through_the_loop_leads_to_the_solution(polish: bool, equilibrate: bool) -> None:
    for name in ("dense_qp", "low_rank_sparse", "lp_vertex", "equality_qp", "unconstrained"):
        problem, programs = draw(KINDS[name], COUNT, seed=5)
        solution = engine(problem, polish=polish, equilibrate=equilibrate).solve(batch_of(problem, programs), {}, tape=True)
        assert not solution.status.any()
        assert max(relative(x, p.x) for x, p in zip(tape_of(solution).x, programs, strict=True)) < 1e-6


@pytest.mark.parametrize("name", ["nnls_3x2", "nnls_6x4", "portfolio_5", "dense_qp_5", "shared_qp_5"])
def test_guessed_active_sets_save_iterations_and_cost_none_of_the_limit(name: str) -> None:
    """The guess from the start is right after few corrections; where it fails, the interior has the whole limit for itself."""
    native, batch = family_batch(SMALL[name], 600, seed=1)
    free = native.solve(batch, {}, tape=True)
    assert np.quantile(free.iterations, 0.8) <= 3
    interior = native.solve(batch, {"polish": False}, tape=True)
    assert relative(free.outputs, interior.outputs) < 1e-6
    limited = native.solve(batch, {"max_iterations": 10}, tape=True)
    assert not limited.status.any()
    assert not np.any(limited.fallback)


@pytest.mark.parametrize("seed", range(3))
def test_an_infimum_that_no_point_attains_is_approached(seed: int) -> None:
    """Feedback K that lets a disturbance b be felt as little as one likes: the least gain is 0, for K without bound.

    Directions have to be refined relative to τ there; where they were relative to 1, gaps ended at 6e-8.
    """
    A, b = np.random.default_rng(seed).normal(size=(2, 2)), cp.Parameter((2, 1))
    Q, K, gain = cp.Variable((2, 2), PSD=True), cp.Variable((1, 2)), cp.Variable((1, 1))
    moved, seen, zero = A @ Q + b @ K, Q @ np.ones((2, 1)), np.zeros((1, 1))
    rows = cp.bmat([[moved + moved.T, b, seen], [b.T, -gain, zero], [seen.T, zero, -gain]])
    layer = CvxpyLayer(cp.Problem(cp.Minimize(cp.sum(gain)), [rows << 0]), [b], [gain, K])
    (least, K_star), info = layer.solve(
        np.random.default_rng(5).normal(size=(16, 2, 1)), solver_args={"fallback": False}, on_failure="nan"
    )
    assert np.median(info.gap) < 2e-8
    assert np.nanmedian(least) < 2e-8
    assert np.nanmedian(np.abs(K_star).max(axis=(1, 2))) > 1e6


def test_no_rows_and_no_quadratic() -> None:
    """m = 0, P = 0: only q = 0 has a solution, and every x is one."""
    problem = compiled(np.zeros((3, 3)), np.zeros((0, 3)), Cones())
    empty, q = np.zeros((2, 0)), np.array([[0.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
    solution = engine(problem).solve(Batch((empty, q, empty, empty, np.full((2, 1), 5.0)), (2,)), {}, tape=True)
    assert [Status(k) for k in solution.status] == [Status.SOLVED, Status.DUAL_INFEASIBLE]
    assert solution.objective[0] == 5.0
