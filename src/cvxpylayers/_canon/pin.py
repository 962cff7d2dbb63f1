"""Epigraph variables that slack constraints leave undetermined, pinned.

CVXPY writes ``norm(x) <= r`` as (t, x) ∈ SOC, t ≤ r with a variable t of its own. Where the constraint does not bind, every t
between is as good: the solution is not unique, and its derivative singular, although the user's part of both is not.

Let d be the change of e = G x + h per unit of such a t, up or down. If e + τ d stays in the cones for every τ ≥ 0 but for one
inequality row, where d < 0, and t does not enter the objective, then t can move until that row is tight, from any feasible point
and at no cost. So the row may be an equality: the user's solutions are the same, t is determined, and the multiplier, too, is that
of the inequality. Several rows may be at once where none of these motions touches the row of another.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise

import numpy as np

from cvxpylayers._canon.layout import Block
from cvxpylayers._typing import Float64, NDArray
from cvxpylayers._typing import Int32 as Index


def tight_rows(blocks: Sequence[Block], row: Index, column: Index, value: Float64) -> NDArray[np.intp]:
    """Inequality rows that may be equalities, from the entries (row, column, value) of all columns of G that may move freely:

    variables that are not the user's, not in the objective, and not reached by a parameter.
    """
    order = np.argsort(column, kind="stable")
    row, column, value = row[order], column[order], value[order]
    starts = [*np.flatnonzero(np.diff(column, prepend=-1)), len(column)]
    ends = list(accumulate(block.rows for block in blocks))
    walls: list[int | None] = []
    touched = np.zeros(ends[-1], dtype=np.intp)
    for a, b in pairwise(starts):
        direction = np.zeros(ends[-1])
        direction[row[a:b]] = value[a:b]
        found = {_only_wall(blocks, ends, sign * direction) for sign in (1.0, -1.0)} - {None}
        if found:
            walls += found
            touched[row[a:b]] += 1
    return np.array([wall for wall in walls if touched[wall] == 1], dtype=np.intp)


def _only_wall(blocks: Sequence[Block], ends: Sequence[int], direction: Float64) -> int | None:
    """The inequality row that alone stops a motion along ``direction``; None if there is none, or more."""
    walls: list[int] = []
    for block, end in zip(blocks, ends, strict=True):
        start = end - block.rows
        part = direction[start:end]
        if not part.any() or block.kind == "free":
            continue
        if block.kind == "nonneg":
            walls += (start + np.flatnonzero(part < 0)).tolist()
        elif not _recedes(block, part):
            return None
        if len(walls) > 1:
            return None
    return walls[0] if walls else None


def _recedes(block: Block, d: Float64) -> bool:
    """Whether every cone of the block contains its part of ``d``; of exponential and power cones, only their simplest rays."""
    match block.kind:
        case "soc":
            heads, tails = d[: block.count], d[block.count :].reshape(block.count, -1)
            return bool((heads >= np.linalg.norm(tails, axis=1)).all())
        case "psd":
            matrices = d.reshape(block.dim, block.dim, block.count).transpose(2, 0, 1)
            return bool(np.linalg.eigvalsh((matrices + matrices.swapaxes(1, 2)) / 2).min() >= -1e-12 * np.abs(d).max())
        case "exp":
            x, y, w = d.reshape(3, block.count)
            return not y.any() and bool((x <= 0).all() and (w >= 0).all())
        case "power":
            x, y, w = d.reshape(3, block.count)
            return not w.any() and bool((x >= 0).all() and (y >= 0).all())
    return False  # an equality
