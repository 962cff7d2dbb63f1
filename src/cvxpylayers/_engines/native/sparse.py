"""Derivatives of single instances by sparse factorizations: for programs whose factor is small only while cones are kept sparse."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import numpy as np

from cvxpylayers._engines.engine import Derivative
from cvxpylayers._engines.judge.linearized import Linearized
from cvxpylayers._engines.judge.margin import margin
from cvxpylayers._engines.judge.program import Assembler, ConeProgram
from cvxpylayers._engines.native.costs import Costs
from cvxpylayers._program import Batch, CompiledProblem, Tape
from cvxpylayers._typing import Bool, Exchanged, Float64, Shaped
from cvxpylayers.errors import DerivativeError

_BEARABLE: Final = 1e10  # flops of a factorization, some seconds
_TIE: Final = 1e-8  # below this margin of strict complementarity an instance is flagged


class SparseDerivative:
    """``vjp`` and ``jvp`` as engines have them: one factorization for each instance, however many directions.

    ``hvp`` is that of ``kernel()``, as long as its factor is not too large.
    """

    def __init__(self, compiled: CompiledProblem, kernel: Callable[[], Derivative], threads: int = 0) -> None:
        self.compiled, self._kernel, self._threads = compiled, kernel, threads
        self._assemble = Assembler(compiled.structure)

    def vjp(
        self, batch: Batch, tape: Tape, outputs: Shaped[Float64, "*K B outputs"], wanted: Sequence[bool]
    ) -> tuple[list[Exchanged | None], Shaped[Bool, " B"]]:
        """By the adjoint of the values [P, q, A, b, d], then that of M; summed over the batch axes of shared parameters."""
        M, lead = self.compiled.M, outputs.shape[:-2]
        flat = outputs.reshape(-1, *outputs.shape[-2:])
        theta = np.zeros((len(flat), batch.size, M.shape[1]))

        def pull(i: int, system: Linearized) -> bool:
            values, lost = self._values(system, flat[:, i] @ self.compiled.R, tape.x[i], tape.z[i])
            theta[:, i] = values @ M
            return lost

        degenerate = self._each(batch, tape, pull)
        return batch.gradients(theta.reshape(*lead, *theta.shape[1:]), wanted, lead), degenerate

    def _values(
        self, system: Linearized, cotangents: Shaped[Float64, "K points"], x: Float64, z: Float64
    ) -> tuple[Shaped[Float64, "K values"], bool]:
        """With (a, c) the solution for cotangents of (x, z): q̄ = -a, b̄ = c, Āᵢⱼ = -(zᵢ aⱼ + cᵢ xⱼ) and, below the diagonal,
        P̄ᵢⱼ = -(aᵢ xⱼ + aⱼ xᵢ).
        """
        P, A, n = self.compiled.structure.P, self.compiled.structure.A, self.compiled.structure.n
        a, c, lost = system.solve(cotangents[:, :n], cotangents[:, n:])
        half = np.where(P.rows == P.indices, 0.5, 1.0)
        P_bar = -half * (a[:, P.rows] * x[P.indices] + a[:, P.indices] * x[P.rows])
        A_bar = -(z[A.rows] * a[:, A.indices] + c[:, A.rows] * x[A.indices])
        return np.concatenate([P_bar, -a, A_bar, c, np.zeros((len(a), 1))], axis=1), lost

    def jvp(
        self, batch: Batch, tape: Tape, arrays: Sequence[Float64 | None], *, directions: int | None = None
    ) -> tuple[Shaped[Float64, "*K B outputs"], Shaped[Bool, " B"]]:
        """By P dx + Aᵀdz = -(dP x + dq + dAᵀz) and A dx + ds = db - dA x."""
        M, R, each = self.compiled.M, self.compiled.R, batch.tangents(arrays, directions)
        outputs = np.zeros((len(each), batch.size, R.shape[0]))

        def push(i: int, system: Linearized) -> bool:
            theta = np.concatenate([tangent.theta([i]) for tangent in each])[:, :-1]
            moves = [self._assemble(values) for values in (M[:, :-1] @ theta.T).T]
            x, z = tape.x[i], tape.z[i]
            r, h = (np.stack(sides) for sides in zip(*(_sides(move, x, z) for move in moves), strict=True))
            dx, dz, lost = system.solve(r, h)
            outputs[:, i] = (R @ np.concatenate([dx, dz], axis=1).T).T
            return lost

        degenerate = self._each(batch, tape, push)
        return (outputs if directions else outputs[0]), degenerate

    def hvp(
        self,
        batch: Batch,
        tape: Tape,
        outputs: Shaped[Float64, "*K B outputs"],
        arrays: Sequence[Float64 | None],
        wanted: Sequence[bool],
        *,
        directions: int | None = None,
    ) -> tuple[list[Exchanged | None], Shaped[Bool, " B"]]:
        """By the native kernel.

        Raises:
            DerivativeError: its factor would be too large.
        """
        flops = Costs.of(self.compiled.structure).filled
        if flops > _BEARABLE:
            raise DerivativeError(
                f"Second derivatives are the native kernel's, which takes about {flops:.0e} flops a factorization for cones of "
                'this size; solver="NATIVE" insists. First derivatives keep the cones sparse: differences of them are second ones.'
            )
        return self._kernel().hvp(batch, tape, outputs, arrays, wanted, directions=directions)

    def _each(self, batch: Batch, tape: Tape, work: Callable[[int, Linearized], bool]) -> Shaped[Bool, " B"]:
        """Call ``work`` for every instance that has a solution, on a pool of threads; whether it or a tie flags the instance."""
        instances, degenerate = np.flatnonzero(tape.solved).tolist(), np.zeros(batch.size, dtype=np.bool_)

        def one(i: int) -> None:
            program = self._assemble(np.ascontiguousarray(self.compiled.M @ batch.theta([i])[0]))
            lost = work(i, Linearized(program, tape.s[i] - tape.z[i]))
            degenerate[i] = lost or margin(program.cones, tape.s[i], tape.z[i]) < _TIE

        threads = min(len(instances), self._threads or os.cpu_count() or 1)
        if threads <= 1:
            for i in instances:
                one(i)
        else:
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(one, instances))
        return degenerate


def _sides(move: ConeProgram, x: Float64, z: Float64) -> tuple[Float64, Float64]:
    """Right-hand sides for the tangent (dP, dq, dA, db) of a program."""
    return -(move.product(x) + move.q + move.A.T @ z), move.b - move.A @ x
