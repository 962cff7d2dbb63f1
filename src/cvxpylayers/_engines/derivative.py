"""One derivative for all engines: that of the native kernel, which needs the program and (x, z, s) alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from cvxpylayers._engines.base import Engine
from cvxpylayers._program import Batch, Tape
from cvxpylayers._typing import Bool, Float64, Shaped
from cvxpylayers.errors import OptionError

if TYPE_CHECKING:
    from cvxpylayers._engines.native import NativeEngine


class NativeDerivative(Engine):
    """An engine that solves in its own way and leaves its derivatives to the native kernel, built when first needed."""

    def vjp(
        self, batch: Batch, tape: Tape, outputs: Shaped[Float64, "*K B outputs"], wanted: Sequence[bool]
    ) -> tuple[list[Float64 | None], Shaped[Bool, " B"]]:
        """By the native kernel."""
        return self._kernel.vjp(batch, tape, outputs, wanted)

    def jvp(
        self, batch: Batch, tape: Tape, arrays: Sequence[Float64 | None], *, directions: int | None = None
    ) -> tuple[Shaped[Float64, "*K B outputs"], Shaped[Bool, " B"]]:
        """By the native kernel."""
        return self._kernel.jvp(batch, tape, arrays, directions=directions)

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
        return self._kernel.hvp(batch, tape, outputs, arrays, wanted, directions=directions)

    def _centre(self, batch: Batch, tape: Tape, settings: Mapping[str, Any]) -> None:
        """Move a fresh tape, in place, to where ``derivative="smoothed"`` differentiates."""
        if settings.get("derivative") == "smoothed":
            self._kernel.centre(batch, tape, **{name: settings[name] for name in ("smoothing",) if name in settings})
        elif "smoothing" in settings:
            raise OptionError('Option \'smoothing\' needs solver_args={"derivative": "smoothed"} in the constructor.')

    @cached_property
    def _kernel(self) -> NativeEngine:
        from cvxpylayers._engines.native import NativeEngine  # which falls back on an engine of this kind

        return NativeEngine(self.compiled, {name: value for name, value in self.options.items() if name in DERIVATIVE_OPTIONS})

    def __getstate__(self) -> Mapping[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_kernel"}


def reduced(array: Float64, shape: tuple[int, ...], lead: int) -> Float64:
    """Sum over the batch axes, which follow ``lead`` others, along which ``shape`` was broadcast to that of ``array``."""
    padded = shape[:lead] + (1,) * (array.ndim - len(shape)) + shape[lead:]
    axes = tuple(k for k, length in enumerate(padded) if k >= lead and length == 1 != array.shape[k])
    return np.asarray(array.sum(axis=axes)).reshape(shape)


# Options of the native engine that mean the derivative, whoever solved.
DERIVATIVE_OPTIONS = frozenset({"threads", "derivative", "smoothing"})
