"""Parameter values of many instances, and what a solve of them returns."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeVar

import numpy as np

from cvxpylayers._core import Facts
from cvxpylayers._program.status import USABLE
from cvxpylayers._typing import Bool, Exchanged, Float64, Int8, Int32, NDArray, Shaped

Entry = TypeVar("Entry", bound=np.generic)
_NONE: Final = np.empty(0, dtype=np.intp)
_FACTS: Final = ("status", "iterations", "residuals", "fallback", "margin")


class Batch(NamedTuple):
    """Parameter values of many instances.

    ``arrays[i]`` is float64 of shape (*batch_i, parameters[i].size), its last axis contiguous; the batch_i broadcast to
    ``shape`` as in NumPy; ``_core.Arrays`` makes them when they are asked for. A shared parameter has no batch axes (or axes of
    length or stride 0) and is never copied.
    ``invalid`` marks instances, flattened in C order, that are known to violate a declared domain. ``start`` holds points to start
    from, as a ``Tape`` does; engines may ignore it. ``rounding`` is the relative error that
    the entries of each array may have because of the dtype in which they came; none if empty. ``infinite`` says that there are
    infinite ones: nonnegative rows with b = inf are then switched off, and an instance with b = -inf is infeasible.
    """

    arrays: Sequence[Float64]
    shape: tuple[int, ...]
    invalid: Bool | None = None
    start: Shaped[Float64, "B point"] | None = None
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

    def per_instance(self, which: Iterable[bool] | None = None) -> Batch:
        """The parameters alone; those of ``which`` (None: all) are no longer shared, by axes of stride 0: nothing is copied."""
        chosen = [True] * len(self.arrays) if which is None else which
        full = [(*self.shape, array.shape[-1]) for array in self.arrays]
        pairs = zip(self.arrays, full, chosen, strict=True)
        return Batch(tuple(np.broadcast_to(a, shape) if apart else a for a, shape, apart in pairs), self.shape)

    def align(self, tangent: Float64, directions: int | None) -> Float64:
        """A tangent ([K,] *axes, size) of some batch axes with the axis of the directions, if any, in front of all of them."""
        missing = len(self.shape) + 2 - tangent.ndim
        if directions is None or not missing:
            return tangent
        return tangent.reshape(tangent.shape[:1] + (1,) * missing + tangent.shape[1:])

    def tangents(self, arrays: Sequence[Float64 | None], directions: int | None) -> list[Batch]:
        """Tangents ([K,] *axes, size) of the parameters, None for zero, as one batch for each direction."""
        zero = [np.zeros((1, array.shape[-1])) for array in self.arrays]
        full = [z if a is None else a if directions else a[None] for a, z in zip(arrays, zero, strict=True)]
        return [Batch(tuple(a[min(k, len(a) - 1)] for a in full), self.shape) for k in range(directions or 1)]

    def reduce(self, i: int, gradient: Float64, lead: tuple[int, ...]) -> Float64:
        """A gradient (*K, B, size) or (*K, *batch, size) of parameter i, summed over the axes along which that is broadcast.

        ``lead`` is K, if there are directions; (*K, size) has been summed.
        """
        array = self.arrays[i]
        if gradient.ndim > len(lead) + 1:
            gradient = gradient.reshape(*lead, *self.shape, array.shape[-1])
            own = (1,) * (len(self.shape) + 1 - array.ndim) + array.shape[:-1]
            axes = tuple(k for k, pair in enumerate(zip(own, self.shape, strict=True), len(lead)) if pair[0] != pair[1])
            gradient = np.asarray(gradient.sum(axis=axes)) if axes else gradient
        return gradient.reshape(*lead, *array.shape)

    def gradients(self, theta: Float64, wanted: Sequence[bool], lead: tuple[int, ...]) -> list[Float64 | None]:
        """Of the wanted parameters, from that of [θ; 1], of shape (*K, B, p + 1)."""
        parts = np.split(theta, np.cumsum([array.shape[-1] for array in self.arrays]), axis=-1)
        return [self.reduce(i, part, lead) if want else None for i, (part, want) in enumerate(zip(parts, wanted, strict=False))]


def compact(array: NDArray[Entry], rank: int) -> NDArray[Entry]:
    """The repeated axes (stride 0) among the first ``rank`` cut to length one."""
    if 0 not in array.strides[:rank]:
        return array
    return array[tuple(slice(1) if stride == 0 else slice(None) for stride in array.strides[:rank])]


class Tape(NamedTuple):
    """What a derivative needs of a solve: a point (x, z, s), n + 2 m numbers, of every instance; NaN where there is none.

    ``points`` are (B, n + 2 m), or in another library than NumPy (*batch, n + 2 m).
    """

    points: Exchanged
    n: int

    @classmethod
    def of(
        cls, x: Shaped[Float64, "B n"], z: Shaped[Float64, "B m"], s: Shaped[Float64, "B m"], solved: Shaped[Bool, " B"]
    ) -> Tape:
        """The tape of these primal, dual and slack variables, where they are ``solved``."""
        return cls(np.where(solved[:, None], np.concatenate([x, z, s], axis=1), np.nan), x.shape[1])

    @property
    def rows(self) -> Shaped[Float64, "B point"]:
        """The points, a view."""
        return _rows(self.points)

    @property
    def x(self) -> Shaped[Float64, "B n"]:
        """The primal variables, a view."""
        return self.rows[:, : self.n]

    @property
    def z(self) -> Shaped[Float64, "B m"]:
        """The dual variables, a view."""
        return self.rows[:, self.n : (self.n + self.points.shape[-1]) // 2]

    @property
    def s(self) -> Shaped[Float64, "B m"]:
        """The slacks, a view; infinite where a bound is."""
        return self.rows[:, (self.n + self.points.shape[-1]) // 2 :]

    @property
    def solved(self) -> Shaped[Bool, " B"]:
        """Which instances have a solution."""
        return ~np.isnan(self.rows[:, 0])


def _rows(array: Exchanged) -> Float64:
    """An array (*batch, width) of any library on the host as one of NumPy (B, width), in the same memory."""
    return np.asarray(array).reshape(math.prod(array.shape[:-1]), array.shape[-1])


@dataclass(slots=True)
class Solution:
    """Everything a solve returns, the batch flattened to one axis of length B.

    ``outputs`` follows R; rows of instances without a solution hold the best iterate. In another library than NumPy it is
    (*batch, outputs). ``tape`` is None when no
    derivative was asked for. ``residuals`` holds those of the constraints and of stationarity, the gap, which are relative as
    ``_engines.judge.quality.Quality`` says, and the objective in the user's sense; ``margin`` is that of strict complementarity
    (``_engines.judge.margin``).
    ``notes`` holds a solver's own words, by instance, where it had some about a failure. ``settled`` says that every instance has
    a solution, where the engine knows.
    """

    outputs: Exchanged
    status: Shaped[Int8, " B"]
    iterations: Shaped[Int32, " B"]
    residuals: Shaped[Float64, "B 4"]
    fallback: Shaped[Bool, " B"]
    margin: Shaped[Float64, " B"]
    tape: Tape | None
    notes: Mapping[int, str] = field(default_factory=dict)
    settled: bool = False
    facts: Facts | None = None

    @classmethod
    def of(cls, outputs: Exchanged, facts: Facts, tape: Tape | None, settled: bool) -> Solution:
        """The solution whose other fields are made of ``facts`` when they are first read."""
        found = cls.__new__(cls)
        found.outputs, found.facts, found.tape, found.notes, found.settled = outputs, facts, tape, {}, settled
        return found

    def __getattr__(self, name: str) -> NDArray[np.generic]:
        if name not in _FACTS:
            raise AttributeError(name)
        found: NDArray[np.generic] = getattr(self.facts, name)
        setattr(self, name, found)
        return found

    @property
    def rows(self) -> Shaped[Float64, "B outputs"]:
        """The outputs, a view."""
        return _rows(self.outputs)

    @property
    def primal_residual(self) -> Shaped[Float64, " B"]:
        """Of the constraints, a view."""
        return self.residuals[:, 0]

    @property
    def dual_residual(self) -> Shaped[Float64, " B"]:
        """Of stationarity, a view."""
        return self.residuals[:, 1]

    @property
    def gap(self) -> Shaped[Float64, " B"]:
        """Between the objectives, a view."""
        return self.residuals[:, 2]

    @property
    def objective(self) -> Shaped[Float64, " B"]:
        """In the user's sense, a view."""
        return self.residuals[:, 3]

    @property
    def failed(self) -> NDArray[np.intp]:
        """Positions of the instances without a solution."""
        return _NONE if self.settled else (self.status > USABLE).nonzero()[0]
