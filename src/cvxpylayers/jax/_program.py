"""A layer as compiled programs know it: a static value with a content, and what the host computes where no kernel can be called."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from cvxpylayers._engines.engine import Engine
from cvxpylayers._engines.log_space import LogSpaceEngine
from cvxpylayers._engines.native.engine import NativeEngine
from cvxpylayers._layer.inputs import DEFINITE_SLACK, INFINITE, SKEW, SLACK, screen, to_batch
from cvxpylayers._layer.layer import Layer
from cvxpylayers._program import USABLE, Batch, Tape
from cvxpylayers._typing import NDArray
from cvxpylayers.errors import DerivativeError
from cvxpylayers.jax._handlers import detour

Array = NDArray[Any]
Options = tuple[tuple[str, Any], ...]
# Options that concern the host, or what was compiled before.
_HOST_OPTIONS = frozenset({"fallback", "lane_width", "derivative", "device"})
_TOLERANCES = (SLACK, DEFINITE_SLACK, SKEW, INFINITE)


class Program:
    """The static operand of every primitive: hashable, equal where the problem, the engine and its options are equal.

    Primitives work for ``engine`` and the problem ``compiled`` that it knows: a geometric program in its logarithms. ``key`` is the
    number under which handlers in compiled code find the kernel; None where the host must be called, for the reason ``detour``.
    """

    def __init__(self, layer: Layer) -> None:
        self.layer = layer
        self.engine = layer.engine.inner if isinstance(layer.engine, LogSpaceEngine) else layer.engine
        self.compiled = self.engine.compiled
        self.detour = detour(self.engine)
        self.key = self.engine.publish(_TOLERANCES) if isinstance(self.engine, NativeEngine) and not self.detour else None
        self.count = len(self.compiled.parameters)
        self.outputs = self.compiled.R.shape[0]
        structure = self.compiled.structure
        self.point = structure.n + 2 * structure.m  # numbers of (x, z, s)
        self.options: Options = tuple(sorted(self.engine.options.items()))
        self._identity = (layer.compiled.fingerprint, type(self.engine), repr(self.options), self.key)
        self._hash = hash(self._identity)

    def __reduce__(self) -> tuple[type[Program], tuple[Layer]]:
        return Program, (self.layer,)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Program) and self._identity == other._identity)

    def __repr__(self) -> str:
        return ", ".join(o.name for o in self.compiled.outputs)

    def require_second_order(self) -> None:
        """Raise ``DerivativeError`` where the engine has no second derivatives."""
        if type(self.engine).hvp is Engine.hvp:
            raise DerivativeError(f"Engine {self.engine.name} has no second derivatives; use the native engine, solver=None.")

    def settings(self, options: Options) -> dict[str, Any]:
        """What a handler is told: the numbers among the options of the layer, overridden by those of a call."""
        assert isinstance(self.engine, NativeEngine)
        merged = self.engine.settings(dict(options))
        return {name: np.float64(value) for name, value in merged.items() if name not in _HOST_OPTIONS}

    def solve(self, *arrays: Array, options: Options, rounding: tuple[float, ...], nan: bool, tape: bool) -> tuple[Array, ...]:
        """What the handler of the same name returns, in double precision."""
        theta, start = arrays[: self.count], arrays[self.count :]
        batch = self._batch(theta)
        if start:
            batch = batch._replace(shape=np.broadcast_shapes(batch.shape, start[0].shape[:-1]))
        points = self._points(start[0], batch.size) if start else None
        batch = screen(self.compiled.parameters, batch._replace(rounding=rounding, start=points))
        found = self.engine.solve(batch, dict(options), tape=tape)
        if nan:
            found.outputs[found.status > USABLE] = np.nan
        results: list[Array] = [found.outputs, found.status, found.iterations, found.residuals, found.margin]
        if found.tape is not None:
            results.append(found.tape.points.view(np.uint32))
        return tuple(r.reshape(batch.shape + r.shape[1:]) for r in results)

    def jvp(self, *operands: Array, given: tuple[bool, ...], directions: bool) -> Array:
        """Push the given tangents to the outputs ([K,] *batch, outputs)."""
        batch, tape, moving = self._linearization(operands)
        K = max(m.shape[0] for m in moving) if directions else None
        outputs, _ = self.engine.jvp(batch, tape, _spread(moving, given), directions=K)
        return outputs.reshape(*([] if K is None else [K]), *batch.shape, self.outputs)

    def vjp(self, *operands: Array, wanted: tuple[bool, ...], summed: tuple[bool, ...], directions: bool) -> tuple[Array, ...]:
        """Pull the cotangent back to the wanted parameters, per instance or summed; and the degeneracy flags."""
        batch, tape, (cotangent,) = self._linearization(operands)
        lead = cotangent.shape[: int(directions)]
        joint = self._joint(cotangent, lead, batch)
        gradients, degenerate = self.engine.vjp(batch.per_instance(map(operator.not_, summed)), tape, joint, wanted)
        return *_pulled(gradients, summed, lead, batch), degenerate.reshape(batch.shape)

    def hvp(
        self, *operands: Array, given: tuple[bool, ...], wanted: tuple[bool, ...], summed: tuple[bool, ...], directions: bool
    ) -> tuple[Array, ...]:
        """As ``vjp``, for its derivative along the given tangents."""
        batch, tape, (cotangent, *moving) = self._linearization(operands)
        lead = (max(m.shape[0] for m in (cotangent, *moving)),) if directions else ()
        joint = self._joint(np.broadcast_to(cotangent, lead + cotangent.shape[len(lead) :]), lead, batch)
        K, tangents = lead[0] if lead else None, _spread(moving, given)
        gradients, degenerate = self.engine.hvp(
            batch.per_instance(map(operator.not_, summed)), tape, joint, tangents, wanted, directions=K
        )
        return *_pulled(gradients, summed, lead, batch), degenerate.reshape(batch.shape)

    def _batch(self, arrays: Sequence[Array]) -> Batch:
        """Parameters (*batch_i, size), broadcast."""
        specs = self.compiled.parameters
        return to_batch(specs, [a.reshape((*a.shape[:-1], *p.shape)) for a, p in zip(arrays, specs, strict=True)])

    def _joint(self, cotangent: Array, lead: tuple[int, ...], batch: Batch) -> Array:
        return np.ascontiguousarray(cotangent, dtype=np.float64).reshape(*lead, batch.size, self.outputs)

    def _linearization(self, operands: Sequence[Array]) -> tuple[Batch, Tape, list[Array]]:
        arrays, tape, moving = operands[: self.count], operands[self.count], operands[self.count + 1 :]
        batch = Batch(self._batch(arrays).arrays, tape.shape[:-1])
        return batch, Tape(self._points(tape, batch.size), self.compiled.structure.n), list(moving)

    def _points(self, tape: Array, size: int) -> Array:
        """Points (size, n + 2 m) from doubles as pairs of integers (*batch, 2 (n + 2 m))."""
        return np.ascontiguousarray(tape).view(np.float64).reshape(size, self.point)


def _spread(moving: Sequence[Array], given: Sequence[bool]) -> list[Array | None]:
    """One array per parameter, None where none is given."""
    rest = iter(moving)
    return [np.ascontiguousarray(next(rest), dtype=np.float64) if g else None for g in given]


def _pulled(gradients: Sequence[Array | None], summed: Sequence[bool], lead: tuple[int, ...], batch: Batch) -> Iterator[Array]:
    pairs = zip(gradients, summed, strict=True)
    return (g.reshape(*lead, *(() if s else batch.shape), g.shape[-1]) for g, s in pairs if g is not None)
