"""The declared domains of parameters on a device: ``_layer.inputs.screen`` by torch's operators, which wait for nothing."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
import torch

from cvxpylayers._layer.inputs import DEFINITE_SLACK, INFINITE, SKEW, SLACK, rounding_of, to_screen
from cvxpylayers._program import CompiledProblem, ParameterSpec

# As the host sees tensors of these types; NumPy has no bfloat16, which goes there as float32.
_SEEN: Final = {torch.float32: "float32", torch.float16: "float16", torch.bfloat16: "float32"}


class Screened(NamedTuple):
    """``tensors``, in which bounds that are none are infinite; ``invalid`` (*batch,) marks instances that leave a domain, None
    where no parameter has one; ``infinite``: whether there may be infinite bounds; ``rounding``: the largest of all parameters."""

    tensors: list[torch.Tensor]
    invalid: torch.Tensor | None
    infinite: bool
    rounding: float


def screen(
    compiled: CompiledProblem, given: Sequence[torch.dtype], tensors: Sequence[torch.Tensor], shape: Sequence[int]
) -> Screened:
    """Of readable tensors (*batch_i, *shape), which came in the types ``given``; the batch has that ``shape``.

    Kernels find NaN and inf among the numbers that they read; parameters of which they read only some are looked at here.
    """
    found, invalid, roundings, suspects = list(tensors), None, [_rounding(dtype) for dtype in given], to_screen(compiled)
    for i, (spec, tensor) in enumerate(zip(compiled.parameters, tensors, strict=True)):
        if spec.unbounded:
            found[i] = torch.where(tensor.abs() >= INFINITE, torch.copysign(torch.full_like(tensor, torch.inf), tensor), tensor)
        if spec.size and i in suspects:
            flat = found[i].to(torch.float64).reshape(*tensor.shape[: tensor.ndim - len(spec.shape)], spec.size)
            bad = _leaves(spec, flat, roundings[i])
            invalid = tensor.new_zeros(tuple(shape), dtype=torch.bool) if invalid is None else invalid
            invalid = invalid | bad
    return Screened(found, invalid, any(spec.unbounded for spec in compiled.parameters), max(roundings, default=0.0))


def _rounding(dtype: torch.dtype) -> float:
    return rounding_of(np.dtype(_SEEN[dtype])) if dtype in _SEEN else 0.0


@lru_cache(maxsize=256)
def _constant(numbers: tuple[float, ...], device: torch.device) -> torch.Tensor:
    """What the device keeps, for to send it there takes waiting: int64 or float64."""
    return torch.tensor(numbers, dtype=torch.float64 if isinstance(numbers[0], float) else torch.int64, device=device)


def _leaves(spec: ParameterSpec, flat: torch.Tensor, rounding: float) -> torch.Tensor:
    """Where entries (*batch_i, size) leave the domain, (*batch_i,); by how much they may is said in ``_layer.inputs``."""
    good = ((~flat.isnan()) if spec.unbounded else flat.isfinite()).all(-1)
    bad, values = ~good, torch.where(good[..., None], flat, 0.0)
    size = torch.where(values.isfinite(), values.abs(), 0.0).amax(-1).clamp_min(1.0)
    misses = []
    if spec.sign:
        misses.append(-spec.sign * values)
    if spec.bounds is not None:
        low, high = (_constant(tuple(bound), flat.device) for bound in spec.bounds)
        misses.append(torch.fmax(low - values, values - high))
    if spec.support is not None and len(spec.support) < spec.size:
        others = _constant(tuple(sorted(set(range(spec.size)) - set(spec.support))), flat.device)
        misses.append(values.index_select(-1, others).abs())
    for miss in misses:
        bad = bad | (miss.amax(-1) > max(SLACK, rounding) * size)
    if spec.symmetric or spec.psd:
        bad = bad | _ill_shaped(spec, values.reshape(*values.shape[:-1], *spec.shape), max(DEFINITE_SLACK, rounding))
    return bad


def _ill_shaped(spec: ParameterSpec, matrix: torch.Tensor, slack: float) -> torch.Tensor:
    """Where it is not symmetric, or not definite to ``slack`` of its norm (if it makes P: its diagonal)."""
    largest = matrix.abs().amax((-1, -2))
    bad: torch.Tensor = 0.5 * (matrix - matrix.mT).abs().amax((-1, -2)) > SKEW * largest
    if not spec.psd:
        return bad
    matrix = 0.5 * spec.psd * (matrix + matrix.mT)
    margin = slack * torch.linalg.matrix_norm(matrix).clamp_min(1.0)
    if spec.quadratic:
        return bad.logical_or(matrix.diagonal(dim1=-2, dim2=-1).amin(-1) < -margin)
    shifted = matrix + margin[..., None, None] * torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
    return bad.logical_or(torch.linalg.cholesky_ex(shifted).info != 0)
