"""The families keep their promises: DPP, solvable, unique, away from kinks; statuses are as claimed; engines agree on them."""

from __future__ import annotations

import cvxpy as cp
import numpy as np
import pytest

from cvxpylayers._layer.layer import Layer
from problems.conic_families import CONIC_SMALL, EVERY_SIZE
from problems.families import SMALL, Family, Parametrized, status_family
from problems.oracles import OracleEngine
from problems.projections import spectrum

TIGHT = {"tol_gap_abs": 1e-10, "tol_gap_rel": 1e-10, "tol_feas": 1e-10}
small = pytest.mark.parametrize("family", SMALL.values(), ids=SMALL)
conic = pytest.mark.parametrize("family", CONIC_SMALL.values(), ids=CONIC_SMALL)


def solve(problem: Parametrized, values: tuple[np.ndarray, ...], i: int, **options: float) -> str:
    for parameter, value in zip(problem.parameters, values, strict=True):
        parameter.value = value[i] if value.ndim > parameter.ndim else value
    problem.problem.solve(solver=cp.CLARABEL, **options)
    return str(problem.problem.status)


@pytest.mark.parametrize("family", EVERY_SIZE.values(), ids=EVERY_SIZE)
def test_is_dpp_and_samples_fit_the_parameters(family: Family) -> None:
    problem, parameters, variables = family.make()
    assert problem.is_dpp("dgp" if family.gp else "dcp")
    assert set(problem.parameters()) == set(parameters)
    assert set(variables) <= set(problem.variables())
    values = family.sample(3, seed=1)
    for parameter, value in zip(parameters, values, strict=True):
        assert value.dtype == np.float64
        assert value.shape in (parameter.shape, (3, *parameter.shape))
    assert any(value.ndim > parameter.ndim for parameter, value in zip(parameters, values, strict=True))


@pytest.mark.parametrize("family", EVERY_SIZE.values(), ids=EVERY_SIZE)
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


@conic
def test_solutions_are_cvxpys_and_away_from_kinks(family: Family) -> None:
    made, values = family.make(), family.sample(3, seed=2)
    layer = Layer(*made, solver=OracleEngine, gp=family.gp)
    call = layer.solve(values, tape=True)
    assert not call.info.codes.any()
    for i in range(3):
        assert solve(made, values, i, gp=family.gp) == "optimal"
        assert call.info.objective[i] == pytest.approx(made.problem.value, rel=1e-6, abs=1e-6)
        for found, variable in zip(call.outputs, made.variables, strict=True):
            np.testing.assert_allclose(found[i], variable.value, atol=1e-3)
        assert np.abs(spectrum(layer.compiled.structure.cones, call.tape.s[i] - call.tape.z[i])).min(initial=1.0) > 1e-5


@conic
def test_the_native_engine_agrees(family: Family) -> None:
    """Solutions, and gradients where the solution is not within rounding of a kink."""
    values, rng = family.sample(16, seed=3), np.random.default_rng(4)
    layers = [Layer(*family.make(), solver=solver, gp=family.gp) for solver in (None, OracleEngine)]
    calls = [layer.solve(values, tape=True) for layer in layers]
    native, oracle = calls
    assert not native.info.codes.any()
    assert not native.info.fallback.any()
    np.testing.assert_allclose(native.info.objective, oracle.info.objective, rtol=1e-7, atol=1e-7)
    for found, true in zip(native.outputs, oracle.outputs, strict=True):
        np.testing.assert_allclose(found, true, atol=1e-6)
    cotangents, wanted = [rng.normal(size=o.shape) for o in native.outputs], [True] * len(values)
    pairs = zip(layers, calls, strict=True)
    pulled = [layer.vjp(call.point, cotangents, wanted) for layer, call in pairs]
    assert not native.info.degenerate.any()
    for found, true in zip(*pulled, strict=True):
        np.testing.assert_allclose(found, true, atol=1e-6 * np.abs(true).max())
