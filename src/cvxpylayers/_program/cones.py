"""The product cone: its blocks and their rows, and svec, the order of the rows of a semidefinite one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Final, NamedTuple

import numpy as np

from cvxpylayers._typing import Float64, NDArray, Shaped

LINEAR: Final = ("zero", "nonneg")
CURVED: Final = ("soc", "psd", "exp", "power")
WORDS: Final = {
    "zero": "equalities",
    "nonneg": "inequalities",
    "soc": "second-order cones",
    "psd": "positive semidefinite cones",
    "exp": "exponential cones",
    "power": "power cones",
}


class Block(NamedTuple):
    """One block of a product cone: ``kind`` names the field of ``Cones``, ``rows`` its rows, at least one.

    ``order`` is the number of rows, of semidefinite cones the order of the matrix; ``alpha`` the exponent of a power cone, else ½.
    """

    kind: str
    order: int
    alpha: float
    rows: slice


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

    def blocks(self, *kinds: str) -> tuple[Block, ...]:
        """The blocks of these kinds, else all, in row order: all rows of {0} in one, those of the orthant in another."""
        return tuple(block for block in self._blocks if block.kind in kinds) if kinds else self._blocks

    @cached_property
    def _blocks(self) -> tuple[Block, ...]:
        orders = [("zero", self.zero, 0.5), ("nonneg", self.nonneg, 0.5)]
        orders += [("soc", k, 0.5) for k in self.soc] + [("psd", k, 0.5) for k in self.psd]
        orders += [("exp", 3, 0.5)] * self.exp + [("power", 3, alpha) for alpha in self.power]
        blocks, start = [], 0
        for kind, order, alpha in orders:
            rows = slice(start, start := start + (svec_size(order) if kind == "psd" else order))
            if order:
                blocks.append(Block(kind, order, alpha, rows))
        return tuple(blocks)

    @property
    def rows(self) -> int:
        """Number of rows m."""
        return self._blocks[-1].rows.stop if self._blocks else 0

    @property
    def orthant(self) -> slice:
        """The nonnegative rows."""
        return slice(self.zero, self.zero + self.nonneg)

    @property
    def polyhedral(self) -> bool:
        """Whether K has only zero and nonnegative blocks."""
        return self.rows == self.zero + self.nonneg


def svec_size(k: int) -> int:
    """Entries of svec of a symmetric matrix of order k: its upper triangle by columns, the off-diagonal entries times √2."""
    return k * (k + 1) // 2


def svec_order(size: int) -> int:
    """The order of a matrix whose svec has ``size`` entries."""
    return (math.isqrt(8 * size + 1) - 1) // 2


def svec_entries(k: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Row i and column j ≥ i of every entry of svec, in its order."""
    column, row = np.tril_indices(k)
    return row, column


def svec_position(row: NDArray[np.integer], column: NDArray[np.integer]) -> NDArray[np.integer]:
    """Where in svec the entries (row, column) are, of either triangle."""
    larger = np.maximum(row, column)
    return np.asarray(larger * (larger + 1) // 2 + np.minimum(row, column))


def svec_scale(k: int) -> Shaped[Float64, " entries"]:
    """What svec multiplies the entries of a matrix with: 1 on the diagonal, √2 elsewhere."""
    row, column = svec_entries(k)
    return np.where(row == column, 1.0, math.sqrt(2.0))
