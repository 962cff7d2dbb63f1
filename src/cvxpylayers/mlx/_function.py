"""One solve as a differentiable function of MLX arrays, to second order in reverse and first order in forward mode.

MLX differentiates a ``custom_function`` by the rules it was given, and whatever these compute as if it were constant. So the
pullback is a custom function itself, whose derivative is J v along its cotangent c and the second derivative of ⟨c, solution⟩
along the parameters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import mlx.core as mx
import numpy as np

from cvxpylayers._layer.info import SolveInfo
from cvxpylayers._layer.layer import Layer, Point
from cvxpylayers._typing import Float64, NDArray
from cvxpylayers.errors import DerivativeError, InputError, InputTypeError, SolverError


def solve(layer: Layer, parameters: Sequence[Any], **options: Any) -> tuple[tuple[mx.array, ...], SolveInfo]:
    """The outputs as a function of ``parameters``, and the outcome of every instance."""
    dtype = _dtype(layer, parameters)
    found: list[SolveInfo] = []
    # One function per call: its rules close over the tape, which lives as long as the graph that may ask for it.
    outputs = _function(layer, dtype, options, found)(*parameters)
    return tuple(outputs), found[-1]


def _function(layer: Layer, dtype: mx.Dtype, options: Mapping[str, Any], found: list[SolveInfo]) -> Any:
    """*parameters → outputs; the outcome goes to ``found``."""
    points: list[Point] = []

    @mx.custom_function
    def outputs(*parameters: mx.array) -> tuple[mx.array, ...]:
        try:
            call = layer.solve([numbers(p) for p in parameters], tape=True, **options)
        except SolverError as error:
            error.outputs = _cast(error.outputs, dtype)
            raise
        found[:], points[:] = [call.info], [call.point]
        return _cast(call.outputs, dtype)

    @outputs.vjp
    def _(primals: Any, cotangents: Any, _: Any) -> tuple[mx.array, ...]:
        return tuple(_pullback(layer, points[-1])(*_tuple(primals), *_tuple(cotangents)))

    @outputs.jvp
    def _(primals: Any, tangents: Any) -> tuple[mx.array, ...]:
        return _cast(layer.jvp(points[-1], _tangents(_tuple(tangents))), dtype)

    return outputs


def _pullback(layer: Layer, at: Point) -> Any:
    """(*parameters, *cotangents) → one gradient per parameter."""
    count = len(layer.compiled.parameters)

    @mx.custom_function
    def gradients(*operands: mx.array) -> tuple[mx.array, ...]:
        parameters, cotangents = operands[:count], operands[count:]
        return _like(layer.vjp(at, _doubles(cotangents), [True] * count), parameters)

    @gradients.vjp
    def _(operands: Any, directions: Any, _: Any) -> tuple[mx.array, ...]:
        parameters, cotangents = _tuple(operands)[:count], _tuple(operands)[count:]
        along = _doubles(_tuple(directions))
        bent = layer.hvp(at, _doubles(cotangents), along, [True] * count)
        pushed = layer.jvp(at, along)
        return *_like(bent, parameters), *(mx.array(p).astype(c.dtype) for p, c in zip(pushed, cotangents, strict=True))

    @gradients.jvp
    def _(operands: Any, tangents: Any) -> tuple[mx.array, ...]:
        raise DerivativeError("MLX's forward mode over a gradient is not offered; take mx.grad of the gradient instead.")

    return gradients


def _tuple(value: Any) -> tuple[Any, ...]:
    """MLX hands over a single array bare."""
    return tuple(value) if isinstance(value, list | tuple) else (value,)


def numbers(value: Any) -> NDArray[Any]:
    """The numbers of ``value``, where they exist; raises InputError where they do not."""
    try:
        return np.array(value.astype(mx.float32) if getattr(value, "dtype", None) == mx.bfloat16 else value)
    except ValueError as error:
        if "function transformations" not in str(error):
            raise
        raise InputError(
            "MLX has no way to call a solver from compiled, exported or vmapped code. Call the layer outside mx.compile and "
            "mx.export_function, and give it the batch at once instead of mx.vmap: layer(A_batch, b_shared) broadcasts its axes."
        ) from error


def _doubles(values: Sequence[mx.array]) -> list[Float64]:
    return [np.asarray(numbers(value), dtype=np.float64) for value in values]


def _tangents(values: Sequence[mx.array | None]) -> list[NDArray[Any] | None]:
    return [None if value is None else numbers(value) for value in values]


def _cast(arrays: Sequence[NDArray[Any]], dtype: mx.Dtype) -> tuple[mx.array, ...]:
    """In the type ``dtype``; the conversion is NumPy's where NumPy has the type, as not every device has float64."""
    if dtype == mx.bfloat16:
        return tuple(mx.array(a.astype(np.float32)).astype(dtype) for a in arrays)
    return tuple(mx.array(a, dtype=dtype) if dtype == mx.float64 else mx.array(a.astype(_NUMPY[dtype])) for a in arrays)


def _like(gradients: Sequence[Float64 | None], parameters: Sequence[mx.array]) -> tuple[mx.array, ...]:
    """Gradients in the shapes and types of the parameters; integers have float32 ones."""
    found = []
    for gradient, p in zip(gradients, parameters, strict=True):
        assert gradient is not None
        dtype = p.dtype if mx.issubdtype(p.dtype, mx.floating) else mx.float32
        found.append(_cast([gradient.reshape(p.shape)], dtype)[0])
    return tuple(found)


_NUMPY = {mx.float16: np.float16, mx.float32: np.float32}


def _dtype(layer: Layer, parameters: Sequence[Any]) -> mx.Dtype:
    """The promoted floating type of the parameters; float32, MLX's own, where there is none."""
    found = None
    for position, value in enumerate(parameters):
        if not isinstance(value, mx.array):
            specs = layer.compiled.parameters
            name = repr(specs[position].name) if position < len(specs) else f"number {position + 1}"
            raise InputTypeError(f"Parameter {name} must be an mlx.core.array; got {type(value).__name__}: use mx.array(value).")
        if mx.issubdtype(value.dtype, mx.floating):
            found = value.dtype if found is None else mx.result_type(mx.zeros(0, found), mx.zeros(0, value.dtype))
    return found or mx.float32
