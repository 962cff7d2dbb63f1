"""How far a solution is from losing strict complementarity, where its derivative jumps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from cvxpylayers._program import Cones
from cvxpylayers._typing import Float64, Shaped


def margin(cones: Cones, s: Shaped[Float64, " m"], z: Shaped[Float64, " m"]) -> float:
    """The least, over all blocks, of what would have to vanish for Π_K to be kinked at w = s - z; +∞ without inequalities.

    On nonnegative rows, second-order and semidefinite cones: |λ|, λ the spectral values of w. On exponential and power cones: the
    lesser of |s| and |z|, or the depth of the one inside its cone. In the units of (s, z); as cpp/src/cones/margin.hpp.
    """
    end = cones.zero + cones.nonneg
    rows = np.abs(s[cones.zero : end] - z[cones.zero : end])
    return float(min(rows.min(initial=np.inf), min(_blocks(cones, s[end:], z[end:]), default=np.inf)))


def _blocks(cones: Cones, s: Float64, z: Float64) -> Iterator[float]:
    row = 0

    def cut(rows: int) -> tuple[Float64, Float64]:
        nonlocal row
        row += rows
        return s[row - rows : row], z[row - rows : row]

    for k in cones.soc:
        p, d = cut(k)
        if k:
            yield abs(abs(p[0] - d[0]) - float(np.linalg.norm(p[1:] - d[1:])))
    for k in cones.psd:
        p, d = cut(k * (k + 1) // 2)
        if k:
            column, line = np.tril_indices(k)
            W = np.zeros((k, k))
            W[column, line] = (p - d) * np.where(column == line, 1.0, np.sqrt(0.5))
            yield float(np.abs(np.linalg.eigvalsh(W)).min())
    for _ in range(cones.exp):
        yield _three(*cut(3), _exponential_depth, _exponential_dual_depth)
    for a in cones.power:
        yield _three(*cut(3), partial(_power_depth, a), partial(_power_dual_depth, a))


def _three(s: Float64, z: Float64, primal: Callable[[Float64], float], dual: Callable[[Float64], float]) -> float:
    s_norm, z_norm = float(np.linalg.norm(s)), float(np.linalg.norm(z))
    return max(min(s_norm, z_norm), primal(s) if z_norm < s_norm else dual(z))


def _exponential_depth(s: Float64) -> float:
    return float(s[1] * np.log(s[2] / s[1]) - s[0]) if s[1] > 0 and s[2] > 0 else -1.0


def _exponential_dual_depth(z: Float64) -> float:
    return float(z[1] - z[0] - z[0] * np.log(-z[2] / z[0])) if z[0] < 0 < z[2] else -1.0


def _power_depth(a: float, s: Float64) -> float:
    return float(max(s[0], 0.0) ** a * max(s[1], 0.0) ** (1 - a) - abs(s[2]))


def _power_dual_depth(a: float, z: Float64) -> float:
    return _power_depth(a, z / np.array([a, 1 - a, 1.0]))
