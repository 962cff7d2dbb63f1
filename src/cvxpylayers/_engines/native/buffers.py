"""What the kernel writes gradients into, and gradients as they are wanted."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from cvxpylayers._program import Batch
from cvxpylayers._typing import Bool, Float64


def buffers(batch: Batch, wanted: Sequence[bool], lead: tuple[int, ...]) -> tuple[list[Float64 | None], Bool]:
    """Output buffers of a call: gradients, None where not wanted, and flags (B,)."""
    size = batch.size
    gradients = [_buffer(array, batch, size, lead) if want else None for array, want in zip(batch.arrays, wanted, strict=True)]
    return gradients, np.zeros(size, dtype=np.bool_)


def _buffer(array: Float64, batch: Batch, size: int, lead: tuple[int, ...]) -> Float64:
    """The gradient as it is wanted, (*K, *batch_i, size), where the kernel can write that: one row per instance, or, of a parameter
    that all share, their sum. Else (*K, B, size), to be summed along some of the axes."""
    axes = array.shape[:-1]
    whole = axes == batch.shape or (size and math.prod(axes) == 1)
    return np.empty(lead + array.shape if whole else (*lead, size, array.shape[-1]))


def reduced(gradients: Sequence[Float64 | None], batch: Batch, lead: tuple[int, ...]) -> list[Float64 | None]:
    pairs = enumerate(zip(batch.arrays, gradients, strict=True))
    return [g if g is None or g.shape == lead + array.shape else batch.reduce(i, g, lead) for i, (array, g) in pairs]
