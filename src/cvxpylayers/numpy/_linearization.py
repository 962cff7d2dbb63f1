"""The derivative of a solved batch at its parameters: a linear map that can be applied either way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from cvxpylayers._layer.info import SolveInfo
from cvxpylayers._layer.layer import Layer, Point
from cvxpylayers._typing import Float64, NDArray
from cvxpylayers.errors import InputError

Array = NDArray[np.floating[Any]]


@dataclass(frozen=True, eq=False)
class Linearization:
    """A solved batch and its derivative; ``outputs`` and ``info`` are those of ``solve``.

    ``vjp``, ``jvp`` and ``jacobian`` share the solution; none solves again. Instances without a solution contribute zero. Where the
    solution is not differentiable a regularized derivative is given, and ``info.degenerate`` says so afterwards.
    """

    outputs: tuple[Array, ...]
    info: SolveInfo
    _layer: Layer = field(repr=False)
    _point: Point = field(repr=False)
    _dtypes: tuple[np.dtype[Any], ...] = field(repr=False)  # of the gradients

    def vjp(self, *cotangents: ArrayLike | None) -> tuple[Array, ...]:
        """Pull one cotangent per output, shaped like it (None for zero), back: one gradient per parameter, shaped like it.

        A parameter that was broadcast receives the sum over the instances that shared it.

        Raises:
            InputError: the number of cotangents or a shape.
        """
        given = _arrays("cotangent", "output", cotangents, len(self.outputs))
        for k, (array, output) in enumerate(zip(given, self.outputs, strict=True)):
            if array is not None and array.shape != output.shape:
                raise InputError(f"Cotangent {k + 1} must have the shape of its output, {output.shape}; got {array.shape}.")
        gradients = self._layer.vjp(self._point, given, [True] * len(self._dtypes))
        specs = self._layer.compiled.parameters
        return tuple(
            g.reshape(g.shape[:-1] + spec.shape).astype(dtype, copy=False)
            for g, spec, dtype in zip(gradients, specs, self._dtypes, strict=True)
            if g is not None
        )

    def jvp(self, *tangents: ArrayLike | None) -> tuple[Array, ...]:
        """Push one tangent per parameter, shaped like it or broadcast against the batch (None for zero), to the outputs.

        Raises:
            InputError: the number of tangents or a shape.
        """
        pushed = self._layer.jvp(self._point, _arrays("tangent", "parameter", tangents, len(self._dtypes)))
        return tuple(p.astype(o.dtype, copy=False) for p, o in zip(pushed, self.outputs, strict=True))

    def jacobian(self) -> tuple[tuple[Array, ...], ...]:
        """Every partial derivative, instance by instance: entry [i][j] is (*batch, *shape of output i, *shape of parameter j).

        A parameter that instances share has a Jacobian for each of them: theirs alone, not the sum.
        """
        blocks = self._layer.jacobian(self._point)
        return tuple(tuple(b.astype(o.dtype, copy=False) for b in row) for row, o in zip(blocks, self.outputs, strict=True))


def _arrays(what: str, whose: str, values: Sequence[ArrayLike | None], count: int) -> list[Float64 | None]:
    if len(values) != count:
        raise InputError(f"One {what} per {whose} is needed, None for zero: {count}; got {len(values)}.")
    return [None if value is None else np.asarray(value, dtype=np.float64) for value in values]
