"""The families keep their promises: DPP, feasible, bounded, unique, strictly complementary; statuses are as claimed."""

from __future__ import annotations

import cvxpy as cp
import numpy as np
import pytest

from benchmarks.canonical import margins
from benchmarks.cases import Cases
from benchmarks.families import FAMILIES, SMALL, Family, Parametrized, status_family

TIGHT = {"tol_gap_abs": 1e-10, "tol_gap_rel": 1e-10, "tol_feas": 1e-10}
small = pytest.mark.parametrize("family", SMALL.values(), ids=SMALL)


def solve(problem: Parametrized, values: tuple[np.ndarray, ...], i: int, **options: float) -> str:
    for parameter, value in zip(problem.parameters, values, strict=True):
        parameter.value = value[i] if value.ndim > parameter.ndim else value
    problem.problem.solve(solver=cp.CLARABEL, **options)
    return str(problem.problem.status)


@pytest.mark.parametrize("family", [*FAMILIES.values(), *SMALL.values()], ids=lambda family: family.name)
def test_is_dpp_and_samples_fit_the_parameters(family: Family) -> None:
    problem, parameters, variables = family.make()
    assert problem.is_dcp(dpp=True)
    assert set(problem.parameters()) == set(parameters)
    assert set(variables) <= set(problem.variables())
    values = family.sample(3, seed=1)
    for parameter, value in zip(parameters, values, strict=True):
        assert value.dtype == np.float64
        assert value.shape in (parameter.shape, (3, *parameter.shape))
    assert values[0].shape[0] == 3


@small
def test_samples_follow_the_seed(family: Family) -> None:
    first, again, other = (family.sample(2, seed) for seed in (5, 5, 6))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0], other[0])


@small
def test_instances_are_solvable_and_strictly_complementary(family: Family) -> None:
    problem, values = family.make(), family.sample(5, seed=2)
    for i in range(5):
        assert solve(problem, values, i, **TIGHT) == "optimal"
        for constraint in problem.problem.constraints:
            if isinstance(constraint, cp.constraints.Inequality):
                slack = -np.asarray(constraint.expr.value)
                assert np.min(np.abs(slack) + np.asarray(constraint.dual_value)) > 1e-6


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_benchmark_instances_keep_away_from_kinks(family: Family) -> None:
    cases = Cases(family)
    assert np.all(margins(cases.program, cases.program.theta(cases.draw(8).values, cases.shapes)) > 1e-7)


@small
def test_solutions_are_unique(family: Family) -> None:
    """A tiny linear term in the objective must move the solution by as little."""
    (problem, parameters, variables), values = family.make(), family.sample(2, seed=3)
    tilt = sum(cp.sum(cp.multiply(1e-7, v)) for v in variables)
    objective = problem.objective.args[0] if isinstance(problem.objective, cp.Minimize) else -problem.objective.args[0]
    tilted = cp.Problem(cp.Minimize(objective + tilt), problem.constraints)
    for i in range(2):
        solve(Parametrized(problem, parameters, variables), values, i, **TIGHT)
        x = [v.value for v in variables]
        solve(Parametrized(tilted, parameters, variables), values, i, **TIGHT)
        assert all(np.allclose(a, v.value, atol=1e-5) for a, v in zip(x, variables, strict=True))


@pytest.mark.parametrize("rank", [0, 3], ids=["lp", "qp"])
def test_status_instances_are_what_they_claim(rank: int) -> None:
    family = status_family(rank=rank)
    problem = family.make()
    values, status = family.draw(np.random.default_rng(0), 30)
    words = {0: "optimal", 2: "infeasible", 3: "unbounded"}
    assert sorted(set(status.tolist())) == [0, 2, 3]
    assert [solve(problem, values, i) for i in range(30)] == [words[s] for s in status.tolist()]
