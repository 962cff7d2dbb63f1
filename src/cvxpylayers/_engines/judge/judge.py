"""A solver's claim (x, z, verdict) → an outcome (x, z, s, status, residuals): measured by our own test and refined, never believed.

Given x and z, let w = (b - A x) - σ z with a scale σ > 0 between the units of slacks and multipliers. Then s = Π_K(w) and
z' = (s - w)/σ are in K and K* and complementary to the last bit, and equal to b - A x and z if these were optimal. Whatever
was wrong has moved into two residuals,

    F₁(x, w) = P x + q + Aᵀ(Π(w) - w)/σ,      F₂(x, w) = A x + Π(w) - b,

whose root is the solution. Π is semismooth, so Newton's method on F converges fast from where a first-order solver stops.
"""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import scipy.optimize

from cvxpylayers._engines.defaults import ALMOST, TOLERANCE
from cvxpylayers._engines.judge.certificate import proves
from cvxpylayers._engines.judge.linearized import Linearized
from cvxpylayers._engines.judge.program import ConeProgram, active
from cvxpylayers._engines.judge.projections import Projection
from cvxpylayers._program import Status, Structure
from cvxpylayers._program.cones import CURVED
from cvxpylayers._typing import Bool, Float64, Shaped

_FAR_BELOW: Final = 1e-9  # of the largest multiplier: what the complementarity of a cone may be relative to
_FINE: Final = 1e-12  # worst residual that needs no refinement
_STEPS: Final = 8
_MISSES: Final = 3  # steps in a row without progress that end a refinement
_SMALL: Final = 100  # up to this size of the Newton system sparse matrices cost more than dense ones
_DENSE: Final = 500  # up to this size a singular Newton system is solved by least squares
NO_SOLUTION: Final = (Status.PRIMAL_INFEASIBLE, Status.DUAL_INFEASIBLE)
SETTLED: Final = (Status.SOLVED, *NO_SOLUTION)  # what another solver would not change


@dataclass(frozen=True)
class Claim:
    """What a solver says of one instance: x (n), multipliers z (m) or None, its verdict, its iterations. Nothing is checked yet.

    With a verdict of infeasibility z holds the certificate, with one of unboundedness x does (``_engines.judge.certificate``).
    """

    x: Any
    z: Any
    status: Status = Status.SOLVED
    iterations: int = 0


@dataclass(frozen=True)
class Outcome:
    """One instance: x (n), z and s (m), the status, and how well the optimality conditions hold (relative).

    ``note`` holds words about a failure: the solver's own, or what was wrong with its answer.
    """

    x: Shaped[Float64, " n"]
    z: Shaped[Float64, " m"]
    s: Shaped[Float64, " m"]
    status: Status
    iterations: int
    primal_residual: float
    dual_residual: float
    gap: float
    objective: float
    note: str = ""

    def without(self, off: Shaped[Bool, " m"]) -> Outcome:
        """The same, the rows ``off`` having had no bound: multiplier 0, slack inf."""
        return replace(self, z=np.where(off, 0.0, self.z), s=np.where(off, np.inf, self.s)) if self.status.solved else self

    def beside(self, program: ConeProgram, far: Shaped[Bool, " m"]) -> Outcome:
        """The same, solved without the inequalities ``far`` of the program: unresolved if it does not keep well clear of them."""
        if not self.status.solved:
            return self
        slack = program.b - program.A @ self.x
        clear = bool((slack[far] > 0.5 * program.b[far]).all())
        status = self.status if clear else Status.INSUFFICIENT_PROGRESS
        return replace(self, s=np.where(far, slack, self.s), z=np.where(far, 0.0, self.z), status=status)

    def off(self, residual: float, tolerance: float) -> Outcome:
        """The same, of an instance that was solved for a right-hand side other by ``residual``."""
        almost = self.status is Status.SOLVED and residual > tolerance
        worst = max(self.primal_residual, residual)
        return replace(self, primal_residual=worst, status=Status.ALMOST_SOLVED if almost else self.status)


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
            primal=_norm(r_primal / rows),
            dual=_norm(r_dual / columns),
            gap=max(error / max(1.0, min(abs(cost), abs(bound))), _complementarity(program, s, z)),
            cost=cost,
        )


