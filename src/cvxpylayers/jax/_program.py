"""A layer as compiled programs know it: a static value with a content, and what the host computes where no kernel can be called."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from cvxpylayers._engines.native import NativeEngine
from cvxpylayers._layer import Layer
from cvxpylayers._program import Batch, Tape
from cvxpylayers._typing import NDArray

Array = NDArray[Any]
Options = tuple[tuple[str, Any], ...]


class Program:
    """The static operand of every primitive: hashable, equal where the problem, the engine and its options are equal.

    ``key`` is the number under which handlers in compiled code find the kernel; None where the host must be called: another
    engine, an extension built without XLA's headers, or ``CVXPYLAYERS_JAX=callback`` in the environment.
    """

    def __init__(self, layer: Layer) -> None:
        self.layer = layer
        engine = layer.engine
        callback = os.environ.get("CVXPYLAYERS_JAX") == "callback"
        self.key = engine.publish() if isinstance(engine, NativeEngine) and not callback else None
        self.count = len(layer.compiled.parameters)
        self.outputs = layer.compiled.R.shape[0]
        self.options: Options = tuple(sorted(engine.options.items()))
        self._identity = (layer.compiled.fingerprint, type(engine), self.options, self.key)
        self._hash = hash(self._identity)

    def __reduce__(self) -> tuple[type[Program], tuple[Layer]]:
        return Program, (self.layer,)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Program) and self._identity == other._identity)

    def __repr__(self) -> str:
        return ", ".join(o.name for o in self.layer.compiled.outputs)

    def solve(self, *arrays: Array, options: Options, nan: bool, tape: bool) -> tuple[Array, ...]:
        """What the handler of the same name returns, in double precision."""
        batch, found = self.layer.run(self._shaped(arrays), dict(options), tape=tape)
        failed = found.status > 1
        if nan:
            found.outputs[failed] = np.nan
        residuals = np.stack([found.primal_residual, found.dual_residual, found.gap, found.objective], axis=-1)
        results: list[Array] = [found.outputs, found.status, found.iterations, residuals]
        if found.tape is not None:
            results += [np.ascontiguousarray(a).view(np.uint32) for a in (found.tape.x, found.tape.z, found.tape.s)]
        return tuple(r.reshape(batch.shape + r.shape[1:]) for r in results)

    def jvp(self, *operands: Array, given: tuple[bool, ...], directions: bool) -> Array:
        """Push the given tangents to the outputs ([K,] *batch, outputs)."""
        batch, tape, moving = self._linearization(operands)
        K = max(m.shape[0] for m in moving) if directions else None
        outputs, _ = self.layer.engine.jvp(batch, tape, _spread(moving, given), directions=K)
        return outputs.reshape(*([] if K is None else [K]), *batch.shape, self.outputs)

    def vjp(self, *operands: Array, wanted: tuple[bool, ...], summed: tuple[bool, ...], directions: bool) -> tuple[Array, ...]:
        """Pull the cotangent back to the wanted parameters, per instance or summed; and the degeneracy flags."""
        batch, tape, (cotangent,) = self._linearization(operands)
        lead = cotangent.shape[: int(directions)]
        rows = _per_instance(batch, summed)
        joint = np.ascontiguousarray(cotangent, dtype=np.float64).reshape(*lead, batch.size, self.outputs)
        gradients, flags = self.layer.engine.vjp(rows, tape, joint, wanted)
        pulled = (
            g.reshape(*lead, *(() if s else batch.shape), g.shape[-1])
            for g, s in zip(gradients, summed, strict=True)
            if g is not None
        )
        return *pulled, flags.reshape(batch.shape)

    def _shaped(self, arrays: Sequence[Array]) -> list[Array]:
        """Parameters (*batch_i, size) in their own shapes."""
        return [a.reshape(*a.shape[:-1], *p.shape) for a, p in zip(arrays, self.layer.compiled.parameters, strict=True)]

    def _linearization(self, operands: Sequence[Array]) -> tuple[Batch, Tape, list[Array]]:
        arrays, (x, z, s, status), moving = (
            operands[: self.count],
            operands[self.count : self.count + 4],
            operands[self.count + 4 :],
        )
        doubles = [np.ascontiguousarray(a).view(np.float64).reshape(status.size, a.shape[-1] // 2) for a in (x, z, s)]
        tape = Tape(doubles[0], doubles[1], doubles[2], status.reshape(-1))
        batch = self.layer.batch(self._shaped(arrays))
        return Batch(batch.arrays, status.shape), tape, list(moving)


def _spread(moving: Sequence[Array], given: Sequence[bool]) -> list[Array | None]:
    """One array per parameter, None where none is given."""
    rest = iter(moving)
    return [np.ascontiguousarray(next(rest), dtype=np.float64) if g else None for g in given]


def _per_instance(batch: Batch, summed: Sequence[bool]) -> Batch:
    """The batch in which exactly the parameters to be summed over are shared."""
    arrays = [a if s else np.broadcast_to(a, (*batch.shape, a.shape[-1])) for a, s in zip(batch.arrays, summed, strict=True)]
    return Batch(tuple(arrays), batch.shape)
