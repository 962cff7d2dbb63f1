"""Geometric programs: wraps an engine θ = log a ↦ u = log y of the log-transformed problem as an engine a ↦ y.

Calls pass a and see y, the engine works with θ = log a and u = log y (where the specs say so; the rest is the identity). With
J = ∂u/∂θ the chain rule gives

    dy = y ∘ J (da / a),        ā = (1 / a) ∘ Jᵀ (y ∘ ȳ),

and, differentiating ā along da with ȳ fixed and du = J (da / a),

    dā = (1 / a) ∘ { H[y ∘ ȳ, da / a] + Jᵀ (y ∘ du ∘ ȳ) } - (da / a²) ∘ Jᵀ (y ∘ ȳ),

H the second derivative of the engine. A front end that calls a kernel by itself does the same with its framework's log and exp.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from cvxpylayers._engines.engine import Engine
from cvxpylayers._program import Batch, CompiledProblem, Form, ParameterSpec, Solution, Tape
from cvxpylayers._program.batch import compact
from cvxpylayers._typing import Bool, Float64, Shaped


def build(kind: type[Engine], compiled: CompiledProblem, options: Mapping[str, Any]) -> Engine:
    """The engine ``kind`` for ``compiled``, behind a ``LogSpaceEngine`` where the problem is posed in logarithms."""
    if not compiled.log_space:
        return kind(compiled, options)
    return LogSpaceEngine(compiled, kind(posed(compiled), options))


def kind_of(engine: Engine) -> type[Engine]:
    """The ``kind`` that ``build`` was given."""
    return type(engine.inner if isinstance(engine, LogSpaceEngine) else engine)


def posed(compiled: CompiledProblem) -> CompiledProblem:
    """The cone program in logarithms itself: one plain parameter for each form, plain outputs and objective."""
    parameters = [ParameterSpec(spec.name, spec.shape) for spec in compiled.parameters for _ in spec.forms]
    outputs = [replace(spec, exp=False) for spec in compiled.outputs]
    return replace(compiled, parameters=tuple(parameters), outputs=tuple(outputs), log_space=False)


def entered(engine: Engine, batch: Batch) -> Batch:
    """The batch as M takes it: with logarithms where the problem is posed in them."""
    return engine.enter(batch) if isinstance(engine, LogSpaceEngine) else batch


class LogSpaceEngine(Engine):
    """``inner``, an engine for ``posed(compiled)``, as an engine for ``compiled``. Laws and options are those of ``inner``."""

    name: ClassVar[str] = "LOG_SPACE"

    def __init__(self, compiled: CompiledProblem, inner: Engine) -> None:
        super().__init__(compiled, inner.options)
        self.inner = inner
        self._exp = np.concatenate([np.full(spec.size, spec.exp) for spec in compiled.outputs])

    @classmethod
    def option_names(cls) -> frozenset[str]:
        """None of its own."""
        return frozenset()

    def solve(self, batch: Batch, options: Mapping[str, Any], *, tape: bool) -> Solution:
        """Solve in logarithms; outputs and objective leave as exponentials, residuals and gap are those of the logarithms."""
        found = self.inner.solve(self.enter(batch), options, tape=tape)
        with np.errstate(over="ignore"):
            np.exp(found.outputs, out=found.outputs, where=self._exp)
            np.exp(found.objective, out=found.objective)
        return found

    def vjp(
        self, batch: Batch, tape: Tape, outputs: Shaped[Float64, "*K B outputs"], wanted: Sequence[bool]
    ) -> tuple[list[Float64 | None], Shaped[Bool, " B"]]:
        """ā = (1 / a) ∘ Jᵀ (y ∘ ȳ)."""
        gradients, degenerate = self.inner.vjp(self.enter(batch), tape, outputs * self._scale(tape), self._wanted(wanted))
        return self._gather(batch, gradients), degenerate

    def jvp(
        self, batch: Batch, tape: Tape, arrays: Sequence[Float64 | None], *, directions: int | None = None
    ) -> tuple[Shaped[Float64, "*K B outputs"], Shaped[Bool, " B"]]:
        """dy = y ∘ J (da / a)."""
        pushed, degenerate = self.inner.jvp(
            self.enter(batch), tape, self._tangents(batch, arrays, directions), directions=directions
        )
        return pushed * self._scale(tape), degenerate

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
        """dā, as derived above."""
        inside, tangents, everywhere = self.enter(batch), self._tangents(batch, arrays, directions), self._wanted(wanted)
        cotangent = outputs * self._scale(tape)
        curved, degenerate = self.inner.hvp(inside, tape, cotangent, tangents, everywhere, directions=directions)
        pushed, flags = self.inner.jvp(inside, tape, tangents, directions=directions)
        bent, _ = self.inner.vjp(inside, tape, np.where(self._exp, cotangent * pushed, 0.0), everywhere)
        gradients = self._gather(batch, [None if a is None or b is None else a + b for a, b in zip(curved, bent, strict=True)])
        # Tangents may differ between instances that share a parameter: the last term is formed per instance, then summed.
        slopes, _ = self.inner.vjp(inside.per_instance(), tape, cotangent, everywhere)
        for (i, form), slope, tangent in zip(self._entries(), slopes, tangents, strict=True):
            gradient, array = gradients[i], batch.arrays[i]
            if form == "log" and gradient is not None and slope is not None and tangent is not None:
                lead = () if directions is None else (directions,)
                gradients[i] = gradient - batch.reduce(i, slope * tangent * _reciprocal(array), lead)
        return gradients, degenerate | flags

    def describe(self) -> Mapping[str, Any]:
        """Facts about the engine inside."""
        return self.inner.describe()

    def _entries(self) -> Iterator[tuple[int, Form]]:
        """The parameter that each entry of θ is made of, and how."""
        return ((i, form) for i, spec in enumerate(self.compiled.parameters) for form in spec.forms)

    def enter(self, batch: Batch) -> Batch:
        """The batch of ``inner``."""
        arrays = tuple(_log(batch.arrays[i]) if form == "log" else batch.arrays[i] for i, form in self._entries())
        return batch._replace(arrays=arrays, rounding=tuple(batch.rounding[i] for i, _ in self._entries() if batch.rounding))

    def _wanted(self, wanted: Sequence[bool]) -> list[bool]:
        return [wanted[i] for i, _ in self._entries()]

    def _scale(self, tape: Tape) -> Shaped[Float64, "B outputs"]:
        """∂y/∂u: y for outputs that are exponentials, 1 for others; 1 where there is no solution, so that nothing overflows."""
        u: Float64 = (self.compiled.R @ np.concatenate([tape.x, tape.z], axis=1).T).T
        scale = np.ones(u.shape)
        np.exp(u, out=scale, where=self._exp & tape.solved[:, None])
        return scale

    def _tangents(self, batch: Batch, arrays: Sequence[Float64 | None], directions: int | None) -> list[Float64 | None]:
        """dθ; an axis of directions stands in front of all batch axes."""
        found = []
        for i, form in self._entries():
            tangent = arrays[i]
            if form == "log" and tangent is not None:
                tangent = batch.align(tangent, directions) * _reciprocal(batch.arrays[i])
            found.append(tangent)
        return found

    def _gather(self, batch: Batch, gradients: Sequence[Float64 | None]) -> list[Float64 | None]:
        """One gradient per parameter from one per entry of θ."""
        found: list[Float64 | None] = [None] * len(batch.arrays)
        for (i, form), gradient in zip(self._entries(), gradients, strict=True):
            if gradient is not None:
                part = gradient * _reciprocal(batch.arrays[i]) if form == "log" else gradient
                before = found[i]
                found[i] = part if before is None else before + part
        return found


def _log(array: Shaped[Float64, "*batch size"]) -> Shaped[Float64, "*batch size"]:
    """Logarithms, 0 where there is none (that instance is invalid); axes of stride 0 are not copied."""
    distinct = compact(array, array.ndim - 1)
    with np.errstate(invalid="ignore"):
        return np.broadcast_to(np.log(distinct, out=np.zeros_like(distinct), where=distinct > 0), array.shape)


def _reciprocal(array: Float64) -> Float64:
    """1 / a, 0 where there is no logarithm."""
    with np.errstate(invalid="ignore"):
        return np.divide(1.0, array, out=np.zeros(array.shape), where=array > 0)