def _sizes(program: ConeProgram, x: Float64, z: Float64, s: Float64) -> tuple[Float64, Float64]:
    """What residuals of rows (m) and columns (n) are relative to: the sizes of their own terms, at most those of norms, or 1."""
    given, A, P = np.abs(program.b) + np.abs(s), abs(program.A), abs(program.P)
    rows = np.minimum(given + A @ np.abs(x), given + _norm(x))
    for block in program.cones.blocks(*CURVED):
        rows[block.rows] = rows[block.rows].max(initial=0.0)
    columns = np.abs(program.q) + P @ np.abs(x) + A.T @ np.abs(z)
    return np.maximum(rows, 1.0), np.maximum(np.minimum(columns, _norm(program.q) + _norm(x) + _norm(z)), 1.0)


def _complementarity(program: ConeProgram, s: Float64, z: Float64) -> float:
    """The largest s z of an inequality or a cone, relative, as in ``cpp/src/ipm/relative.hpp``.

    Of a row min(s, 1) z relative to the largest multiplier of one; of a cone sᵀz relative to its own s and z.
    """
    linear, weight = program.cones.orthant, _norm(z[program.cones.zero :])
    worst = _norm(np.minimum(s[linear], 1.0) * z[linear]) / max(1.0, weight)
    for *_, rows in program.cones.blocks(*CURVED):
        size = max(1.0, _norm(s[rows])) * max(1.0, _norm(z[rows]), _FAR_BELOW * weight)
        worst = max(worst, abs(float(s[rows] @ z[rows])) / size)
    return worst


def settle(program: ConeProgram, claim: Claim, *, tolerance: float = TOLERANCE, polish: bool = True) -> Outcome:
    """Judge a claim: what holds to ``tolerance`` is solved, to 1e-5 almost solved, what is proven to have no solution has none.

    A verdict without a proof leaves the instance unresolved, as a point that is not optimal does.
    """
    (m, n), status = program.A.shape, claim.status
    if status == Status.INVALID_INPUT:
        return _failed(n, m, status, claim.iterations)
    if status in NO_SOLUTION:
        if proves(program, status, claim.x, claim.z):
            return _failed(n, m, status, claim.iterations)
        words = f"the solver calls this {status}, but its certificate does not prove that"
        return _failed(n, m, Status.INSUFFICIENT_PROGRESS, claim.iterations, words)
    if claim.x is None:
        return _failed(n, m, _unsolved(status), claim.iterations, "the solver returned no point")
    x = np.asarray(claim.x, dtype=np.float64)
    z = _multipliers(program, x) if claim.z is None and x.shape == (n,) else np.asarray(claim.z, dtype=np.float64)
    if z is None:
        words = "the solver returned no multipliers, which only linear inequalities and equalities can do without"
        return _failed(n, m, Status.NUMERICAL_ERROR, claim.iterations, words)
    if x.shape != (n,) or z.shape != (m,):
        words = f"the solver returned x and z of shapes {x.shape} and {z.shape}, not {(n,)} and {(m,)}"
        return _failed(n, m, Status.NUMERICAL_ERROR, claim.iterations, words)
    if not (np.isfinite(x).all() and np.isfinite(z).all()):
        return _failed(n, m, _unsolved(status), claim.iterations, "the solver returned NaN or inf")
    point = _Point.near(program, x, z)
    if polish:
        point = _refine(point)
    found = point.quality
    note = ""
    if found.worst <= max(tolerance, ALMOST):
        status = Status.SOLVED if found.worst <= tolerance else Status.ALMOST_SOLVED
    elif status.solved:
        status, note = Status.INSUFFICIENT_PROGRESS, f"the solver calls this solved, but its residuals are {found.worst:.1e}"
    return Outcome(
        point.x, point.z, point.s, status, claim.iterations, found.primal, found.dual, found.gap, found.cost + program.d, note
    )


