"""The layer without a tensor framework: arrays in, arrays out; front ends only turn tensors into arrays and back."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Mapping, Sequence
from itertools import accumulate
from operator import itemgetter
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple, get_args

import cvxpy as cp
import numpy as np

from cvxpylayers._arrays import reasons, screen, to_batch
from cvxpylayers._canon import Recent, compile_problem, fingerprint, rename
from cvxpylayers._engines.base import Engine
from cvxpylayers._engines.log_space import build, kind_of
from cvxpylayers._engines.registry import Solver, automatic, check, resolve
from cvxpylayers._explain import Explanation, cone_words, explain, shape_words
from cvxpylayers._info import SolveInfo, WarmStart
from cvxpylayers._options import COMMON, normalize, split_solver
from cvxpylayers._program import Batch, CompiledProblem, Solution, Status, Tape
from cvxpylayers._typing import Float64, NDArray
from cvxpylayers.errors import InputError, OptionError, SolverError

OnFailure = Literal["raise", "nan", "warn"]
_MODES: Final = get_args(OnFailure)
_USABLE: Final = int(Status.ALMOST_SOLVED)  # a plain int: comparing an array with an enumeration's member is slow
_LISTED: Final = 8  # failing instances that a message names
_AUTOMATIC: Final = (None, "auto")
_QUOTED: Final = 3  # different words of solvers in a message
_SILENT: Final[Mapping[int, str]] = MappingProxyType({})
_SHOWN: Final = ("version", "isa", "lane_width")  # facts of the engine that fit into a repr

# Loops that build the same layer for every sample pay for one.
_RECENT: Final[Recent[tuple[CompiledProblem, Engine]]] = Recent(count=16, room=1_000_000, size=lambda pair: pair[0].M.nnz)


class Call(NamedTuple):
    """One solved batch. ``outputs[i]``: (*batch, *shape of output i); ``tape`` is None where no derivative was asked for."""

    outputs: tuple[Float64, ...]
    info: SolveInfo
    tape: Tape | None


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
        named, arguments = split_solver(solver_args)
        kind, preset = resolve(solver if named is None else named)
        options = {**preset, **normalize(arguments, kind.option_names())}
        mode, chosen = _mode(on_failure), solver in _AUTOMATIC and named in _AUTOMATIC
        key = _key(fingerprint(problem, parameters, variables, gp, canon_backend), kind, options)
        if key is not None and (found := _RECENT.get(key)) is not None:
            compiled, engine = rename(found[0], problem, parameters, variables), found[1].twin()
        else:
            compiled = compile_problem(problem, parameters, variables, gp=gp, canon_backend=canon_backend)
            if chosen and (best := automatic(compiled)[0]) is not kind:
                understood = best.option_names() or options.keys()
                kind, key, options = best, None, {name: value for name, value in options.items() if name in understood}
            check(kind, compiled)
            engine = build(kind, compiled, options)
            if key is not None:
                _RECENT.put(key, (compiled, engine.twin()))
        self._assemble(compiled, engine, mode, verbose, chosen)

    @classmethod
    def of(
        cls,
        compiled: CompiledProblem,
        kind: type[Engine],
        options: Mapping[str, Any],
        *,
        on_failure: OnFailure = "raise",
        verbose: bool = False,
    ) -> Layer:
        """The layer of a problem that has been compiled; ``options`` are the engine's own."""
        layer = cls.__new__(cls)
        check(kind, compiled)
        layer._assemble(compiled, build(kind, compiled, options), on_failure, verbose)
        return layer

    def _assemble(
        self, compiled: CompiledProblem, engine: Engine, on_failure: OnFailure, verbose: bool, chosen: bool = False
    ) -> None:
        self._chosen = chosen  # the engine, by us
        self.compiled, self.engine, self.on_failure, self.verbose = compiled, engine, on_failure, verbose
        self._others: dict[type[Engine], Layer] = {}  # with the engines that calls asked for; they follow from the problem alone
        self.ranks = tuple(len(spec.shape) for spec in compiled.parameters)
        cuts = list(accumulate((o.size for o in self.compiled.outputs), initial=0))
        self._slices = tuple((slice(a, b), o.shape) for a, b, o in zip(cuts, cuts[1:], self.compiled.outputs, strict=False))

    def __deepcopy__(self, memo: dict[int, Any]) -> Layer:
        return self  # immutable

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_others": {}}

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
            understood = kind.option_names() or COMMON.keys()
            shared = understood & {*COMMON, "derivative"}
            options = {name: value for name, value in self.engine.options.items() if name in shared}
            self._others[kind] = Layer.of(self.compiled, kind, options, on_failure=self.on_failure, verbose=self.verbose)
        return self._others[kind], arguments

    def batch(self, arrays: Sequence[NDArray[np.generic]]) -> Batch:
        """Check and broadcast one array per parameter, of shape (*batch_i, *parameter shape).

        Raises:
            InputError, InputTypeError: as ``_arrays.to_batch``.
        """
        return to_batch(self.compiled.parameters, arrays)

    def solve(
        self,
        arrays: Sequence[NDArray[np.generic]],
        *,
        solver_args: Mapping[str, Any] | None = None,
        warm_start: bool | WarmStart = False,
        on_failure: OnFailure | None = None,
        tape: bool = False,
    ) -> Call:
        """Solve every instance; parameters as for ``batch``.

        A ``WarmStart`` is where to start from, and ``info`` then has the next one. Layers keep nothing by themselves.

        Raises:
            InputError: the points to start from are those of another problem.
            SolverError: in mode "raise", when an instance has no solution.
            OptionError: ``solver_args`` or ``on_failure`` are not understood.
        """
        layer, solver_args = self.choose(solver_args)
        mode, options = layer.settle(solver_args, warm_start is True, on_failure)
        start = warm_start if isinstance(warm_start, WarmStart) else None
        batch, solution = layer.run(arrays, options, tape=tape or start is not None, start=start)
        info = SolveInfo.of(solution, batch.shape, warm_start=start is not None)
        if self.verbose:
            print(info)
        failed = info.failed
        if len(failed) and mode != "warn":
            solution.outputs[failed] = np.nan
        outputs = self._cut(solution.outputs, batch)
        if len(failed) and mode != "nan":
            message = self.failure(info, batch, solution.notes)
            if mode == "raise":
                raise SolverError(message, info, outputs)
            warnings.warn(message, RuntimeWarning, stacklevel=2)
        return Call(outputs, info, solution.tape)

    def settle(
        self, solver_args: Mapping[str, Any] | None, warm_start: bool, on_failure: OnFailure | None
    ) -> tuple[OnFailure, dict[str, Any]]:
        """The failure mode and the checked engine options of one call."""
        mode = self.on_failure if on_failure is None else _mode(on_failure)
        options = normalize(solver_args, self.kind.option_names(), call=True) if solver_args else {}
        if warm_start:
            message = "Solves start cold here, warm_start=True has no effect; a cvxpylayers.WarmStart does it by hand."
            warnings.warn(message, UserWarning, stacklevel=3)
        return mode, options

    def run(
        self,
        arrays: Sequence[NDArray[np.generic]],
        options: Mapping[str, Any],
        *,
        tape: bool,
        start: WarmStart | None = None,
    ) -> tuple[Batch, Solution]:
        """Solve every instance, and leave failures in place."""
        batch = self.batch(arrays)
        invalid = screen(self.compiled.parameters, batch)
        points = None if start is None else start.points(batch.size)
        if points is not None and [p.shape[-1] for p in points] != [self.compiled.structure.n, *[self.compiled.structure.m] * 2]:
            raise InputError("This WarmStart belongs to another problem: start again with cvxpylayers.WarmStart().")
        if invalid is not None or points is not None:
            batch = Batch(batch.arrays, batch.shape, invalid, points)
        return batch, self.engine.solve(batch, options, tape=tape)

    def vjp(
        self,
        batch: Batch,
        tape: Tape,
        info: SolveInfo | None,
        cotangents: Sequence[Float64 | None],
        wanted: Sequence[bool],
        *,
        directions: int | None = None,
    ) -> list[Float64 | None]:
        """Pull one cotangent per output (*batch, *shape; None for zero) back to the wanted parameters.

        Each gradient has the shape (*batch_i, size) of its parameter, summed over the axes along which that was broadcast.
        With ``directions`` = K, cotangents (of length K or 1 there) and gradients have one more leading axis. Flags go to ``info``.
        """
        gradients, degenerate = self.engine.vjp(batch, tape, self._join(cotangents, batch, tape, directions), wanted)
        if info is not None:
            info.record(degenerate)
        return gradients

    def jvp(
        self,
        batch: Batch,
        tape: Tape,
        info: SolveInfo | None,
        tangents: Sequence[NDArray[np.generic] | None],
        *,
        directions: int | None = None,
    ) -> tuple[Float64, ...]:
        """Push one tangent per parameter (shaped like its array; None for zero) to the outputs.

        With ``directions`` = K, tangents (of length K or 1 there) and outputs have one more leading axis.
        """
        outputs, degenerate = self.engine.jvp(batch, tape, self._flat(tangents), directions=directions)
        if info is not None:
            info.record(degenerate)
        return self._cut(outputs, batch)

    def hvp(
        self,
        batch: Batch,
        tape: Tape,
        info: SolveInfo | None,
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
        joint, flat = self._join(cotangents, batch, tape, directions), self._flat(tangents)
        gradients, degenerate = self.engine.hvp(batch, tape, joint, flat, wanted, directions=directions)
        if info is not None:
            info.record(degenerate)
        return gradients

    def jacobian(self, batch: Batch, tape: Tape, info: SolveInfo) -> list[list[Float64]]:
        """Entry [i][j]: output i by parameter j, (*batch, *shape of output i, *shape of parameter j), one for every instance."""
        specs, total = self.compiled.parameters, self.compiled.R.shape[0]
        # Axes of stride 0 keep the instances of a shared parameter apart, and copy nothing.
        apart = Batch(tuple(np.broadcast_to(a, (*batch.shape, a.shape[-1])) for a in batch.arrays), batch.shape)
        units = np.tile(np.eye(total)[:, None], (1, batch.size, 1))
        units[:, tape.status > _USABLE] = 0.0
        gradients, degenerate = self.engine.vjp(apart, tape, units, [True] * len(specs))
        info.record(degenerate)
        # (outputs, *batch, size_j) → (B, outputs, size_j)
        parts = [
            gradient.reshape(total, batch.size, spec.size).swapaxes(0, 1)
            for gradient, spec in zip(gradients, specs, strict=True)
            if gradient is not None
        ]
        return [
            [
                np.ascontiguousarray(part[:, rows]).reshape(batch.shape + shape + spec.shape)
                for part, spec in zip(parts, specs, strict=True)
            ]
            for rows, shape in self._slices
        ]

    def _join(self, cotangents: Sequence[Float64 | None], batch: Batch, tape: Tape, directions: int | None) -> Float64:
        """One cotangent per output → columns (*K, B, outputs)."""
        total = self._slices[-1][0].stop if self._slices else 0
        lead = () if directions is None else (directions,)
        joint = np.zeros((*lead, batch.size, total))
        for cotangent, (columns, _) in zip(cotangents, self._slices, strict=True):
            if cotangent is not None:
                joint[..., columns] = cotangent.reshape(*cotangent.shape[: len(lead)], batch.size, columns.stop - columns.start)
        # 0 · NaN is NaN: a loss that saw the NaN of a failed instance must not reach a shared parameter.
        joint[..., tape.status > _USABLE, :] = 0.0
        return joint

    def _flat(self, tangents: Sequence[NDArray[np.generic] | None]) -> list[Float64 | None]:
        """Tangents of parameters (…, *shape) → (…, size)."""
        pairs = zip(self.compiled.parameters, tangents, strict=True)
        return [None if t is None else to_batch((spec,), (t,)).arrays[0] for spec, t in pairs]

    def _cut(self, outputs: Float64, batch: Batch) -> tuple[Float64, ...]:
        """Columns (*K, B, outputs) → one contiguous array (*K, *batch, *shape) per output."""
        lead = outputs.shape[:-2] + batch.shape
        return tuple(np.ascontiguousarray(outputs[..., columns]).reshape(lead + shape) for columns, shape in self._slices)

    def failure(self, info: SolveInfo, batch: Batch | None = None, notes: Mapping[int, str] = _SILENT) -> str:
        """Which instances failed, how, and what to do about it; ``batch`` adds what is wrong with invalid input.

        ``notes`` are the words of solvers, by instance.
        """
        failed, codes, shape = info.failed, info.codes.reshape(-1), info.codes.shape
        lines = [f"{len(failed)} of {codes.size} instances have no solution:" if shape else "The instance was not solved:"]
        for status in sorted({Status(int(code)) for code in codes[failed]}):
            members = failed[codes[failed] == status]
            where = " at " * bool(shape) + ", ".join(self._place(shape, batch, i, status) for i in members[:_LISTED])
            more = f", … ({len(members)} in all)" if len(members) > _LISTED else ""
            lines.append(f"  {status}{where}{more}. {status.help}")
        said = dict.fromkeys(notes[i] for i in failed.tolist() if i in notes)
        lines += [f"  The solver: {words.rstrip('.')}." for words in list(said)[:_QUOTED]]
        others = "lets the other instances through" if shape else "goes on without it"
        lines.append(f'on_failure="nan" or "warn" {others}; layer.solve(...) returns the status{"es" * bool(shape)}.')
        return "\n".join(lines)

    def _place(self, shape: tuple[int, ...], batch: Batch | None, instance: np.intp, status: Status) -> str:
        index = tuple(int(k) for k in np.unravel_index(instance, shape)) if shape else ()
        place = f"index {index[0] if len(index) == 1 else index}" if index else ""
        why = []
        if batch is not None and status is Status.INVALID_INPUT:
            why = reasons(self.compiled.parameters, batch, int(instance))
        return f"{place} ({'; '.join(why)})" if why else place

    def explain(self) -> Explanation:
        """What was compiled, which engine solves it and why, and what a solve costs; prints as a table."""
        why = automatic(self.compiled)[1] if self._chosen else "named by the user"
        return explain(self.compiled, self.engine.describe(), why)

    def describe(self) -> str:
        """Variables, parameters, cones, sizes and engine, for ``repr``."""
        c, s = self.compiled, self.compiled.structure
        inputs = ", ".join(f"{p.name}{shape_words(p.shape)}" for p in c.parameters)
        outputs = ", ".join(f"{o.name}{shape_words(o.shape)}" for o in c.outputs)
        facts = self.engine.describe()
        engine = ", ".join([str(facts["name"]), *(f"{key}={facts[key]}" for key in _SHOWN if key in facts)])
        return (
            f"({inputs}) → ({outputs})\n"
            f"n={s.n}, m={s.m}, nnz(P)={s.P.nnz}, nnz(A)={s.A.nnz}; cones: {cone_words(s.cones)}\n"
            f"engine: {engine}; on_failure={self.on_failure!r}"
        )


def _key(digest: str | None, kind: type[Engine], options: Mapping[str, Any]) -> Hashable | None:
    """What two layers share that can share their engine; None where that cannot be told."""
    key = digest, kind, tuple(sorted(options.items(), key=itemgetter(0)))
    try:
        hash(key)
    except TypeError:
        return None
    return key if digest is not None else None


def _mode(on_failure: str) -> OnFailure:
    if on_failure not in _MODES:
        raise OptionError(f"on_failure must be one of {', '.join(map(repr, _MODES))}; got {on_failure!r}.")
    return on_failure  # type: ignore[return-value]
