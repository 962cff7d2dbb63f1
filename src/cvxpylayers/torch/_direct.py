"""Solves and derivatives of tensors whose numbers are in reach: through arrays, at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from cvxpylayers._layer.info import SolveInfo, WarmStart
from cvxpylayers._layer.layer import Layer, OnFailure
from cvxpylayers._program import Tape
from cvxpylayers._typing import Float64
from cvxpylayers.errors import SolverError
from cvxpylayers.torch._site import Derivative, Maybe, Site, Tensors, Wanted
from cvxpylayers.torch._tensors import array, arrays, float64, kind, tensor
from cvxpylayers.torch._vmap import directions


class Direct(Site):
    """One call, and the ``info`` of its solve, to which derivatives add."""

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
        self.info: SolveInfo | None = None

    def solve(self, parameters: Tensors, tape: bool) -> tuple[torch.Tensor, ...]:
        dtype, device = kind(self._layer, parameters)
        try:
            call = self._layer.solve(arrays(parameters), tape=tape, **self._arguments)
        except SolverError as error:
            error.outputs = tuple(tensor(a, dtype, device) for a in error.outputs)
            raise
        self.info = call.info
        found = tuple(tensor(a, dtype, device) for a in call.outputs)
        if not tape or (t := call.tape) is None:
            return found
        shape = call.info.codes.shape
        points = (torch.from_numpy(a.reshape(*shape, a.shape[-1])) for a in (t.x, t.z, t.s))
        return *found, *points, torch.from_numpy(t.status.reshape(shape))

    def vjp(self, many: bool, wanted: Wanted, row: Maybe) -> list[torch.Tensor]:
        tape, parameters, cotangents = self.cut(row)
        batch = self._layer.batch(arrays(parameters))
        given = [None if c is None else float64(c) for c in cotangents]
        gradients = self._layer.vjp(batch, _tape(tape), self.info, given, wanted, directions=directions(given) if many else None)
        return _shaped(gradients, parameters, many)

    def jvp(self, many: bool, wanted: Wanted, row: Maybe) -> tuple[torch.Tensor, ...]:
        tape, parameters, tangents = self.cut(row)
        dtype, device = kind(self._layer, parameters)
        batch = self._layer.batch(arrays(parameters))
        given = [None if t is None else array(t) for t in tangents]
        pushed = self._layer.jvp(batch, _tape(tape), self.info, given, directions=directions(given) if many else None)
        return tuple(tensor(a, dtype, device) for a, want in zip(pushed, wanted, strict=True) if want)

    def hvp(self, many: bool, wanted: Wanted, row: Maybe) -> list[torch.Tensor]:
        tape, parameters, rest = self.cut(row)
        batch = self._layer.batch(arrays(parameters))
        given = [None if c is None else float64(c) for c in rest[: self.outputs]]
        along = [None if t is None else array(t) for t in rest[self.outputs :]]
        count = directions([*given, *along]) if many else None
        gradients = self._layer.hvp(batch, _tape(tape), self.info, given, along, wanted, directions=count)
        return _shaped(gradients, parameters, many)

    def recorded(self, function: type[Derivative], many: bool, wanted: Wanted, row: Maybe) -> Tensors:
        found: tuple[torch.Tensor, ...] = function.apply(self, many, tuple(wanted), *row)
        return found


def _tape(tape: Tensors) -> Tape:
    x, z, s, status = (t.numpy() for t in tape)
    size = status.size
    # Axes that vmap made have a stride of 0; reshaping copies then, and only then.
    return Tape(x.reshape(size, x.shape[-1]), z.reshape(size, z.shape[-1]), s.reshape(size, s.shape[-1]), status.reshape(size))


def _shaped(gradients: Sequence[Float64 | None], parameters: Tensors, many: bool) -> list[torch.Tensor]:
    """The gradients that are there, like their parameters behind the axis of directions."""
    pairs = [(g, p) for g, p in zip(gradients, parameters, strict=True) if g is not None]
    return [tensor(g.reshape((*g.shape[:many], *p.shape)), p.dtype, p.device) for g, p in pairs]
