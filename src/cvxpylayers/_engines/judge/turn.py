"""A change of variables that keeps large semidefinite cones sparse: variables that are the rows of a cone are turned with it.

Where the rows of a semidefinite cone are single variables, A x = a ∘ x_J there, and P does not touch these, dx_J = a⁻¹ ∘ Tᵀ dx̃_J
makes T A the identity: in K only the other rows with entries in J become dense.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import scipy.sparse as sp

from cvxpylayers._engines.judge.frames import Frames
from cvxpylayers._engines.judge.projections import congruence
from cvxpylayers._program import Cones, Pattern
from cvxpylayers._typing import Float64, Int32, Shaped

Rows: TypeAlias = Pattern | sp.csr_array


def single_variables(cones: Cones, n: int, P: Rows, A: Rows) -> Iterator[tuple[slice, Int32, int]]:
    """Rows, columns J, and the number of other rows with entries there, of every semidefinite cone that is worth turning.

    By the patterns of P (any triangle) and A, by rows: other rows become dense, so they must be fewer than the cone's.
    """
    touched = np.zeros(n, dtype=np.bool_)
    touched[P.indices] = True
    touched[np.flatnonzero(np.diff(P.indptr))] = True
    for *_, rows in cones.blocks("psd"):
        J = A.indices[A.indptr[rows.start] : A.indptr[rows.stop]]
        single = (np.diff(A.indptr[rows.start : rows.stop + 1]) == 1).all()
        if not single or len(np.unique(J)) < len(J) or touched[J].any():
            continue
        inside = np.zeros(n, dtype=np.bool_)
        inside[J] = True
        ends = np.concatenate([[0], np.cumsum(inside[A.indices])])[A.indptr]
        others = int(np.count_nonzero(np.diff(ends))) - len(J)
        if others < len(J):
            touched[J] = True
            yield rows, J, others


@dataclass(frozen=True)
class Turn:
    """dx = W dx̃; ``places`` holds J, a and Q (as in ``Frames``) of every cone that is turned, ``rows`` those of the cones."""

    places: tuple[tuple[Int32, Float64, Float64], ...]
    rows: tuple[slice, ...]

    @staticmethod
    def at(cones: Cones, P: sp.csr_array, A: sp.csr_array, frames: Frames) -> Turn:
        """The change of variables for these frames."""
        Q = {rows.start: frame for rows, frame in frames.semidefinite}
        found = [
            (rows, J, A.data[A.indptr[rows.start] : A.indptr[rows.stop]])
            for rows, J, _ in single_variables(cones, A.shape[1], P, A)
        ]
        kept = [(rows, (J, a, Q[rows.start])) for rows, J, a in found if a.all()]
        return Turn(tuple(place for _, place in kept), tuple(rows for rows, _ in kept))

    def enter_matrix(self, A: sp.csr_array, frames: Frames) -> tuple[sp.csr_array, sp.csr_array]:
        """A W without the rows of the cones, and diag(e) T A W."""
        if not self.places:
            return A, frames.enter_matrix(A)
        kept = np.ones(A.shape[0])
        for rows in self.rows:
            kept[rows] = 0.0
        rest = sp.csr_array(sp.diags_array(kept) @ A)
        for J, a, Q in self.places:
            inside = sp.csc_array(rest)[:, J]
            full = np.flatnonzero(np.diff(sp.csr_array(inside).indptr))
            turned = congruence(Q, sp.csr_array(inside)[full].toarray().T / a[:, None]).T
            columns = np.ones(A.shape[1])
            columns[J] = 0.0
            where = np.repeat(full, len(J)), np.tile(J, len(full))
            rest = sp.csr_array(rest @ sp.diags_array(columns) + sp.csr_array((turned.ravel(), where), shape=A.shape))
        rest.eliminate_zeros()
        i, j = np.concatenate([np.arange(r.start, r.stop) for r in self.rows]), np.concatenate([J for J, _, _ in self.places])
        return rest, sp.csr_array(frames.enter_matrix(rest) + sp.csr_array((frames.e[i], (i, j)), shape=A.shape))

    def enter(self, vectors: Shaped[Float64, "n k"]) -> Shaped[Float64, "n k"]:
        """Wᵀ of vectors."""
        turned = vectors.copy()
        for J, a, Q in self.places:
            turned[J] = congruence(Q, vectors[J] / a[:, None])
        return turned

    def leave(self, vectors: Shaped[Float64, "n k"]) -> Shaped[Float64, "n k"]:
        """W of vectors."""
        turned = vectors.copy()
        for J, a, Q in self.places:
            turned[J] = congruence(Q.T, vectors[J]) / a[:, None]
        return turned
