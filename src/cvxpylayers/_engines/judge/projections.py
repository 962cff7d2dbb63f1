"""Projections onto the cones and their derivatives, one instance at a time: what judging and refining a solution needs.

For w in ℝᵐ let s = Π_K(w) and z = s - w. Then s ∈ K, z ∈ K*, sᵀz = 0, and every such pair comes from one w (Moreau). D = Π_K'(w)
exists almost everywhere; where it does not, any limit of derivatives is returned. Rows and svec are those of ``Cones``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np

from cvxpylayers._program import Block, Cones
from cvxpylayers._program.cones import CURVED, svec_entries, svec_order, svec_scale
from cvxpylayers._typing import Float64, NDArray, Shaped

Index = NDArray[np.intp]
Depth = Callable[[Float64], float]


class Maps(NamedTuple):
    """Of one cone, w ↦ Π(w) and w ↦ Π'(w), and (s, z) ↦ what would have to vanish for Π to be kinked at s - z (``margin``)."""

    project: Callable[[Float64], Float64]
    derivative: Callable[[Float64], Float64]
    margin: Callable[[Float64, Float64], float]

    @staticmethod
    def of(both: Callable[[Float64], tuple[Float64, Float64]], depth: Depth, dual_depth: Depth) -> Maps:
        """Of a cone of three rows, from w ↦ (Π(w), Π'(w)) and how deep s is in it and z in its dual, negative outside."""

        def margin(s: Float64, z: Float64) -> float:
            s_norm, z_norm = float(np.linalg.norm(s)), float(np.linalg.norm(z))
            return max(min(s_norm, z_norm), depth(s) if z_norm < s_norm else dual_depth(z))

        return Maps(lambda w: both(w)[0], lambda w: both(w)[1], margin)


@dataclass(frozen=True)
class Projection:
    """Π_K of a product cone."""

    cones: Cones

    def __call__(self, w: Float64) -> Float64:
        """Π_K(w), shape (m,)."""
        s = np.zeros_like(w)
        linear = self.cones.orthant
        s[linear] = np.maximum(w[linear], 0.0)
        for block in self.cones.blocks(*CURVED):
            s[block.rows] = maps(block).project(w[block.rows])
        return s

    def derivative(self, w: Float64) -> Float64:
        """Π_K'(w), dense, shape (m, m)."""
        D = np.zeros((len(w), len(w)))
        linear = np.arange(len(w))[self.cones.orthant]
        D[linear, linear] = w[linear] > 0.0
        for block in self.cones.blocks(*CURVED):
            D[block.rows, block.rows] = maps(block).derivative(w[block.rows])
        return D


def maps(block: Block) -> Maps:
    """Those of a block that is not linear."""
    return _power(block.alpha) if block.kind == "power" else _MAPS[block.kind]


def second_order_values(w: Float64) -> tuple[float, float, Float64 | None]:
    """The value c of Π'(w) that (k - 2) directions have in common, 1 - c, and û where there are two others, of values 1 and 0.

    These are (1, û)/√2 and (1, -û)/√2, outside of K and -K*, where c = ½(1 + t/‖u‖).
    """
    t, u = w[0], w[1:]
    norm = math.sqrt(u @ u)
    if norm <= abs(t):
        return float(t > 0), float(t <= 0), None
    return 0.5 * (1 + t / norm), 0.5 * (1 - t / norm), u / norm


def _second_order(w: Float64) -> Float64:
    """{(t, u): ‖u‖ ≤ t}. Outside K and -K* the answer is ½(t + ‖u‖)(1, u/‖u‖)."""
    c, _, direction = second_order_values(w)
    return w * c if direction is None else 0.5 * (w[0] + w[1:] @ direction) * np.concatenate([[1.0], direction])


def _second_order_derivative(w: Float64) -> Float64:
    c, _, direction = second_order_values(w)
    D = c * np.eye(len(w))
    if direction is not None:
        D[0, 0], D[0, 1:], D[1:, 0] = 0.5, 0.5 * direction, 0.5 * direction
        D[1:, 1:] += (0.5 - c) * np.outer(direction, direction)
    return D


def _second_order_margin(s: Float64, z: Float64) -> float:
    return float(abs(abs(s[0] - z[0]) - np.linalg.norm(s[1:] - z[1:])))


