"""One call whose data lie on a device that solves them: modes of failure, and what is said of the call."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import torch

from cvxpylayers._engines.native.device import Execution, execution
from cvxpylayers._engines.native.engine import NativeEngine
from cvxpylayers._layer.failure import OnFailure
from cvxpylayers._layer.info import WarmStart
from cvxpylayers._layer.layer import Layer
from cvxpylayers.errors import InputError, SolverError
from cvxpylayers.torch import _addresses, _doubtful, _recorders
from cvxpylayers.torch._pending import Pending, start
from cvxpylayers.torch._resident import Resident
from cvxpylayers.torch._site import Maybe, Tensors, Wanted
from cvxpylayers.torch._tensors import arrays, kind


class OnDevice:
    """A layer on the device with the number ``device``, as one call with these options uses it."""

    def __init__(self, layer: Layer, device: int, options: Mapping[str, Any], mode: OnFailure) -> None:
        self._layer, self._device, self._options, self._mode = layer, device, options, mode
        self.info: Pending | None = None

    @classmethod
    def of(cls, layer: Layer, arguments: Mapping[str, Any], tensor: Any) -> OnDevice | None:
        """Where data that lie beside ``tensor`` are solved by a device; None where by the host. ``arguments`` are those of a call.

        Raises:
            DeviceError: a device is wished for and cannot be had. OptionError: as in ``Layer.solve``.
        """
        at = _addresses.ordinal(tensor) if isinstance(tensor, torch.Tensor) else None
        if at is None:
            return None
        layer, solver_args = layer.choose(arguments["solver_args"])
        mode, options = layer.call_options(solver_args, False, arguments["on_failure"])
        device = where(layer, options, at).device
        return None if device is None else cls(layer, device, options, mode)

    def solve(
        self, parameters: Tensors, arguments: Mapping[str, Any], tape: bool
    ) -> tuple[tuple[torch.Tensor, ...], torch.Tensor | None]:
        """The outputs, and the tape if it is wanted.

        Raises:
            SolverError: in mode "raise", when an instance has no solution. Errors of ``Resident`` and ``NativeEngine.settings``.
        """
        layer, warm = self._layer, arguments["warm_start"]
        self._require_capturable()
        dtype, _ = kind(layer, parameters)
        assert isinstance(layer.engine, NativeEngine)
        at = Resident(layer, self._device, parameters)
        given, structure = warm if isinstance(warm, WarmStart) else None, layer.compiled.structure
        if warm is True:
            layer.call_options(None, True, self._mode)  # warns
        points = start(given, parameters[0], at.size, structure.n, structure.m)
        answer = at.solve(layer.engine.settings(self._options, there=True), tape or given is not None, points, self._mode == "nan")
        settled, fallback = (False, None) if self._mode == "nan" else _doubtful.solve(layer, at, answer, self._options)
        self.info = Pending(answer, at.shape, fallback, None if given is None else structure.n)
        failed = not settled and self._mode != "nan" and len(self.info.failed) > 0
        if failed and self._mode == "raise":
            answer.hide_failures()
        outputs = at.split(answer.rows, dtype)
        answer.rows = answer.rows.new_empty((0, 0))  # memory, if the call has copies
        if layer.speaks(arguments["solver_args"]):
            print(self.info)
        if failed:
            message = layer.failure(self.info, layer.batch(arrays(at.whole())))
            if self._mode == "raise":
                raise SolverError(message, self.info, outputs)
            warnings.warn(message, RuntimeWarning, stacklevel=2)
        return outputs, None if answer.tape is None else answer.tape.reshape(*at.shape, answer.tape.shape[-1])

    def vjp(self, many: bool, wanted: Wanted, tape: torch.Tensor, parameters: Tensors, cotangents: Maybe) -> list[torch.Tensor]:
        """As ``Site.vjp``."""
        at, points = self._at(tape, parameters)
        rows = at.stack(cotangents, many)
        gradients, marks = at.vjp(points, rows, wanted)
        if self._mode != "nan":
            marks = _doubtful.vjp(self._layer, at, points, rows, gradients, marks)
        self._note(marks)
        return at.reduced(gradients, many)

    def jvp(self, many: bool, wanted: Wanted, tape: torch.Tensor, parameters: Tensors, tangents: Maybe) -> tuple[torch.Tensor, ...]:
        """As ``Site.jvp``."""
        at, points = self._at(tape, parameters)
        given = [None if t is None else t.detach() if many else t.detach()[None] for t in tangents]
        count = max((len(t) for t in given if t is not None), default=1)
        rows, marks = at.jvp(points, given, count)
        if self._mode != "nan":
            marks = _doubtful.jvp(self._layer, at, points, given, rows, marks)
        self._note(marks)
        found = at.split(rows if many else rows[0], kind(self._layer, parameters)[0])
        return tuple(f for f, want in zip(found, wanted, strict=True) if want)

    def _at(self, tape: torch.Tensor, parameters: Tensors) -> tuple[Resident, torch.Tensor]:
        self._require_capturable()
        at = Resident(self._layer, self._device, parameters)
        return at, tape.detach().reshape(at.size, tape.shape[-1]).contiguous()

    def _require_capturable(self) -> None:
        """Raise where a CUDA graph is captured, and the call would read from the device or load kernels."""
        if not _recorders.capturing():
            return
        assert isinstance(self._layer.engine, NativeEngine)
        if self._mode != "nan":
            raise InputError("Nothing can be read while a CUDA graph is captured: pass on_failure='nan' to the call or the layer.")
        if not self._layer.engine.is_on_device(self._device):
            raise InputError("Call the layer once before a CUDA graph of it is captured: kernels are loaded by the first call.")

    def _note(self, marks: torch.Tensor) -> None:
        if self.info is not None:
            self.info.mark(marks)


def where(layer: Layer, options: Mapping[str, Any], at: int) -> Execution:
    """Who solves data on the device with the number ``at``; ``options`` are those of a call."""
    return execution(layer.engine, options.get("device", layer.engine.options.get("device")), at)
