"""Quadratic objectives are extracted as CVXPY does it: the same numbers, in little memory."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import cvxpy as cp
import numpy as np
import pytest
import scipy.sparse as sp
from cvxpy.reductions.dcp2cone.cone_matrix_stuffing import ConeMatrixStuffing

from cvxpylayers._canon import cvxpy_bridge
from cvxpylayers._canon.cvxpy_bridge import canonicalize
from cvxpylayers.numpy import CvxpyLayer

Objective = Callable[[cp.Variable, cp.Parameter, cp.Parameter], cp.Minimize | cp.Maximize]
P = cp.Parameter((3, 3), PSD=True)
SHAPES: dict[str, Objective] = {
    "sum": lambda x, c, t: cp.Minimize(cp.quad_form(x, np.diag([1.0, 2, 3])) + c @ x + 3),
    "difference": lambda x, c, t: cp.Maximize(c @ x - cp.sum_squares(x) - (t * x[0] - 2)),
    "nested": lambda x, c, t: cp.Minimize(cp.norm1(x) + (cp.sum_squares(x - c) - (c @ x - cp.square(x[1]))) + t),
    "product": lambda x, c, t: cp.Minimize(2 * (cp.sum_squares(x) + c @ x) + t * cp.sum_squares(x[:2])),
    "curved": lambda x, c, t: cp.Minimize(cp.sum_squares(x - c) + cp.square(t * x[2])),
    "twice": lambda x, c, t: cp.Minimize(cp.sum_squares(x) + cp.quad_form(x, np.ones((3, 3))) + t * cp.sum_squares(x)),
    "entries": lambda x, c, t: cp.Minimize(c[:2] @ cp.square(x[1:]) + t * cp.sum(cp.square(x)) + c @ x),
    "columns": lambda x, c, t: cp.Minimize(np.ones(2) @ cp.sum_squares(cp.reshape(x[[0, 1, 2, 0]], (2, 2), order="C"), axis=0)),
    "weighted rows": lambda x, c, t: cp.Minimize(cp.vstack([t, 2])[:, 0] @ cp.sum_squares(cp.vstack([x, 2 * x - 1]), axis=1)),
    "quotient": lambda x, c, t: cp.Minimize(cp.quad_over_lin(x, 2.0) + cp.square(x[0]) / 4 + t),
    "parametric": lambda x, c, t: cp.Minimize(3 * cp.quad_form(x, P) + cp.quad_form(x, 2 * P + np.eye(3)) + c @ x),
    "affine": lambda x, c, t: cp.Minimize(c @ x + t),
    "constant": lambda x, c, t: cp.Minimize(t),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_the_numbers_are_those_of_cvxpy(shape: str, monkeypatch: pytest.MonkeyPatch) -> None:
    x, c, t = cp.Variable(3), cp.Parameter(3, nonneg=True), cp.Parameter(nonneg=True)
    problem = cp.Problem(SHAPES[shape](x, c, t), [x >= 0, cp.sum(x) <= t, c @ x <= 1])

    parameters = [p for p in (c, t, P) if p.id in {own.id for own in problem.parameters()}]
    ours = canonicalize(problem, parameters, [x], None)
    monkeypatch.setattr(cvxpy_bridge, "SparseStuffing", ConeMatrixStuffing)
    theirs = canonicalize(problem, parameters, [x], None)
    for expected, found in ((theirs.P, ours.P), (theirs.q, ours.q), (theirs.G, ours.G)):
        if expected is None or found is None:
            assert expected is found
        else:
            assert expected.shape == found.shape
            assert abs(sp.csr_array(expected) - sp.csr_array(found)).max() == 0


def test_costs_that_are_parameters_take_no_square_of_memory() -> None:
    n = 5000  # 200 MB, if dense
    x, c = cp.Variable(n), cp.Parameter(n)
    problem = cp.Problem(cp.Minimize(0.5 * cp.sum_squares(x) + c @ x), [x >= 0])
    tracemalloc.start()
    layer = CvxpyLayer(problem, [c], [x])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100e6
    costs = np.random.default_rng(0).normal(size=n)
    np.testing.assert_allclose(layer(costs)[0], np.maximum(-costs, 0), atol=1e-9)
