"""What a factorization costs with cones as the native engine stores them, and with cones kept sparse: from the structure alone.

The native engine rotates the rows of a cone, and for that fills them to the union of their columns (``cpp/src/kkt/symbolic.hpp``).
Nothing is lost where they are dense anyway; a second-order cone of k single variables becomes k² entries and takes k³ flops.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from cvxpylayers._program import Structure

LARGE: Final = 20_000  # unknowns and rows; beyond, ordering takes longer than many solves
_WORTH: Final = 3e7  # flops up to which lanes win, however sparse the cones are, for 16 instances and nearly for one
_RATIO: Final = 20.0  # what lanes are worth against single instances


class Costs(NamedTuple):
    """``size``: unknowns, and rows that are no bounds; ``filled`` and ``sparse``: flops of a factorization, roughly.

    A block of k rows with u columns takes k u² flops where the rows are eliminated, u k² where the columns are, and what is left is
    dense. Fill that both ways of storing cones have in common is not counted.
    """

    size: int
    filled: float
    sparse: float

    @staticmethod
    def of(structure: Structure) -> Costs:
        """The costs of programs with this structure."""
        cones, A = structure.cones, structure.A
        lengths, lower = (np.diff(pattern.indptr).astype(np.float64) for pattern in (A, structure.P))
        filled = sparse = float(lengths @ lengths + lower @ lower)
        heights, first, core = [*cones.soc, *(k * (k + 1) // 2 for k in cones.psd)], cones.zero + cones.nonneg, 0
        for i, k in enumerate(heights):
            u = len(np.unique(A.indices[A.indptr[first] : A.indptr[first + k]]))
            filled += k * u * min(k, u)
            sparse += k * u * min(k, u) * (i >= len(cones.soc))  # no one keeps semidefinite cones sparse
            core, first = max(core, min(k, u)), first + k
        return Costs(structure.n + int((lengths > 1).sum()), filled + core**3 / 3, sparse)

    @property
    def why_sparse(self) -> str | None:
        """Why the native engine is the wrong choice, in words; None where it is the right one."""
        if self.size > LARGE:
            return f"{self.size} unknowns and rows are more than the native engine orders in reasonable time ({LARGE})"
        if self.filled > max(_WORTH, _RATIO * self.sparse):
            costs = f"{self.filled:.1e} flops a factorization where the native engine fills them, {self.sparse:.1e} without"
            return f"large second-order cones are kept sparse, one instance at a time: about {costs}"
        return None
