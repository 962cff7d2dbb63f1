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
from itertools import pairwise

import numpy as np

from cvxpylayers._canon.layout import Block
from cvxpylayers._typing import Float64, NDArray
from cvxpylayers._typing import Int32 as Index


def tight_rows(blocks: Sequence[Block], row: Index, column: Index, value: Float64) -> NDArray[np.intp]:
    """Inequality rows that may be equalities, from the entries (row, column, value) of all columns of G that may move freely:

    variables that are not the user's, not in the objective, and not reached by a parameter.
    """
    ends = np.cumsum([block.rows for block in blocks])
    order = np.argsort(column, kind="stable")
    row, column, value = row[order], column[order], value[order]
    owner = np.searchsorted(ends, row, side="right")
    linear = np.array([block.kind == "nonneg" for block in blocks])[owner]
    walls: list[int] = []
    touched = np.zeros(ends[-1], dtype=np.intp)
    for a, b in pairwise([*np.flatnonzero(np.diff(column, prepend=-1)), len(column)]):
        for sign in (1.0, -1.0):
            step, flat = sign * value[a:b], linear[a:b]
            stops = row[a:b][flat & (step < 0)]
            if len(stops) == 1 and _recede(blocks, ends, owner[a:b][~flat], row[a:b][~flat], step[~flat]):
                walls.append(int(stops[0]))
                touched[row[a:b]] += 1
                break  # up or down, not both
    return np.array([wall for wall in walls if touched[wall] == 1], dtype=np.intp)


def _recede(blocks: Sequence[Block], ends: NDArray[np.int64], owner: NDArray[np.int64], row: Index, step: Float64) -> bool:
    """Whether every cone contains its part of a direction, given by its entries ``step`` in rows that are no inequalities."""
    return all(
        _contain(blocks[k], row[owner == k] - (ends[k] - blocks[k].rows), step[owner == k]) for k in np.unique(owner).tolist()
    )


def _contain(block: Block, row: NDArray[np.int64], d: Float64) -> bool:
    """Whether the cones of a block contain d, zero but at these rows; of exponential and power cones, only their simplest rays."""
    part = row // block.count
    match block.kind:
        case "free":
            return True
        case "soc":
            tail = row >= block.count
            _, which = np.unique(np.where(tail, (row - block.count) // max(block.dim - 1, 1), row), return_inverse=True)
            norms = np.sqrt(np.bincount(which, np.where(tail, d, 0.0) ** 2))
            return bool((np.bincount(which, np.where(tail, 0.0, d)) >= norms).all())
        case "psd":
            cones, which = np.unique(row % block.count, return_inverse=True)
            E = np.zeros((len(cones), block.dim, block.dim))
            E[which, part % block.dim, part // block.dim] = d
            return bool(np.linalg.eigvalsh((E + E.swapaxes(1, 2)) / 2).min() >= -1e-12 * np.abs(d).max())
        case "exp":
            return bool(np.where(part == 0, d <= 0, (part == 2) & (d >= 0)).all())
        case "power":
            return bool(((part < 2) & (d >= 0)).all())
    return False  # an equality
