"""The conic families keep their promises: DPP, solvable, away from kinks; engines agree on them."""

from __future__ import annotations

import cvxpy as cp
import numpy as np
import pytest

from benchmarks.conic_cases import ConicCases
from benchmarks.conic_families import ALL, CONIC, CONIC_SMALL
from benchmarks.families import Family
from cvxpylayers._layer.layer import Layer
from tests.oracles import OracleEngine
from tests.projections import spectrum

small = pytest.mark.parametrize("family", CONIC_SMALL.values(), ids=CONIC_SMALL)


@pytest.mark.parametrize("family", [*CONIC.values(), *CONIC_SMALL.values()], ids=lambda family: family.name)
def test_is_dpp_and_samples_fit_the_parameters(family: Family) -> None:
    problem, parameters, variables = family.make()
    assert problem.is_dpp("dgp" if family.gp else "dcp")
    assert set(problem.parameters()) == set(parameters)
    assert set(variables) <= set(problem.variables())
    values, again = family.sample(3, seed=1), family.sample(3, seed=1)
    for parameter, value, same in zip(parameters, values, again, strict=True):
        assert value.shape in (parameter.shape, (3, *parameter.shape))
        assert np.array_equal(value, same)


@small
def test_solutions_are_cvxpys_and_away_from_kinks(family: Family) -> None:
    problem, parameters, variables = family.make()
    layer, values = Layer(problem, parameters, variables, solver=OracleEngine, gp=family.gp), family.sample(3, seed=2)
    call = layer.solve(values, tape=True)
    assert not call.info.codes.any()
    for i in range(3):
        for parameter, value in zip(parameters, values, strict=True):
            parameter.value = value[i] if value.ndim > parameter.ndim else value
        problem.solve(solver=cp.CLARABEL, gp=family.gp)
        assert call.info.objective[i] == pytest.approx(problem.value, rel=1e-6, abs=1e-6)
        for found, variable in zip(call.outputs, variables, strict=True):
            np.testing.assert_allclose(found[i], variable.value, atol=1e-3)
        assert np.abs(spectrum(layer.compiled.structure.cones, call.tape.s[i] - call.tape.z[i])).min(initial=1.0) > 1e-5


@pytest.mark.parametrize("family", CONIC_SMALL.values(), ids=CONIC_SMALL)
def test_the_native_engine_agrees(family: Family) -> None:
    """Solutions, and gradients where the solution is not within rounding of a kink."""
    problem, parameters, variables = family.make()
    values, rng = family.sample(16, seed=3), np.random.default_rng(4)
    layers = [Layer(problem, parameters, variables, solver=solver, gp=family.gp) for solver in (None, OracleEngine)]
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


@small
def test_references_of_the_benchmark(family: Family) -> None:
    """Gradient of the solution against differences of it, along one direction."""
    cases, h = ConicCases(family), 1e-6
    draw = cases.draw_check(2)
    solution, gradient = cases.reference(draw)
    rng = np.random.default_rng(0)
    steps = [h * rng.normal(size=v.shape) * np.abs(v) for v in draw.values]
    moved = [tuple(v + sign * s for v, s in zip(draw.values, steps, strict=True)) for sign in (1, -1)]
    ends = [cases.reference(draw._replace(values=values))[0] for values in moved]
    slope = sum(float(np.sum(c * (a - b))) / 2 for c, a, b in zip(draw.cotangents, *ends, strict=True))
    assert sum(float(np.sum(g * s)) for g, s in zip(gradient, steps, strict=True)) == pytest.approx(slope, rel=1e-5, abs=1e-6 * h)
    assert cases.solution_error({f"output{i}": a for i, a in enumerate(solution)}, solution) == 0.0
    assert cases.gradient_error({f"gradient{i}": a for i, a in enumerate(gradient)}, gradient, draw) == 0.0


# Flops of one factorization in the cheapest order that is known.
FLOPS = {
    "nnls_3x2": 50,
    "portfolio_10": 570,
    "portfolio_100": 353_700,
    "factor_portfolio_100": 17_790,
    "dense_qp_20": 13_552,
    "dense_qp_50": 203_020,
    "dense_qp_100": 1_600_240,
    "shared_qp_50": 203_020,
    "mpc_30": 101_442,
    "transport_10x10": 2_920,
    "sudoku_4": 133_088,
    "group_regression_30x20": 18_712,
    "robust_portfolio_20": 26_222,
    "entropy_30": 1_920,
    "logistic_20x5": 5_980,
    "psd_projection_6": 13_544,
    "cut_relaxation_8": 65_064,
    "norm_regression_20x5": 4_914,
}


@pytest.mark.parametrize("name", FLOPS)
def test_no_order_costs_more_than_the_cheapest_known(name: str) -> None:
    problem, parameters, variables = ALL[name].make()
    assert Layer(problem, parameters, variables).engine.describe()["factor_flops"] <= FLOPS[name]
