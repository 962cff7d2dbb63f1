"""A solver's claim (x, z, verdict) → an outcome (x, z, s, status, residuals): measured by our own test and refined (``point``)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import scipy.optimize

from cvxpylayers._engines.defaults import ALMOST, TOLERANCE
from cvxpylayers._engines.judge.certificate import proves
from cvxpylayers._engines.judge.point import Point, refine
from cvxpylayers._engines.judge.program import ConeProgram, active
from cvxpylayers._program import Status, Structure
from cvxpylayers._typing import Bool, Float64, Shaped

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

    def sharper(self, worst: float) -> bool:
        """Whether it is solved with residuals and a gap below ``worst``."""
        return self.status is Status.SOLVED and bool(max(self.primal_residual, self.dual_residual, self.gap) < worst)

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
    point = Point.near(program, x, z)
    if polish:
        point = refine(point)
    found = point.quality
    note = ""
    if found.worst <= max(tolerance, ALMOST):
        status = Status.SOLVED if max(found.worst, point.uncertainty()) <= tolerance else Status.ALMOST_SOLVED
    elif status.solved:
        status, note = Status.INSUFFICIENT_PROGRESS, f"the solver calls this solved, but its residuals are {found.worst:.1e}"
    return Outcome(
        point.x, point.z, point.s, status, claim.iterations, found.primal, found.dual, found.gap, found.cost + program.d, note
    )


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
