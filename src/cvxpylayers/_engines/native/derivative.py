"""One derivative for all engines, from the program and (x, z, s) alone: the native kernel's, or one that keeps cones sparse."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from cvxpylayers._engines.engine import Derivative, Engine
from cvxpylayers._engines.native.costs import Costs
from cvxpylayers._engines.native.engine import NativeEngine
from cvxpylayers._engines.native.sparse import SparseDerivative
from cvxpylayers._program import Batch, Tape
from cvxpylayers._typing import Bool, Exchanged, Float64, Shaped
from cvxpylayers.errors import OptionError


class NativeDerivative(Engine):
    """An engine that solves in its own way and hands its derivatives on: to the native kernel, built when first needed.

    Where ``Costs`` says that its factor is too large, first derivatives that are not smoothed come from sparse factorizations.
    """

    def vjp(
        self, batch: Batch, tape: Tape, outputs: Shaped[Float64, "*K B outputs"], wanted: Sequence[bool]
    ) -> tuple[list[Exchanged | None], Shaped[Bool, " B"]]:
        """By ``_derivative``."""
        return self._derivative.vjp(batch, tape, outputs, wanted)

    def jvp(
        self, batch: Batch, tape: Tape, arrays: Sequence[Float64 | None], *, directions: int | None = None
    ) -> tuple[Shaped[Float64, "*K B outputs"], Shaped[Bool, " B"]]:
        """By ``_derivative``."""
        return self._derivative.jvp(batch, tape, arrays, directions=directions)

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
        """By ``_derivative``."""
        return self._derivative.hvp(batch, tape, outputs, arrays, wanted, directions=directions)

    @cached_property
    def _derivative(self) -> Derivative:
        """What differentiates; a solver that brings a derivative of its own returns that."""
        return (
            SparseDerivative(self.compiled, lambda: self._kernel, self.options.get("threads", 0)) if self._sparse else self._kernel
        )

    def _centre(self, batch: Batch, tape: Tape, settings: Mapping[str, Any]) -> None:
        """Move a fresh tape, in place, to where ``derivative="smoothed"`` differentiates."""
        if settings.get("derivative") == "smoothed":
            self._kernel.centre(batch, tape, **{name: settings[name] for name in ("smoothing",) if name in settings})
        elif "smoothing" in settings:
            raise OptionError('Option \'smoothing\' needs solver_args={"derivative": "smoothed"} in the constructor.')

    @property
    def _derivative_facts(self) -> Mapping[str, Any]:
        """For ``describe``: where the derivative is not the native kernel's."""
        return {"derivative": "cones kept sparse, one instance at a time"} if self._sparse else {}

    @cached_property
    def _sparse(self) -> bool:
        smoothed = self.options.get("derivative") == "smoothed"
        return not smoothed and Costs.of(self.compiled.structure).better is not None

    @cached_property
    def _kernel(self) -> NativeEngine:
        return NativeEngine(self.compiled, {name: value for name, value in self.options.items() if name in DERIVATIVE_OPTIONS})

    def __getstate__(self) -> Mapping[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("_kernel", "_derivative")}


# Options of the native engine that mean the derivative, whoever solved.
DERIVATIVE_OPTIONS = frozenset({"threads", "derivative", "smoothing"})
