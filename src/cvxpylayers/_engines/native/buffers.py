"""What the kernel writes gradients into, and gradients as they are wanted."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from cvxpylayers._program import Batch
from cvxpylayers._typing import Bool, Float64


def buffers(batch: Batch, wanted: Sequence[bool], lead: tuple[int, ...]) -> tuple[list[Float64 | None], list[int], Bool]:
    """Output buffers of a call: gradients, None where not wanted, positions of those that are to be ``reduced``, and flags (B,).

    A gradient is as it is wanted, (*K, *batch_i, size), where the kernel can write that: one row per instance, or, of a parameter
    that all share, their sum. Else it is (*K, B, size), to be summed along some of the axes.
    """
    size, axes = batch.size, batch.shape
    gradients, apart = list[Float64 | None](), list[int]()
    for i, (array, want) in enumerate(zip(batch.arrays, wanted, strict=True)):
        shape = array.shape
        if not want:
            gradients.append(None)
        elif shape[:-1] == axes or (size and math.prod(shape[:-1]) == 1):
            gradients.append(np.empty(lead + shape))
        else:
            gradients.append(np.empty((*lead, size, shape[-1])))
            apart.append(i)
    return gradients, apart, np.zeros(size, np.bool_)


def reduced(gradients: list[Float64 | None], apart: Sequence[int], batch: Batch, lead: tuple[int, ...]) -> list[Float64 | None]:
    """The gradients, those at the positions ``apart`` summed in place of what they were."""
    for i in apart:
        gradient = gradients[i]
        assert gradient is not None
        gradients[i] = batch.reduce(i, gradient, lead)
    return gradients
