"""Batching rules: an axis that ``vmap`` adds becomes a batch axis, or, where only directions have it, an axis of directions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from cvxpylayers.torch._site import Derivative, Maybe, Site, Tensors, Wanted

Dims = Sequence[int | None]


def solve(site: Site, parameters: Tensors, dims: Dims) -> list[torch.Tensor]:
    """The parameters with the mapped axis in front of batch axes of one rank, so that it meets no other axis."""
    own = [p.ndim - (d is not None) - rank for p, d, rank in zip(parameters, dims, site.ranks, strict=True)]
    rank = max(own, default=0)
    rows = zip(parameters, dims, own, strict=True)
    return [p if d is None else _pad(p.movedim(d, 0), 1, rank - axes) for p, d, axes in rows]


def derivative(
    function: type[Derivative], size: int, site: Site, many: bool, wanted: Wanted, row: Maybe, dims: Dims
) -> tuple[Tensors, int]:
    """A derivative mapped over an axis of length ``size``, and where its results have that axis.

    Where tape and parameters have no such axis, the mapped axis and that of the directions, if there is one, become one: the
    linearization is factored once.
    """
    tape, parameters, rest = site.cut(list(zip(row, dims, strict=True)))
    if all(d is None for _, d in (tape, *parameters)):
        moved = [None if t is None else _front(t, d, size, 0) for t, d in rest]
        if many:
            moved = [None if t is None else t.flatten(0, 1) for t in moved]
        found = site.recorded(function, True, wanted, [*row[: 1 + len(parameters)], *moved])
        return tuple(f.reshape(size, -1, *f.shape[1:]) if many else f for f in found), 0
    points = _front(tape[0], tape[1], size, 0)
    values = [_front(t, d, size, 0) for t, d in parameters]
    rank = points.ndim - 2
    gaps = [rank - (p.ndim - 1 - own) for p, own in zip(values, site.ranks, strict=True)]
    place = int(many)
    moved = [None if t is None else _front(t, d, size, place) for t, d in rest]
    if function.tangents:
        start = len(moved) - len(gaps)
        moved[start:] = [None if t is None else _pad(t, place + 1, gap) for t, gap in zip(moved[start:], gaps, strict=True)]
    found = site.recorded(function, many, wanted, [points, *map(_pad, values, [1] * len(gaps), gaps), *moved])
    if function.gradients:
        shapes = [p.shape for p, want in zip(values, wanted, strict=True) if want]
        found = [f.reshape(*f.shape[:place], *shape) for f, shape in zip(found, shapes, strict=True)]
    return tuple(found), place


def directions(directional: Sequence[Any]) -> int:
    """How many directions there are along the leading axis."""
    return next((len(d) for d in directional if d is not None), 1)


def _front(t: torch.Tensor | None, dim: int | None, size: int, place: int) -> torch.Tensor:
    """The mapped axis at ``place``, made where there is none."""
    assert t is not None
    return t.unsqueeze(place).expand(*t.shape[:place], size, *t.shape[place:]) if dim is None else t.movedim(dim, place)


def _pad(t: torch.Tensor, place: int, axes: int) -> torch.Tensor:
    """Axes of length one from ``place`` on."""
    return t.reshape(*t.shape[:place], *(1,) * axes, *t.shape[place:]) if axes else t
