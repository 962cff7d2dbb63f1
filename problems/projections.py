"""Projections onto every cone and their derivatives, dense in plain NumPy; onto exponential and power cones near a known pair."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from cvxpylayers._program import Cones
from cvxpylayers._typing import Float64

Bulge = Callable[[Float64], tuple[float, Float64, Float64]]


def project(cones: Cones, w: Float64, s: Float64, z: Float64) -> tuple[Float64, Float64]:
    """Π_K(w) and DΠ_K(w), (m,) and (m, m), where w is near s - z and (s, z) is near a complementary pair.

    Ties of a nonnegative row count as inactive.
    """
    point, D = np.zeros(len(w)), np.zeros((len(w), len(w)))
    row = cones.zero
    for width, block in _blocks(cones):
        at = slice(row, row + width)
        point[at], D[at, at] = block(w[at], s[at], z[at])
        row += width
    return point, D


def spectrum(cones: Cones, w: Float64) -> Float64:
    """Eigenvalues of the nonnegative, second-order and semidefinite blocks of w: where one is zero, Π has a kink."""
    row, found = cones.zero + cones.nonneg, [w[cones.zero : cones.zero + cones.nonneg]]
    for k in cones.soc:
        norm = np.linalg.norm(w[row + 1 : row + k])
        found.append(w[row] + norm * np.array([1.0, -1.0]))
        row += k
    for k in cones.psd:
        column, line = np.tril_indices(k)
        W = np.zeros((k, k))
        W[line, column] = W[column, line] = w[row : row + len(line)] / np.where(line == column, 1.0, np.sqrt(2))
        found.append(np.linalg.eigvalsh(W))
        row += len(line)
    return np.concatenate(found)


def inside(cones: Cones, v: Float64, slack: float, dual: bool = False) -> bool:
    """Whether v is in K (in its dual) up to ``slack``: by the definitions, without projections."""
    at = cones.zero
    if not dual and np.abs(v[:at]).max(initial=0.0) > slack:
        return False
    ok = bool((v[at : at + cones.nonneg] >= -slack).all())
    at += cones.nonneg
    for k in cones.soc:
        ok &= v[at] >= np.linalg.norm(v[at + 1 : at + k]) - slack
        at += k
    for k in cones.psd:
        column, row = np.tril_indices(k)
        W = np.zeros((k, k))
        W[row, column] = W[column, row] = v[at : at + len(row)] / np.where(row == column, 1.0, np.sqrt(2))
        ok &= np.linalg.eigvalsh(W)[0] >= -slack
        at += len(row)
    for _ in range(cones.exp):
        x, y, t = v[at : at + 3]
        if dual:  # {(u, v, w): u < 0, -u exp(v/u) ≤ e w}, closed by u = 0, v ≥ 0, w ≥ 0
            ok &= t >= -slack and (
                -x * np.exp(np.clip(y / x, -700, 700) - 1) <= t + slack if x < -1e-9 else x <= slack and y >= -slack
            )
        else:
            ok &= t >= -slack and (y * np.exp(np.clip(x / y, -700, 700)) <= t + slack if y > 1e-9 else y >= -slack and x <= slack)
        at += 3
    for a in cones.power:
        x, y, t = v[at : at + 3]
        p, q = (max(x, 0) + slack, max(y, 0) + slack) / (np.array([a, 1 - a]) if dual else np.ones(2))  # y^0.1 magnifies rounding
        ok &= min(x, y) >= -slack and p**a * q ** (1 - a) >= abs(t) - slack
        at += 3
    return bool(ok)


Block = Callable[[Float64, Float64, Float64], tuple[Float64, Float64]]


def _blocks(cones: Cones) -> Iterator[tuple[int, Block]]:
    yield cones.nonneg, lambda w, s, z: (np.maximum(w, 0.0), np.diag((w > 0) * 1.0))
    yield from ((k, lambda w, s, z: soc(w)) for k in cones.soc)
    yield from ((k * (k + 1) // 2, lambda w, s, z, k=k: psd(w, k)) for k in cones.psd)
    yield from ((3, surface(exponential)) for _ in range(cones.exp))
    yield from ((3, surface(power(alpha))) for alpha in cones.power)


def soc(w: Float64) -> tuple[Float64, Float64]:
    """Of w = (t, u): itself where t ≥ |u|, 0 where t ≤ -|u|, else half of (1 + t/|u|) (|u|, u)."""
    t, u, k = w[0], w[1:], len(w)
    norm = float(np.linalg.norm(u))
    if abs(t) >= norm:
        return w * (t > 0), np.eye(k) * (t > 0)
    h = u / norm
    D = np.block([[np.ones((1, 1)), h[None]], [h[:, None], (1 + t / norm) * np.eye(k - 1) - t / norm * np.outer(h, h)]])
    return 0.5 * (1 + t / norm) * np.append(norm, u), 0.5 * D


def psd(w: Float64, k: int) -> tuple[Float64, Float64]:
    """Negative eigenvalues cut; the derivative by divided differences of max(λ, 0)."""
    column, row = np.tril_indices(k)  # the upper triangle by columns
    off = np.where(row == column, 1.0, np.sqrt(2))
    W = np.zeros((k, k))
    W[row, column] = W[column, row] = w / off
    values, Q = np.linalg.eigh(W)
    positive = np.maximum(values, 0.0)
    gap = values[:, None] - values[None]
    equal = np.abs(gap) < 1e-12
    mask = np.where(equal, (values[:, None] > 0) * 1.0, (positive[:, None] - positive[None]) / np.where(equal, 1.0, gap))
    D = np.empty((len(w), len(w)))
    for j in range(len(w)):
        H = np.zeros((k, k))
        H[row[j], column[j]] = H[column[j], row[j]] = 1 / off[j]
        D[:, j] = (Q @ (mask * (Q.T @ H @ Q)) @ Q.T)[row, column] * off
    return ((Q * positive) @ Q.T)[row, column] * off, D


def surface(bulge: Bulge) -> Block:
    """A cone {g ≥ 0} of three rows, g concave. Where s and z are both on the boundary, s = Π(w) solves

        s - ν ∇g(s) = w,  g(s) = 0,   with   [ I - ν ∇²g   -∇g ] [ds]   [dw]
                                             [   ∇gᵀ        0  ] [dν] = [ 0 ],

    by Newton's method from the s given; elsewhere, as where w is inside, Π is the identity or zero.
    """

    def block(w: Float64, s: Float64, z: Float64) -> tuple[Float64, Float64]:
        with np.errstate(invalid="ignore"):  # of what is outside of the domain of g
            inside = w[1] > 0 and bulge(w)[0] > 0
        if inside or np.linalg.norm(z) < 1e-6 * np.linalg.norm(s):
            return w, np.eye(3)
        if np.linalg.norm(s) < 1e-6 * np.linalg.norm(z):
            return np.zeros(3), np.zeros((3, 3))
        slope = bulge(s)[1]
        nu = z @ slope / (slope @ slope)
        for _ in range(50):
            value, slope, curvature = bulge(s)
            system = np.block([[np.eye(3) - nu * curvature, -slope[:, None]], [slope[None], np.zeros((1, 1))]])
            step = np.linalg.solve(system, np.append(w + nu * slope - s, -value))
            s, nu = s + step[:3], nu + step[3]
            if np.linalg.norm(step) <= 1e-15 * np.linalg.norm(s):
                break
        return s, np.asarray(np.linalg.solve(system, np.eye(4, 3))[:3])

    return block


def exponential(s: Float64) -> tuple[float, Float64, Float64]:
    """w - y exp(x/y), its gradient and Hessian."""
    x, y, w = s
    e, r = np.exp(x / y), np.array([1.0, -x / y, 0.0])
    return w - y * e, np.array([-e, -e * (1 - x / y), 1.0]), -e / y * np.outer(r, r)


def power(alpha: float) -> Bulge:
    """x^α y^(1-α) - |w|, its gradient and Hessian."""

    def bulge(s: Float64) -> tuple[float, Float64, Float64]:
        x, y, w = s
        top, r = x**alpha * y ** (1 - alpha), np.array([1 / x, -1 / y, 0.0])
        slope = np.array([alpha * top / x, (1 - alpha) * top / y, -np.sign(w)])
        return top - abs(w), slope, -alpha * (1 - alpha) * top * np.outer(r, r)

    return bulge
