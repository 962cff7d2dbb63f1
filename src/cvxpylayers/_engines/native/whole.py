"""Large semidefinite cones, which the native engine eliminates as a whole: which they are and what they cost, from the structure.

The rows of other cones are rotated into frames, and filled for that to the union of their columns. A cone that is eliminated as
a whole (``cpp/src/plan/whole_cone.hpp``) keeps its rows as they are, and leaves a dense block of the order of its faces: the
columns of its rows, or the other rows that meet them where they are single variables.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

import numpy as np

from cvxpylayers._engines.judge.turn import single_variables
from cvxpylayers._program import Structure

_LEAST: Final = 16  # order below which a cone is never large
_WORTH: Final = 2e7  # flops of a filled cone from which on it is worth while
_FRAME: Final = 4.0  # times order³: to rotate one column
_ROTATIONS: Final = 150.0  # the same: a scaling by rotations of pairs of columns
_PRODUCTS: Final = 40.0  # a scaling by products of matrices
_FACE: Final = 2.0  # the product with one face


class WholeCone(NamedTuple):
    """``faces`` is their number, ``alone`` the number of variables that leave with the cone, ``flops`` of a factorization."""

    faces: int
    alone: int
    flops: float


def whole_cones(structure: Structure) -> Mapping[int, WholeCone]:
    """The cones that are worth it, by their first rows."""
    cones, A = structure.cones, structure.A
    large = [block for block in cones.blocks("psd") if block.order >= _LEAST]
    if not large:
        return {}
    around = {rows.start: others for rows, _, others in single_variables(cones, structure.n, structure.P, A)}
    found = {}
    for _, order, _, rows in large:
        k, m = float(order) ** 3, rows.stop - rows.start
        u = len(np.unique(A.indices[A.indptr[rows.start] : A.indptr[rows.stop]]))
        alone = m if around.get(rows.start, 0) else 0
        faces = around[rows.start] if alone else u
        filled = (_FRAME * u + _ROTATIONS) * k + float(m) * u * min(m, u)
        flops = (_FACE * faces + _PRODUCTS) * k
        if filled > max(_WORTH, 2.0 * flops):
            found[rows.start] = WholeCone(faces, alone, flops)
    return found
