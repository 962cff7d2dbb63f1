"""diffcp, the engine of cvxpylayers 1.x, for comparison: its solvers, and its derivative where ``mode`` asks for it.

Its derivative is that of the homogeneous embedding at the solution, for linear objectives, by an iterative least-squares method
("lsqr", "lsmr") or a dense one; entries of A that are 0 have none. It is taken at the point that it finds from ours as its start.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar, Final

import numpy as np
import scipy.sparse as sp

from cvxpylayers._engines.engine import POLYHEDRAL, Capabilities, Derivative
from cvxpylayers._engines.foreign.package import words
from cvxpylayers._engines.foreign.per_instance import Adapter
from cvxpylayers._engines.foreign.scs import ScsForm
from cvxpylayers._engines.judge.judge import Claim
from cvxpylayers._engines.judge.program import ConeProgram, switch_off
from cvxpylayers._program import Batch, CompiledProblem, Status, Tape
from cvxpylayers._typing import Bool, Float64, Shaped
from cvxpylayers.errors import DerivativeError, OptionError

_MODES: Final = ("lsqr", "lsmr", "dense")
_WORDS: Final = {
    "unbounded": Status.DUAL_INFEASIBLE,
    "infeasible": Status.PRIMAL_INFEASIBLE,
    "max_iters": Status.MAX_ITERATIONS,
    "time_limit": Status.MAX_ITERATIONS,
    "solved": Status.SOLVED,
    "optimal": Status.SOLVED,
}
_PRECISE: Final = {"solve_method": "SCS", "eps_abs": 1e-10, "eps_rel": 1e-10, "max_iters": 100_000}


class DiffcpEngine(Adapter):
    """``solve_method`` is "SCS", "ECOS" or "Clarabel", whose settings pass under their own names; ``mode`` asks for its derivative.

    Without ``mode`` the derivative is that of the native kernel, as for every engine.
    """

    name: ClassVar[str] = "DIFFCP"
    capabilities: ClassVar[Capabilities] = Capabilities(cones=POLYHEDRAL | {"soc", "psd", "exp"}, derivative=True)
    package: ClassVar[str] = "diffcp"
    install: ClassVar[str] = "pip install diffcp"
    common: ClassVar[Mapping[str, str]] = {"max_iterations": "max_iters"}
    own: ClassVar[frozenset[str]] = words(
        """
        mode solve_method verbose max_iters abstol feastol reltol tol_feas tol_gap_abs tol_gap_rel
        acceleration_interval acceleration_lookback adaptive_scale alpha eps_abs eps_infeas eps_rel normalize rho_x scale
        time_limit_secs
        """
    )
    preset: ClassVar[Mapping[str, Any]] = {"solve_method": "SCS", "eps_abs": 1e-8, "eps_rel": 1e-8}

    def __init__(self, compiled: CompiledProblem, options: Mapping[str, Any]) -> None:
        super().__init__(compiled, options)
        mode = options.get("mode")
        if mode is not None and mode not in _MODES:
            raise OptionError(f"Option 'mode' must be one of {', '.join(map(repr, _MODES))}; got {mode!r}.")
        if mode and (compiled.structure.P.nnz or options.get("derivative") == "smoothed"):
            raise OptionError(
                f"mode={mode!r}: diffcp differentiates linear objectives only, without smoothing. Leave 'mode' away for the "
                "derivative that all engines share, or bound a quadratic term by a variable: sum_squares(…) <= t, minimize t."
            )

    def claim(self, program: ConeProgram, settings: dict[str, Any]) -> Claim:
        form, settings = ScsForm.of(program), {k: v for k, v in settings.items() if k != "mode"}
        if settings["solve_method"] == "Clarabel" and "max_iters" in settings:
            settings["max_iter"] = settings.pop("max_iters")
        if settings["solve_method"] != "SCS":  # whose tolerances have other names
            settings = {k: v for k, v in settings.items() if k in self.options or k not in self.preset or k == "solve_method"}
        P = program.P_upper if program.P_upper.nnz else None
        try:
            found = self._solver.solve_internal(form.A, form.b, program.q, dict(form.cones), P=P, **settings)
        except self._solver.SolverError as error:
            return Claim(None, None, _verdict(str(error)))
        return Claim(found["x"], form.ours(found["y"]), _verdict(found["info"]["status"]), int(found["info"]["iter"]))

    @cached_property
    def _derivative(self) -> Derivative:
        return EmbeddingDerivative(self) if "mode" in self.options else super()._derivative


class EmbeddingDerivative:
    """``vjp`` and ``jvp`` as engines have them, by diffcp's ``mode``; nothing is ever marked."""

    def __init__(self, engine: DiffcpEngine) -> None:
        self._engine, self.compiled = engine, engine.compiled

    def vjp(
        self, batch: Batch, tape: Tape, outputs: Shaped[Float64, "*K B outputs"], wanted: Sequence[bool]
    ) -> tuple[list[Float64 | None], Shaped[Bool, " B"]]:
        """One adjoint for every instance and direction."""
        c, n, lead = self.compiled, self.compiled.structure.n, outputs.shape[:-2]
        points = (outputs.reshape(-1, outputs.shape[-1]) @ c.R).reshape(*outputs.shape[:-1], sum(self._shape))  # of (x, z)
        values = np.zeros((*points.shape[:-1], c.structure.values))
        for i, form, _, pull in self._derivatives(batch, tape):
            for k in np.ndindex(lead):
                at = points[(*k, i)]
                dA, db, dq = pull(at[:n], form.theirs(at[n:]), np.zeros(len(form.b)))
                values[(*k, i)] = self._stacked(form, dA, db, dq)
        theta = (values.reshape(-1, values.shape[-1]) @ c.M).reshape(*lead, batch.size, -1)
        return batch.gradients(theta, wanted, lead), np.zeros(batch.size, np.bool_)

    def jvp(
        self, batch: Batch, tape: Tape, arrays: Sequence[Float64 | None], *, directions: int | None = None
    ) -> tuple[Shaped[Float64, "*K B outputs"], Shaped[Bool, " B"]]:
        """One derivative for every instance and direction."""
        c, each = self.compiled, [tangent.theta() for tangent in batch.tangents(arrays, directions)]
        moves = [theta[:, :-1] @ c.M[:, :-1].T for theta in each]
        points = np.zeros((count := len(each), batch.size, sum(self._shape)))
        for i, form, push, _ in self._derivatives(batch, tape):
            for k in range(count):
                _, dq, dA, db, _ = c.structure.split(moves[k][i])
                A = sp.csr_matrix((dA, c.structure.A.indices, c.structure.A.indptr), shape=self._shape)
                dx, dy, _ = push(sp.csc_matrix(A[form.order]) if len(db) else form.A, form.theirs(db), dq)
                points[k, i] = np.concatenate([dx, form.ours(dy)])
        pushed = np.ascontiguousarray((c.R @ points.reshape(-1, points.shape[-1]).T).T).reshape(count, batch.size, -1)
        return pushed if directions else pushed[0], np.zeros(batch.size, np.bool_)

    def hvp(self, *arguments: Any, **options: Any) -> Any:
        """Raises DerivativeError: there is none."""
        raise DerivativeError("diffcp has no second derivatives; leave 'mode' away for those of the native kernel.")

    @property
    def _shape(self) -> tuple[int, int]:
        return self.compiled.structure.m, self.compiled.structure.n

    def _derivatives(self, batch: Batch, tape: Tape) -> Iterator[tuple[int, ScsForm, Callable[..., Any], Callable[..., Any]]]:
        """Every solved instance: its number and form, and diffcp's derivative with its adjoint."""
        engine = self._engine
        for i in np.flatnonzero(tape.solved).tolist():
            values = np.ascontiguousarray((self.compiled.M @ batch.theta([i]).T).T)
            values[0, -len(tape.s[i]) - 1 : -1][np.isinf(tape.s[i])] = np.inf
            off = switch_off(self.compiled.structure, values)[0]
            form = ScsForm.of(program := engine._assemble(values[0]))
            start = tape.x[i], form.theirs(tape.z[i]), form.theirs(np.where(off, 1.0, tape.s[i]))
            mode = engine.options["mode"]
            found = engine._solver.solve_and_derivative(
                form.A, form.b, program.q, dict(form.cones), warm_start=start, mode=mode, **_PRECISE
            )
            yield i, form, found[3], found[4]

    def _stacked(self, form: ScsForm, dA: Any, db: Float64, dq: Float64) -> Float64:
        """A cotangent of the values [P, q, A, b, d]."""
        pattern, dense = self.compiled.structure.A, np.zeros(self._shape)
        dense[form.order] = dA.toarray()[: len(form.order)]
        return np.concatenate([dq, dense[pattern.rows, pattern.indices], form.ours(db), [0.0]])


def _verdict(message: str) -> Status:
    """The status in the words of diffcp, which depend on the solver inside."""
    found = [status for word, status in _WORDS.items() if word in message.lower()]
    return found[0] if found else Status.NUMERICAL_ERROR
