"""Solves and first derivatives of tensors on a device, by that device: nothing is copied to the host, and nothing waits."""

from __future__ import annotations

import math
from itertools import accumulate, pairwise
from typing import Any

import torch

from cvxpylayers import _core
from cvxpylayers._engines.native.device import failing
from cvxpylayers._engines.native.engine import NativeEngine
from cvxpylayers._layer.inputs import batch_shape
from cvxpylayers._layer.layer import Layer
from cvxpylayers._program import USABLE, ParameterSpec
from cvxpylayers.torch._addresses import Lender, Source, address, on, readable, source
from cvxpylayers.torch._domains import screen
from cvxpylayers.torch._site import Maybe, Tensors, Wanted


class Answer:
    """What a solve leaves on the device, B instances in C order: ``rows`` (B, outputs), ``tape`` (B, n + 2 m) or None, ``status``,
    ``iterations``, ``margin`` (B,), and ``residuals`` (B, 4): primal, dual, gap, objective."""

    def __init__(self, like: torch.Tensor, size: int, outputs: int, point: int | None) -> None:
        numbers = like.new_empty(0, dtype=torch.float64)
        self.rows = numbers.new_empty((size, outputs))
        self.tape = None if point is None else numbers.new_empty((size, point))
        self.status = like.new_empty(size, dtype=torch.int8)
        self.iterations = like.new_empty(size, dtype=torch.int32)
        self.residuals, self.margin = numbers.new_empty((size, 4)), numbers.new_empty(size)

    def hide_failures(self) -> None:
        """Outputs of instances without a solution become NaN."""
        self.rows.masked_fill_((self.status > USABLE)[:, None], torch.nan)


