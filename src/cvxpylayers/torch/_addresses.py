"""Tensors on a device as the addresses that its kernels read and write, and the stream and memory of a call."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final, TypeAlias

import torch

from cvxpylayers._layer.inputs import not_real
from cvxpylayers._program import ParameterSpec
from cvxpylayers.torch._tensors import compact

# Address, whether it is float32, strides along the batch axes in entries: a parameter as ``_core.DeviceKernel`` takes it.
Source: TypeAlias = tuple[int, bool, tuple[int, ...]]
_READ: Final = (torch.float64, torch.float32)  # by kernels


def ordinal(tensor: torch.Tensor) -> int | None:
    """The number of the CUDA device on which the tensor lies, None elsewhere. Tests, which have no device, replace this."""
    return tensor.device.index if tensor.is_cuda else None


def address(tensor: torch.Tensor | None) -> int:
    """Of its memory, 0 where there is none."""
    return 0 if tensor is None else tensor.data_ptr()


def readable(spec: ParameterSpec, tensor: torch.Tensor) -> torch.Tensor:
    """The parameter (*batch_i, *shape) as kernels can read it: real, contiguous but for batch axes. Copies only what must be.

    Raises:
        InputTypeError: its entries are no real numbers.
    """
    if tensor.is_complex() or tensor.dtype is torch.bool:
        raise not_real(spec, tensor.dtype)
    found = compact(tensor.detach()).resolve_neg()
    if found.dtype not in _READ:
        found = found.to(torch.float64)
    rank, expected = found.ndim - len(spec.shape), 1
    for length, stride in zip(reversed(found.shape[rank:]), reversed(found.stride()[rank:]), strict=True):
        if length > 1 and stride != expected:
            return found.contiguous()
        expected *= length
    return found


def source(tensor: torch.Tensor, axes: int, shape: Sequence[int]) -> Source:
    """Of a readable tensor with so many batch axes, which broadcast to ``shape``."""
    lengths, strides = tensor.shape[:axes], tensor.stride()[:axes]
    own = [0 if length == 1 else stride for length, stride in zip(lengths, strides, strict=True)]
    return tensor.data_ptr(), tensor.dtype is torch.float32, (*(0,) * (len(shape) - axes), *own)


class Lender:
    """Workspace of one call by torch's allocator, which lends it to nobody before the stream has come so far."""

    def __init__(self, like: torch.Tensor) -> None:
        self._like, self._held = like, list[torch.Tensor]()

    def __call__(self, size: int) -> int:
        """The address of so many bytes, 0 where there is no room."""
        try:
            block = self._like.new_empty(size, dtype=torch.uint8)
        except torch.cuda.OutOfMemoryError:
            return 0
        self._held.append(block)
        return block.data_ptr()


@contextmanager
def on(tensor: torch.Tensor) -> Iterator[int]:
    """Work on the device of the tensor, in torch's current stream, whose handle is given."""
    if not tensor.is_cuda:
        yield 0
        return
    with torch.cuda.device(tensor.device):
        yield torch.cuda.current_stream(tensor.device).cuda_stream
