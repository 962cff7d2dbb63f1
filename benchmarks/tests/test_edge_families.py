"""What the campaign of wide scales calls true: derivatives are differences of solutions, kinks are decided, mistakes counted."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.campaigns.edge_families import Edge, Truth, constant, flat
from benchmarks.campaigns.edges import EDGES, checked, examine, judge, layer_of
from benchmarks.campaigns.exact import Program, answers

SHORT = [e for e in EDGES if not e.solver and e.group != "smoothed"]
edges = pytest.mark.parametrize("edge", SHORT, ids=lambda e: f"{e.group}, {e.name}")


@edges
def test_derivatives_are_differences_of_solutions(edge: Edge) -> None:
    """Central differences along a direction in natural units, wherever no kink lies between: the one-sided ones agree."""
    rng, B, step = np.random.default_rng(5), 8, 1e-5
    values = tuple(np.asarray(v, dtype=float) for v in edge.draw(rng, B))
    truth = edge.truth(*values)
    sizes = [v[0].size for v in values]
    unit = np.broadcast_to(truth.parameter_units, (B, sum(sizes)))
    tangent = rng.uniform(-1, 1, (B, sum(sizes))) * np.minimum(unit, np.abs(flat(*values)))

    def moved(t: float) -> np.ndarray:
        parts = np.split(flat(*values) + t * tangent, np.cumsum(sizes)[:-1], axis=1)
        return np.asarray(edge.truth(*(p.reshape(v.shape) for p, v in zip(parts, values, strict=True))).outputs)

    ahead, behind = (moved(step) - truth.outputs) / step, (truth.outputs - moved(-step)) / step
    slope = np.einsum("bop,bp->bo", truth.jacobian, tangent)
    size = np.broadcast_to(truth.output_units, slope.shape) + np.abs(slope) + 1e-5 * np.abs(truth.outputs)
    smooth = np.isfinite(slope) & (np.abs(ahead - behind) <= 1e-3 * size)
    assert (np.abs((ahead + behind) / 2 - slope)[smooth] <= 1e-4 * size[smooth]).all()
    if edge.group != "ties":
        assert smooth.mean() > 0.5


def corner(r: np.ndarray) -> Program:
    """min ‖y - (3, 2)‖², y ≤ r₀₁, y₀ + y₁ ≤ r₂."""
    return Program(constant(2 * np.eye(2)), constant([-6, -4]), constant([[1, 0], [0, 1], [1, 1]]), r)


def test_rational_arithmetic_decides_kinks() -> None:
    """Where three rows meet in the plane, y₀ = r₀ all around and y₁ = min(r₁, r₂ - r₀) has a kink."""
    tied, beside, slack = answers(corner, [np.array([[1, 1, 2], [1, 1, 2 - 2.0**-40], [1, 1, 3]])])
    assert (tied.jacobian[0] == [1, 0, 0]).all()
    assert np.isnan(tied.jacobian[1]).all()
    assert (beside.jacobian == [[1, 0, 0], [-1, 0, 1]]).all()
    assert (slack.jacobian == [[1, 0, 0], [0, 1, 0]]).all()


def test_mistakes_are_counted() -> None:
    """A wrong truth makes wrong values or wrong gradients; one that does not exist must be marked."""
    edge = next(e for e in EDGES if e.name == "simplex, product")
    values, _ = edge.sample(np.random.default_rng(6), 16)
    values = (values[0] - values[0].mean(axis=1, keepdims=True),)
    truth = edge.truth(*values)
    point = layer_of(edge).linearize(*values)

    def count(other: Truth) -> tuple[int, int, int]:
        t = judge(point, other, checked(point, values, other, np.random.default_rng(7)))
        return t.value_wrong, t.right, t.wrong

    assert count(truth) == (0, 16, 0)
    assert count(truth._replace(outputs=truth.outputs + 1e-5)) == (16, 0, 0)
    assert count(truth._replace(jacobian=truth.jacobian + 1e-3)) == (0, 0, 16)
    assert count(truth._replace(jacobian=np.full_like(truth.jacobian, np.nan))) == (0, 0, 16)


WIDE = ("log-sum-exp", "ball", "quadratic programs, 1e±6", "linear programs, 1e±6")
FLAT = [e for e in EDGES if e.group == "distances" or e.name in WIDE]


@pytest.mark.parametrize("edge", FLAT, ids=lambda e: f"{e.group}, {e.name}")
def test_where_the_objective_is_flat_nothing_is_wrong_and_unmarked(edge: Edge) -> None:
    """Distances far away, weights that fade, small units: residuals say little of x, and terms exceed their sum by far."""
    found = examine(edge, 384)
    assert (found.value_wrong, found.wrong) == (0, 0)
    assert found.marked_share < 0.02


@pytest.mark.parametrize("name", ["log barrier", "power utility"])
def test_blocks_of_unlike_size_are_all_right(name: str) -> None:
    """Weights over nine orders, prices and income over twelve: small parts are as right as large ones, none is left unsolved."""
    found = examine(next(e for e in EDGES if (e.group, e.name) == ("cones", name)), 192)
    assert (found.solved, found.value_wrong, found.wrong) == (192, 0, 0)
