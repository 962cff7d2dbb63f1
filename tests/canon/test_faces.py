"""Matrices that constant equalities keep on the boundary of their cone: the same program as in coordinates of the face."""

from __future__ import annotations

from collections.abc import Callable

import cvxpy as cp
import numpy as np
import pytest

from cvxpylayers._canon import compile_problem
from cvxpylayers._canon.faces import find_face
from cvxpylayers._layer.layer import Layer
from cvxpylayers._program import Status
from problems.programs import Array
from tests.checks import assert_close

COUNT, ORDER = 12, 5
RNG = np.random.default_rng(0)
ONE, TWO = np.ones((ORDER, 1)), RNG.normal(size=(ORDER, 2))
FIRST, CORNER = np.eye(ORDER)[:, :1], np.eye(ORDER)[:, :2]
# What keeps X on a face, and W with X W = 0 there.
Rows = Callable[[cp.Variable], list[cp.Constraint]]
FACES: dict[str, tuple[Rows, Array]] = {
    "sum": (lambda X: [cp.sum(X) == 0], ONE),
    "at most": (lambda X: [cp.sum(X) <= 0], ONE),
    "negative": (lambda X: [-cp.sum(X) == 0], ONE),
    "sums of rows": (lambda X: [X @ ONE == 0], ONE),
    "both": (lambda X: [X @ ONE[:, 0] == 0, cp.sum(X) == 0], ONE),
    "rank": (lambda X: [cp.trace(TWO @ TWO.T @ X) == 0], TWO),
    "rows": (lambda X: [TWO.T @ X == 0], TWO),
    "corner": (lambda X: [X[0, 0] == 0], FIRST),
    "row": (lambda X: [X[0] == 0], FIRST),
    "block": (lambda X: [X[:2, :2] == 0], CORNER),
    "one after the other": (lambda X: [X[0, 0] == 0, X[1, 1] == 3 * X[0, 2]], CORNER),
}


def program(rows: list[cp.Constraint], X: cp.Expression, W: Array, C: cp.Parameter) -> cp.Problem:
    scale = [cp.diag(X) == 1] if W is ONE else [cp.trace(X) == 1]
    return cp.Problem(cp.Minimize(cp.trace(C @ X)), [*scale, *rows])


@pytest.mark.parametrize("name", FACES)
def test_programs_on_a_face(name: str) -> None:
    """Solved to rounding, with the solution and the gradients of the program in Y, X = V Y V' with V'W = 0."""
    rows, W = FACES[name]
    V = np.linalg.svd(W.T)[2][W.shape[1] :].T
    costs, u = np.random.default_rng(1).normal(size=(2, COUNT, ORDER, ORDER))
    C, X, free = cp.Parameter((ORDER, ORDER)), cp.Variable((ORDER, ORDER), PSD=True), cp.Variable((ORDER, ORDER))
    Y = cp.Variable((V.shape[1], V.shape[1]), PSD=True)
    found, gradients = [], []
    for variable, problem in ((X, program(rows(X), X, W, C)), (free, program([free == V @ Y @ V.T], free, W, C))):
        layer = Layer(problem, [C], [variable], solver_args={"fallback": False})
        call = layer.solve([costs], tape=True)
        assert (call.info.codes == Status.SOLVED).all()
        found.append(call.outputs[0])
        gradients += layer.vjp(call.point, [u], [True])
        assert not call.info.degenerate.any()
    assert_close(*found, 1e-8)
    assert_close(*gradients, 1e-7)


@pytest.mark.parametrize("name", FACES)
def test_cones_shrink(name: str) -> None:
    """By what X W = 0 takes, with as many equalities as that has independent ones."""
    rows, W = FACES[name]
    X, C = cp.Variable((ORDER, ORDER), PSD=True), cp.Parameter((ORDER, ORDER))
    cones = compile_problem(program(rows(X), X, W, C), [C], [X]).structure.cones
    r = W.shape[1]
    assert cones.psd == (ORDER - r,)
    assert cones.nonneg == 0
    assert cones.zero == (ORDER if W is ONE else 1) + ORDER * r - r * (r - 1) // 2


def test_what_is_left_alone() -> None:
    """Values of parameters, indefinite matrices, all but semidefinite ones, other constants, duals that are outputs."""
    X, C, p = cp.Variable((ORDER, ORDER), PSD=True), cp.Parameter((ORDER, ORDER)), cp.Parameter()
    rows = [
        *(cp.sum(X) == p, cp.sum(p * X) == 0, cp.sum(X) == 1, cp.sum(X) >= 0, X[0, 1] == 0, X[0, 0] == X[1, 1]),
        *(cp.trace(np.diag([1, 1, 1, 1, least]) @ X) == 0 for least in (-1e-9, 1e-10)),
    ]
    for row in rows:
        problem = program([row], X, ONE, C)
        assert compile_problem(problem, [C, *problem.parameters()[1:]], [X]).structure.cones.psd == (ORDER,)
    equality = cp.sum(X) == 0
    compiled = compile_problem(program([equality], X, ONE, C), [C], [X, equality.dual_variables[0]])
    assert compiled.structure.cones.psd == (ORDER,)


def test_programs_without_points_stay_such() -> None:
    """tr X = 0 leaves X = 0 alone."""
    X, p = cp.Variable((3, 3), PSD=True), cp.Parameter()
    problem = cp.Problem(cp.Minimize(cp.sum(X)), [cp.trace(X) == 0, X[0, 1] == p])
    call = Layer(problem, [p], [X]).solve([np.array([0.0, 1.0])], on_failure="nan")
    assert call.info.codes.tolist() == [Status.SOLVED, Status.PRIMAL_INFEASIBLE]


def test_none_is_found_in_maximum_cuts() -> None:
    """diag(X) fixed says nothing of a face, nor do entries that are zero."""
    matrices = [np.eye(4)[[i]].T @ np.eye(4)[[j]] for i, j in ((0, 1), (2, 3), (1, 2))]
    assert find_face([A + A.T for A in matrices], [True] * 3) is None
