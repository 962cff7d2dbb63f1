"""Families of parametrized conic and geometric programs; promises as in ``problems.families``.

Parameters have no attributes: releases differ in what they call the gradient of a symmetric one.
``CONIC`` holds the benchmark sizes, ``CONIC_SMALL`` sizes for tests, ``ALL`` every family of the benchmark.
"""

from __future__ import annotations

import cvxpy as cp
import numpy as np

from problems.families import FAMILIES, SMALL, Array, Arrays, Family, Parametrized, Rng


def group_regression(m: int = 30, groups: int = 5, size: int = 4) -> Family:
    """Second-order: ‖A x - b‖ + λ Σ ‖x_g‖ over groups of coefficients; everything batched."""
    n = groups * size

    def make() -> Parametrized:
        x, A, b = cp.Variable(n), cp.Parameter((m, n)), cp.Parameter(m)
        cost = cp.norm(A @ x - b) + 0.3 * cp.sum([cp.norm(x[g * size : (g + 1) * size]) for g in range(groups)])
        return Parametrized(cp.Problem(cp.Minimize(cost)), [A, b], [x])

    def draw(rng: Rng, B: int) -> Arrays:
        A, x = rng.normal(size=(B, m, n)), rng.normal(size=(B, groups, size)) * (rng.random((B, groups, 1)) < 0.6)
        return A, (A @ x.reshape(B, n, 1))[..., 0] + 0.3 * rng.normal(size=(B, m))

    return Family(f"group_regression_{m}x{n}", make, draw, quadratic=False)


