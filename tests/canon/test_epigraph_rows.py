"""Epigraph variables of constraints that do not bind are pinned: nothing of the user's changes, and derivatives are regular."""

from __future__ import annotations

from collections.abc import Callable

import cvxpy as cp
import numpy as np
import pytest

from cvxpylayers._canon import compile_problem
from cvxpylayers._canon.epigraph_rows import tight_rows
from cvxpylayers._canon.layout import Block
from cvxpylayers._layer.layer import Layer
from problems.oracles import OracleEngine

x, p, r = cp.Variable(3), cp.Parameter(3, name="p"), cp.Parameter(name="r")
X = cp.Variable((2, 2), symmetric=True)

# constraint with limit r, its value at x = p, rows pinned
CONSTRAINTS: dict[str, tuple[Callable[[], cp.Constraint], Callable[[np.ndarray], float], int]] = {
    "norm": (lambda: cp.norm(x) <= r, np.linalg.norm, 1),
    "norm_inf": (lambda: cp.norm_inf(x) <= r, lambda v: np.abs(v).max(), 1),
    "max": (lambda: cp.max(x) <= r, np.max, 1),
    "abs": (lambda: cp.abs(x[0]) <= r, lambda v: abs(v[0]), 1),
    "exp": (lambda: cp.exp(x[0]) <= r, lambda v: np.exp(v[0]), 1),
    "log": (lambda: -cp.log(x[0] + 3) <= r, lambda v: -np.log(v[0] + 3), 1),
    "log_sum_exp": (lambda: cp.log_sum_exp(x) <= r, lambda v: np.log(np.exp(v).sum()), 1),
    "power": (lambda: -cp.power(x[0] + 3, 0.3, approx=False) <= r, lambda v: -((v[0] + 3) ** 0.3), 0),
    "lambda_max": (
        lambda: cp.lambda_max(cp.bmat([[x[0], x[1]], [x[1], x[2]]])) <= r,
        lambda v: np.linalg.eigvalsh([[v[0], v[1]], [v[1], v[2]]])[-1],
        1,
    ),
    "sum_of_two": (lambda: cp.norm(x[:2]) + cp.abs(x[2]) <= r, lambda v: np.linalg.norm(v[:2]) + abs(v[2]), 0),
    "user's own": (lambda: x[0] <= r, lambda v: v[0], 0),
}


@pytest.mark.parametrize("name", CONSTRAINTS)
def test_solutions_duals_and_statuses_are_those_of_the_inequality(name: str) -> None:
    make, value, pinned = CONSTRAINTS[name]
    constraint = make()
    problem = cp.Problem(cp.Minimize(cp.sum_squares(x - p)), [constraint])
    layer = Layer(problem, [p, r], [x, constraint.dual_variables[0]], solver=OracleEngine)
    assert layer.compiled.structure.cones.zero - _equalities(problem) == pinned
    point = np.array([0.5, -0.4, 0.8])
    limits = value(point) + np.array([-0.2, 0.3])  # binding, slack
    call = layer.solve([point, limits], tape=True)
    assert not call.info.codes.any()
    for i, limit in enumerate(limits):
        p.value, r.value = point, limit
        problem.solve(solver=cp.CLARABEL, tol_gap_abs=1e-10, tol_gap_rel=1e-10)
        np.testing.assert_allclose(call.outputs[0][i], x.value, atol=1e-5)
        np.testing.assert_allclose(call.outputs[1][i], constraint.dual_value, atol=1e-5)
    np.testing.assert_allclose(call.outputs[0][1], point, atol=1e-9)
    if pinned and name != "log_sum_exp":  # the terms of its sum stay free
        native = Layer(problem, [p, r], [x, constraint.dual_variables[0]])
        found = native.solve([point, limits], tape=True)
        gradients = native.vjp(found.point, [np.ones((2, 3)), None], [True, True])
        assert not found.info.degenerate.any()
        np.testing.assert_allclose(gradients[1][1], 0.0, atol=1e-9)
        np.testing.assert_allclose(found.outputs[0], call.outputs[0], atol=1e-7)
        np.testing.assert_allclose(found.outputs[1], call.outputs[1], atol=1e-7)


def _equalities(problem: cp.Problem) -> int:
    """Rows that CVXPY itself makes equalities."""
    return int(problem.get_problem_data(cp.CLARABEL)[0]["dims"].zero)


def test_what_costs_or_is_reached_by_a_parameter_stays_free() -> None:
    costly = cp.Problem(cp.Minimize(cp.sum_squares(x - p) + cp.norm(x)), [x[0] <= r])
    scaled = cp.Problem(cp.Minimize(cp.sum_squares(x)), [cp.multiply(cp.Parameter(nonneg=True), cp.norm(x)) <= 1])
    for problem in (costly, scaled):
        found = compile_problem(problem, problem.parameters(), [x])
        assert found.structure.cones.zero == _equalities(problem)


@pytest.mark.parametrize("both", [True, False])
def test_motions_that_touch_each_others_rows_pin_nothing(both: bool) -> None:
    """t ≤ u + 1 and u ≤ t + 1 cannot both be tight, whoever of t and u may move; one can, if only t may."""
    blocks = [Block("nonneg", 2)]
    row, column, value = np.array([0, 1, 0, 1]), np.array([0, 0, 1, 1]), np.array([-1.0, 1.0, 1.0, -1.0])
    kept = slice(None) if both else slice(0, 2)
    found = tight_rows(blocks, row[kept].astype(np.int32), column[kept].astype(np.int32), value[kept])
    assert sorted(found.tolist()) == ([] if both else [0])
