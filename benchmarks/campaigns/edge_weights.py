"""Families of vanishing weights, with closed forms: a regularizer that reaches zero must be able to leave it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cvxpy as cp
import numpy as np

from benchmarks.campaigns.edge_families import Edge, Truth, flat, short, wide
from problems.families import Array, Arrays, Parametrized, Rng


def weight(rng: Rng, shape: Any) -> Array:
    """1 … 1e-12, and zero one time in eight."""
    return np.where(rng.random(shape) < 0.125, 0.0, wide(rng, -12, 0, shape))


def eye(B: int, n: int) -> Array:
    return np.tile(np.eye(n), (B, 1, 1))


def prox(name: str, atom: Callable[[cp.Variable], cp.Expression], solve: Callable[[Array, Array], tuple[Array, Array]]) -> Edge:
    """½‖y - a‖² + λ f(y); ``solve`` takes a (B, n) and λ (B) to y and dy/d(a, λ)."""
    n = 4

    def make() -> Parametrized:
        y, a, weight = cp.Variable(n), cp.Parameter(n), cp.Parameter(nonneg=True)
        return Parametrized(cp.Problem(cp.Minimize(0.5 * cp.sum_squares(y - a) + weight * atom(y))), [a, weight], [y])

    def draw(rng: Rng, B: int) -> Arrays:
        return np.round(3 * rng.normal(size=(B, n)), 3), weight(rng, B)

    def truth(a: Array, lam: Array) -> Truth:
        y, J = solve(a, lam)
        return Truth(y, J, 1.0, 1.0, lam == 0)

    return Edge("weights", name, make, draw, truth)


def log_sum_exp(a: Array, lam: Array) -> tuple[Array, Array]:
    """y + λ softmax(y) = a, by Newton's method."""
    y = a.copy()
    for _ in range(50):
        p = np.exp(y - y.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        K = eye(*a.shape) + lam[:, None, None] * (p[:, :, None] * np.eye(a.shape[1]) - p[:, :, None] * p[:, None])
        y = y - np.linalg.solve(K, (y + lam[:, None] * p - a)[..., None])[..., 0]
    return y, np.linalg.solve(K, np.concatenate([eye(*a.shape), -p[..., None]], axis=2))


def largest(a: Array, lam: Array) -> tuple[Array, Array]:
    """y = min(a, τ) with Σ (a - τ)₊ = λ."""
    B, n = a.shape
    ordered, k = -np.sort(-a, axis=1), np.arange(1, n + 1)
    levels = (np.cumsum(ordered, axis=1) - lam[:, None]) / k
    count = np.sum(ordered > levels, axis=1).clip(1)
    level = levels[np.arange(B), count - 1]
    top = a >= level[:, None] - 1e-15
    inside = top[:, :, None] & top[:, None]
    J = np.where(inside, 1 / count[:, None, None], eye(B, n) * ~top[:, :, None])
    return np.minimum(a, level[:, None]), np.concatenate([J, -(top / count[:, None])[..., None]], axis=2)


def norm1(a: Array, lam: Array) -> tuple[Array, Array]:
    kept = np.abs(a) > lam[:, None]
    J = np.concatenate([eye(*a.shape) * kept[..., None], -(np.sign(a) * kept)[..., None]], axis=2)
    return np.where(kept, a - np.sign(a) * lam[:, None], 0.0), J


def norm2(a: Array, lam: Array) -> tuple[Array, Array]:
    r = np.linalg.norm(a, axis=1)[:, None]
    u, share = a / r, (lam[:, None] / r)[..., None]
    J = np.concatenate([(1 - share) * eye(*a.shape) + share * u[:, :, None] * u[:, None], -u[..., None]], axis=2)
    kept = r > lam[:, None]
    return np.where(kept, a * (1 - share[..., 0]), 0.0), np.where(kept[..., None], J, 0.0)


def kinked(name: str) -> Edge:
    """The same where, half of the time, λ is just so large that a part of y has no derivative."""
    smooth = next(e for e in PROXES if e.name == name)

    def draw(rng: Rng, B: int) -> Arrays:
        lam, tied = wide(rng, -3, 3, B), rng.random(B) < 0.5
        a = lam[:, None] * short(3 * rng.normal(size=(B, 4)))
        kinks = {"norm1": [1, 3, -4, 2], "norm": [0.5, -0.5, 0.5, 0.5], "max": [2, 1, -1, 0]}
        return np.where(tied[:, None], lam[:, None] * kinks[name], a), lam

    def truth(a: Array, lam: Array) -> Truth:
        found, b = smooth.truth(a, lam), a / lam[:, None]
        rows = {
            "norm1": np.abs(b) == 1,
            "norm": (np.sum(b * b, axis=1) == 1)[:, None] & np.ones(4, dtype=bool),
            "max": (b == [2, 1, -1, 0]).all(axis=1)[:, None] & (np.arange(4) < 2),
        }[name]
        unit = lam[:, None] * np.ones((1, 5))
        return Truth(found.outputs, np.where(rows[..., None], np.nan, found.jacobian), unit[:, :4], unit)

    return Edge("ties", f"{name} at a kink", smooth.make, draw, truth)


def ridge() -> Edge:
    """½‖A x - b‖² + ½λ‖x‖², A fixed and of full rank."""
    A = np.array([[1.0, 0.5], [0.3, -1.0], [0.2, 0.4]])

    def make() -> Parametrized:
        x, b, lam = cp.Variable(2), cp.Parameter(3), cp.Parameter(nonneg=True)
        cost = 0.5 * cp.sum_squares(A @ x - b) + 0.5 * lam * cp.sum_squares(x)
        return Parametrized(cp.Problem(cp.Minimize(cost)), [b, lam], [x])

    def truth(b: Array, lam: Array) -> Truth:
        inverse = np.linalg.inv(A.T @ A + lam[:, None, None] * np.eye(2))
        x = (inverse @ (b @ A)[..., None])[..., 0]
        return Truth(x, np.concatenate([inverse @ A.T, -inverse @ x[..., None]], axis=2), 1.0, 1.0, lam == 0)

    return Edge("weights", "ridge", make, lambda rng, B: (rng.normal(size=(B, 3)), weight(rng, B)), truth)


def observations() -> Edge:
    """½‖x - c‖² + ½ Σ wᵢ (xᵢ - bᵢ)²: each observation with a weight of its own."""
    n = 3

    def make() -> Parametrized:
        x, c, wb, w = cp.Variable(n), cp.Parameter(n), cp.Parameter(n), cp.Parameter(n, nonneg=True)
        cost = 0.5 * cp.sum_squares(x - c) + 0.5 * w @ cp.square(x) - wb @ x
        return Parametrized(cp.Problem(cp.Minimize(cost)), [c, wb, w], [x])

    def draw(rng: Rng, B: int) -> Arrays:
        w = weight(rng, (B, n))
        return rng.normal(size=(B, n)), w * rng.normal(size=(B, n)), w

    def truth(c: Array, wb: Array, w: Array) -> Truth:
        x = (c + wb) / (1 + w)
        each = 1 / (1 + w)
        J = np.concatenate([each[..., None] * np.eye(n), each[..., None] * np.eye(n), -(x * each)[..., None] * np.eye(n)], axis=2)
        return Truth(x, J, 1.0, 1.0, (w == 0).any(axis=1))

    return Edge("weights", "observations", make, draw, truth)


def log_barrier() -> Edge:
    """½‖w - m‖² - Σ bᵢ log wᵢ: w = (m + √(m² + 4b))/2."""
    n = 3

    def make() -> Parametrized:
        w, m, b = cp.Variable(n), cp.Parameter(n), cp.Parameter(n, nonneg=True)
        return Parametrized(cp.Problem(cp.Minimize(0.5 * cp.sum_squares(w) - m @ w - b @ cp.log(w))), [m, b], [w])

    def draw(rng: Rng, B: int) -> Arrays:
        return rng.uniform(0.5, 2, (B, n)), wide(rng, -12, 0, (B, n))

    def truth(m: Array, b: Array) -> Truth:
        root = np.sqrt(m * m + 4 * b)
        J = np.concatenate([((1 + m / root) / 2)[..., None] * np.eye(n), (1 / root)[..., None] * np.eye(n)], axis=2)
        return Truth((m + root) / 2, J)

    return Edge("weights", "logarithms", make, draw, truth)


def log_utility(low: float) -> Edge:
    """max Σ bᵢ log wᵢ, Σ w = 1: w = b / Σ b, one b of every instance at 1, the others from 10^low."""
    n = 3

    def make() -> Parametrized:
        w, b = cp.Variable(n), cp.Parameter(n, nonneg=True)
        return Parametrized(cp.Problem(cp.Maximize(b @ cp.log(w)), [cp.sum(w) == 1]), [b], [w])

    def draw(rng: Rng, B: int) -> Arrays:
        b = wide(rng, low, 0, (B, n))
        b[:, 0] = 1.0
        return (b,)

    def truth(b: Array) -> Truth:
        total = b.sum(axis=1)[:, None, None]
        return Truth(b / total[:, 0], np.eye(n) / total - b[:, :, None] / total**2)

    return Edge("weights", f"log utility from 1e{low:g}", make, draw, truth)


def group(rng: Rng, B: int) -> Arrays:
    """a of two groups, and their weights."""
    return np.round(3 * rng.normal(size=(B, 4)), 3), weight(rng, (B, 2))


def group_norms() -> Edge:
    """½‖y - a‖² + Σ λ_g ‖y_g‖ over two groups."""

    def make() -> Parametrized:
        y, a, lam = cp.Variable(4), cp.Parameter(4), cp.Parameter(2, nonneg=True)
        cost = 0.5 * cp.sum_squares(y - a) + lam[0] * cp.norm(y[:2]) + lam[1] * cp.norm(y[2:])
        return Parametrized(cp.Problem(cp.Minimize(cost)), [a, lam], [y])

    def truth(a: Array, lam: Array) -> Truth:
        parts = [norm2(a[:, 2 * g : 2 * g + 2], lam[:, g]) for g in range(2)]
        J = np.zeros((len(a), 4, 6))
        for g, (_, part) in enumerate(parts):
            rows = slice(2 * g, 2 * g + 2)
            J[:, rows, rows], J[:, rows, 4 + g] = part[..., :2], part[..., 2]
        return Truth(flat(*(y for y, _ in parts)), J, 1.0, 1.0, (lam == 0).any(axis=1))

    return Edge("weights", "group norms", make, group, truth)


PROXES = (
    prox("log-sum-exp", cp.log_sum_exp, log_sum_exp), prox("max", cp.max, largest), prox("norm1", cp.norm1, norm1),
    prox("norm", cp.norm, norm2),
)  # fmt: skip
WEIGHTS = (*PROXES, group_norms(), ridge(), observations(), log_barrier(), log_utility(-6.0), log_utility(-12.0))
KINKS = tuple(kinked(name) for name in ("max", "norm1", "norm"))
