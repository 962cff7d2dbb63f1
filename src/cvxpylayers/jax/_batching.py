"""Any vmap of a primitive is one call of the same primitive.

If only what a derivative is applied to is mapped, the new axis is one more of ``directions``: one factorization, many right-hand
sides. Else it is one more batch axis in front, and parameters that are not mapped stay as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import batching

from cvxpylayers.jax._primitives import hvp_p, jvp2_p, jvp_p, solve_p, vjp_p
from cvxpylayers.jax._program import Program


def _solve(arrays: Sequence[Any], dims: Sequence[Any], *, program: Program, **params: Any) -> tuple[list[Any], list[int]]:
    pairs = list(zip(arrays, dims, strict=True))
    size = next(a.shape[d] for a, d in pairs if d is not None)
    rank = max(a.ndim - 1 - (d is not None) for a, d in pairs)
    theta = [_front(a, d, rank + 2) for a, d in pairs[: program.count]]
    start = [_whole(a, d, size, 0) for a, d in pairs[program.count :]]
    results = solve_p.bind(*theta, *start, program=program, **params)
    return results, [0] * len(results)


def _derivative(
    primitive: Primitive, full: int, arrays: Sequence[Any], dims: Sequence[Any], *, program: Program, **params: Any
) -> tuple[Any, Any]:
    """``full`` of the operands after the tape have all batch axes (cotangents), those of the others (tangents) broadcast."""
    size = next(a.shape[d] for a, d in zip(arrays, dims, strict=True) if d is not None)
    fixed, moving = arrays[: program.count + 1], arrays[program.count + 1 :]
    fixed_dims, moving_dims = dims[: len(fixed)], dims[len(fixed) :]
    if all(d is None for d in fixed_dims):
        return _more_directions(primitive, fixed, moving, moving_dims, size, program=program, **params)
    return _more_instances(primitive, full, fixed, fixed_dims, moving, moving_dims, size, program=program, **params)


def _more_directions(
    primitive: Primitive,
    fixed: Sequence[Any],
    moving: Sequence[Any],
    dims: Sequence[Any],
    size: int,
    *,
    directions: bool,
    **params: Any,
) -> tuple[Any, Any]:
    moved = [a[None] if d is None else jnp.moveaxis(a, d, 0) for a, d in zip(moving, dims, strict=True)]
    inner = max(a.shape[1] for a in moved) if directions else 1
    if directions:
        moved = [_flat(a, size, inner) for a in moved]
    out = primitive.bind(*fixed, *moved, directions=True, **params)

    def unflat(result: Any) -> Any:
        return result.reshape(size, inner, *result.shape[1:]) if directions else result

    if not primitive.multiple_results:
        return unflat(out), 0
    *gradients, flags = out
    return [*map(unflat, gradients), flags], [*(0 for _ in gradients), None]


def _more_instances(
    primitive: Primitive,
    full: int,
    fixed: Sequence[Any],
    fixed_dims: Sequence[Any],
    moving: Sequence[Any],
    moving_dims: Sequence[Any],
    size: int,
    *,
    directions: bool,
    **params: Any,
) -> tuple[Any, Any]:
    lead, rank = int(directions), fixed[-1].ndim - 1 - (fixed_dims[-1] is not None)
    theta = [_front(a, d, rank + 2) for a, d in zip(fixed[:-1], fixed_dims[:-1], strict=True)]
    tape = _whole(fixed[-1], fixed_dims[-1], size, 0)
    cotangents = [_whole(a, d, size, lead) for a, d in zip(moving[:full], moving_dims[:full], strict=True)]
    tangents = [_front(a, d, rank + 2 + lead, lead) for a, d in zip(moving[full:], moving_dims[full:], strict=True)]
    summed = params.get("summed", ())
    if summed:  # over the old axes alone now, which the kernel cannot do
        params["summed"] = (False,) * len(summed)
    out = primitive.bind(*theta, tape, *cotangents, *tangents, directions=directions, **params)
    if not primitive.multiple_results:
        return out, lead
    *gradients, flags = out
    sums = [s for s, wanted in zip(summed, params["wanted"], strict=True) if wanted]
    old = tuple(range(lead + 1, lead + 1 + rank))
    gradients = [jnp.sum(g, axis=old) if s and old else g for g, s in zip(gradients, sums, strict=True)]
    return [*gradients, flags], [*(lead for _ in gradients), 0]


def _front(array: Any, dim: int | None, ndim: int, at: int = 0) -> Any:
    """Move the mapped axis to ``at`` and fill up with axes of length one behind it; what is not mapped stays."""
    if dim is None:
        return array
    array = jnp.moveaxis(array, dim, at)
    return array.reshape(*array.shape[: at + 1], *(1,) * (ndim - array.ndim), *array.shape[at + 1 :])


def _whole(array: Any, dim: int | None, size: int, at: int) -> Any:
    """Move the mapped axis to ``at``, or repeat there what is not mapped."""
    if dim is not None:
        return jnp.moveaxis(array, dim, at)
    return jnp.broadcast_to(jnp.expand_dims(array, at), (*array.shape[:at], size, *array.shape[at:]))


def _flat(array: Any, size: int, inner: int) -> Any:
    """(size | 1, inner | 1, …) → (size · inner | 1, …)."""
    rest = array.shape[2:]
    if array.shape[:2] == (1, 1):
        return array.reshape(1, *rest)
    return jnp.broadcast_to(array, (size, inner, *rest)).reshape(size * inner, *rest)


batching.primitive_batchers[solve_p] = _solve
for _primitive, _full in ((jvp_p, 0), (vjp_p, 1), (jvp2_p, 0), (hvp_p, 1)):
    batching.primitive_batchers[_primitive] = partial(_derivative, _primitive, _full)