@dataclass(frozen=True, eq=False)
class _Point:
    """x and w with what follows from them."""

    program: ConeProgram
    scale: float
    x: Float64
    w: Float64
    s: Float64
    z: Float64
    quality: Quality

    @staticmethod
    def near(program: ConeProgram, x: Float64, z: Float64) -> _Point:
        with np.errstate(all="ignore"):
            slack, zero = program.b - program.A @ x, program.cones.zero
            scale = (1.0 + _norm(slack[zero:])) / (1.0 + _norm(z[zero:]))
            return _Point.at(program, scale, x, slack - scale * z)

    @staticmethod
    def at(program: ConeProgram, scale: float, x: Float64, w: Float64) -> _Point:
        s = Projection(program.cones)(w)
        z = (s - w) / scale
        return _Point(program, scale, x, w, s, z, measure(program, x, z, s))

    def step(self) -> list[_Point]:
        """The point after a Newton step; none where the system is singular and large."""
        program, (m, n) = self.program, self.program.A.shape
        F = np.concatenate([program.product(self.x) + program.q + program.A.T @ self.z, program.A @ self.x + self.s - program.b])
        with np.errstate(all="ignore"):
            move = self._dense_move(F) if n + m <= _SMALL else self._sparse_move(F)
        if move is None or not np.isfinite(move).all():
            return []
        return [_Point.at(program, self.scale, self.x + move[:n], self.w + move[n:])]

    def _sparse_move(self, F: Float64) -> Float64 | None:
        program, (m, n) = self.program, self.program.A.shape
        with contextlib.suppress(RuntimeError):  # a factorization broke down: answered below
            (dx,), (dz,), lost = Linearized(program, self.w, self.scale).solve(-F[None, :n], -F[None, n:])
            if not lost:
                return np.concatenate([dx, -F[n:] - program.A @ dx - self.scale * dz])
        return self._dense_move(F) if n + m <= _DENSE else None

    def _dense_move(self, F: Float64) -> Float64:
        program = self.program
        U, A, D = program.P_upper.toarray(), program.A.toarray(), Projection(program.cones).derivative(self.w)
        J = np.block([[U + np.triu(U, 1).T, A.T @ (D - np.eye(len(D))) / self.scale], [A, D]])
        with contextlib.suppress(np.linalg.LinAlgError):
            move = np.linalg.solve(J, -F)
            if _solves(J, move, F):
                return move
        return _least_squares(J, F)


def _solves(J: Any, move: Float64, F: Float64) -> bool:
    return bool(np.isfinite(move).all() and _norm(J @ move + F) <= 1e-6 * _norm(F))


def _least_squares(J: Float64, F: Float64) -> Float64:
    return np.asarray(np.linalg.lstsq(J, -F, rcond=1e-12)[0], dtype=np.float64)


def _refine(point: _Point) -> _Point:
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
    return best


def _multipliers(program: ConeProgram, x: Float64) -> Float64 | None:
    """z of a polyhedral program from x alone: the rows that are active carry min ‖P x + q + Aᵀz‖, z ≥ 0 on inequalities."""
    if not program.cones.polyhedral:
        return None
    on = np.flatnonzero(active(program, x, 1e-6))
    lower = np.where(on < program.cones.zero, -np.inf, 0.0)
    z = np.zeros(program.A.shape[0])
    if len(on):
        rows = program.A.tocsr()[on].T.toarray()
        z[on] = scipy.optimize.lsq_linear(rows, -(program.product(x) + program.q), (lower, np.inf), method="bvls").x
    return z


def known(structure: Structure, status: Status) -> Outcome:
    """The outcome of an instance that is not worth a solver's time."""
    return _failed(structure.n, structure.m, status)


def failed(structure: Structure, words: str) -> Outcome:
    """The outcome of an instance on which the solver raised."""
    return _failed(structure.n, structure.m, Status.NUMERICAL_ERROR, note=words)


def _failed(n: int, m: int, status: Status, iterations: int = 0, note: str = "") -> Outcome:
    nan = np.full(n, np.nan), np.full(m, np.nan), np.full(m, np.nan)
    return Outcome(*nan, status, iterations, math.nan, math.nan, math.nan, math.nan, note)


def _unsolved(status: Status) -> Status:
    return Status.NUMERICAL_ERROR if status.solved else status


def _norm(v: Float64) -> float:
    return float(np.abs(v).max(initial=0.0))
