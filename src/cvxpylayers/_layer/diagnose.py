"""How a ``Diagnosis`` is made: one solve, one derivative, and the geometry of every solution."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from cvxpylayers._engines.judge.geometry import Geometry
from cvxpylayers._engines.judge.program import Assembler, switch_off
from cvxpylayers._engines.log_space import entered
from cvxpylayers._layer.diagnosis import Diagnosis
from cvxpylayers._layer.layer import Call, Layer, Point
from cvxpylayers._layer.outputs import Outputs
from cvxpylayers._program import CompiledProblem
from cvxpylayers._typing import Bool, Float64, Int32, NDArray, Shaped
from cvxpylayers.errors import InputError

Found = Sequence[Geometry | None]

_EXACT: Final = 16  # entries of outputs up to which the Jacobian is taken row by row; as many random directions beyond
_ROOM: Final = 20_000_000  # numbers of gradients that are held at once
_LARGE: Final = 2000  # unknowns and rows beyond which nothing is factored densely


def diagnose(
    layer: Layer,
    arrays: Sequence[NDArray[np.generic]],
    cotangents: Sequence[NDArray[np.generic] | None] | None = None,
    solver_args: Mapping[str, Any] | None = None,
) -> Diagnosis:
    """Why the gradients at these parameters, (*batch_i, *shape) each, are as they are, for the whole batch.

    ``cotangents`` are those of a loss, one per output and broadcast to (*batch, *shape); all outputs count alike without. Every
    instance is factored densely in NumPy: this is for batches that are looked at, not for training.

    Raises:
        InputError: as for a call, and the number or shape of cotangents. OptionError: an option is not understood.
    """
    layer, solver_args = layer.choose(solver_args)
    call = layer.solve(arrays, solver_args=solver_args, on_failure="nan", tape=True)
    gradient = _norms(layer, call, _rows(layer, call, cotangents))
    smoothed = layer.engine.options.get("derivative") == "smoothed"
    found = _geometries(layer, _exact(layer, arrays, solver_args) if smoothed else call)
    shape, equalities = call.batch.shape, layer.compiled.structure.cones.zero

    def each(part: Callable[[Geometry], float], missing: float, dtype: type[np.generic]) -> Any:
        return np.array([missing if g is None else part(g) for g in found], dtype=dtype).reshape(shape)

    return Diagnosis(
        info=call.info,
        smoothed=smoothed,
        gradient=gradient,
        relative=_relative(layer, call, gradient),
        idle=_idle(layer.compiled, found, shape),
        active=each(lambda g: int(g.active[equalities:].sum()), -1, np.int32),
        rank=each(lambda g: g.rank, -1, np.int32),
        dependent=each(lambda g: g.dependent, -1, np.int32),
        free=each(lambda g: g.seen, -1, np.int32),
        flat=np.where(call.info.degenerate, each(lambda g: g.flat, -1, np.int32), each(lambda g: g.seen_flat, -1, np.int32)),
        curvature=each(lambda g: g.curvature, np.nan, np.float64),
        angle=each(lambda g: g.angle, np.nan, np.float64),
        spread=each(lambda g: g.spread, np.nan, np.float64),
        binding=_binding(layer.compiled, found, shape),
    )


def _exact(layer: Layer, arrays: Sequence[NDArray[np.generic]], solver_args: Mapping[str, Any] | None) -> Call:
    """The same call of a layer that differentiates the solution itself: its tape holds that, and no point of the central path."""

    def left(options: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in options.items() if name not in ("derivative", "smoothing")}

    exact = Layer.of(layer.compiled, layer.kind, left(layer.engine.options))
    return exact.solve(arrays, solver_args=left(solver_args or {}), on_failure="nan", tape=True)


def _rows(layer: Layer, call: Call, cotangents: Sequence[NDArray[np.generic] | None] | None) -> Float64:
    """The cotangents (K, B, outputs) whose gradients are measured, such that the sum of squares over K is what is reported."""
    outputs, batch = Outputs(layer.compiled.outputs), call.batch
    if cotangents is None:
        few = outputs.total <= _EXACT
        rows = np.eye(outputs.total) if few else np.random.default_rng(0).normal(size=(_EXACT, outputs.total)) / np.sqrt(_EXACT)
        return np.broadcast_to(rows[:, None], (len(rows), batch.size, outputs.total))
    specs = layer.compiled.outputs
    if len(cotangents) != len(specs):
        raise InputError(f"One cotangent per output is needed, None for zero: {len(specs)}; got {len(cotangents)}.")
    full: list[Float64 | None] = []
    for spec, given in zip(specs, cotangents, strict=True):
        shape = (*batch.shape, *spec.shape)
        try:
            full.append(None if given is None else np.broadcast_to(np.asarray(given, dtype=np.float64), shape))
        except ValueError:
            raise InputError(
                f"The cotangent of {spec.name!r} must have shape {shape}; got {getattr(given, 'shape', ())}."
            ) from None
    stacked: Float64 = outputs.stack(full, batch.size, None)[None]
    return stacked


def _norms(layer: Layer, call: Call, rows: Float64) -> dict[str, Float64]:
    """By parameter, √Σ |gradient|² over the cotangents, instance by instance; the flags of the derivative go to ``call.info``."""
    specs, batch, outputs = layer.compiled.parameters, call.batch, Outputs(layer.compiled.outputs)
    assert call.tape is not None
    at, squares = Point(batch.per_instance(), call.tape, call), np.zeros((len(specs), batch.size))
    at_once = max(1, _ROOM // max(1, batch.size * sum(spec.size for spec in specs)))
    for start in range(0, len(rows), at_once):
        some = rows[start : start + at_once]
        pulled = layer.vjp(at, outputs.split(some, some.shape[:-2] + batch.shape), [True] * len(specs), directions=len(some))
        squares += [(g.reshape(len(some), batch.size, g.shape[-1]) ** 2).sum(axis=(0, 2)) for g in pulled if g is not None]
    return {spec.name: np.sqrt(square).reshape(batch.shape) for spec, square in zip(specs, squares, strict=True)}


def _relative(layer: Layer, call: Call, gradient: Mapping[str, Float64]) -> dict[str, Float64]:
    """Gradients times the norm of the parameter or 1, by that of the outputs or 1."""
    batch, found = call.batch, {}
    moved = np.sqrt(
        sum((o.reshape(batch.size, s.size) ** 2).sum(axis=1) for o, s in zip(call.outputs, layer.compiled.outputs, strict=True))
    ).reshape(batch.shape)
    for spec, array in zip(layer.compiled.parameters, batch.arrays, strict=True):
        size = np.linalg.norm(np.where(np.isfinite(array), array, 0.0), axis=-1)
        found[spec.name] = gradient[spec.name] * np.maximum(size, 1.0) / np.fmax(moved, 1.0)
    return found


def _geometries(layer: Layer, call: Call) -> Found:
    """The geometry of every instance, None where there is no solution or the program is too large."""
    structure, batch, tape = layer.compiled.structure, entered(layer.engine, call.batch), call.tape
    assert tape is not None
    if structure.n + structure.m > _LARGE:
        return [None] * batch.size
    values = np.ascontiguousarray((layer.compiled.M @ batch.theta().T).T)
    if batch.infinite:
        switch_off(structure, values)
    assemble, looks = Assembler(structure), layer.compiled.R[:, : structure.n].toarray()
    looks = looks if looks.any() else np.eye(structure.n)  # where all outputs are duals
    return [
        Geometry.at(assemble(numbers), s, z, looks) if good else None
        for numbers, s, z, good in zip(values, tape.s, tape.z, tape.solved, strict=True)
    ]


def _idle(compiled: CompiledProblem, found: Found, shape: tuple[int, ...]) -> dict[str, Bool]:
    """Where a parameter enters neither P, nor q, nor an active row."""
    st, M = compiled.structure, compiled.M.tocsc()
    row_of = np.concatenate([np.full(st.P.nnz + st.n, -2), st.A.rows, np.arange(st.m), [-1]])  # -2: the objective, -1: its constant
    idle, start = {}, 0
    for spec in compiled.parameters:
        width = spec.size * len(spec.forms)
        rows = np.unique(row_of[M[:, start : start + width].indices])
        where = [g is not None and -2 not in rows and not g.active[rows[rows >= 0]].any() for g in found]
        idle[spec.name] = np.array(where, dtype=np.bool_).reshape(shape)
        start += width
    return idle


def _binding(compiled: CompiledProblem, found: Found, shape: tuple[int, ...]) -> dict[str, Shaped[Int32, "*batch"]]:
    """How many rows of each constraint are active, by its words, equalities left out."""
    zero, sources = compiled.structure.cones.zero, np.array(compiled.row_sources, dtype=object)
    counts = {}
    for words in dict.fromkeys(sources[zero:].tolist()):
        mine = np.flatnonzero(sources == words)
        mine = mine[mine >= zero]
        counts[str(words)] = np.array([0 if g is None else g.active[mine].sum() for g in found], dtype=np.int32).reshape(shape)
    return counts
