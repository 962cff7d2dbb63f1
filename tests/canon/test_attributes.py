"""Structured parameters take full tensors; their gradients have the full shape and lie in the structure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cvxpy as cp
import numpy as np
import pytest

from cvxpylayers._layer.layer import Layer
from cvxpylayers.errors import SolverError
from problems.models import definite, normal, positive, symmetric

pytestmark = pytest.mark.filterwarnings("ignore:.*sparse CVXPY expression.*:RuntimeWarning")

K = 3
MASK = np.array([[0, 1, 0], [0, 0, 1], [1, 0, 1]])
Draw = Callable[[np.random.Generator], Any]
Project = Callable[[np.ndarray], np.ndarray]


def _same(G: np.ndarray) -> np.ndarray:
    return G


def _symmetric(G: np.ndarray) -> np.ndarray:
    return (G + G.T) / 2


# attributes, values in their domain, the orthogonal projection onto the span of the domain, a value outside of it
ATTRIBUTES: dict[str, tuple[dict[str, Any], Draw, Project, np.ndarray | None]] = {
    "none": ({}, normal(K, K), _same, None),
    "nonneg": ({"nonneg": True}, positive(K, K), _same, -np.ones((K, K))),
    "pos": ({"pos": True}, positive(K, K), _same, -np.ones((K, K))),
    "nonpos": ({"nonpos": True}, lambda r: -positive(K, K)(r), _same, np.ones((K, K))),
    "neg": ({"neg": True}, lambda r: -positive(K, K)(r), _same, np.ones((K, K))),
    "bounds": ({"bounds": [0, 2]}, positive(K, K), _same, 3 * np.ones((K, K))),
    "symmetric": ({"symmetric": True}, symmetric(K), _symmetric, np.arange(9.0).reshape(K, K)),
    "PSD": ({"PSD": True}, definite(K), _symmetric, np.diag([1.0, 1.0, -0.1])),
    "NSD": ({"NSD": True}, lambda r: -definite(K)(r), _symmetric, np.eye(K) - 2 * (1 - np.eye(K))),
    "diag": ({"diag": True}, lambda r: np.diag(normal(K)(r)), lambda G: G * np.eye(K), np.ones((K, K))),
    "sparsity": ({"sparsity": np.nonzero(MASK)}, lambda r: MASK * normal(K, K)(r), lambda G: G * MASK, np.ones((K, K))),
}


def layer(attributes: dict[str, Any]) -> Layer:
    """x is smooth in S here: a strictly convex quadratic with an equality that S makes."""
    x, S, c = cp.Variable(K), cp.Parameter((K, K), name="S", **attributes), cp.Parameter(K)
    problem = cp.Problem(cp.Minimize(cp.sum_squares(S @ x - c) + cp.sum_squares(x)), [np.arange(1.0, 4.0) @ S @ x == 1])
    return Layer(problem, [S, c], [x])


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_gradients_are_those_of_the_map_on_the_structure(name: str) -> None:
    attributes, draw, project, _ = ATTRIBUTES[name]
    rng, made = np.random.default_rng(3), layer(attributes)
    S, c, u, h = draw(rng), rng.normal(size=K), rng.normal(size=K), 1e-5
    call = made.solve([S, c], tape=True)
    gradient = made.vjp(call.point, [u], [True, False])[0].reshape(K, K)
    np.testing.assert_array_equal(gradient, project(gradient))
    for _ in range(4):
        step = project(rng.normal(size=(K, K)))
        ends = [made.solve([S + sign * h * step, c], on_failure="warn").outputs[0] for sign in (1, -1)]
        assert np.vdot(gradient, step) == pytest.approx(u @ (ends[0] - ends[1]) / (2 * h), rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("name", [name for name, row in ATTRIBUTES.items() if row[3] is not None])
def test_values_outside_the_domain_are_invalid_alone(name: str) -> None:
    attributes, draw, _, wrong = ATTRIBUTES[name]
    made, good, c = layer(attributes), draw(np.random.default_rng(0)), np.ones(K)
    call = made.solve([np.stack([good, wrong, good]), c], on_failure="nan")
    assert [str(status) for status in call.info.status] == ["solved", "invalid_input", "solved"]
    np.testing.assert_array_equal(call.outputs[0][0], made.solve([good, c]).outputs[0])
    with pytest.raises(SolverError, match=r"parameter 'S' (is|has|leaves)"):
        made.solve([wrong, c])
