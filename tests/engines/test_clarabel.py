"""The Clarabel engine: every cone against CVXPY itself, values and duals; accuracy; instances apart."""

from __future__ import annotations

from collections.abc import Callable

import cvxpy as cp
import numpy as np
import pytest

from cvxpylayers._engines.foreign.clarabel import solve_instance
from cvxpylayers._engines.judge import clarabel as instance
from cvxpylayers._layer.layer import Layer
from cvxpylayers._program import Status

Case = tuple[cp.Problem, list[cp.Parameter], list[cp.Variable]]
TIGHT = {"tol_feas": 1e-11, "tol_gap_abs": 1e-11, "tol_gap_rel": 1e-11}


def norm_ball() -> Case:
    x, c = cp.Variable(3), cp.Parameter(3)
    ball = cp.SOC(cp.Constant(1.0), x)
    return cp.Problem(cp.Maximize(c @ x), [ball, x[0] <= 0.2]), [c], [x]


def semidefinite() -> Case:
    X, C = cp.Variable((3, 3), symmetric=True), cp.Parameter((3, 3), symmetric=True)
    cone, trace = X >> 0, cp.trace(X) == 1
    problem = cp.Problem(cp.Minimize(cp.trace(C @ X) + cp.sum_squares(X)), [cone, trace])
    return problem, [C], [X, cone.dual_variables[0], trace.dual_variables[0]]


def entropy() -> Case:
    x, c = cp.Variable(3), cp.Parameter(3)
    total = cp.sum(x) == 1
    return cp.Problem(cp.Maximize(c @ x + cp.sum(cp.entr(x))), [total]), [c], [x, total.dual_variables[0]]


def power() -> Case:
    x, p = cp.Variable(3), cp.Parameter(3)
    return cp.Problem(cp.Maximize(p @ x), [cp.PowCone3D(x[0], x[1], x[2], 0.3), cp.sum(cp.square(x)) <= 1]), [p], [x]


@pytest.mark.filterwarnings("ignore:Solution may be inaccurate")  # CVXPY of itself, at this tolerance
@pytest.mark.parametrize("make", [norm_ball, semidefinite, entropy, power])
def test_every_cone_and_its_duals(make: Callable[[], Case]) -> None:
    problem, parameters, outputs = make()
    layer = Layer(problem, parameters, outputs, solver="CLARABEL")
    rng = np.random.default_rng(0)
    values = rng.normal(size=(4, *parameters[0].shape))
    values = values + values.swapaxes(-1, -2) if values.ndim == 3 else values
    call = layer.solve([values])
    assert (call.info.status == Status.SOLVED).all()
    for i, value in enumerate(values):
        parameters[0].value = value
        problem.solve(solver=cp.CLARABEL, **TIGHT)
        np.testing.assert_allclose(call.info.objective[i], problem.value, atol=1e-8)
        for found, output in zip(call.outputs, outputs, strict=True):
            np.testing.assert_allclose(found[i], output.value, atol=1e-5)


def test_threads_change_nothing() -> None:
    problem, parameters, outputs = norm_ball()
    layer = Layer(problem, parameters, outputs, solver="CLARABEL")
    values = np.random.default_rng(1).normal(size=(7, 3))
    one, two = (layer.solve([values], solver_args={"threads": threads}).outputs[0] for threads in (1, 2))
    np.testing.assert_array_equal(one, two)


def test_without_polish_the_answer_is_the_solvers_own() -> None:
    problem, parameters, outputs = norm_ball()
    layer = Layer(problem, parameters, outputs, solver="CLARABEL")
    values = np.random.default_rng(1).normal(size=(3, 3))
    tape = layer.solve([values], tape=True, solver_args={"polish": False}).tape
    assert tape is not None
    for theta, x in zip(values, tape.x, strict=True):
        np.testing.assert_array_equal(x, solve_instance(layer.compiled.structure, layer.compiled.M @ np.append(theta, 1.0)).x)


def test_what_is_almost_solved_is_refined_before_clarabel_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The median of five points, to a tolerance that it does not always reach by itself."""
    A, x = cp.Parameter((100, 5)), cp.Variable(100)
    problem = cp.Problem(cp.Minimize(cp.sum([cp.norm(x - A[:, k]) for k in range(5)])))
    asked: list[float] = []
    settings = instance._settings
    monkeypatch.setattr(instance, "_settings", lambda target, own: asked.append(target) or settings(target, own))
    layer = Layer(problem, [A], [x], solver="CLARABEL", solver_args={"tolerance": 1e-12, "threads": 1})
    values = np.random.default_rng(1).normal(size=(4, 100, 5))
    info = layer.solve([values]).info
    assert info.solved.all()
    assert len(asked) == 4
    asked.clear()
    layer.solve([values], solver_args={"polish": False}, on_failure="nan")
    assert len(asked) > 4


def test_values_that_are_not_finite_never_reach_the_solver() -> None:
    problem, parameters, outputs = norm_ball()
    structure = Layer(problem, parameters, outputs, solver="CLARABEL").compiled.structure
    assert solve_instance(structure, np.full(structure.values, np.nan)).status is Status.INVALID_INPUT


def test_the_worse_of_both_residuals_and_gap_decides() -> None:
    x, b = cp.Variable(2), cp.Parameter(2)
    layer = Layer(cp.Problem(cp.Minimize(cp.sum_squares(x - b)), [x >= 0]), [b], [x], solver="CLARABEL")
    data = [np.array([[1.0, -1.0]])]
    info = layer.solve(data, solver_args={"max_iterations": 3}, on_failure="nan").info
    worst = max(info.primal_residual[0], info.dual_residual[0], info.gap[0])
    assert (info.status[0] is Status.MAX_ITERATIONS) == (worst > 1e-5)
    assert layer.solve(data, solver_args={"max_iterations": 3, "tolerance": 0.9}).info.status[0] is Status.SOLVED
