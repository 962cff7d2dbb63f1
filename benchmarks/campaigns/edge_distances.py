"""Families of distances that are not squared, their data far from the feasible set: projections, whatever the distance is."""

from __future__ import annotations

from collections.abc import Callable

import cvxpy as cp
import numpy as np

from benchmarks.campaigns.edge_cones import CONES
from benchmarks.campaigns.edge_families import Edge, Truth, short, wide
from benchmarks.campaigns.edge_scales import SHIFTS, shift
from problems.families import Array, Arrays, Parametrized, Rng

SIMPLEX = next(e for e in SHIFTS if e.name == "simplex, square")
SPECTRAL = next(e for e in CONES if e.name == "spectral simplex")


def simplex(name: str, distance: Callable[[cp.Expression], cp.Expression]) -> Edge:
    """min f(x - z) over the simplex, z = k + d, f symmetric and increasing away from 0: x - z is the same wherever x > 0.

    So x is the nearest point of the simplex, as it is for the square.
    """

    def make() -> Parametrized:
        x, z = cp.Variable(3), cp.Parameter(3)
        return Parametrized(cp.Problem(cp.Minimize(distance(x - z)), [cp.sum(x) == 1, x >= 0]), [z], [x])

    return Edge("distances", f"simplex, {name}", make, SIMPLEX.draw, SIMPLEX.truth)


def boxes() -> Edge:
    """Σ pᵢ ‖xᵢ - zᵢ‖ over boxes, each zᵢ moved along one axis by a k of its own, weights over 1e±3."""
    groups, n = 2, 2

    def make() -> Parametrized:
        x, z, p = cp.Variable((groups, n)), cp.Parameter((groups, n)), cp.Parameter(groups, nonneg=True)
        far = cp.Variable((groups, n))
        cost = cp.sum(cp.multiply(p, cp.norm(far, axis=1)))
        return Parametrized(cp.Problem(cp.Minimize(cost), [far == x - z, x >= -1, x <= 1]), [z, p], [x])

    def draw(rng: Rng, B: int) -> Arrays:
        z = short(rng.normal(size=(B, groups, n)))
        z[:, :, 0] += np.hstack([shift(rng, B) for _ in range(groups)])
        return z, wide(rng, -3, 3, (B, groups))

    def truth(z: Array, p: Array) -> Truth:
        B, size = len(z), groups * n
        flat = z.reshape(B, size)
        J = np.concatenate([(np.abs(flat) < 1)[..., None] * np.eye(size), np.zeros((B, size, groups))], axis=2)
        return Truth(np.clip(flat, -1, 1), J, 1.0, np.hstack([np.ones((B, size)), np.maximum(1.0, p)]))

    return Edge("distances", "boxes", make, draw, truth)


def spectral() -> Edge:
    """The nearest X ⪰ 0 with tr X = 1 to S + k I in the Frobenius norm."""

    def make() -> Parametrized:
        X, S, t = cp.Variable((3, 3), symmetric=True), cp.Parameter((3, 3), symmetric=True), cp.Parameter()
        return Parametrized(cp.Problem(cp.Minimize(cp.norm(X - S, "fro")), [X >> 0, cp.trace(X) == t]), [S, t], [X])

    def draw(rng: Rng, B: int) -> Arrays:
        S = short(rng.normal(size=(B, 3, 3)))
        return (S + S.swapaxes(1, 2)) / 2 + shift(rng, B)[..., None] * np.eye(3), np.ones(B)

    return Edge("distances", "spectral simplex", make, draw, SPECTRAL.truth)


DISTANCES = (
    simplex("norm", cp.norm), simplex("norm of order 3", lambda v: cp.pnorm(v, 3, approx=False)),
    simplex("norm of order 3/2", lambda v: cp.pnorm(v, 1.5)), simplex("log-sum-exp", cp.log_sum_exp), boxes(), spectral(),
)  # fmt: skip
