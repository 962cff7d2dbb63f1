"""Solves and derivatives of tensors whose numbers are in reach, at once: by the device on which they lie, or through arrays."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from operator import is_
from typing import Any

import torch

from cvxpylayers._layer.info import SolveInfo, WarmStart
from cvxpylayers._layer.layer import Call, Layer, OnFailure, Point
from cvxpylayers._program import Tape
from cvxpylayers._typing import Exchanged
from cvxpylayers.errors import SolverError
from cvxpylayers.torch import _addresses
from cvxpylayers.torch._on_device import OnDevice
from cvxpylayers.torch._recorders import require_no_capture
from cvxpylayers.torch._site import Derivative, Maybe, Site, Tensors, Wanted
from cvxpylayers.torch._tensors import HOST, array, arrays, float64, kind, lie_open, tensor
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
        self._kept: tuple[Tensors, list[int], Point] | None = None

    @property
    def info(self) -> SolveInfo:
        """The outcome of every instance, once there is one."""
        found = self.call if self._there is None else self._there
        info = None if found is None else found.info
        assert info is not None
        return info

    def solve(self, parameters: Tensors, tape: bool) -> tuple[torch.Tensor, ...]:
        near = parameters and lie_open(parameters) and _addresses.ordinal(parameters[0]) is None
        batch = self._layer.read(parameters) if near else None
        if batch is None:
            dtype, device = kind(self._layer, parameters)
            self._there = OnDevice.of(self._layer, self._arguments, parameters[0]) if parameters else None
            if self._there is not None:
                outputs, recorded = self._there.solve(parameters, self._arguments, tape)
                return outputs if recorded is None or not tape else (*outputs, recorded)
            batch = self._layer.batch(arrays(parameters))
        else:
            dtype, device = torch.float64, HOST
        require_no_capture()
        try:
            call = self._layer.solve(batch, tape=tape, **self._arguments)
        except SolverError as error:
            error.outputs = tuple(tensor(a, dtype, device) for a in error.outputs)
            raise
        self.call = call
        found = tuple([tensor(a, dtype, device) for a in call.outputs])
        if not tape or (t := call.tape) is None:
            return found
        points = t.points
        if not isinstance(points, torch.Tensor):
            points = torch.from_numpy(points.reshape(*batch.shape, points.shape[-1]))
        if dtype is torch.float64 and device == HOST:  # else the batch is a copy, which would be memory
            self._kept = (points, *parameters), _memory(parameters), call.point
        return *found, points

    def vjp(self, many: bool, wanted: Wanted, row: Maybe) -> list[torch.Tensor]:
        tape, parameters, cotangents = self.cut(row)
        if (there := self._device_of(tape)) is not None:
            return there.vjp(many, wanted, tape, parameters, cotangents)
        at = self._at(tape, parameters)
        given = cotangents
        if self.outputs > 1 or not isinstance(at.tape.points, torch.Tensor) or not lie_open(cotangents):
            given = [None if c is None else float64(c) for c in cotangents]
        count = directions(given) if many else None
        return _shaped(self._layer.vjp(at, given, wanted, directions=count), parameters, many)

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
        if kept is not None and all(map(is_, kept[0], (tape, *parameters))) and kept[1] == _memory(parameters):
            return kept[2]
        points = tape.numpy(force=True)
        # Axes that vmap made have a stride of 0; reshaping copies then, and only then.
        rows = Tape(points.reshape(math.prod(points.shape[:-1]), points.shape[-1]), self._layer.compiled.structure.n)
        return Point(self._layer.batch(arrays(parameters)), rows, self.call)

    def recorded(self, function: type[Derivative], many: bool, wanted: Wanted, row: Maybe) -> Tensors:
        found: tuple[torch.Tensor, ...] = function.apply(self, many, tuple(wanted), *row)
        return found


def _memory(tensors: Tensors) -> list[int]:
    """Where the tensors lie: ``data`` may be replaced between a solve and its derivative, and sharded parameters move."""
    return [t.data_ptr() for t in tensors]


def _shaped(gradients: Sequence[Exchanged | None], parameters: Tensors, many: bool) -> list[torch.Tensor]:
    """The gradients that are there, like their parameters behind the axis of directions, as tensors are that engines give."""
    found = []
    for g, p in zip(gradients, parameters, strict=True):
        if isinstance(g, torch.Tensor):
            found.append(g)
        elif g is not None:
            found.append(tensor(g.reshape((*g.shape[:1], *p.shape) if many else p.shape), p.dtype, p.device))
    return found
