"""The problems on which engines are held to the contract: one of each sort, with a batch of three values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import cvxpy as cp
import numpy as np

Array = np.ndarray[Any, Any]


class Case(NamedTuple):
    """A problem with a batch of three values; ``broken`` makes the second instance infeasible."""

    problem: cp.Problem
    parameters: list[cp.Parameter]
    outputs: list[cp.Variable]
    values: list[Array]
    broken: Array | None = None


def rng() -> np.random.Generator:
    return np.random.default_rng(5)


def quadratic() -> Case:
    x, A, b, u = cp.Variable(4), cp.Parameter((6, 4)), cp.Parameter(6), cp.Parameter(4)
    budget, bounds = cp.sum(x) == 1, x <= u
    problem = cp.Problem(cp.Minimize(cp.sum_squares(A @ x - b) + 0.1 * cp.sum_squares(x)), [budget, bounds, x >= -0.2])
    values = [rng().normal(size=(3, 6, 4)), rng().normal(size=6), np.full((3, 4), 0.6)]
    return Case(problem, [A, b, u], [x, budget.dual_variables[0], bounds.dual_variables[0]], values, np.full(4, -0.1))


def linear() -> Case:
    x, A, c, u = cp.Variable(4), cp.Parameter((7, 4)), cp.Parameter(4), cp.Parameter(7)
    rows = A @ x <= u
    problem = cp.Problem(cp.Minimize(c @ x), [rows, x >= -1, cp.sum(x) == 0])
    values = [rng().normal(size=(3, 7, 4)), rng().normal(size=4), np.ones((3, 7))]
    return Case(problem, [A, c, u], [x, rows.dual_variables[0]], values, np.full(7, -100.0))


def unconstrained() -> Case:
    x, b = cp.Variable(3), cp.Parameter(3)
    return Case(cp.Problem(cp.Minimize(cp.sum_squares(x - b) + cp.square(cp.sum(x)))), [b], [x], [rng().normal(size=(3, 3))])


def equalities() -> Case:
    x, A, b = cp.Variable(4), cp.Parameter((2, 4)), cp.Parameter(2)
    rows = A @ x == b
    values = [rng().normal(size=(3, 2, 4)), rng().normal(size=(3, 2))]
    return Case(cp.Problem(cp.Minimize(cp.sum_squares(x)), [rows]), [A, b], [x, rows.dual_variables[0]], values)


def second_order() -> Case:
    x, c, A, r = cp.Variable(3), cp.Parameter(3), cp.Parameter((2, 3)), cp.Parameter()
    problem = cp.Problem(cp.Minimize(c @ x), [cp.norm(A @ x + 1) <= 3, cp.norm(x) <= r, x[0] >= -1])
    values = [rng().normal(size=(3, 3)), rng().normal(size=(3, 2, 3)), np.full(3, 2.0)]
    return Case(problem, [c, A, r], [x], values, np.array(-1.0))


def semidefinite() -> Case:
    X, C = cp.Variable((3, 3), symmetric=True), cp.Parameter((3, 3), symmetric=True)
    cone = X >> 0
    S = rng().normal(size=(3, 3, 3))
    problem = cp.Problem(cp.Minimize(cp.trace(C @ X) + cp.sum_squares(X)), [cone, cp.trace(X) == 1])
    return Case(problem, [C], [X, cone.dual_variables[0]], [S + S.swapaxes(1, 2)])


def exponential() -> Case:
    x, c = cp.Variable(3), cp.Parameter(3)
    return Case(cp.Problem(cp.Maximize(c @ x + cp.sum(cp.entr(x))), [cp.sum(x) == 1]), [c], [x], [rng().normal(size=(3, 3))])


def power() -> Case:
    x, c = cp.Variable(3), cp.Parameter(3)
    rows = [cp.PowCone3D(x[0], x[1], x[2], 0.3), cp.sum(x[:2]) <= 2, x[0] <= 1.5]
    return Case(cp.Problem(cp.Maximize(c @ x), rows), [c], [x], [rng().normal(size=(3, 3))])


CASES: dict[str, Callable[[], Case]] = {
    case.__name__: case for case in (quadratic, linear, unconstrained, equalities, second_order, semidefinite, exponential, power)
}
