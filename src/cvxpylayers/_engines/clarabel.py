"""Clarabel as an engine: every cone, one instance at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any, ClassVar

import clarabel
import numpy as np
import scipy.sparse as sp

from cvxpylayers._engines.base import Engine
from cvxpylayers._engines.instance import SETTINGS, Outcome, invalid, solve_instance
from cvxpylayers._program import Batch, Solution, Structure, Tape
from cvxpylayers._typing import Bool, Float64, NDArray, Shaped

__all__ = ["ClarabelEngine", "Outcome", "solve_instance"]


class ClarabelEngine(Engine):
    """Every cone, each instance by itself on a pool of threads; derivatives by the native kernel.

    Options: ``tolerance``, ``max_iterations``, ``threads``, and every setting of Clarabel under its own name.
    """

    name: ClassVar[str] = "CLARABEL"

    @classmethod
    def option_names(cls) -> frozenset[str]:
        """The common options and Clarabel's own settings."""
        return SETTINGS | {"tolerance", "max_iterations", "threads"}

    def solve(self, batch: Batch, options: Mapping[str, Any], *, tape: bool) -> Solution:
        """Solve every instance; nothing of one reaches another."""
        settings = {**self.options, **options}
        threads = settings.pop("threads", 0) or os.cpu_count() or 1
        if "max_iterations" in settings:
            settings["max_iter"] = settings.pop("max_iterations")
        outcomes = self._map(lambda i: self._solve(batch, i, settings), batch.size, threads)
        return self._collect(outcomes, tape)

    def _map(self, solve: Callable[[int], Outcome], size: int, threads: int) -> list[Outcome]:
        if min(size, threads) <= 1:
            return [solve(i) for i in range(size)]
        pool = ThreadPoolExecutor(min(size, threads))
        try:
            return list(pool.map(solve, range(size)))
        finally:
            pool.shutdown(cancel_futures=True)

    def _solve(self, batch: Batch, i: int, settings: Mapping[str, Any]) -> Outcome:
        structure = self.compiled.structure
        if batch.invalid is not None and batch.invalid[i]:
            return invalid(structure)
        values = self.compiled.M @ batch.theta([i])[0]
        if self._convexity_varies and not _convex(structure, values):
            return invalid(structure)
        return solve_instance(structure, values, **settings)

    @cached_property
    def _convexity_varies(self) -> bool:
        """Whether a parameter reaches P."""
        M, nnz = self.compiled.M, self.compiled.structure.P.nnz
        return bool((M.indices[: M.indptr[nnz]] < M.shape[1] - 1).any())

    def _collect(self, outcomes: Sequence[Outcome], tape: bool) -> Solution:
        structure, sign = self.compiled.structure, self.compiled.objective_sign
        size = len(outcomes)

        def stack(name: str, width: int) -> Float64:
            return np.array([getattr(o, name) for o in outcomes], dtype=np.float64).reshape(size, width)

        def column(name: str, dtype: Any) -> NDArray[Any]:
            return np.array([getattr(o, name) for o in outcomes], dtype=dtype)

        x, z, s = stack("x", structure.n), stack("z", structure.m), stack("s", structure.m)
        status = column("status", np.int8)
        return Solution(
            outputs=np.ascontiguousarray((self.compiled.R @ np.concatenate([x, z], axis=1).T).T),
            status=status,
            iterations=column("iterations", np.int32),
            primal_residual=column("primal_residual", np.float64),
            dual_residual=column("dual_residual", np.float64),
            gap=column("gap", np.float64),
            objective=sign * column("objective", np.float64),
            fallback=np.zeros(size, dtype=np.bool_),
            tape=Tape(x, z, s, status) if tape else None,
        )

    def vjp(
        self, batch: Batch, tape: Tape, outputs: Shaped[Float64, "*K B outputs"], wanted: Sequence[bool]
    ) -> tuple[list[Float64 | None], Shaped[Bool, " B"]]:
        """By the native kernel: the derivative knows nothing of how the point was found."""
        return self._native.vjp(batch, tape, outputs, wanted)

    def jvp(
        self, batch: Batch, tape: Tape, arrays: Sequence[Float64 | None], *, directions: int | None = None
    ) -> tuple[Shaped[Float64, "*K B outputs"], Shaped[Bool, " B"]]:
        """By the native kernel."""
        return self._native.jvp(batch, tape, arrays, directions=directions)

    def hvp(
        self,
        batch: Batch,
        tape: Tape,
        outputs: Shaped[Float64, "*K B outputs"],
        arrays: Sequence[Float64 | None],
        wanted: Sequence[bool],
        *,
        directions: int | None = None,
    ) -> tuple[list[Float64 | None], Shaped[Bool, " B"]]:
        """By the native kernel."""
        return self._native.hvp(batch, tape, outputs, arrays, wanted, directions=directions)

    @cached_property
    def _native(self) -> Engine:
        from cvxpylayers._engines.native import NativeEngine  # the extension is not needed to solve

        return NativeEngine(self.compiled, {})

    def describe(self) -> Mapping[str, Any]:
        """Name and version of the solver."""
        return {"name": self.name, "version": clarabel.__version__}


def _convex(structure: Structure, values: Float64) -> bool:
    """Whether P is positive semidefinite up to rounding."""
    P = structure.split(values)[0]
    lower = sp.csr_array((P, structure.P.indices, structure.P.indptr), shape=(structure.n, structure.n))
    used = np.union1d(structure.P.rows, structure.P.indices)
    eigenvalues = np.linalg.eigvalsh(lower[used][:, used].toarray())
    return bool(eigenvalues[0] >= -1e-9 * max(1.0, eigenvalues[-1]))