class Resident:
    """The parameters of a call where they lie, on the device with the number ``device``.

    Raises:
        InputError, InputTypeError: as ``inputs.to_batch``.
    """

    def __init__(self, layer: Layer, device: int, parameters: Tensors) -> None:
        engine = layer.engine
        assert isinstance(engine, NativeEngine)
        self._engine, self._device, self._specs = engine, device, layer.compiled.parameters
        self.compiled, self._given = layer.compiled, [p.dtype for p in parameters]
        self.shape: tuple[int, ...] = tuple(batch_shape(self._specs, parameters))
        self.size = math.prod(self.shape)
        pairs = zip(self._specs, parameters, strict=True)
        self._tensors = [readable(spec, p) for spec, p in pairs]
        self._parameters = [p.detach() for p in parameters]
        self._like = self._parameters[0]
        self._outputs = self.compiled.R.shape[0]
        self._point = self.compiled.structure.n + 2 * self.compiled.structure.m

    def solve(self, settings: dict[str, Any], tape: bool, start: torch.Tensor | None, hidden: bool) -> Answer:
        """Every instance; the options are the engine's, ``start`` holds points (B, n + 2 m); if ``hidden``, outputs of
        instances without a solution are NaN."""
        found = Answer(self._like, self.size, self._outputs, self._point if tape else None)
        if not self.size:
            return found
        with failing(), on(self._like) as stream:
            checked = screen(self.compiled, self._given, self._tensors, self.shape)
            invalid = None if checked.invalid is None else checked.invalid.reshape(-1).contiguous()
            self._kernel.solve(
                self._sources(checked.tensors),
                self.shape,
                _core.Settings(settings),
                checked.rounding,
                address(invalid),
                checked.infinite,
                hidden,
                address(start),
                address(found.rows),
                address(found.tape),
                address(found.status),
                address(found.iterations),
                address(found.residuals),
                address(found.margin),
                stream,
                Lender(self._like),
            )
        return found

    def vjp(self, tape: torch.Tensor, cotangents: torch.Tensor, wanted: Wanted) -> tuple[list[torch.Tensor | None], torch.Tensor]:
        """Rows (K, B, outputs) → gradients (K, B, *shape), or (K, 1, *shape) of a parameter that all share, and marks (B,)."""
        directions = len(cotangents)
        gradients: list[torch.Tensor | None] = []
        for spec, parameter, want in zip(self._specs, self._parameters, wanted, strict=True):
            lead = (directions, 1 if _alone(spec, parameter) else self.size)
            gradients.append(self._new((*lead, *spec.shape)) if want else None)
        marks = self._new((self.size,), torch.bool)
        if self.size:
            cotangents = cotangents.contiguous()
            places = [(address(g), g is not None and g.shape[1] == 1) for g in gradients]
            with failing(), on(self._like) as stream:
                where = (self._sources(self._tensors), self.shape, address(tape), directions)
                self._kernel.vjp(*where, address(cotangents), places, address(marks), stream, Lender(self._like))
        return gradients, marks

    def jvp(self, tape: torch.Tensor, tangents: Maybe, directions: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Tangents (K or 1, *batch_i, *shape) of the parameters, None for zero → rows (K, B, outputs), and marks (B,)."""
        rows = self._new((directions, self.size, self._outputs))
        marks = self._new((self.size,), torch.bool)
        outer, sources, held = (directions, *self.shape), list[Source](), list[torch.Tensor]()
        for spec, tangent in zip(self._specs, tangents, strict=True):
            if tangent is None:
                sources.append((0, False, (0,) * len(outer)))
                continue
            gap = len(outer) + len(spec.shape) - tangent.ndim
            flat = readable(spec, tangent.reshape(tangent.shape[:1] + (1,) * gap + tangent.shape[1:]))
            held.append(flat)
            sources.append(source(flat, len(outer), outer))
        if self.size:
            with failing(), on(self._like) as stream:
                where = (self._sources(self._tensors), self.shape, address(tape), directions)
                self._kernel.jvp(*where, sources, address(rows), address(marks), stream, Lender(self._like))
        return rows, marks

    def instances(self, rows: torch.Tensor) -> list[torch.Tensor]:
        """Parameters (len(rows), *shape) of these instances; those that all share once, (*shape)."""
        found = []
        places = torch.unravel_index(rows, self.shape)
        for spec, parameter in zip(self._specs, self._parameters, strict=True):
            if _alone(spec, parameter):
                found.append(parameter.reshape(spec.shape))
            else:
                found.append(parameter.expand(*self.shape, *spec.shape)[places])
        return found

    def whole(self) -> list[torch.Tensor]:
        """The parameters as they came."""
        return self._parameters

    def reduced(self, gradients: Maybe, many: bool) -> list[torch.Tensor]:
        """Those that are there, like their parameters behind the axis of directions: summed where those are broadcast."""
        found = []
        for spec, parameter, gradient in zip(self._specs, self._parameters, gradients, strict=True):
            if gradient is None:
                continue
            if not _alone(spec, parameter):
                gap = len(self.shape) + len(spec.shape) - parameter.ndim
                own = (len(gradient), *(1,) * gap, *parameter.shape)
                gradient = gradient.reshape(len(gradient), *self.shape, *spec.shape).sum_to_size(own)
            lead = (len(gradient),) if many else ()
            found.append(gradient.reshape((*lead, *parameter.shape)).to(parameter.dtype))
        return found

    def split(self, rows: torch.Tensor, dtype: torch.dtype) -> tuple[torch.Tensor, ...]:
        """Rows (*K, B, outputs) → one tensor (*K, *batch, *shape) per output."""
        lead = (*rows.shape[:-2], *self.shape)
        specs = self.compiled.outputs
        cuts = accumulate((spec.size for spec in specs), initial=0)
        parts = [rows] if len(specs) == 1 else [rows[..., a:b].clone() for a, b in pairwise(cuts)]
        return tuple(part.reshape((*lead, *spec.shape)).to(dtype) for part, spec in zip(parts, specs, strict=True))

    def stack(self, cotangents: Maybe, many: bool) -> torch.Tensor:
        """One cotangent ([K,] *batch, *shape) per output, None for zero → rows (K, B, outputs)."""
        directions = next((len(c) for c in cotangents if c is not None), 1) if many else 1
        if len(cotangents) == 1 and (only := cotangents[0]) is not None:
            return only.detach().reshape(directions, self.size, self._outputs).to(torch.float64)
        rows = self._like.new_zeros((directions, self.size, self._outputs), dtype=torch.float64)
        start = 0
        for cotangent, spec in zip(cotangents, self.compiled.outputs, strict=True):
            if cotangent is not None:
                lead = len(cotangent) if many else 1
                rows[..., start : start + spec.size] = cotangent.detach().reshape(lead, self.size, spec.size)
            start += spec.size
        return rows

    def _new(self, shape: tuple[int, ...], dtype: torch.dtype = torch.float64) -> torch.Tensor:
        """What a kernel fills; zeros where there is no instance."""
        return (self._like.new_empty if self.size else self._like.new_zeros)(shape, dtype=dtype)

    @property
    def _kernel(self) -> _core.DeviceKernel:
        return self._engine.on_device(self._device)

    def _sources(self, tensors: Tensors) -> list[Source]:
        pairs = zip(self._specs, tensors, strict=True)
        return [source(t, t.ndim - len(spec.shape), self.shape) for spec, t in pairs]


def _alone(spec: ParameterSpec, parameter: torch.Tensor) -> bool:
    """Whether the parameter has no batch axis that is longer than one."""
    return math.prod(parameter.shape[: parameter.ndim - len(spec.shape)]) == 1
