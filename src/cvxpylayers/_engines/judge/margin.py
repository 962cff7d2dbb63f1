"""How far a solution is from losing strict complementarity, where its derivative jumps."""

from __future__ import annotations

import numpy as np

from cvxpylayers._engines.judge.projections import maps
from cvxpylayers._program import Cones
from cvxpylayers._program.cones import CURVED
from cvxpylayers._typing import Float64, Shaped


def margin(cones: Cones, s: Shaped[Float64, " m"], z: Shaped[Float64, " m"]) -> float:
    """The least, over all blocks, of what would have to vanish for Π_K to be kinked at w = s - z; +∞ without inequalities.

    On nonnegative rows, second-order and semidefinite cones: |λ|, λ the spectral values of w. On exponential and power cones: the
    lesser of |s| and |z|, or the depth of the one inside its cone. In the units of (s, z); as cpp/src/cones/margin.hpp. NaN where
    there is no point.
    """
    if np.isnan(s).any() or np.isnan(z).any():
        return np.nan
    rows = np.abs(s[cones.orthant] - z[cones.orthant])
    curved = (maps(block).margin(s[block.rows], z[block.rows]) for block in cones.blocks(*CURVED))
    return float(min(rows.min(initial=np.inf), min(curved, default=np.inf)))
