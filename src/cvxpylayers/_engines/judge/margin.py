"""How far a solution is from losing strict complementarity, where its derivative jumps."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from cvxpylayers._program import Block, Cones
from cvxpylayers._program.cones import CURVED, svec_entries
from cvxpylayers._typing import Float64, Shaped


def margin(cones: Cones, s: Shaped[Float64, " m"], z: Shaped[Float64, " m"]) -> float:
    """The least, over all blocks, of what would have to vanish for Π_K to be kinked at w = s - z; +∞ without inequalities.

    On nonnegative rows, second-order and semidefinite cones: |λ|, λ the spectral values of w. On exponential and power cones: the
    lesser of |s| and |z|, or the depth of the one inside its cone. In the units of (s, z); as cpp/src/cones/margin.hpp.
    """
    rows = np.abs(s[cones.orthant] - z[cones.orthant])
    curved = (_of(block, s[block.rows], z[block.rows]) for block in cones.blocks(*CURVED))
    return float(min(rows.min(initial=np.inf), min(curved, default=np.inf)))


def _of(block: Block, s: Float64, z: Float64) -> float:
    match block.kind:
        case "soc":
            return float(abs(abs(s[0] - z[0]) - np.linalg.norm(s[1:] - z[1:])))
        case "psd":
            row, column = svec_entries(block.order)
            W = np.zeros((block.order, block.order))
            W[column, row] = (s - z) * np.where(row == column, 1.0, np.sqrt(0.5))
            return float(np.abs(np.linalg.eigvalsh(W)).min())
        case "exp":
            return _three(s, z, _exponential_depth, _exponential_dual_depth)
    return _three(s, z, partial(_power_depth, block.alpha), partial(_power_dual_depth, block.alpha))


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
