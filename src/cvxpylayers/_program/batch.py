"""Parameter values of many instances, and what a solve of them returns."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from cvxpylayers._typing import Bool, Float64, Int8, Int32, NDArray, Shaped


@dataclass(frozen=True)
class Batch:
    """Parameter values of many instances.

    ``arrays[i]`` is float64 of shape (*batch_i, parameters[i].size), its last axis contiguous; the batch_i broadcast to
    ``shape`` as in NumPy. A shared parameter has no batch axes (or axes of length or stride 0) and is never copied.
    ``invalid`` marks instances, flattened in C order, that are known to violate a declared domain. ``start`` holds points x, z, s
    to start from, (B, n), (B, m), (B, m), NaN where there is none; engines may ignore it. ``rounding`` is the relative error that
    the entries of each array may have because of the dtype in which they came; none if empty. ``infinite`` says that there are
    infinite ones: nonnegative rows with b = inf are then switched off, and an instance with b = -inf is infeasible.
    """

    arrays: tuple[Float64, ...]
    shape: tuple[int, ...]
    invalid: Bool | None = None
    start: tuple[Float64, Float64, Float64] | None = None
    rounding: tuple[float, ...] = ()
    infinite: bool = False

    @property
    def size(self) -> int:
        """Number of instances B."""
        return math.prod(self.shape)

    def theta(self, instances: Sequence[int] | NDArray[np.integer] | slice = slice(None)) -> Float64:
        """Stacked parameters with the trailing constant 1, shape (len(instances), p + 1), for engines without M in the kernel."""
        flat = np.arange(self.size)[instances] if isinstance(instances, slice) else np.asarray(instances)
        index = np.unravel_index(flat, self.shape) if self.shape else ()
        columns = []
        for array in self.arrays:
            full = np.broadcast_to(array, (*self.shape, array.shape[-1]))
            columns.append(full[index] if self.shape else np.broadcast_to(full, (len(flat), array.shape[-1])))
        return np.concatenate([*columns, np.ones((len(flat), 1))], axis=1)


@dataclass(frozen=True)
class Tape:
    """What a derivative needs of a solve: primal, dual, slack, and the status codes."""

    x: Shaped[Float64, "B n"]
    z: Shaped[Float64, "B m"]
    s: Shaped[Float64, "B m"]
    status: Shaped[Int8, " B"]


@dataclass(frozen=True)
class Solution:
    """Everything a solve returns, the batch flattened to one axis of length B.

    ``outputs`` follows R; rows of instances without a solution hold the best iterate. ``tape`` is None when no
    derivative was asked for. Residuals and gap are relative, as ``_engines.judge.judge.Quality`` says;
    ``objective`` is in the user's sense, ``margin`` that of strict complementarity (``_engines.judge.margin``).
    ``notes`` holds a solver's own words, by instance, where it had some about a failure.
    """

    outputs: Shaped[Float64, "B outputs"]
    status: Shaped[Int8, " B"]
    iterations: Shaped[Int32, " B"]
    primal_residual: Shaped[Float64, " B"]
    dual_residual: Shaped[Float64, " B"]
    gap: Shaped[Float64, " B"]
    objective: Shaped[Float64, " B"]
    fallback: Shaped[Bool, " B"]
    margin: Shaped[Float64, " B"]
    tape: Tape | None
    notes: Mapping[int, str] = field(default_factory=dict)
