"""Solutions along a line of parameters, solved as one batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from cvxpylayers._layer.info import SolveInfo
from cvxpylayers._layer.layer import Layer
from cvxpylayers._typing import Float64, NDArray, Shaped
from cvxpylayers.errors import InputError


class Path(NamedTuple):
    """At every t (T,) in [0, 1] the outputs (T, *shape) at the parameters start + t (end - start), NaN where there is none.

    ``changes`` are the middles of the steps in which a row of nonnegative cones becomes active, or ceases to be.
    """

    t: Shaped[Float64, " T"]
    outputs: tuple[Float64, ...]
    info: SolveInfo
    changes: Float64


def solution_path(
    layer: Layer,
    start: Sequence[NDArray[Any]],
    end: Sequence[NDArray[Any]],
    steps: int = 201,
    solver_args: Mapping[str, Any] | None = None,
) -> Path:
    """The path from the parameters ``start`` to ``end``, one array of its own shape for each parameter.

    Raises:
        InputError: the number of parameters, a shape, or fewer than two steps.
    """
    specs = layer.compiled.parameters
    if steps < 2:
        raise InputError(f"A path has two steps at least; got steps={steps}.")
    for word, values in (("start", start), ("end", end)):
        if [np.shape(value) for value in values] != [spec.shape for spec in specs]:
            wanted = ", ".join(f"{spec.name}: {spec.shape}" for spec in specs)
            raise InputError(
                f"{word} must hold one value for each parameter, without batch axes ({wanted}); "
                f"got {', '.join(str(np.shape(value)) for value in values) or 'none'}."
            )
    t = np.linspace(0.0, 1.0, steps)
    pairs = zip(start, end, strict=True)
    line = [np.multiply.outer(1.0 - t, a) + np.multiply.outer(t, b) for a, b in pairs]
    call = layer.solve(line, solver_args=solver_args, on_failure="nan", tape=True)
    assert call.tape is not None
    rows = layer.compiled.structure.cones.orthant
    active = call.tape.s[:, rows] < call.tape.z[:, rows]
    both = call.tape.solved[1:] & call.tape.solved[:-1]
    moved = both & (active[1:] != active[:-1]).any(axis=1)
    return Path(t, call.outputs, call.info, (0.5 * (t[1:] + t[:-1]))[moved])
