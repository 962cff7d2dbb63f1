"""Solves and derivatives of tensors whose numbers are in reach, at once: by the device on which they lie, or through arrays."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from cvxpylayers._layer.info import SolveInfo, WarmStart
from cvxpylayers._layer.layer import Call, Layer, OnFailure, Point
from cvxpylayers._program import Tape
from cvxpylayers._typing import Float64
from cvxpylayers.errors import SolverError
from cvxpylayers.torch._on_device import OnDevice
from cvxpylayers.torch._recorders import require_no_capture
from cvxpylayers.torch._site import Derivative, Maybe, Site, Tensors, Wanted
from cvxpylayers.torch._tensors import HOST, array, arrays, float64, kind, tensor
from cvxpylayers.torch._vmap import directions


class Direct(Site):
    """One call: its solve, to whose ``info`` derivatives add."""

    def __init__(
        self,
        layer: Layer,
        solver_args: Mapping[str, Any] | None = None,
        warm_start: bool | WarmStart = False,
        on_failure: OnFailure | None = None,
    ) -> None:
        super().__init__(layer)
        self._layer = layer
        self._arguments: dict[str, Any] = {"solver_args": solver_args, "warm_start": warm_start, "on_failure": on_failure}
        self.call: Call | None = None
        self._there: OnDevice | None = None
        self._kept: tuple[tuple[Any, ...], Point] | None = None

    @property
    def info(self) -> SolveInfo:
        """The outcome of every instance, once there is one."""
        found = self.call if self._there is None else self._there
        info = None if found is None else found.info
        assert info is not None
        return info

    def solve(self, parameters: Tensors, tape: bool) -> tuple[torch.Tensor, ...]:
        dtype, device = kind(self._layer, parameters)
        self._there = OnDevice.of(self._layer, self._arguments, parameters[0]) if parameters else None
        if self._there is not None:
            outputs, recorded = self._there.solve(parameters, self._arguments, tape)
            return outputs if recorded is None or not tape else (*outputs, recorded)
        require_no_capture()
        try:
            call = self._layer.solve(arrays(parameters), tape=tape, **self._arguments)
        except SolverError as error:
            error.outputs = tuple(tensor(a, dtype, device) for a in error.outputs)
            raise
        self.call = call
        found = tuple([tensor(a, dtype, device) for a in call.outputs])
        if not tape or (t := call.tape) is None:
            return found
        rows, shape = t.points, call.batch.shape
        points = torch.from_numpy(rows if len(shape) == 1 else rows.reshape(*shape, rows.shape[-1]))
        if dtype is torch.float64 and device == HOST:  # else the batch is a copy, which would be memory
            self._kept = _place(points, parameters), call.point
        return *found, points

    def vjp(self, many: bool, wanted: Wanted, row: Maybe) -> list[torch.Tensor]:
        tape, parameters, cotangents = self.cut(row)
        if (there := self._device_of(tape)) is not None:
            return there.vjp(many, wanted, tape, parameters, cotangents)
        given = [None if c is None else float64(c) for c in cotangents]
        count = directions(given) if many else None
        gradients = self._layer.vjp(self._at(tape, parameters), given, wanted, directions=count)
        return _shaped(gradients, parameters, many)

    def jvp(self, many: bool, wanted: Wanted, row: Maybe) -> tuple[torch.Tensor, ...]:
        tape, parameters, tangents = self.cut(row)
        if (there := self._device_of(tape)) is not None:
            return there.jvp(many, wanted, tape, parameters, tangents)
        dtype, device = kind(self._layer, parameters)
        given = [None if t is None else array(t) for t in tangents]
        pushed = self._layer.jvp(self._at(tape, parameters), given, directions=directions(given) if many else None)
        return tuple(tensor(a, dtype, device) for a, want in zip(pushed, wanted, strict=True) if want)

    def hvp(self, many: bool, wanted: Wanted, row: Maybe) -> list[torch.Tensor]:
        tape, parameters, rest = self.cut(row)
        given = [None if c is None else float64(c) for c in rest[: self.outputs]]
        along = [None if t is None else array(t) for t in rest[self.outputs :]]
        count = directions([*given, *along]) if many else None
        gradients = self._layer.hvp(self._at(tape, parameters), given, along, wanted, directions=count)
        return _shaped(gradients, parameters, many)

    def _device_of(self, tape: torch.Tensor) -> OnDevice | None:
        """Where derivatives at a tape that lies on a device are taken; None for the host."""
        return None if self.call is not None else self._there or OnDevice.of(self._layer, self._arguments, tape)

    def _at(self, tape: torch.Tensor, parameters: Tensors) -> Point:
        """The point of the solve, the first time that its own tensors come: a graph may outlive them. Else one made of these."""
        require_no_capture()
        kept, self._kept = self._kept, None
        if kept is not None and kept[0] == _place(tape, parameters):
            return kept[1]
        points = tape.numpy(force=True)
        # Axes that vmap made have a stride of 0; reshaping copies then, and only then.
        rows = Tape(points.reshape(math.prod(points.shape[:-1]), points.shape[-1]), self._layer.compiled.structure.n)
        return Point(self._layer.batch(arrays(parameters)), rows, self.call)

    def recorded(self, function: type[Derivative], many: bool, wanted: Wanted, row: Maybe) -> Tensors:
        found: tuple[torch.Tensor, ...] = function.apply(self, many, tuple(wanted), *row)
        return found


def _place(tape: torch.Tensor, parameters: Tensors) -> tuple[Any, ...]:
    """What tells the tensors of a solve from those that ``vmap`` makes of them."""
    return tape.data_ptr(), tape.shape, *[p.shape for p in parameters]


def _shaped(gradients: Sequence[Float64 | None], parameters: Tensors, many: bool) -> list[torch.Tensor]:
    """The gradients that are there, like their parameters behind the axis of directions."""
    found = []
    for g, p in zip(gradients, parameters, strict=True):
        if g is not None:
            shape = (*g.shape[:1], *p.shape) if many else p.shape
            found.append(tensor(g if g.shape == shape else g.reshape(shape), p.dtype, p.device))
    return found
