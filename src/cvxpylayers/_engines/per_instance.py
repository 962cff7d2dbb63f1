"""What engines share that solve one instance at a time: threads, failures that stay apart, statuses, options."""

from __future__ import annotations

import abc
import importlib
import importlib.util
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cached_property
from typing import Any, ClassVar, Final

import numpy as np

from cvxpylayers._engines.derivative import DERIVATIVE_OPTIONS, NativeDerivative
from cvxpylayers._engines.judge import Claim, Outcome, failed, invalid, settle
from cvxpylayers._engines.margin import margin
from cvxpylayers._engines.program import Assembler, ConeProgram
from cvxpylayers._program import Batch, CompiledProblem, Solution, Tape
from cvxpylayers._typing import Float64, Shaped
from cvxpylayers.errors import CvxpyLayersError, MissingPackageError

_CHUNK: Final = 128  # instances whose value vectors exist at a time
OURS: Final = frozenset({"threads", "tolerance", "polish"}) | DERIVATIVE_OPTIONS  # not the solver's


class PerInstance(NativeDerivative):
    """Solves every instance by itself on a pool of threads: an exception in one is a failure of that one."""

    @abc.abstractmethod
    def _outcome(self, values: Shaped[Float64, " values"], settings: Mapping[str, Any]) -> Outcome:
        """Solve one instance, given the value vector [P, q, A, b, d]; finite, and P positive semidefinite."""

    def solve(self, batch: Batch, options: Mapping[str, Any], *, tape: bool) -> Solution:
        """Solve every instance; nothing of one reaches another."""
        settings = {**self.options, **options}
        threads = settings.get("threads", 0) or os.cpu_count() or 1
        outcomes: list[Outcome] = []
        with _mapping(min(batch.size, threads)) as mapped:
            for start in range(0, batch.size, _CHUNK):
                rows = range(start, min(start + _CHUNK, batch.size))
                values = np.ascontiguousarray((self.compiled.M @ batch.theta(rows).T).T)  # the order of sums depends on strides
                known = [False] * len(rows) if batch.invalid is None else batch.invalid[start : start + _CHUNK].tolist()
                outcomes += mapped(lambda pair: self._guarded(pair[0], pair[1], settings), list(zip(values, known, strict=True)))
        solution = self._collect(outcomes, tape)
        if solution.tape is not None:
            self._centre(batch, solution.tape, settings)
        return solution

    def _guarded(self, values: Float64, known_invalid: bool, settings: Mapping[str, Any]) -> Outcome:
        structure = self.compiled.structure
        if known_invalid or not np.isfinite(values).all() or (self._convexity_varies and not self._assemble.is_convex(values)):
            return invalid(structure)
        try:
            return self._outcome(values, settings)
        except CvxpyLayersError:  # a mistake, not an outcome
            raise
        except Exception as error:
            return failed(structure, f"{type(error).__name__}: {error}")

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
        status = column("status", np.int8)
        return Solution(
            outputs=np.ascontiguousarray((self.compiled.R @ np.concatenate([x, z], axis=1).T).T),
            status=status,
            iterations=column("iterations", np.int32),
            primal_residual=column("primal_residual", np.float64),
            dual_residual=column("dual_residual", np.float64),
            gap=column("gap", np.float64),
            objective=self.compiled.objective_sign * column("objective", np.float64),
            fallback=np.zeros(size, dtype=np.bool_),
            margin=np.array([margin(structure.cones, *pair) for pair in zip(s, z, strict=True)], dtype=np.float64),
            tape=Tape(x, z, s, status) if tape else None,
            notes={i: o.note for i, o in enumerate(outcomes) if o.note},
        )


class Adapter(PerInstance):
    """A solver that takes a ``ConeProgram``: subclasses name it and its package, translate a program and read its answer.

    Options: ``tolerance`` and ``polish`` judge and refine the answer, ``threads`` counts instances solved at a time; the common
    names in ``common`` and the solver's own go to the solver.
    """

    package: ClassVar[str]  # what is imported
    install: ClassVar[str]  # what is typed where it is missing
    common: ClassVar[Mapping[str, str]] = {}  # common option → the solver's name for it
    own: ClassVar[frozenset[str]] = frozenset()  # the solver's own settings
    preset: ClassVar[Mapping[str, Any]] = {}  # settings that hold unless the user gives them

    def __init__(self, compiled: CompiledProblem, options: Mapping[str, Any]) -> None:
        super().__init__(compiled, options)
        require(self.name, self.package, self.install)

    @abc.abstractmethod
    def _claim(self, program: ConeProgram, settings: dict[str, Any]) -> Claim:
        """Solve one program with the solver's own ``settings``; exceptions become the instance's failure."""

    @classmethod
    def option_names(cls) -> frozenset[str] | None:
        """The common options that mean something here, and the solver's own settings."""
        return OURS.union(cls.common, cls.own)

    def _outcome(self, values: Shaped[Float64, " values"], settings: Mapping[str, Any]) -> Outcome:
        program = self._assemble(values)
        given = {self.common.get(name, name): value for name, value in settings.items() if name not in OURS}
        claim = self._claim(program, {**self.preset, **given})
        return settle(program, claim, tolerance=settings.get("tolerance", 1e-8), polish=settings.get("polish", True))

    @property
    def _solver(self) -> Any:
        """The solver's package, imported when first needed."""
        return importlib.import_module(self.package)

    def describe(self) -> Mapping[str, Any]:
        """Name and version of the solver."""
        return {"name": self.name, "version": getattr(self._solver, "__version__", "unknown")}


def require(engine: str, package: str, install: str) -> None:
    """Refuse to go on without a package that an engine imports later.

    Raises:
        MissingPackageError: with what to type.
    """
    if importlib.util.find_spec(package) is None:
        raise MissingPackageError(f"Engine {engine!r} needs the package {package!r}; install it with: {install}")


def words(text: str) -> frozenset[str]:
    """The words of a text: how adapters list a solver's settings."""
    return frozenset(text.split())


@contextmanager
def _mapping(threads: int) -> Iterator[Callable[[Callable[[Any], Outcome], list[Any]], list[Outcome]]]:
    """A map over a list, on as many threads."""
    if threads <= 1:
        yield lambda solve, items: [solve(item) for item in items]
        return
    pool = ThreadPoolExecutor(threads)
    try:
        yield lambda solve, items: list(pool.map(solve, items))
    finally:
        pool.shutdown(cancel_futures=True)
