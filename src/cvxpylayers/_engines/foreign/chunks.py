"""A batch as chunks of value vectors: what every engine shares that does not read parameters itself."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any, Final

import numpy as np

from cvxpylayers._engines.defaults import TOLERANCE
from cvxpylayers._engines.judge.clarabel import solve_program
from cvxpylayers._engines.judge.judge import NO_SOLUTION, Claim, Outcome, failed, known, settle
from cvxpylayers._engines.judge.margin import margin
from cvxpylayers._engines.judge.program import Assembler, ConeProgram, switch_off
from cvxpylayers._engines.native.derivative import DERIVATIVE_OPTIONS, NativeDerivative
from cvxpylayers._program import USABLE, Batch, Solution, Status, Tape
from cvxpylayers._typing import Bool, Float64, Shaped

_CHUNK: Final = 128  # instances whose value vectors exist at a time
FAR: Final = 1e6  # a bound above this in units of the other data is left out at first
OURS: Final = frozenset({"threads", "tolerance", "polish"}) | DERIVATIVE_OPTIONS  # not the solver's


class Chunked(NativeDerivative):
    """Evaluates the values of some instances at a time, sorts out invalid ones, and collects what came of the others."""

    @abc.abstractmethod
    def _outcomes(self, values: Shaped[Float64, "k values"], settings: Mapping[str, Any]) -> list[Outcome]:
        """Solve instances, given their value vectors [P, q, A, b, d], k ≥ 1 of them; finite, and P positive semidefinite."""

    def solve(self, batch: Batch, options: Mapping[str, Any], *, tape: bool) -> Solution:
        """Solve every instance; nothing of one reaches another."""
        settings, structure = {**self.options, **options}, self.compiled.structure
        outcomes: list[Outcome] = []
        for start in range(0, batch.size, _CHUNK):
            rows = range(start, min(start + _CHUNK, batch.size))
            values = np.ascontiguousarray((self.compiled.M @ batch.theta(rows).T).T)  # the order of sums depends on strides
            hopeless = (values == -np.inf).any(axis=1) & batch.infinite
            off = switch_off(structure, values) if batch.infinite else None
            rounding = max(batch.rounding, default=0.0)
            valid = self._valid(values, rounding)
            if batch.invalid is not None:
                valid &= ~batch.invalid[start : start + _CHUNK]
            solvable = valid & ~hopeless
            answers = iter(self._reconciled(values[solvable], settings, rounding) if solvable.any() else [])
            status = np.where(valid, Status.PRIMAL_INFEASIBLE, Status.INVALID_INPUT)
            found = [next(answers) if s else known(structure, Status(code)) for s, code in zip(solvable, status, strict=True)]
            outcomes += found if off is None else [o.without(rows) for o, rows in zip(found, off, strict=True)]
        solution = self._collect(outcomes, tape)
        if solution.tape is not None:
            self._centre(batch, solution.tape, settings)
        return solution

    def _valid(self, values: Shaped[Float64, "k values"], rounding: float) -> Shaped[Bool, " k"]:
        """Which instances have finite data and a convex objective, up to rounding, which is taken from P."""
        valid: Bool = np.asarray(np.isfinite(values).all(axis=1))
        if self._convexity_varies:
            valid[valid] = [self._assemble.make_convex(values[k], rounding) for k in np.flatnonzero(valid)]
        return valid

    def _reconciled(self, values: Shaped[Float64, "k values"], settings: Mapping[str, Any], rounding: float) -> list[Outcome]:
        """Solve; where rounding makes equalities disagree, in the sense of least squares, which is almost solved."""
        outcomes = self._outcomes_near(values, settings)
        pairs = zip(outcomes, values, strict=True)
        off = np.array([0.0 if o.status is Status.SOLVED else self._assemble.reconcile(row, rounding) for o, row in pairs])
        if off.any():
            again = iter(self._outcomes(values[off > 0], settings))
            tolerance = settings.get("tolerance", TOLERANCE)
            outcomes = [next(again).off(by, tolerance) if by else outcome for outcome, by in zip(outcomes, off, strict=True)]
        return outcomes

    def _outcomes_near(self, values: Shaped[Float64, "k values"], settings: Mapping[str, Any]) -> list[Outcome]:
        """Solve without bounds far above all other data, which many solvers stumble over; with them where that is no solution."""
        near = values.copy()
        far = switch_off(self.compiled.structure, near, FAR)
        simpler = np.flatnonzero(far.any(axis=1))
        outcomes = self._outcomes(near, settings)
        for k in simpler:
            outcomes[k] = outcomes[k].beside(self._assemble(values[k]), far[k])
        again = [k for k in simpler if not outcomes[k].status.solved]
        for k, outcome in zip(again, self._outcomes(values[again], settings) if again else [], strict=True):
            outcomes[k] = outcome
        return outcomes

    def _settled(self, program: ConeProgram, claim: Claim, settings: Mapping[str, Any]) -> Outcome:
        found = settle(program, claim, tolerance=settings.get("tolerance", TOLERANCE), polish=settings.get("polish", True))
        if claim.status not in NO_SOLUTION or found.status in NO_SOLUTION:
            return found
        # Many solvers say that there is no solution and show no certificate, or not which of both it is. Clarabel makes one.
        proven = solve_program(program).status
        if proven in NO_SOLUTION:
            return replace(found, status=proven, note="")
        return replace(found, note=f"the solver calls this {claim.status}, but no certificate proves that")

    def _blamed(self, error: Exception) -> Outcome:
        return failed(self.compiled.structure, f"{type(error).__name__}: {error}")

    @cached_property
    def _assemble(self) -> Assembler:
        return Assembler(self.compiled.structure)

    @cached_property
    def _convexity_varies(self) -> bool:
        """Whether a parameter reaches P."""
        M, nnz = self.compiled.M, self.compiled.structure.P.nnz
        return bool((M.indices[: M.indptr[nnz]] < M.shape[1] - 1).any())

    def _collect(self, outcomes: list[Outcome], tape: bool) -> Solution:
        structure, size = self.compiled.structure, len(outcomes)

        def column(name: str, dtype: Any, *width: int) -> Any:
            return np.array([getattr(o, name) for o in outcomes], dtype=dtype).reshape(size, *width)

        x, z, s = (column(name, np.float64, w) for name, w in (("x", structure.n), ("z", structure.m), ("s", structure.m)))
        measured = [column(name, np.float64) for name in ("primal_residual", "dual_residual", "gap")]
        status = column("status", np.int8)
        return Solution(
            outputs=np.ascontiguousarray((self.compiled.R @ np.concatenate([x, z], axis=1).T).T),
            status=status,
            iterations=column("iterations", np.int32),
            residuals=np.stack([*measured, self.compiled.objective_sign * column("objective", np.float64)], axis=1),
            fallback=np.zeros(size, dtype=np.bool_),
            margin=np.array([margin(structure.cones, *pair) for pair in zip(s, z, strict=True)], dtype=np.float64),
            tape=Tape.of(x, z, s, status <= USABLE) if tape else None,
            notes={i: o.note for i, o in enumerate(outcomes) if o.note},
        )