def semidefinite_values(w: Float64) -> tuple[Float64, Float64]:
    """Eigenvalues of Π'(w), divided differences of max(λ, 0) in the order of svec, and Q: Π'(w) is diagonal after V ↦ QᵀVQ."""
    column, row, _, values, Q = _spectrum(w)
    positive = np.maximum(values, 0.0)
    gap = values[row] - values[column]
    near = np.abs(gap) <= 1e-14 * max(1.0, float(np.abs(values).max(initial=0.0)))
    return np.where(near, values[row] > 0, (positive[row] - positive[column]) / np.where(near, 1.0, gap)), Q


def congruence(Q: Shaped[Float64, "k k"], vectors: Shaped[Float64, "rows j"]) -> Shaped[Float64, "rows j"]:
    """svec(QᵀVQ) from svec(V), by columns: an orthogonal map for an orthogonal Q."""
    (row, column), scale = svec_entries(len(Q)), svec_scale(len(Q))[:, None]
    V = np.empty((vectors.shape[1], *Q.shape))
    V[:, row, column] = V[:, column, row] = (vectors / scale).T
    return (Q.T @ V @ Q)[:, row, column].T * scale


def _semidefinite(w: Float64) -> Float64:
    """svec of the positive part of W = QΛQᵀ."""
    column, row, scale, values, Q = _spectrum(w)
    return ((Q * np.maximum(values, 0.0)) @ Q.T)[row, column] * scale


def _semidefinite_derivative(w: Float64) -> Float64:
    """H ↦ Q(B ∘ QᵀHQ)Qᵀ, B the divided differences of max(λ, 0)."""
    c, Q = semidefinite_values(w)
    return congruence(Q.T, c[:, None] * congruence(Q, np.eye(len(w))))


def _semidefinite_margin(s: Float64, z: Float64) -> float:
    k = svec_order(len(s))
    row, column = svec_entries(k)
    W = np.zeros((k, k))
    W[column, row] = (s - z) * np.where(row == column, 1.0, np.sqrt(0.5))
    return float(np.abs(np.linalg.eigvalsh(W)).min())


def _spectrum(w: Float64) -> tuple[Index, Index, Float64, Float64, Float64]:
    """Columns, rows and scales of svec, the upper triangle by columns; eigenvalues and eigenvectors of W, by columns."""
    k = svec_order(len(w))
    (row, column), scale = svec_entries(k), svec_scale(k)
    W = np.zeros((k, k))
    W[row, column] = W[column, row] = w / scale
    return column, row, scale, *np.linalg.eigh(W)


def _exponential(w: Float64) -> tuple[Float64, Float64]:
    """cl{(x, y, t): y exp(x/y) ≤ t, y > 0}, by the root ρ of Friberg (Optim. Methods Softw. 2023).

    With N = ρ² - ρ + 1 every w splits into p(ρ)(ρ, 1, e^ρ) + d(ρ)(1, 1 - ρ, -e^-ρ), p = ((ρ - 1)x + y)/N, d = (x - ρy)/N, but
    for the last entry: h(ρ) = p e^ρ - d e^-ρ - t vanishes at the projection, and increases where p and d are positive.
    """
    x, y, t = (float(v) for v in w)
    if (y > 0 and y * _exp(x / y) <= t) or (y == 0 and x <= 0 and t >= 0):
        return w.copy(), np.eye(3)
    if (x > 0 and t < 0 and x * _exp(y / x) <= -math.e * t) or (x == 0 and y <= 0 and t <= 0):
        return np.zeros(3), np.zeros((3, 3))
    if x <= 0 and y <= 0:
        return np.array([x, 0.0, max(t, 0.0)]), np.diag([1.0, 0.0, float(t > 0)])
    low = max(1 - y / x if x > 0 else -_FAR, x / y if y < 0 else -_FAR)
    high = min(1 - y / x if x < 0 else _FAR, x / y if y > 0 else _FAR)

    def parts(rho: float) -> tuple[float, float, float]:
        N = rho * rho - rho + 1
        return ((rho - 1) * x + y) / N, (x - rho * y) / N, N

    def h(rho: float) -> float:
        p, d, _ = parts(rho)
        return p * _exp(rho) - d * _exp(-rho) - t

    rho = _root(h, low, high)
    p, d, N = parts(rho)
    grow, decay = _exp(rho), _exp(-rho)
    p = (t + d * decay) / grow if rho > 0 else p  # the same at the root, without the cancellation that e^ρ would enlarge
    dp, dd = (x - (2 * rho - 1) * p) / N, (-y - (2 * rho - 1) * d) / N  # by ρ
    p_w, d_w, last = np.array([rho - 1, 1.0, 0.0]) / N, np.array([1.0, -rho, 0.0]) / N, np.array([0.0, 0.0, 1.0])
    slope = (dp + p) * grow + (d - dd) * decay
    # dρ = (last - p_w e^ρ + d_w e^-ρ) / slope; what it brings to dp and d(p e^ρ) cancels large terms, which are left out.
    rho_w = (last - p_w * grow + d_w * decay) / slope
    own = (p_w * (p * grow + (d - dd) * decay) + dp * (last + d_w * decay)) / slope
    top = (p_w * (d - dd) + (dp + p) * (d_w + last * grow)) / slope
    return p * np.array([rho, 1.0, grow]), np.array([rho * own + p * rho_w, own, top])


