"""A layer as a generalized ufunc: what Dask and xarray need to know to apply it to chunked and labelled arrays."""

from __future__ import annotations

from itertools import accumulate, pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from cvxpylayers._layer.layer import Layer
from cvxpylayers._typing import NDArray


class Gufunc:
    """A picklable function: one array (*loop, *shape) per parameter → one per output, then status codes (*loop); float64 and int8.

    Loop axes broadcast as in NumPy, core axes are those of the parameters, in their order. An instance without a solution is NaN.
    """

    output_dtypes: tuple[type, ...]

    def __init__(self, layer: Layer) -> None:
        self.layer = layer
        self.output_dtypes = (*(np.float64 for _ in layer.compiled.outputs), np.int8)

    def __call__(self, *arrays: ArrayLike) -> tuple[NDArray[Any], ...]:
        """Outputs and status codes, ``cvxpylayers.Status``.

        Raises:
            InputError, InputTypeError: as in a call of the layer.
        """
        call = self.layer.solve([np.asarray(array) for array in arrays], on_failure="nan")
        return *call.outputs, call.info.codes

    @property
    def core_dims(self) -> tuple[list[list[str]], list[list[str]]]:
        """Names of the core axes of each parameter and of each output, no two alike; the status has none."""
        compiled = self.layer.compiled
        ranks = [*(len(spec.shape) for spec in compiled.parameters), *(len(spec.shape) for spec in compiled.outputs)]
        names = [[f"d{k}" for k in range(a, b)] for a, b in pairwise(accumulate(ranks, initial=0))]
        count = len(compiled.parameters)
        return names[:count], [*names[count:], []]

    @property
    def signature(self) -> str:
        """What ``dask.array.apply_gufunc`` wants as its second argument, for example ``(d0,d1),(d2)->(d3),()``."""
        return "->".join(",".join(f"({','.join(dims)})" for dims in side) for side in self.core_dims)

    @property
    def output_sizes(self) -> dict[str, int]:
        """The length of each core axis of the outputs."""
        specs = zip(self.core_dims[1], self.layer.compiled.outputs, strict=False)
        return {name: length for dims, spec in specs for name, length in zip(dims, spec.shape, strict=True)}
