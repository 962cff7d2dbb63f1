"""Duals of power cones of many factors, which CVXPY splits into a tree: against its own from SCS, which is precise there."""

from __future__ import annotations

from collections.abc import Callable

import cvxpy as cp
import numpy as np
import pytest

from cvxpylayers._layer.layer import Layer
from tests.oracles import OracleEngine
from tests.test_canon import Case, positive


def power_of_many() -> Case:
    W, V, z, y, E, F = (
        cp.Variable((3, 2)),
        cp.Variable((2, 3)),
        cp.Variable(2),
        cp.Variable(2),
        cp.Parameter((3, 2)),
        cp.Parameter((2, 3)),
    )
    A, B = np.array([[0.2, 0.3], [0.3, 0.3], [0.5, 0.4]]), np.array([[0.1, 0.2, 0.7], [0.25, 0.25, 0.5]])
    cones = [cp.constraints.PowConeND(W, z, A), cp.constraints.PowConeND(V, y, B, axis=1)]
    objective = cp.Maximize(cp.sum(z) + cp.sum(y) - cp.sum_squares(W - E) - cp.sum_squares(V - F))
    return Case(cp.Problem(objective, cones), {E: positive(3, 2), F: positive(2, 3)})


def power_of_two() -> Case:
    U, t, E = cp.Variable(2), cp.Variable(), cp.Parameter(2)
    cone = cp.constraints.PowConeND(U, t, np.array([0.3, 0.7]))
    return Case(cp.Problem(cp.Maximize(t - cp.sum_squares(U - E)), [cone]), {E: positive(2)})


@pytest.mark.parametrize("make", [power_of_many, power_of_two])
def test_duals_of_split_cones(make: Callable[[], Case]) -> None:
    made = make()
    values = made.draw(0)
    outputs = Layer(made.problem, made.parameters, made.outputs, solver=OracleEngine).solve(values).outputs
    for parameter, value in zip(made.parameters, values, strict=True):
        parameter.value = value
    made.problem.solve(solver=cp.SCS, eps_abs=1e-11, eps_rel=1e-11, max_iters=100_000)
    for found, wanted in zip(outputs, made.outputs, strict=True):
        np.testing.assert_allclose(found, wanted.value, atol=1e-7, err_msg=wanted.name())
