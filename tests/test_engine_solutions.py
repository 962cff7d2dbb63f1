"""The native engine finds the solutions: of random structures built around theirs, and of the families, against Clarabel."""

from __future__ import annotations

import cvxpy as cp
import numpy as np
import pytest

from cvxpylayers._engines.foreign.clarabel import solve_instance
from cvxpylayers._program import Batch, Cones, Status
from problems.families import SMALL, Family
from problems.kinds import KINDS
from problems.programs import Array, Kind, Program, batch_of, compiled, draw, family_batch
from tests.checks import engine, tape_of

COUNT = 24
kinds = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
families = pytest.mark.parametrize("family", SMALL.values(), ids=SMALL)


def relative(found: Array, true: Array) -> float:
    return float(np.max(np.abs(found - true), initial=0.0) / max(1.0, np.max(np.abs(true), initial=0.0)))


def optimality(p: Program, x: Array, z: Array, s: Array) -> float:
    """Largest violation of the optimality conditions, relative to the terms that cancel; signs must hold exactly."""
    assert (s >= 0).all()
    assert (z[p.zero :] >= 0).all()
    assert not s[: p.zero].any()
    largest = [np.max(np.abs(v), initial=1.0) for v in (p.P @ x, p.A.T @ z, p.q, p.A @ x, s, p.b)]
    primal = np.max(np.abs(p.A @ x + s - p.b), initial=0.0) / max(largest[3:])
    dual = np.max(np.abs(p.P @ x + p.A.T @ z + p.q), initial=0.0) / max(largest[:3])
    cost = 0.5 * x @ p.P @ x
    gap = abs(2 * cost + p.q @ x + p.b @ z) / max(1.0, abs(cost + p.q @ x))
    return float(max(primal, dual, gap))


@pytest.mark.isa
@kinds
def test_random_structures(kind: Kind) -> None:
    """Statuses, optimality conditions and objectives always; x where it is unique; the outputs are R (x, z)."""
    problem, programs = draw(kind, COUNT)
    solution = engine(problem).solve(batch_of(problem, programs), {}, tape=True)
    assert [Status(k) for k in solution.status] == [Status.SOLVED] * COUNT
    tape = tape_of(solution)
    assert np.array_equal(solution.outputs, np.concatenate([tape.x, tape.z], axis=1))
    for p, x, z, s, objective in zip(programs, tape.x, tape.z, tape.s, solution.objective, strict=True):
        assert optimality(p, x, z, s) < 1e-8
        assert objective == pytest.approx(p.objective, rel=1e-8, abs=1e-8)
        if kind.unique:
            assert relative(x, p.x) < 1e-6
        if kind.regular and kind.unique:
            assert relative(z, p.z) < 1e-6


@kinds
def test_reported_residuals_are_those_of_the_point(kind: Kind) -> None:
    problem, programs = draw(kind, 4, seed=1)
    batch = batch_of(problem, programs)
    solution = engine(problem).solve(batch, {}, tape=True)
    tape = tape_of(solution)
    for i, p in enumerate(programs):
        x, z, s = tape.x[i], tape.z[i], tape.s[i]
        norm = lambda v: np.max(np.abs(v), initial=0.0)
        primal = norm(p.A @ x + s - p.b) / max(1.0, norm(p.b) + norm(x) + norm(s))
        dual = norm(p.P @ x + p.A.T @ z + p.q) / max(1.0, norm(p.q) + norm(x) + norm(z))
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


def test_no_rows_and_no_quadratic() -> None:
    """m = 0, P = 0: only q = 0 has a solution, and every x is one."""
    problem = compiled(np.zeros((3, 3)), np.zeros((0, 3)), Cones())
    empty, q = np.zeros((2, 0)), np.array([[0.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
    solution = engine(problem).solve(Batch((empty, q, empty, empty, np.full((2, 1), 5.0)), (2,)), {}, tape=True)
    assert [Status(k) for k in solution.status] == [Status.SOLVED, Status.DUAL_INFEASIBLE]
    assert solution.objective[0] == 5.0
