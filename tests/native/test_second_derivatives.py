"""Second derivatives: differences of the first, symmetric, the same in every direction, zero where nothing curves."""

from __future__ import annotations

from typing import Any

import cvxpy as cp
import numpy as np
import pytest

from cvxpylayers._canon import compile_problem
from cvxpylayers._engines.native.engine import NativeEngine
from cvxpylayers._program import Batch
from problems.families import SMALL, Family
from problems.kinds import KINDS
from problems.programs import batch_of, draw, family_batch
from problems.rows import DEFINITE, QUADRATIC, Row
from tests.checks import assert_second_derivative, curved, engine, given, tape_of

COUNT = 6


SMOOTHED = {"derivative": "smoothed", "smoothing": 0.1}
EXACT_KINDS = ["dense_qp", "sparse_qp", "diagonal_qp", "inequality_qp", "lp_vertex", "equality_qp", "unconstrained"]
SMOOTHED_KINDS = ["dense_qp", "lp_vertex", "inequality_qp", "tied"]
# What is drawn, options, and the step of differences.
CASES: dict[str, tuple[Row, dict[str, Any], float]] = {
    **{kind: (QUADRATIC[kind], {}, 1e-4) for kind in EXACT_KINDS},
    **{f"{kind}-smoothed": (QUADRATIC[kind], SMOOTHED, 1e-4) for kind in SMOOTHED_KINDS},
    **{name: (row, {}, 3e-5) for name, row in DEFINITE.items()},
    **{f"{name}-smoothed": (row, SMOOTHED, 3e-5) for name, row in DEFINITE.items()},
}


@pytest.mark.isa
@pytest.mark.parametrize(("row", "options", "step"), CASES.values(), ids=CASES)
def test_random_structures(row: Row, options: dict[str, Any], step: float) -> None:
    """Parameters in P, q, A and b at once."""
    d = row.draw(COUNT, 60)
    assert_second_derivative(engine(d.compiled, **options), d.batch, step)


@pytest.mark.parametrize("family", ["nnls_3x2", "portfolio_5", "factor_portfolio_6", "dense_qp_5", "mpc_5"])
def test_families(family: str) -> None:
    chosen: Family = SMALL[family]
    native, batch = family_batch(chosen, COUNT, seed=61)
    assert_second_derivative(native, batch)


def quadratic_form() -> NativeEngine:
    """quad_form(x, P) with P a parameter, beside a parameter in A."""
    x, P, A, q = cp.Variable(3), cp.Parameter((3, 3), PSD=True), cp.Parameter((2, 3)), cp.Parameter(3)
    problem = cp.Problem(cp.Minimize(cp.quad_form(x, P) + q @ x), [A @ x <= 1, cp.sum(x) == 1])
    return NativeEngine(compile_problem(problem, [P, A, q], [x]), {"fallback": False})


def test_parameter_in_a_quadratic_form() -> None:
    rng = np.random.default_rng(62)
    L = rng.normal(size=(COUNT, 3, 3))
    P = (L @ L.swapaxes(1, 2) + np.eye(3)).reshape(COUNT, 9)
    batch = Batch((P, rng.normal(size=(COUNT, 6)), 3 * rng.normal(size=(COUNT, 3))), (COUNT,))
    assert_second_derivative(quadratic_form(), batch)


def test_closed_form() -> None:
    """x = q/a for ½ax² - qx: its Hessian in (a, q) is [2q/a³, -1/a²; -1/a², 0]."""
    x, a, q = cp.Variable(), cp.Parameter(nonneg=True), cp.Parameter()
    native = NativeEngine(compile_problem(cp.Problem(cp.Minimize(0.5 * a * x**2 - q * x)), [a, q], [x]), {})
    batch = Batch((np.array([[2.0], [0.5]]), np.array([[3.0], [-1.0]])), (2,))
    tape, zero, one = tape_of(native.solve(batch, {}, tape=True)), np.zeros((2, 1)), np.ones((2, 1))
    columns = [native.hvp(batch, tape, one, t, [True, True])[0] for t in ([one, zero], [zero, one])]
    A, Q = batch.arrays
    expected = [[2 * Q / A**3, -1 / A**2], [-1 / A**2, zero]]
    np.testing.assert_allclose(np.array(columns), expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("kind", ["lp_face", "redundant_equalities", "tied"])
def test_symmetric_where_degenerate(kind: str) -> None:
    """The regularized derivative too is symmetric: it is linear in one symmetric operator."""
    problem, programs = draw(KINDS[kind], COUNT, seed=65)
    native = engine(problem)
    batch, outputs, u, v = given(native, batch_of(problem, programs))
    left, right = curved(native, batch, outputs, u), curved(native, batch, outputs, v)
    terms = np.concatenate(u, axis=1) * right, np.concatenate(v, axis=1) * left
    gap = np.abs(terms[0].sum(1) - terms[1].sum(1))
    assert np.all(gap <= 1e-10 * (np.abs(terms[0]).sum(1) + np.abs(terms[1]).sum(1)))
