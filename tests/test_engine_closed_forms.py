"""Solutions and gradients in closed form: least squares, projections on a box, a simplex and an affine set, a vertex."""

from __future__ import annotations

from collections.abc import Callable

import cvxpy as cp
import numpy as np
import pytest

from cvxpylayers._canon import compile_problem
from cvxpylayers._engines.native.engine import NativeEngine
from cvxpylayers._program import Batch
from problems.families import Parametrized
from problems.programs import Array, Rng
from tests.checks import assert_close, differentiate

COUNT = 12


def least_squares() -> Parametrized:
    x, A, b = cp.Variable(3), cp.Parameter((5, 3)), cp.Parameter(5)
    return Parametrized(cp.Problem(cp.Minimize(cp.sum_squares(A @ x - b))), [A, b], [x])


def least_squares_truth(u: Array, A: Array, b: Array) -> list[Array]:
    x, w = np.linalg.lstsq(A, b)[0], np.linalg.solve(A.T @ A, u)
    return [x, np.outer(b - A @ x, w) - np.outer(A @ w, x), A @ w]


def box() -> Parametrized:
    x, p, low, high = cp.Variable(4), cp.Parameter(4), cp.Parameter(4), cp.Parameter(4)
    return Parametrized(cp.Problem(cp.Minimize(cp.sum_squares(x - p)), [x >= low, x <= high]), [p, low, high], [x])


def box_truth(u: Array, p: Array, low: Array, high: Array) -> list[Array]:
    return [np.clip(p, low, high), u * ((p > low) & (p < high)), u * (p < low), u * (p > high)]


def simplex() -> Parametrized:
    x, p = cp.Variable(5), cp.Parameter(5)
    return Parametrized(cp.Problem(cp.Minimize(cp.sum_squares(x - p)), [x >= 0, cp.sum(x) == 1]), [p], [x])


def simplex_truth(u: Array, p: Array) -> list[Array]:
    ordered = np.sort(p)[::-1]
    levels = (np.cumsum(ordered) - 1) / np.arange(1, len(p) + 1)
    level = levels[np.flatnonzero(ordered > levels)[-1]]
    on = p > level
    return [np.maximum(p - level, 0.0), on * (u - u[on].mean())]


def affine() -> Parametrized:
    x, p, A, b = cp.Variable(5), cp.Parameter(5), cp.Parameter((2, 5)), cp.Parameter(2)
    return Parametrized(cp.Problem(cp.Minimize(cp.sum_squares(x - p)), [A @ x == b]), [p, A, b], [x])


def affine_truth(u: Array, p: Array, A: Array, b: Array) -> list[Array]:
    mu, nu = np.linalg.solve(A @ A.T, A @ p - b), np.linalg.solve(A @ A.T, A @ u)
    x, free = p - A.T @ mu, u - A.T @ nu
    return [x, free, -np.outer(mu, free) - np.outer(nu, x), nu]


def vertex() -> Parametrized:
    x, A, b = cp.Variable(3), cp.Parameter((3, 3)), cp.Parameter(3)
    return Parametrized(cp.Problem(cp.Minimize(cp.sum(x)), [A @ x == b]), [A, b], [x])


def vertex_truth(u: Array, A: Array, b: Array) -> list[Array]:
    x, y = np.linalg.solve(A, b), np.linalg.solve(A.T, u)
    return [x, -np.outer(y, x), y]


def ordered(rng: Rng, problem: Parametrized, count: int) -> tuple[Array, ...]:
    values = [rng.normal(size=(count, *p.shape)) for p in problem.parameters]
    if len(values) == 3 and problem.parameters[1].shape == problem.parameters[2].shape:  # low < high
        values[1:] = np.sort(np.stack(values[1:]), axis=0)
    return tuple(values)


CLOSED = {
    "least_squares": (least_squares, least_squares_truth),
    "box": (box, box_truth),
    "simplex": (simplex, simplex_truth),
    "affine": (affine, affine_truth),
    "vertex": (vertex, vertex_truth),
}


@pytest.mark.isa
@pytest.mark.parametrize(("make", "truth"), CLOSED.values(), ids=CLOSED)
def test_closed_forms(make: Callable[[], Parametrized], truth: Callable[..., list[Array]]) -> None:
    problem = make()
    values = ordered(np.random.default_rng(39), problem, COUNT)
    native = NativeEngine(compile_problem(*problem), {"fallback": False})
    batch = Batch(tuple(v.reshape(COUNT, -1) for v in values), (COUNT,))
    case, solution = differentiate(native, batch), native.solve(batch, {}, tape=False)
    for i in range(COUNT):
        x, *gradients = truth(case.cotangent[i], *(v[i] for v in values))
        assert_close(solution.outputs[i], x, 1e-8)
        for found, true in zip(case.gradients, gradients, strict=True):
            assert_close(found[i], true.ravel(), 1e-8)
