"""The product cone: its blocks, and the order of their rows."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Cones:
    """The product cone K, its blocks in row order: zero, nonneg, soc…, psd…, exp…, power….

    ``soc`` holds dimensions, ``psd`` matrix orders k (each block has k(k+1)/2 svec rows), ``exp`` the number of
    3-row blocks, ``power`` the exponent of each 3-row block.
    """

    zero: int = 0
    nonneg: int = 0
    soc: tuple[int, ...] = ()
    psd: tuple[int, ...] = ()
    exp: int = 0
    power: tuple[float, ...] = ()

    @property
    def rows(self) -> int:
        """Number of rows m."""
        return self.zero + self.nonneg + sum(self.soc) + sum(k * (k + 1) // 2 for k in self.psd) + 3 * (self.exp + len(self.power))

    @property
    def polyhedral(self) -> bool:
        """Whether K has only zero and nonnegative blocks."""
        return self.rows == self.zero + self.nonneg
