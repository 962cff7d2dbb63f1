"""Π_K'(w) in frames in which it is diagonal, sparse whatever the sizes of second-order cones.

With an orthogonal T, block diagonal over the cones, Π'(w) = Tᵀ diag(c) T and E = (I - Π'(w))^½ = Tᵀ diag(e) T, e² = 1 - c. T is the
identity in linear rows. A second-order cone of any size has two directions of its own, v₊ = (1, û)/√2 with c = 1 and
v₋ = (1, -û)/√2 with c = 0, and one value on what is orthogonal to both: T is the identity there, and v₊, v₋ are handed over.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from cvxpylayers._engines.cones import Projection, second_order_values, semidefinite_values
from cvxpylayers._program import Cones
from cvxpylayers._typing import Float64, Shaped


@dataclass(frozen=True)
class Frames:
    """T (None for the identity), c and e by rows of T, and v₊, v₋ as columns, one pair for each second-order cone that has them."""

    T: sp.csr_array | None
    c: Shaped[Float64, " m"]
    e: Shaped[Float64, " m"]
    plus: sp.csc_array
    minus: sp.csc_array

    @staticmethod
    def at(cones: Cones, w: Shaped[Float64, " m"]) -> Frames:
        """The frames of Π_K'(w)."""
        m, linear = len(w), cones.zero + cones.nonneg
        c = np.zeros(m)
        c[cones.zero : linear] = w[cones.zero : linear] > 0
        e = np.sqrt(1 - c)
        pairs, start = [], linear
        for k in cones.soc:
            if k:
                rows = slice(start, start + k)
                kept, cut, direction = second_order_values(w[rows])
                c[rows], e[rows] = kept, math.sqrt(cut)
                if direction is not None:
                    pairs.append((start, direction))
            start += k
        first, blocks = start, []
        for k in cones.psd:
            rows = slice(start, start := start + k * (k + 1) // 2)
            c[rows], frame = semidefinite_values(w[rows])
            blocks.append(frame)
        small = Projection(Cones(exp=cones.exp, power=cones.power))
        for rows, block in small.blocks():
            D = block.derivative(w[start:][rows])
            values, vectors = np.linalg.eigh(0.5 * (D + D.T))
            c[start:][rows] = values.clip(0.0, 1.0)
            blocks.append(vectors.T)
        e[first:] = np.sqrt(1 - c[first:])
        T = sp.csr_array(sp.block_diag([sp.eye_array(first), *blocks], format="csr")) if blocks else None
        return Frames(T, c, e, _columns(pairs, m, 1.0), _columns(pairs, m, -1.0))

    def enter(self, rows: sp.csr_array | Float64) -> sp.csr_array | Float64:
        """diag(e) T times a matrix or vectors of m rows; without what it says of v₋."""
        turned = rows if self.T is None else self.T @ rows
        return sp.diags_array(self.e) @ turned

    def leave(self, vectors: Float64) -> Float64:
        """The transpose of ``enter``."""
        scaled = sp.diags_array(self.e) @ vectors
        return scaled if self.T is None else np.asarray(self.T.T @ scaled)


def _columns(pairs: list[tuple[int, Float64]], m: int, sign: float) -> sp.csc_array:
    """(1, ± û)/√2 in the rows of every cone."""
    rows = [start + np.arange(1 + len(direction)) for start, direction in pairs]
    values = [np.concatenate([[1.0], sign * direction]) * math.sqrt(0.5) for _, direction in pairs]
    indptr = np.cumsum([0, *map(len, rows)])
    if not pairs:
        return sp.csc_array((m, 0))
    return sp.csc_array((np.concatenate(values), np.concatenate(rows), indptr), shape=(m, len(pairs)))
