"""Where K = [P Aᵀ; A 0] and a triangular factor of it have entries: from the structure alone."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg as spla

from cvxpylayers._program import Structure
from cvxpylayers._program.cones import WORDS
from cvxpylayers._typing import Bool


class Sparsity(NamedTuple):
    """K with its diagonal, its factor under a minimum degree ordering, which of the factor's entries K has, and K's parts.

    ``parts`` are rows by name: variables, then the kinds of cones. The native engine condenses rows and chooses its own ordering:
    ``layer.explain()`` has the size of that factor.
    """

    K: sp.csc_array
    factor: sp.csc_array
    old: Bool
    parts: dict[str, int]

    @staticmethod
    def of(structure: Structure) -> Sparsity:
        """Those of all programs with this structure, explicit zeros included."""
        n, m = structure.n, structure.m

        def ones(pattern: Any, rows: int) -> sp.csr_array:
            return sp.csr_array((np.ones(pattern.nnz), pattern.indices, pattern.indptr), shape=(rows, n))

        P, A = ones(structure.P, n), ones(structure.A, m)
        off = sp.block_array([[sp.tril(P, -1), None], [A, sp.csr_array((m, m))]], format="csc")
        off = sp.csc_array(off + off.T)
        K = sp.csc_array(off + sp.eye_array(n + m))
        # Off the diagonal numbers without any relation, so that nothing cancels, and so small that pivots stay on the diagonal.
        values = off.copy()
        values.data = np.random.default_rng(0).uniform(0.5, 1.0, off.nnz) / (n + m)
        lu = spla.splu(
            sp.csc_array(values + sp.eye_array(n + m)),
            permc_spec="MMD_AT_PLUS_A",
            diag_pivot_thresh=0.0,
            options={"SymmetricMode": True, "Equil": False},
        )
        factor = sp.csc_array(lu.L)
        order = np.argsort(lu.perm_c)
        permuted = sp.csr_array(K[order][:, order])
        entries = factor.tocoo()
        old = np.asarray(permuted[entries.row, entries.col] != 0.0).ravel()
        parts = {"variables": n}
        for block in structure.cones.blocks():
            name = WORDS[block.kind]
            parts[name] = parts.get(name, 0) + block.rows.stop - block.rows.start
        return Sparsity(K, factor, old, parts)
