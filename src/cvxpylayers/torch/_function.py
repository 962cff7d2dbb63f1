"""One solve as a differentiable function of tensors: reverse mode once, forward mode, nothing kept but arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.autograd import forward_ad
from torch.autograd.function import FunctionCtx, once_differentiable

from cvxpylayers._info import SolveInfo
from cvxpylayers._layer import Layer, OnFailure
from cvxpylayers._program import Batch, Tape
from cvxpylayers._typing import NDArray
from cvxpylayers.errors import InputError, InputTypeError, SolverError


@dataclass(slots=True)
class Request:
    """What a call asks for besides its tensors, and the info it gets back."""

    layer: Layer
    solver_args: Mapping[str, Any] | None
    warm_start: bool
    on_failure: OnFailure | None
    grad: bool
    info: SolveInfo | None = None


def solve(
    layer: Layer,
    parameters: Sequence[torch.Tensor],
    solver_args: Mapping[str, Any] | None,
    warm_start: bool,
    on_failure: OnFailure | None,
) -> tuple[tuple[torch.Tensor, ...], SolveInfo]:
    """The outputs, attached to the graph where a parameter is, and the outcome of every instance."""
    if torch.compiler.is_compiling():  # a solve is no graph: leave the tracer, and come back with the outputs
        eager = torch.compiler.disable(solve)  # type: ignore[no-untyped-call]
        return eager(layer, parameters, solver_args, warm_start, on_failure)  # type: ignore[no-any-return]
    request = Request(layer, solver_args, warm_start, on_failure, torch.is_grad_enabled())
    outputs = Solve.apply(request, *parameters)  # type: ignore[no-untyped-call]
    assert request.info is not None
    return outputs, request.info


class Solve(torch.autograd.Function):
    """(request, *parameters) → one tensor per output."""

    @staticmethod
    def forward(ctx: Any, request: Request, *parameters: torch.Tensor) -> tuple[torch.Tensor, ...]:
        dtype, device = _kind(request.layer, parameters)
        # Inside this function autograd is off, and ``needs_input_grad`` does not know whether it was on outside.
        wanted = (request.grad and any(ctx.needs_input_grad)) or forward_ad._current_level >= 0
        try:
            call = request.layer.solve(
                [_array(p) for p in parameters],
                solver_args=request.solver_args,
                warm_start=request.warm_start,
                on_failure=request.on_failure,
                tape=wanted,
            )
        except SolverError as error:
            error.outputs = tuple(_tensor(a, dtype, device) for a in error.outputs)
            raise
        request.info = call.info
        if call.tape is not None:
            t = call.tape
            saved = (*parameters, *(torch.from_numpy(a) for a in (t.x, t.z, t.s, t.status)))
            ctx.save_for_backward(*saved)
            ctx.save_for_forward(*saved)
            ctx.layer, ctx.info = request.layer, call.info
            ctx.dtype, ctx.device = dtype, device
            ctx.set_materialize_grads(False)
        return tuple(_tensor(a, dtype, device) for a in call.outputs)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *cotangents: torch.Tensor | None) -> tuple[torch.Tensor | None, ...]:
        parameters, batch, tape = _recall(ctx)
        arrays = [None if c is None else _float64(c) for c in cotangents]
        gradients = ctx.layer.vjp(batch, tape, ctx.info, arrays, ctx.needs_input_grad[1:])
        pairs = zip(gradients, parameters, strict=True)
        return None, *(None if g is None else _tensor(g.reshape(p.shape), p.dtype, p.device) for g, p in pairs)

    @staticmethod
    def jvp(ctx: Any, _: None, *tangents: torch.Tensor | None) -> tuple[torch.Tensor, ...]:
        batch, tape = _recall(ctx)[1:]
        arrays = [None if t is None else _array(t) for t in tangents]
        return tuple(_tensor(a, ctx.dtype, ctx.device) for a in ctx.layer.jvp(batch, tape, ctx.info, arrays))


def _recall(ctx: FunctionCtx) -> tuple[Sequence[torch.Tensor], Batch, Tape]:
    """The parameters, the batch and the tape of the solve."""
    saved = ctx.saved_tensors  # type: ignore[attr-defined]
    parameters, tape = saved[:-4], Tape(*(t.numpy() for t in saved[-4:]))
    return parameters, ctx.layer.batch([_array(p) for p in parameters]), tape  # type: ignore[attr-defined]


def _kind(layer: Layer, parameters: Sequence[Any]) -> tuple[torch.dtype, torch.device]:
    """The dtype and device of the outputs: the promoted floating type of the parameters, and the one device they share."""
    dtype, device = None, None
    for position, p in enumerate(parameters):
        if not isinstance(p, torch.Tensor):
            raise InputTypeError(f"Parameter {_name(layer, position)} must be a torch.Tensor; got {_remedy(layer, parameters, p)}.")
        if p.layout is not torch.strided:
            raise InputTypeError(f"Parameter {_name(layer, position)} must be dense; got {p.layout}: use value.to_dense().")
        if device is None:
            device = p.device
        elif p.device != device:
            name = _name(layer, position)
            raise InputError(f"All parameters must be on one device: {name} is on {p.device}, the first on {device}.")
        if p.is_meta:
            raise InputError(f"Parameter {_name(layer, position)} is on the meta device and holds no numbers to solve for.")
        if p.dtype is not dtype and p.dtype.is_floating_point:
            dtype = p.dtype if dtype is None else torch.promote_types(dtype, p.dtype)
    return dtype or torch.get_default_dtype(), device or torch.device("cpu")


def _remedy(layer: Layer, parameters: Sequence[Any], value: Any) -> str:
    """What came instead of a tensor, and what to type."""
    kind = type(value).__name__
    if isinstance(value, (list, tuple)) and len(parameters) == 1 != len(layer.compiled.parameters):
        return f"a {kind}: pass the parameters one by one, layer(*values)"
    if type(value).__module__.startswith("cvxpy"):
        return f"a cvxpy.{kind}: pass its value, torch.as_tensor(parameter.value)"
    return f"{kind}: use torch.as_tensor(value)"


def _name(layer: Layer, position: int) -> str:
    specs = layer.compiled.parameters
    return repr(specs[position].name) if position < len(specs) else f"number {position + 1}"


def _array(tensor: torch.Tensor) -> NDArray[np.generic]:
    """A view of the tensor's memory where it has one that NumPy can see, else a copy."""
    if tensor.dtype is torch.bfloat16:
        tensor = tensor.float()
    return tensor.numpy(force=True)


def _float64(tensor: torch.Tensor) -> NDArray[np.float64]:
    return tensor.to(torch.float64).numpy(force=True)


def _tensor(array: NDArray[np.float64], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    tensor = torch.from_numpy(array)
    return tensor if dtype is torch.float64 and device.type == "cpu" else tensor.to(device=device, dtype=dtype)