def _exponential_depth(s: Float64) -> float:
    return float(s[1] * np.log(s[2] / s[1]) - s[0]) if s[1] > 0 and s[2] > 0 else -1.0


def _exponential_dual_depth(z: Float64) -> float:
    return float(z[1] - z[0] - z[0] * np.log(-z[2] / z[0])) if z[0] < 0 < z[2] else -1.0


@lru_cache(maxsize=64)
def _power(alpha: float) -> Maps:
    """{(x, y, t): x^α y^(1-α) ≥ |t|, x, y ≥ 0}, by the root r of Hien (Math. Methods Oper. Res. 2015).

    With T = |t| the projection has |s_t| = r and, for c = α and 1 - α, the entry v(r) = ½(v₀ + √(v₀² + 4 c r (T - r))); r solves
    α log x(r) + (1 - α) log y(r) = log r.
    """

    def entry(start: float, c: float, product: float) -> tuple[float, float]:
        """v and the square root in it; in conjugate form, where v₀ < 0, so that no digits are lost."""
        root = math.sqrt(start * start + 4 * c * product)
        return (0.5 * (start + root) if start > 0 else 2 * c * product / max(root - start, _TINY)), root

    def project(w: Float64) -> tuple[Float64, Float64]:
        x, y, t = (float(v) for v in w)
        T, sign, c = abs(t), math.copysign(1.0, t), np.array([alpha, 1 - alpha])
        if x >= 0 and y >= 0 and x**alpha * y ** (1 - alpha) >= T:
            return w.copy(), np.eye(3)
        if x <= 0 and y <= 0 and (-x / alpha) ** alpha * (-y / (1 - alpha)) ** (1 - alpha) >= T:
            return np.zeros(3), np.zeros((3, 3))
        if T == 0.0:
            return np.array([max(x, 0.0), max(y, 0.0), 0.0]), np.diag([float(x > 0), float(y > 0), 0.0])

        def excess(r: float) -> float:
            v, u = entry(x, alpha, r * (T - r))[0], entry(y, 1 - alpha, r * (T - r))[0]
            return math.log(r) - alpha * math.log(max(v, _TINY)) - (1 - alpha) * math.log(max(u, _TINY))

        r = _root(excess, T * 1e-15, T * (1 - 1e-15))
        v, root = np.array([entry(x, alpha, r * (T - r)), entry(y, 1 - alpha, r * (T - r))]).T
        v_r, v_T, v_v = c * (T - 2 * r) / root, c * r / root, v / root  # by r, T and v₀
        slope = 1 / r - float(c @ (v_r / v))
        r_w = np.array([*(c * v_v / v), sign * float(c @ (v_T / v))]) / slope
        D = np.empty((3, 3))
        D[:2] = np.outer(v_r, r_w) + np.column_stack([np.diag(v_v), sign * v_T])
        D[2] = sign * r_w
        return np.append(v, sign * r), D

    def depth(s: Float64) -> float:
        return float(max(s[0], 0.0) ** alpha * max(s[1], 0.0) ** (1 - alpha) - abs(s[2]))

    return Maps.of(project, depth, lambda z: depth(z / np.array([alpha, 1 - alpha, 1.0])))


_FAR, _TINY = 700.0, 1e-300
_MAPS: Final = {
    "soc": Maps(_second_order, _second_order_derivative, _second_order_margin),
    "psd": Maps(_semidefinite, _semidefinite_derivative, _semidefinite_margin),
    "exp": Maps.of(_exponential, _exponential_depth, _exponential_dual_depth),
}


def _exp(x: float) -> float:
    return math.exp(min(x, _FAR))


def _root(f: Callable[[float], float], low: float, high: float) -> float:
    """The root of an increasing function by bisection to the last bit."""
    for _ in range(200):
        middle = 0.5 * (low + high)
        if not low < middle < high:
            break
        low, high = (low, middle) if f(middle) > 0 else (middle, high)
    return 0.5 * (low + high)
