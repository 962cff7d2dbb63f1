"""Rows of an engine ↔ one array per output."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import numpy as np

from cvxpylayers._program import OutputSpec
from cvxpylayers._typing import Exchanged


class Outputs:
    """Which columns of the rows (B, outputs) of an engine belong to which output; immutable."""

    def __init__(self, specs: Sequence[OutputSpec]) -> None:
        cuts = list(accumulate((spec.size for spec in specs), initial=0))
        self._alone = len(specs) == 1
        self.total = cuts[-1]
        self.parts = tuple((slice(a, b), spec.shape) for a, b, spec in zip(cuts, cuts[1:], specs, strict=False))

    def split(self, rows: Exchanged, axes: tuple[int, ...]) -> tuple[Exchanged, ...]:
        """Rows of instances along these axes, in any shape (…, outputs) → one contiguous array (*axes, *shape) per output."""
        if self._alone:
            whole = axes + self.parts[0][1]
            return (rows if rows.shape == whole else rows.reshape(whole),)
        rows = np.asarray(rows)
        return tuple(np.ascontiguousarray(rows[..., columns]).reshape(axes + own) for columns, own in self.parts)

    def stack(self, cotangents: Sequence[Exchanged | None], size: int, directions: int | None) -> Exchanged:
        """One cotangent ([K,] *batch, *shape) per output, K = 1 for all of them, None for zero → rows (*K, B, outputs)."""
        lead = () if directions is None else (directions,)
        if self._alone and (only := cotangents[0]) is not None and only.shape[: len(lead)] == lead:
            whole = (*lead, size, self.total)
            return only if only.shape == whole else only.reshape(whole)
        rows = np.zeros((*lead, size, self.total))
        for cotangent, (columns, _) in zip(cotangents, self.parts, strict=True):
            if cotangent is not None:
                rows[..., columns] = cotangent.reshape(*cotangent.shape[: len(lead)], size, columns.stop - columns.start)
        return rows
