"""How far a point is from optimal."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from cvxpylayers._engines.judge.program import ConeProgram
from cvxpylayers._program.cones import CURVED
from cvxpylayers._typing import Float64

_FAR_BELOW: Final = 1e-9  # of the largest multiplier: what the complementarity of a cone may be relative to


@dataclass(frozen=True)
class Quality:
    """How far a point is from optimal, relative as ``cpp/src/ipm/relative.hpp`` derives it; ``cost`` without d.

    ``primal`` and ``dual`` are the largest residuals of a row and a column, relative to the sizes of their own terms; ``gap``
    bounds the error of the objective, |f - f*| / |f|, and counts the largest complementarity s z of a row.
    """

    primal: float
    dual: float
    gap: float
    cost: float

    @property
    def worst(self) -> float:
        """The largest of both residuals and the gap; inf where one is NaN."""
        worst = max(self.primal, self.dual, self.gap)
        return worst if math.isfinite(self.primal + self.dual + self.gap) else math.inf


def measure(program: ConeProgram, x: Float64, z: Float64, s: Float64) -> Quality:
    """How far (x, z, s) is from optimal, membership of s and z in their cones taken for granted."""
    with np.errstate(all="ignore"):  # what overflows is no solution, and says so by its residuals
        Px = program.product(x)
        xPx, qx, bz = float(x @ Px), float(program.q @ x), float(program.b @ z)
        cost, bound = 0.5 * xPx + qx, -0.5 * xPx - bz
        r_primal, r_dual = program.A @ x + s - program.b, Px + program.A.T @ z + program.q
        rows, columns = _sizes(program, x, z, s)
        error = abs(float(s @ z)) + np.abs(z) @ np.abs(r_primal) + np.abs(x) @ np.abs(r_dual)
        return Quality(
            primal=largest(r_primal / rows),
            dual=largest(r_dual / columns),
            gap=max(error / max(1.0, min(abs(cost), abs(bound))), _complementarity(program, s, z)),
            cost=cost,
        )


def _sizes(program: ConeProgram, x: Float64, z: Float64, s: Float64) -> tuple[Float64, Float64]:
    """What residuals of rows (m) and columns (n) are relative to: the sizes of their own terms, at most those of norms, or 1."""
    given, A, P = np.abs(program.b) + np.abs(s), abs(program.A), abs(program.P)
    rows = np.minimum(given + A @ np.abs(x), given + largest(x))
    for block in program.cones.blocks(*CURVED):
        rows[block.rows] = rows[block.rows].max(initial=0.0)
    columns = np.abs(program.q) + P @ np.abs(x) + A.T @ np.abs(z)
    return np.maximum(rows, 1.0), np.maximum(np.minimum(columns, largest(program.q) + largest(x) + largest(z)), 1.0)


def _complementarity(program: ConeProgram, s: Float64, z: Float64) -> float:
    """The largest s z of an inequality or a cone, relative, as in ``cpp/src/ipm/relative.hpp``.

    Of a row min(s, 1) z relative to the largest multiplier of one; of a cone sᵀz relative to its own s and z.
    """
    linear, weight = program.cones.orthant, largest(z[program.cones.zero :])
    worst = largest(np.minimum(s[linear], 1.0) * z[linear]) / max(1.0, weight)
    for *_, rows in program.cones.blocks(*CURVED):
        size = max(1.0, largest(s[rows])) * max(1.0, largest(z[rows]), _FAR_BELOW * weight)
        worst = max(worst, abs(float(s[rows] @ z[rows])) / size)
    return worst


def largest(v: Float64) -> float:
    """max |vᵢ|, 0 of none."""
    return float(np.abs(v).max(initial=0.0))
