"""A point made complementary, and refined to derivative quality.

Given x and z, let w = (b - A x) - z, in units of the cones in which both are of one size (``judge.units``). Then s = Π_K(w) and
z' = s - w are in K and K* and complementary to the last bit, and equal to b - A x and z if these were optimal. Whatever
was wrong has moved into two residuals,

    F₁(x, w) = P x + q + Aᵀ(Π(w) - w),      F₂(x, w) = A x + Π(w) - b,

whose root is the solution. Π is semismooth, so Newton's method on F converges fast from where a first-order solver stops.
"""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from cvxpylayers._engines.judge.linearized import Linearized
from cvxpylayers._engines.judge.program import ConeProgram
from cvxpylayers._engines.judge.projections import Projection
from cvxpylayers._engines.judge.quality import Quality, largest, measure
from cvxpylayers._engines.judge.units import Units
from cvxpylayers._typing import Float64

_FINE: Final = 1e-12  # worst residual that needs no refinement
_SOUND: Final = 1e-11  # worst residual that a step may leave where residuals say little of x
_STEPS: Final = 8
_MISSES: Final = 3  # steps in a row without progress that end a refinement
_SMALL: Final = 100  # up to this size of the Newton system sparse matrices cost more than dense ones
_DENSE: Final = 500  # up to this size a singular Newton system is solved by least squares
_WITHIN: Final = 1e-4  # of a number: what its error may be relative to, beside 1
_TINY: Final = 1e-100  # norm of a row or column of zeros


@dataclass(frozen=True, eq=False)
class Point:
    """x and w with what follows from them; ``inner`` is the program in the units of w."""

    program: ConeProgram
    units: Units
    inner: ConeProgram
    x: Float64
    w: Float64
    s: Float64
    z: Float64
    quality: Quality

    @staticmethod
    def near(program: ConeProgram, x: Float64, z: Float64) -> Point:
        with np.errstate(all="ignore"):
            slack = program.b - program.A @ x
            units = Units.at(program, slack, z)
            return Point.at(program, units, units.enter(program), x, units.T @ slack - units.inverse.T @ z)

    @staticmethod
    def at(program: ConeProgram, units: Units, inner: ConeProgram, x: Float64, w: Float64) -> Point:
        p = Projection(program.cones)(w)
        s, z = units.inverse @ p, units.T.T @ (p - w)
        return Point(program, units, inner, x, w, s, z, measure(program, x, z, s))

    def uncertainty(self) -> float:
        """By how much x may be off where a cone is flat: the length of a Newton step, of which residuals say little there; else 0.

        Relative to 1, and to 1e-4 of a number itself, as in ``cpp/src/ipm/conic_polish.hpp``.
        """
        if not self.units.flat:
            return 0.0
        moved = self.step()
        return self.distance(moved[0]) if moved else math.inf

    def distance(self, other: Point) -> float:
        return largest((other.x - self.x) / np.maximum(1.0, _WITHIN * np.abs(self.x)))

    @np.errstate(all="ignore")  # a step far uphill may overflow, which residuals tell
    def step(self) -> list[Point]:
        """The point after a Newton step; none where the system is singular and large."""
        inner, (m, n) = self.inner, self.inner.A.shape
        p = Projection(inner.cones)(self.w)
        F = np.concatenate([inner.product(self.x) + inner.q + inner.A.T @ (p - self.w), inner.A @ self.x + p - inner.b])
        move = self._dense_move(F) if n + m <= _SMALL else self._sparse_move(F)
        if move is None or not np.isfinite(move).all():
            return []
        return [Point.at(self.program, self.units, inner, self.x + move[:n], self.w + move[n:])]

    def _sparse_move(self, F: Float64) -> Float64 | None:
        inner, (m, n) = self.inner, self.inner.A.shape
        with contextlib.suppress(RuntimeError):  # a factorization broke down: answered below
            (dx,), (dz,), lost = Linearized(inner, self.w).solve(-F[None, :n], -F[None, n:])
            if not lost:
                return np.concatenate([dx, -F[n:] - inner.A @ dx - dz])
        return self._dense_move(F) if n + m <= _DENSE else None

    def _dense_move(self, F: Float64) -> Float64:
        inner = self.inner
        U, A, D = inner.P_upper.toarray(), inner.A.toarray(), Projection(inner.cones).derivative(self.w)
        J = np.block([[U + np.triu(U, 1).T, A.T @ (D - np.eye(len(D)))], [A, D]])
        rows = 1.0 / np.maximum(np.abs(J).max(axis=1, initial=0.0), _TINY)
        columns = 1.0 / np.maximum((rows[:, None] * np.abs(J)).max(axis=0, initial=0.0), _TINY)
        J, F = rows[:, None] * J * columns, rows * F
        with contextlib.suppress(np.linalg.LinAlgError):
            move = np.linalg.solve(J, -F)
            if _solves(J, move, F):
                return np.asarray(columns * move)
        with contextlib.suppress(np.linalg.LinAlgError):
            if np.isfinite(J).all() and np.isfinite(F).all():  # what has overflowed is nothing to solve
                return np.asarray(columns * _least_squares(J, F))
        return np.full(len(F), np.nan)


def _solves(J: Any, move: Float64, F: Float64) -> bool:
    return bool(np.isfinite(move).all() and largest(J @ move + F) <= 1e-6 * largest(F))


def _least_squares(J: Float64, F: Float64) -> Float64:
    return np.asarray(np.linalg.lstsq(J, -F, rcond=1e-12)[0], dtype=np.float64)


def refine(point: Point) -> Point:
    """The best point of some Newton steps, which may lead uphill while the active set changes."""
    best, misses = point, 0
    for _ in range(_STEPS):
        if best.quality.worst <= _FINE or misses == _MISSES:
            break
        moved = point.step()
        if not moved:
            break
        point = moved[0]
        misses = 0 if point.quality.worst < 0.5 * best.quality.worst else misses + 1
        best = min(best, point, key=lambda p: p.quality.worst)
    return _follow(best) if best.units.flat else best


def _follow(point: Point) -> Point:
    """Where a cone is flat: further Newton steps, as long as they become much shorter and residuals stay small."""
    before = math.inf
    for _ in range(_STEPS):
        moved = point.step()
        if not moved or not (moved[0].quality.worst <= max(point.quality.worst, _SOUND)):
            break
        length, point = point.distance(moved[0]), moved[0]
        if not length < 0.5 * before or length <= _FINE:
            break
        before = length
    return point
