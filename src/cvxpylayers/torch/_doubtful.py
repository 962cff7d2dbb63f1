"""What a device leaves open, settled by the host's engine. To know of it takes one small read of the device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import torch

from cvxpylayers._engines.native.engine import UNRESOLVED
from cvxpylayers._layer.layer import Layer
from cvxpylayers._program import Status, Tape
from cvxpylayers._typing import Bool, Float64
from cvxpylayers.torch._resident import Answer, Resident
from cvxpylayers.torch._site import Maybe, Wanted
from cvxpylayers.torch._tensors import arrays, float64

_SOLVED: Final = int(Status.SOLVED)


def solve(layer: Layer, at: Resident, answer: Answer, options: Mapping[str, Any]) -> tuple[bool, Bool | None]:
    """Solve again, in place, what the quadratic loop left open: whether all instances were solved, and which another engine did."""
    if not int((answer.status > _SOLVED).sum()):
        return True, None
    left = UNRESOLVED[answer.status.numpy(force=True)]
    rows = torch.from_numpy(np.flatnonzero(left)).to(answer.status.device)
    if not len(rows):
        return False, None
    _, found = layer.run(arrays(at.instances(rows)), {**options, "device": "cpu"}, tape=answer.tape is not None)
    _put(answer.rows, rows, found.outputs)
    _put(answer.status, rows, found.status)
    _put(answer.iterations, rows, found.iterations)
    _put(answer.residuals, rows, found.residuals)
    _put(answer.margin, rows, found.margin)
    if answer.tape is not None and found.tape is not None:
        _put(answer.tape, rows, found.tape.points)
    fallback = np.zeros(len(left), dtype=np.bool_)
    fallback[left] = found.fallback
    return False, fallback


def vjp(
    layer: Layer, at: Resident, tape: torch.Tensor, cotangents: torch.Tensor, gradients: Maybe, marks: torch.Tensor
) -> torch.Tensor:
    """Add the gradients of marked instances, which the device left zero, to ``gradients``, in place: the host's marks (B,)."""
    rows = _marked(marks)
    if not len(rows):
        return marks
    wanted: Wanted = [g is not None for g in gradients]
    batch = layer.batch(arrays(at.instances(rows))).per_instance()
    host, flags = layer.engine.vjp(batch, _points(layer, tape, rows), float64(cotangents[:, rows]), wanted)
    for gradient, own in zip(gradients, host, strict=True):
        if gradient is None or own is None:
            continue
        found = torch.from_numpy(own.reshape(len(gradient), len(rows), *gradient.shape[2:])).to(gradient.device)
        if gradient.shape[1] == 1:
            gradient += found.sum(1, keepdim=True)
        else:
            gradient[:, rows] = found
    return _replaced(marks, rows, flags)


def jvp(
    layer: Layer,
    at: Resident,
    tape: torch.Tensor,
    tangents: Maybe,
    found: torch.Tensor,
    marks: torch.Tensor,
) -> torch.Tensor:
    """As ``vjp``, of tangents (K or 1, *batch_i, *shape): the rows (K, B, outputs) of marked instances are put in place."""
    rows = _marked(marks)
    if not len(rows):
        return marks
    batch = layer.batch(arrays(at.instances(rows))).per_instance()
    flat: list[Float64 | None] = []
    for spec, tangent in zip(layer.compiled.parameters, tangents, strict=True):
        if tangent is None:
            flat.append(None)
            continue
        gap = 1 + len(at.shape) + len(spec.shape) - tangent.ndim
        full = tangent.reshape(tangent.shape[:1] + (1,) * gap + tangent.shape[1:])
        full = full.expand(len(full), *at.shape, *spec.shape).reshape(len(full), at.size, spec.size)[:, rows]
        flat.append(float64(full.reshape(len(full), *batch.shape, spec.size)))
    host, flags = layer.engine.jvp(batch, _points(layer, tape, rows), flat, directions=len(found))
    found[:, rows] = torch.from_numpy(host).to(found.device)
    return _replaced(marks, rows, flags)


def _marked(marks: torch.Tensor) -> torch.Tensor:
    return marks.nonzero()[:, 0] if bool(marks.any()) else marks.new_zeros(0, dtype=torch.int64)


def _points(layer: Layer, tape: torch.Tensor, rows: torch.Tensor) -> Tape:
    return Tape(float64(tape[rows]), layer.compiled.structure.n)


def _replaced(marks: torch.Tensor, rows: torch.Tensor, flags: Bool) -> torch.Tensor:
    fresh = torch.zeros_like(marks)
    fresh[rows] = torch.from_numpy(flags).to(marks.device)
    return fresh


def _put(to: torch.Tensor, rows: torch.Tensor, values: Any) -> None:
    to[rows] = torch.from_numpy(np.ascontiguousarray(values)).to(to.device)