def robust_portfolio(n: int = 20) -> Family:
    """Second-order: returns known up to an ellipsoid, risk below a limit; estimates and limits batched."""
    rng = np.random.default_rng(n)
    doubt = 0.3 * rng.normal(size=(n, n)) / np.sqrt(n) + 0.1 * np.eye(n)
    factor = rng.normal(size=(n, max(2, n // 4)))
    root = np.hstack([factor / np.sqrt(factor.shape[1]), np.diag(rng.uniform(0.3, 1.0, n))]).T

    def make() -> Parametrized:
        w, returns, limit = cp.Variable(n), cp.Parameter(n), cp.Parameter(nonneg=True)
        worst = returns @ w - cp.norm(doubt @ w)
        return Parametrized(
            cp.Problem(cp.Maximize(worst), [cp.sum(w) == 1, w >= 0, cp.norm(root @ w) <= limit]), [returns, limit], [w]
        )

    even = float(np.linalg.norm(root @ np.full(n, 1 / n)))
    return Family(f"robust_portfolio_{n}", make, lambda r, B: (0.3 * r.normal(size=(B, n)), r.uniform(1.2, 2.0, B) * even), False)


def entropy(n: int = 30, m: int = 4) -> Family:
    """Exponential: the distribution of largest entropy plus reward under moment bounds; rewards batched."""
    G = np.random.default_rng(n).normal(size=(m, n))

    def make() -> Parametrized:
        x, reward, h = cp.Variable(n), cp.Parameter(n), cp.Parameter(m)
        objective = cp.Maximize(cp.sum(cp.entr(x)) + reward @ x)
        return Parametrized(cp.Problem(objective, [cp.sum(x) == 1, G @ x <= h]), [reward, h], [x])

    def draw(rng: Rng, B: int) -> Arrays:
        reward = rng.normal(size=(B, n))
        free = np.exp(reward) / np.exp(reward).sum(1, keepdims=True)
        return reward, free @ G.T + rng.uniform(-0.3, 0.3, (B, m))

    return Family(f"entropy_{n}", make, draw, quadratic=False)


def logistic(m: int = 20, n: int = 5) -> Family:
    """Exponential: ridge logistic regression; the data (rows times labels) batched."""

    def make() -> Parametrized:
        x, A = cp.Variable(n), cp.Parameter((m, n))
        return Parametrized(cp.Problem(cp.Minimize(cp.sum(cp.logistic(-A @ x)) + 0.5 * cp.sum_squares(x))), [A], [x])

    return Family(f"logistic_{m}x{n}", make, lambda rng, B: (rng.normal(size=(B, m, n)) + 0.3,))


def _symmetric(rng: Rng, B: int, k: int) -> Array:
    S = rng.normal(size=(B, k, k))
    return np.asarray(S + S.swapaxes(1, 2)) / 2


def psd_projection(k: int = 6) -> Family:
    """Semidefinite: the nearest correlation-like matrix, X ⪰ 0 with unit trace; the matrix batched."""

    def make() -> Parametrized:
        X, S = cp.Variable((k, k), symmetric=True), cp.Parameter((k, k))
        return Parametrized(cp.Problem(cp.Minimize(cp.sum_squares(X - S)), [X >> 0, cp.trace(X) == 1]), [S], [X])

    return Family(f"psd_projection_{k}", make, lambda rng, B: (_symmetric(rng, B, k),))


def cut_relaxation(k: int = 8) -> Family:
    """Semidefinite: the relaxation of max-cut, min ⟨C, X⟩ with X ⪰ 0 and unit diagonal; weights batched."""

    def make() -> Parametrized:
        X, C = cp.Variable((k, k), symmetric=True), cp.Parameter((k, k))
        return Parametrized(cp.Problem(cp.Minimize(cp.trace(C @ X)), [X >> 0, cp.diag(X) == 1]), [C], [X])

    return Family(f"cut_relaxation_{k}", make, lambda rng, B: (_symmetric(rng, B, k),), quadratic=False)


def norm_regression(m: int = 20, n: int = 5) -> Family:
    """Power: regression in the 3-norm, Σ r = t with r_i^⅓ t^⅔ ≥ |a_iᵀx - b_i|; right-hand sides batched, the matrix shared."""

    def make() -> Parametrized:
        x, r, t, A, b = cp.Variable(n), cp.Variable(m), cp.Variable(), cp.Parameter((m, n)), cp.Parameter(m)
        cone = cp.PowCone3D(r, t * np.ones(m), A @ x - b, np.full(m, 1 / 3))
        return Parametrized(cp.Problem(cp.Minimize(t + 0.05 * cp.sum_squares(x)), [cone, cp.sum(r) == t]), [A, b], [x])

    return Family(f"norm_regression_{m}x{n}", make, lambda rng, B: (rng.normal(size=(m, n)), rng.normal(size=(B, m))))


def power_control(n: int = 5) -> Family:
    """Geometric: powers of n transmitters that keep each signal above a multiple of noise and interference; gains batched."""

    def make() -> Parametrized:
        p = cp.Variable(n, pos=True)
        gains, ratio = cp.Parameter((n, n), pos=True), cp.Parameter(n, pos=True)
        noise = [0.1 + cp.sum([gains[i, j] * p[j] for j in range(n) if j != i]) for i in range(n)]
        limits = [ratio[i] * noise[i] / (gains[i, i] * p[i]) <= 1 for i in range(n)]
        peak = cp.max(cp.hstack([p[i] for i in range(n)]))
        return Parametrized(cp.Problem(cp.Minimize(cp.sum(p) + peak**2), limits), [gains, ratio], [p])

    def draw(rng: Rng, B: int) -> Arrays:
        return rng.uniform(0.01, 0.1, (B, n, n)) + np.eye(n) * rng.uniform(0.5, 1.5, (B, n, 1)), rng.uniform(0.5, 1.5, (B, n))

    return Family(f"power_control_{n}", make, draw, quadratic=False, gp=True)


CONIC = {
    family.name: family
    for family in (
        group_regression(), robust_portfolio(), entropy(), logistic(), psd_projection(), cut_relaxation(), norm_regression(),
        power_control(),
    )
}  # fmt: skip
CONIC_SMALL = {
    family.name: family
    for family in (
        group_regression(8, 2, 2), robust_portfolio(5), entropy(6, 2), logistic(6, 2), psd_projection(3), cut_relaxation(3),
        norm_regression(6, 2), power_control(3),
    )
}  # fmt: skip
ALL = {**FAMILIES, **CONIC}
EVERY_SIZE = {**SMALL, **CONIC_SMALL, **ALL}
