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

from cvxpylayers._engines.judge.projections import congruence, maps, second_order_values, semidefinite_values
from cvxpylayers._program import Cones
from cvxpylayers._program.cones import CURVED
from cvxpylayers._typing import Float64, Shaped


@dataclass(frozen=True)
class Frames:
    """c and e by rows of T, T itself, and v₊, v₋ as columns, one pair for each second-order cone that has them.

    ``semidefinite`` holds rows and Q of every semidefinite cone, where T is svec(V) ↦ svec(QᵀVQ); ``small`` is the rest of T,
    sparse, None for the identity.
    """

    semidefinite: tuple[tuple[slice, Float64], ...]
    small: sp.csr_array | None
    c: Shaped[Float64, " m"]
    e: Shaped[Float64, " m"]
    plus: sp.csc_array
    minus: sp.csc_array

    @staticmethod
    def at(cones: Cones, w: Shaped[Float64, " m"]) -> Frames:
        """The frames of Π_K'(w)."""
        m, linear = len(w), cones.orthant
        c = np.zeros(m)
        c[linear] = w[linear] > 0
        e = np.sqrt(1 - c)
        pairs, semidefinite, small = [], [], []
        for block in cones.blocks(*CURVED):
            rows = block.rows
            if block.kind == "soc":
                kept, cut, direction = second_order_values(w[rows])
                c[rows], e[rows] = kept, math.sqrt(cut)
                if direction is not None:
                    pairs.append((rows.start, direction))
                continue
            if block.kind == "psd":
                c[rows], Q = semidefinite_values(w[rows])
                semidefinite.append((rows, Q))
            else:
                D = maps(block).derivative(w[rows])
                values, vectors = np.linalg.eigh(0.5 * (D + D.T))
                c[rows] = values.clip(0.0, 1.0)
                small.append(vectors.T)
            e[rows] = np.sqrt(1 - c[rows])
        T = sp.csr_array(sp.block_diag([sp.eye_array(m - 3 * len(small)), *small], format="csr")) if small else None
        return Frames(tuple(semidefinite), T, c, e, _columns(pairs, m, 1.0), _columns(pairs, m, -1.0))

    def enter_matrix(self, rows: sp.csr_array) -> sp.csr_array:
        """diag(e) T times a matrix of m rows; without what it says of v₋."""
        turned = rows if self.small is None else sp.csr_array(self.small @ rows)
        if self.semidefinite:
            first, last = self.semidefinite[0][0].start, self.semidefinite[-1][0].stop
            blocks = [_congruence(Q, rows[block]) for block, Q in self.semidefinite]
            turned = sp.csr_array(sp.vstack([turned[:first], *blocks, turned[last:]], format="csr"))
        return sp.csr_array(sp.diags_array(self.e) @ turned)

    def enter(self, vectors: Shaped[Float64, "m k"]) -> Shaped[Float64, "m k"]:
        """The same of vectors."""
        turned = vectors.copy() if self.small is None else np.asarray(self.small @ vectors)
        for block, Q in self.semidefinite:
            turned[block] = congruence(Q, vectors[block])
        return self.e[:, None] * turned

    def leave(self, vectors: Shaped[Float64, "m k"]) -> Shaped[Float64, "m k"]:
        """The transpose of ``enter``."""
        scaled = self.e[:, None] * vectors
        turned = scaled.copy() if self.small is None else np.asarray(self.small.T @ scaled)
        for block, Q in self.semidefinite:
            turned[block] = congruence(Q.T, scaled[block])
        return turned


def _congruence(Q: Float64, rows: sp.csr_array) -> sp.csr_array:
    """``congruence`` of the columns that are not empty."""
    filled, inverse = np.unique(rows.indices, return_inverse=True)
    dense = np.zeros((rows.shape[0], len(filled)))
    dense[np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr)), inverse] = rows.data
    turned = congruence(Q, dense)
    where = np.indices(turned.shape)
    return sp.csr_array((turned.ravel(), (where[0].ravel(), filled[where[1].ravel()])), shape=rows.shape)


def _columns(pairs: list[tuple[int, Float64]], m: int, sign: float) -> sp.csc_array:
    """(1, ± û)/√2 in the rows of every cone."""
    rows = [start + np.arange(1 + len(direction)) for start, direction in pairs]
    values = [np.concatenate([[1.0], sign * direction]) * math.sqrt(0.5) for _, direction in pairs]
    indptr = np.cumsum([0, *map(len, rows)])
    if not pairs:
        return sp.csc_array((m, 0))
    return sp.csc_array((np.concatenate(values), np.concatenate(rows), indptr), shape=(m, len(pairs)))
