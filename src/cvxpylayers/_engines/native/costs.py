"""What a factorization costs with cones as the native engine stores them, and with cones kept sparse: from the structure alone.

The native engine rotates the rows of a cone, and for that fills them to the union of their columns (``cpp/src/plan/plan.hpp``).
Nothing is lost where they are dense anyway; a second-order cone of k single variables becomes k² entries and takes k³ flops.
Large semidefinite cones are eliminated as a whole instead (``whole``). Other interior point methods fill their k(k + 1)/2 rows,
which a first-order method does not.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from cvxpylayers._engines.judge.turn import single_variables
from cvxpylayers._engines.native.whole import whole_cones
from cvxpylayers._program import Structure

LARGE: Final = 200_000  # unknowns and rows: at 80 000 the native engine took a quarter of Clarabel's time; memory grows
_WORTH: Final = 3e7  # flops up to which lanes win, however sparse the cones are, for 16 instances and nearly for one
_WORTH_INTERIOR: Final = 5e8  # the same against a first-order method, which is less certain to end
_SMALL: Final = 20  # rows of cones whose columns are not worth counting
_RATIO: Final = 20.0  # what lanes are worth against single instances
_SHARING: Final = 2.0  # rows of second-order cones for an unknown from which setting Clarabel up takes longer than SCS does in all


class Costs(NamedTuple):
    """``size``: unknowns, and rows that are no bounds, without those of cones that are eliminated as a whole; ``sharing``: rows of
    second-order cones, but small ones, for an unknown. The rest are flops of a factorization, roughly: of the native engine
    (``filled``), with sparse second-order cones (``interior``), and with those and sparse semidefinite cones of single variables
    (``sparse``).

    A block of k rows with u columns takes k u² flops where the rows are eliminated, u k² where the columns are, and what is left is
    dense. Fill that all ways of storing cones have in common is not counted.
    """

    size: int
    filled: float
    interior: float
    sparse: float
    sharing: float

    @staticmethod
    def of(structure: Structure) -> Costs:
        """The costs of programs with this structure."""
        cones, A = structure.cones, structure.A
        lengths, lower = (np.diff(pattern.indptr).astype(np.float64) for pattern in (A, structure.P))
        own = float(lengths @ lengths + lower @ lower)
        second_order, semidefinite, core, whole = 0.0, {}, 0, whole_cones(structure)
        size = structure.n + int((lengths > 1).sum())
        for block in cones.blocks("soc", "psd"):
            first, last = block.rows.start, block.rows.stop
            columns, k = A.indices[A.indptr[first] : A.indptr[last]], last - first
            u = len(np.unique(columns)) if k > _SMALL else len(columns)
            flops = float(k * u * min(k, u))
            core = max(core, whole[first].faces if first in whole else min(k, u))
            if first in whole:
                size -= whole[first].alone + int((lengths[first:last] > 1).sum())
            if block.kind == "soc":
                second_order += flops
            else:
                semidefinite[first] = flops
        interior = own + sum(semidefinite.values())
        saved = sum(semidefinite[first] - cone.flops for first, cone in whole.items())
        for rows, J, others in single_variables(cones, structure.n, structure.P, A) if interior > _WORTH_INTERIOR else ():
            semidefinite[rows.start] = float(len(J)) * others**2 + others**3 / 3
        filled = interior - saved + second_order + core**3 / 3
        sharing = sum(k for k in cones.soc if k > _SMALL) / max(structure.n, 1)
        return Costs(size, filled, interior, own + sum(semidefinite.values()), sharing)

    @property
    def better(self) -> tuple[str, str] | None:
        """An engine that is a better choice than the native one, and why; None where there is none."""
        if self.size > LARGE:
            words = f"{self.size} unknowns and rows are more than the native engine was measured with ({LARGE})"
            return "CLARABEL", words
        costs = "are kept sparse, one instance at a time: about {:.1e} flops a factorization where they are filled, {:.1e} without"
        if self.filled > max(_WORTH, _RATIO * self.interior):
            which = "several large second-order cones " if self.sharing >= _SHARING else "large second-order cones "
            return "SCS" if self.sharing >= _SHARING else "CLARABEL", which + costs.format(self.filled, self.interior)
        if min(self.filled, self.interior) > max(_WORTH_INTERIOR, _RATIO * self.sparse):
            return "SCS", "large semidefinite cones " + costs.format(min(self.filled, self.interior), self.sparse)
        return None
