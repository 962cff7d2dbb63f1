"""Tensors ↔ arrays: what a parameter may be, and one copy each way where memory cannot be shared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import torch

from cvxpylayers._layer.layer import Layer
from cvxpylayers._typing import Exchanged, NDArray
from cvxpylayers.errors import InputError, InputTypeError

HOST: Final = torch.device("cpu")
ORDINARY: Final = (torch.Tensor, torch.nn.Parameter)


def kind(layer: Layer, parameters: Sequence[Any]) -> tuple[torch.dtype, torch.device]:
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


def lie_open(tensors: Sequence[Any]) -> bool:
    """Whether what is at their addresses are the entries of the tensors, of which no class makes more than that."""
    for t in tensors:  # noqa: SIM110  # a generator takes longer than what it generates
        if type(t) not in ORDINARY or t.is_neg() or t._is_zerotensor():
            return False
    return True


def array(tensor: torch.Tensor) -> NDArray[np.generic]:
    """A view of the tensor's memory where it has one that NumPy can see, else a copy."""
    if tensor.dtype is torch.bfloat16:
        tensor = tensor.float()
    return tensor.numpy(force=True)


def arrays(tensors: Sequence[torch.Tensor]) -> list[NDArray[np.generic]]:
    """``array`` of each; from a CUDA device all are on their way at once, through pinned memory, one wait for them all."""
    if not tensors or not tensors[0].is_cuda:
        return [array(t) for t in tensors]
    staged = [compact(t.detach()) for t in tensors]
    landed = [torch.empty(t.shape, dtype=t.dtype, pin_memory=True).copy_(t, non_blocking=True) for t in staged]
    torch.cuda.current_stream(tensors[0].device).synchronize()
    return [array(host.expand(t.shape)) for host, t in zip(landed, tensors, strict=True)]


def compact(tensor: torch.Tensor) -> torch.Tensor:
    """Repeated axes (stride 0) cut to length one: shared data travel once."""
    for axis, stride in enumerate(tensor.stride()):
        if stride == 0 and tensor.shape[axis] > 1:
            tensor = tensor.narrow(axis, 0, 1)
    return tensor


def float64(tensor: torch.Tensor) -> NDArray[np.float64]:
    """The numbers in double precision."""
    return (tensor if tensor.dtype is torch.float64 else tensor.to(torch.float64)).numpy(force=True)


def tensor(array: Exchanged, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """The array as a tensor; shares its memory where dtype and device allow."""
    found = array if isinstance(array, torch.Tensor) else torch.from_numpy(array)
    if dtype is torch.float64 and device == HOST:
        return found
    if device.type == "cuda":
        return found.to(dtype).pin_memory().to(device, non_blocking=True)
    return found.to(device=device, dtype=dtype)
