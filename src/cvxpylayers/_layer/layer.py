"""The layer without a tensor framework: arrays in, arrays out; front ends only turn tensors into arrays and back."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from cvxpylayers import _core
from cvxpylayers._engines.engine import Engine
from cvxpylayers._engines.log_space import build, kind_of
from cvxpylayers._engines.native.device import in_words
from cvxpylayers._engines.registry import Solver, automatic, check, resolve
from cvxpylayers._layer.call import Call, Point
from cvxpylayers._layer.explain import Explanation, explain, summary
from cvxpylayers._layer.failure import OnFailure, failure_message, failure_mode
from cvxpylayers._layer.info import SolveInfo, WarmStart
from cvxpylayers._layer.inputs import screen, to_batch, to_screen
from cvxpylayers._layer.legacy import spoken
from cvxpylayers._layer.options import COMMON, normalize, split_solver
from cvxpylayers._layer.outputs import Outputs
from cvxpylayers._program import Batch, CompiledProblem, Solution
from cvxpylayers._typing import Bool, Exchanged, Float64, NDArray
from cvxpylayers.errors import SolverError

if TYPE_CHECKING:
    import cvxpy as cp

__all__ = ["Call", "Layer", "OnFailure", "Point"]

T = TypeVar("T")


class Layer:
    """A compiled problem and the engine that solves it; immutable, picklable, safe to call from several threads."""

    def __init__(
        self,
        problem: cp.Problem,
        parameters: Sequence[cp.Parameter],
        variables: Sequence[cp.Variable],
        *,
        solver: Solver = None,
        gp: bool = False,
        verbose: bool = False,
        canon_backend: str | None = None,
        solver_args: Mapping[str, Any] | None = None,
        on_failure: OnFailure = "raise",
    ) -> None:
        from cvxpylayers._layer.assembly import assemble  # brings CVXPY, which a layer out of a file needs nothing of

        loud, wished = spoken(solver_args)
        mode = failure_mode(on_failure if wished is None or on_failure != "raise" else wished)
        parts = assemble(problem, parameters, variables, solver=solver, gp=gp, canon_backend=canon_backend, solver_args=solver_args)
        self._set(*parts, mode, verbose if loud is None else loud)

    @classmethod
    def of(
        cls,
        compiled: CompiledProblem,
        kind: type[Engine],
        options: Mapping[str, Any],
        *,
        on_failure: OnFailure = "raise",
        verbose: bool = False,
        chosen: bool = False,
    ) -> Layer:
        """The layer of a problem that has been compiled; ``options`` are the engine's own, ``chosen`` as in ``Assembly``."""
        layer = cls.__new__(cls)
        check(kind, compiled)
        layer._set(compiled, build(kind, compiled, options), chosen, on_failure, verbose)
        return layer

    def _set(self, compiled: CompiledProblem, engine: Engine, chosen: bool, on_failure: OnFailure, verbose: bool) -> None:
        self.compiled, self.engine, self.chosen = compiled, engine, chosen
        self.on_failure, self.verbose = on_failure, verbose
        self._others: dict[type[Engine], Layer] = {}  # with the engines that calls asked for; they follow from the problem alone
        self._shapes = tuple(spec.shape for spec in compiled.parameters)
        self.ranks = tuple(map(len, self._shapes))
        self._outputs = Outputs(self.compiled.outputs)
        self._screened = to_screen(compiled) if engine.capabilities.watchful else None

    def __deepcopy__(self, memo: dict[int, Any]) -> Layer:
        return self  # immutable

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_others": {}}

    def __reduce_package__(self, exporter: Any) -> tuple[Any, ...]:
        """What ``torch.package`` asks for: the package holds the layer, and takes the solver from where it is opened."""
        exporter.extern("cvxpylayers.**")
        return _unpacked, (pickle.dumps(self),)

    @property
    def kind(self) -> type[Engine]:
        """The class of the engine."""
        return kind_of(self.engine)

    def choose(self, solver_args: Mapping[str, Any] | None) -> tuple[Layer, Mapping[str, Any] | None]:
        """The layer with the engine that the arguments of a call name, as in 1.x, and the other arguments.

        Another engine than this layer's inherits the options that mean the same to both.
        """
        named, arguments = split_solver(solver_args)
        if named is None:
            return self, arguments
        kind, preset = resolve(named)
        arguments = {**preset, **(arguments or {})}
        if kind is self.kind:
            return self, arguments
        if kind not in self._others:
            shared = (kind.option_names() or COMMON.keys()) & {*COMMON, "derivative"}
            options = {name: value for name, value in self.engine.options.items() if name in shared}
            self._others[kind] = Layer.of(self.compiled, kind, options, on_failure=self.on_failure, verbose=self.verbose)
        return self._others[kind], arguments

    def batch(self, arrays: Sequence[NDArray[np.generic]]) -> Batch:
        """Check and broadcast one array per parameter, of shape (*batch_i, *parameter shape).

        Raises:
            InputError, InputTypeError: as ``inputs.to_batch``.
        """
        batch = self.read(arrays)
        return to_batch(self.compiled.parameters, arrays) if batch is None else batch

    def read(self, arrays: Sequence[Exchanged]) -> Batch | None:
        """As ``batch``, of arrays of any library where they lie; None where something must be converted, or said, first."""
        found = _core.read(arrays, self._shapes)
        return None if found is None else Batch(found, found.shape)

    def solve(
        self,
        arrays: Sequence[NDArray[np.generic]] | Batch,
        *,
        solver_args: Mapping[str, Any] | None = None,
        warm_start: bool | WarmStart = False,
        on_failure: OnFailure | None = None,
        tape: bool = False,
    ) -> Call:
        """Solve every instance; parameters as for ``batch``, or what that made of them.

        A ``WarmStart`` is where to start from, and ``info`` then has the next one. Layers keep nothing by themselves.

        Raises:
            InputError: the points to start from are those of another problem.
            SolverError: in mode "raise", when an instance has no solution.
            OptionError: ``solver_args`` or ``on_failure`` are not understood.
        """
        layer, solver_args = self.choose(solver_args)
        mode, options = layer.call_options(solver_args, warm_start is True, on_failure)
        start = warm_start if isinstance(warm_start, WarmStart) else None
        batch, solution = layer.run(arrays, options, tape=tape or start is not None, start=start)
        failed = solution.failed
        if len(failed) and mode != "warn":
            solution.rows[failed] = np.nan
        call = Call(self._outputs.split(solution.outputs, batch.shape), batch, solution, start is not None)
        del solution.outputs  # memory, if the call has copies
        if self.speaks(solver_args):
            print(call.info)
        if len(failed) and mode != "nan":
            message = failure_message(self.compiled.parameters, call.info, batch, solution.notes)
            if mode == "raise":
                raise SolverError(message, call.info, call.outputs)
            warnings.warn(message, RuntimeWarning, stacklevel=2)
        return call

    def call_options(
        self, solver_args: Mapping[str, Any] | None, warm_start: bool, on_failure: OnFailure | None
    ) -> tuple[OnFailure, dict[str, Any]]:
        """The failure mode and the checked engine options of one call."""
        wished = spoken(solver_args)[1] if on_failure is None else on_failure
        mode = self.on_failure if wished is None else failure_mode(wished)
        options = normalize(solver_args, self.kind.option_names(), call=True) if solver_args else {}
        if warm_start:
            message = "Solves start cold here, warm_start=True has no effect; a cvxpylayers.WarmStart does it by hand."
            warnings.warn(message, UserWarning, stacklevel=3)
        return mode, options

    def speaks(self, solver_args: Mapping[str, Any] | None) -> bool:
        """Whether one call prints a line about its outcome."""
        loud = spoken(solver_args)[0]
        return self.verbose if loud is None else loud

    def run(
        self,
        arrays: Sequence[NDArray[np.generic]] | Batch,
        options: Mapping[str, Any],
        *,
        tape: bool,
        start: WarmStart | None = None,
    ) -> tuple[Batch, Solution]:
        """Solve every instance, and leave failures in place."""
        batch = arrays if isinstance(arrays, Batch) else self.batch(arrays)
        batch = screen(self.compiled.parameters, batch, self._screened)
        if start is not None:
            batch = batch._replace(start=start.points(batch.size, self.compiled.structure.n, self.compiled.structure.m))
        return batch, self.engine.solve(batch, options, tape=tape)

    def vjp(
        self, at: Point, cotangents: Sequence[Exchanged | None], wanted: Sequence[bool], *, directions: int | None = None
    ) -> list[Exchanged | None]:
        """Pull one cotangent per output (*batch, *shape; None for zero) back to the wanted parameters.

        Each gradient has the shape (*batch_i, size) of its parameter, summed over the axes along which that was broadcast.
        With ``directions`` = K, cotangents (of length K or 1 there) and gradients have one more leading axis.
        """
        rows = self._outputs.stack(cotangents, at.batch.size, directions)
        return _noted(at.call, self.engine.vjp(at.batch, at.tape, rows, wanted))

    def jvp(
        self, at: Point, tangents: Sequence[NDArray[np.generic] | None], *, directions: int | None = None
    ) -> tuple[Float64, ...]:
        """Push one tangent per parameter (shaped like its array; None for zero) to the outputs.

        With ``directions`` = K, tangents (of length K or 1 there) and outputs have one more leading axis.
        """
        outputs = _noted(at.call, self.engine.jvp(at.batch, at.tape, self._flat(tangents), directions=directions))
        return self._outputs.split(outputs, outputs.shape[:-2] + at.batch.shape)

    def hvp(
        self,
        at: Point,
        cotangents: Sequence[Float64 | None],
        tangents: Sequence[NDArray[np.generic] | None],
        wanted: Sequence[bool],
        *,
        directions: int | None = None,
    ) -> list[Float64 | None]:
        """Differentiate ``vjp``, its cotangents held fixed, along tangents of the parameters; all as for ``vjp`` and ``jvp``.

        Raises:
            DerivativeError: the engine has no second derivatives.
        """
        rows = self._outputs.stack(cotangents, at.batch.size, directions)
        return _noted(at.call, self.engine.hvp(at.batch, at.tape, rows, self._flat(tangents), wanted, directions=directions))

    def jacobian(self, at: Point) -> list[list[Float64]]:
        """Entry [i][j]: output i by parameter j, (*batch, *shape of output i, *shape of parameter j), one for every instance."""
        specs, total, batch = self.compiled.parameters, self._outputs.total, at.batch
        units = np.tile(np.eye(total)[:, None], (1, batch.size, 1))
        gradients = _noted(at.call, self.engine.vjp(batch.per_instance(), at.tape, units, [True] * len(specs)))
        # (outputs, *batch, size_j) → (B, outputs, size_j)
        parts = [g.reshape(total, batch.size, g.shape[-1]).swapaxes(0, 1) for g in gradients if g is not None]
        return [
            [
                np.ascontiguousarray(part[:, rows]).reshape(batch.shape + shape + spec.shape)
                for part, spec in zip(parts, specs, strict=True)
            ]
            for rows, shape in self._outputs.parts
        ]

    def _flat(self, tangents: Sequence[NDArray[np.generic] | None]) -> list[Float64 | None]:
        """Tangents of parameters (…, *shape) → (…, size)."""
        pairs = zip(self.compiled.parameters, tangents, strict=True)
        return [None if t is None else to_batch((spec,), (t,)).arrays[0] for spec, t in pairs]

    def failure(self, info: SolveInfo, batch: Batch | None = None) -> str:
        """Which instances failed, how, and what to do about it; ``batch`` adds what is wrong with invalid input."""
        return failure_message(self.compiled.parameters, info, batch)

    def explain(self) -> Explanation:
        """What was compiled, which engine solves it and why, and what a solve costs; prints as a table."""
        why = automatic(self.compiled, self.engine.options)[1] if self.chosen else "named by the user"
        return explain(self.compiled, {**self.engine.describe(), "tensors on a device": in_words(self.engine)}, why)

    def describe(self) -> str:
        """Variables, parameters, cones, sizes and engine, for ``repr``."""
        return f"{summary(self.compiled, self.engine.describe())}; on_failure={self.on_failure!r}"


def _unpacked(_: Any, pickled: bytes) -> Layer:
    layer: Layer = pickle.loads(pickled)
    return layer


def _noted(call: Call | None, found: tuple[T, Bool]) -> T:
    """What a derivative gave, its flags written down."""
    values, degenerate = found
    if call is not None and 1 in degenerate.tobytes():  # a search without NumPy's dispatch
        call.info.record(degenerate)
    return values
