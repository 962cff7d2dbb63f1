"""Duals of every type of constraint as outputs: values and gradients, several in one problem."""

from __future__ import annotations

from collections.abc import Callable

import cvxpy as cp
import numpy as np
import pytest

from cvxpylayers._layer.layer import Layer
from problems.models import (
    Case,
    entropy,
    every_cone_at_once,
    exponential,
    power,
    power_of_many,
    power_of_two,
    second_order,
    semidefinite,
    semidefinite_stack,
)
from problems.oracles import OracleEngine

MADE = [
    second_order, semidefinite, semidefinite_stack, entropy, exponential, power, power_of_many, power_of_two, every_cone_at_once,
]  # fmt: skip


@pytest.mark.parametrize("make", MADE)
def test_duals_and_their_gradients(make: Callable[[], Case]) -> None:
    """``tests.canon.agreement`` compares the values with CVXPY's; here are those of the native engine, and their derivatives."""
    made = make()
    draws = [made.draw(seed) for seed in range(4)]
    values = [np.stack(column) for column in zip(*draws, strict=True)]
    layers = [Layer(made.problem, made.parameters, made.outputs, solver=solver) for solver in (None, OracleEngine)]
    native, oracle = (layer.solve(values, tape=True) for layer in layers)
    assert not native.info.codes.any()
    for found, true, spec in zip(native.outputs, oracle.outputs, layers[0].compiled.outputs, strict=True):
        np.testing.assert_allclose(found, true, atol=1e-6, err_msg=spec.name)
    rng, wanted = np.random.default_rng(0), [True] * len(values)
    for i, output in enumerate(native.outputs):
        u: list[np.ndarray | None] = [None] * len(made.outputs)
        u[i] = rng.normal(size=output.shape)
        pulled = [layer.vjp(call.point, u, wanted) for layer, call in zip(layers, (native, oracle), strict=True)]
        for found, true in zip(*pulled, strict=True):
            np.testing.assert_allclose(
                found, true, atol=1e-6 * max(1.0, np.abs(true).max()), err_msg=layers[0].compiled.outputs[i].name
            )


@pytest.mark.parametrize("make", [power_of_many, power_of_two])
def test_duals_of_split_cones(make: Callable[[], Case]) -> None:
    """CVXPY splits power cones of many factors into a tree: against its own duals from SCS, which is precise there."""
    made = make()
    values = made.draw(0)
    outputs = Layer(made.problem, made.parameters, made.outputs, solver=OracleEngine).solve(values).outputs
    for parameter, value in zip(made.parameters, values, strict=True):
        parameter.value = value
    made.problem.solve(solver=cp.SCS, eps_abs=1e-11, eps_rel=1e-11, max_iters=100_000)
    for found, wanted in zip(outputs, made.outputs, strict=True):
        np.testing.assert_allclose(found, wanted.value, atol=1e-7, err_msg=wanted.name())
