"""From a caller's rows to the rows of ``Cones``: order, svec and signs; nothing else knows them.

A cone constraint is given as e ∈ K₀ with e = G x + h in the caller's own row order. The engine wants A x + s = b with s in the
blocks of ``Cones``. Both are one sparse map T, in which every caller's row r has exactly one target row and one coefficient:

    s = σ T e,   A = -σ T G,   b = σ T h,   λ = Tᵀ z,

with σ = -1 on zero rows and +1 elsewhere, so that λ is the multiplier of e == 0 in the Lagrangian f + λᵀe, respectively the
element of K₀* in f - λᵀe: the signs of CVXPY's duals.

For a k × k matrix E in the PSD cone (only its symmetric part is constrained) T is svec: s_jj = E_jj and
s_ij = (E_ij + E_ji)/√2, i < j, in the order (0,0), (0,1), (1,1), (0,2), … (upper triangle by columns). Then ⟨s, z⟩ = ⟨E, Z⟩, and
λ = Tᵀ z is the full matrix Z with Z_ij = Z_ji = z_ij/√2.

The exponential cone is cl{(x, y, w): y exp(x/y) ≤ w, y > 0}, the power cone {(x, y, w): x^α y^(1-α) ≥ |w|, x, y ≥ 0}.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Literal

import numpy as np

from cvxpylayers._program import Cones
from cvxpylayers._program.cones import svec_position, svec_size
from cvxpylayers._typing import Float64, Int32

Kind = Literal["free", "zero", "tight", "nonneg", "soc", "psd", "exp", "power"]
_ORDER: tuple[Kind, ...] = ("free", "zero", "tight", "nonneg", "soc", "psd", "exp", "power")


@dataclass(frozen=True)
class Block:
    """``count`` cones of one kind in the caller's rows, all of dimension ``dim``.

    Rows of the caller, by kind (i counts cones):
    free: ``count`` rows that constrain nothing and have no place in the engine.
    zero, nonneg: ``count`` rows, ``dim`` is 1.
    tight: as nonneg, but e = 0 can be asked without loss; the engine gets equalities, and the multiplier is that of e ≥ 0.
    soc: the ``count`` heads t_i, then the tails, ``dim - 1`` rows for each i.
    psd: ``dim`` is the order k; entry (i, a, b) at row i + count (a + k b).
    exp, power: the ``count`` x_i, then the y_i, then the w_i; ``alpha`` holds the exponents.
    """

    kind: Kind
    count: int
    dim: int = 1
    alpha: tuple[float, ...] = ()

    @property
    def rows(self) -> int:
        """Number of the caller's rows."""
        return self.count * {"soc": self.dim, "psd": self.dim**2, "exp": 3, "power": 3}.get(self.kind, 1)


@dataclass(frozen=True)
class Rows:
    """The map T: caller's row r goes to row ``target[r]`` (-1: to none) with ``coefficient[r]``; ``sign[r]`` is σ."""

    cones: Cones
    target: Int32
    coefficient: Float64
    sign: Float64


def lay_out(blocks: Sequence[Block]) -> Rows:
    """Rows of ``blocks``, whose caller's rows follow each other, in engine order (kinds as in ``Cones``, stable within a kind).

    Second-order and semidefinite cones of one row are half-lines, and become nonnegative rows.
    """
    blocks = [Block("nonneg", b.count) if b.kind in ("soc", "psd") and b.dim == 1 else b for b in blocks]
    local = [_local(block) for block in blocks]
    heights = [int(target.max(initial=-1)) + 1 for target, _ in local]
    starts = np.zeros(len(blocks), dtype=np.int32)
    ranked = sorted(range(len(blocks)), key=lambda i: _ORDER.index(blocks[i].kind))
    row = 0
    for i in ranked:
        starts[i] = row
        row += heights[i]
    ordered = [blocks[i] for i in ranked]
    cones = Cones(
        zero=sum(b.count for b in ordered if b.kind in ("zero", "tight")),
        nonneg=sum(b.count for b in ordered if b.kind == "nonneg"),
        soc=tuple(b.dim for b in ordered if b.kind == "soc" for _ in range(b.count)),
        psd=tuple(b.dim for b in ordered if b.kind == "psd" for _ in range(b.count)),
        exp=sum(b.count for b in ordered if b.kind == "exp"),
        power=tuple(a for b in ordered if b.kind == "power" for a in b.alpha),
    )
    return Rows(
        cones,
        target=np.concatenate([np.zeros(0, np.int32), *(start + t for start, (t, _) in zip(starts, local, strict=True))]),
        coefficient=np.concatenate([np.zeros(0), *(c for _, c in local)]),
        sign=np.concatenate([np.zeros(0), *(np.full(len(t), _sign(b)) for b, (t, _) in zip(blocks, local, strict=True))]),
    )


def _sign(block: Block) -> float:
    return -1.0 if block.kind == "zero" else 1.0


def _local(block: Block) -> tuple[Int32, Float64]:
    """Target rows, counted from the start of the block, and coefficients of the block's caller's rows."""
    cone = np.arange(block.count, dtype=np.int32)
    match block.kind:
        case "free":
            target = np.full(block.count, -1, dtype=np.int32)  # free blocks come first, at row 0, so that this stays -1
        case "zero" | "tight" | "nonneg":
            target = cone
        case "soc":
            tails = block.dim * cone[:, None] + np.arange(1, block.dim, dtype=np.int32)
            target = np.concatenate([block.dim * cone, tails.ravel()])
        case "exp" | "power":
            target = np.concatenate([3 * cone, 3 * cone + 1, 3 * cone + 2])
        case "psd":
            return _svec(block.count, block.dim)
    return target, np.ones(len(target))


def _svec(count: int, k: int) -> tuple[Int32, Float64]:
    b, a, i = np.meshgrid(np.arange(k), np.arange(k), np.arange(count), indexing="ij")
    target = i * svec_size(k) + svec_position(a, b)
    return target.ravel().astype(np.int32), np.where(a == b, 1.0, 1 / sqrt(2)).ravel()
