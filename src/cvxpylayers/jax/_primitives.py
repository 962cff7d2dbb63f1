"""The solve and its derivatives as JAX primitives.

    solve   θ…                              → outputs, status, iterations, residuals [, x, z, s]
    jvp     θ…, x, z, s, status, tangents…  → outputs       linear in the tangents
    vjp     θ…, x, z, s, status, outputs    → gradients…    linear in the outputs; the transpose of jvp, and jvp its own

Parameters θ_i have shape (*batch_i, size_i), their batch axes broadcast; status and the tape x, z, s (doubles as pairs of uint32,
which exist in either x64 mode) have all batch axes. ``directions`` puts an axis K in front of tangents (length K or 1), outputs and
gradients: several directions at one linearization, which is factored once.

Batching therefore has two cases. If only what the derivative is applied to is mapped, the new axis is one more of directions; else
it is one more batch axis in front, and parameters that are not mapped stay as they are. Either way there is one call.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import ad, batching
from jax.sharding import NamedSharding, PartitionSpec

from cvxpylayers.errors import DerivativeError
from cvxpylayers.jax._lowering import flags, lower, settings
from cvxpylayers.jax._program import Options, Program

solve_p = Primitive("cvxpylayers_solve")
jvp_p = Primitive("cvxpylayers_jvp")
vjp_p = Primitive("cvxpylayers_vjp")
solve_p.multiple_results = vjp_p.multiple_results = True
_TAPE = 4  # x, z, s, status


# ---- shapes ----


def _avals(operands: Sequence[Any], *types: tuple[tuple[int, ...], Any]) -> list[ShapedArray]:
    """Results of the given shapes and dtypes, on the mesh of the operands and varying over the same axes."""
    if not operands or operands[0].sharding.mesh.empty:
        return [ShapedArray(shape, jnp.dtype(dtype)) for shape, dtype in types]
    mesh = operands[0].sharding.mesh
    return [
        operands[0].update(
            shape=s, dtype=jnp.dtype(d), weak_type=False, sharding=NamedSharding(mesh, PartitionSpec(*(None,) * len(s)))
        )
        for s, d in types
    ]


def _dtype(operands: Sequence[Any]) -> Any:
    return operands[0].dtype if operands else jnp.result_type(float)


@solve_p.def_abstract_eval
def _(*theta: Any, program: Program, options: Options, nan: bool, tape: bool) -> list[ShapedArray]:
    batch = jnp.broadcast_shapes(*(t.shape[:-1] for t in theta)) if theta else ()
    dtype, s = _dtype(theta), program.layer.compiled.structure
    types = [((*batch, program.outputs), dtype), (batch, jnp.int8), (batch, jnp.int32), ((*batch, 4), dtype)]
    widths = (s.n, s.m, s.m) if tape else ()
    return _avals(theta, *types, *(((*batch, 2 * width), jnp.uint32) for width in widths))


@jvp_p.def_abstract_eval
def _(*operands: Any, program: Program, given: tuple[bool, ...], directions: bool) -> ShapedArray:
    theta, (*_, status), moving = _split(program, operands)
    lead = (max(t.shape[0] for t in moving),) if directions else ()
    return _avals(theta, ((*lead, *status.shape, program.outputs), _dtype(theta)))[0]


@vjp_p.def_abstract_eval
def _(*operands: Any, program: Program, wanted: tuple[bool, ...], summed: tuple[bool, ...], directions: bool) -> list[ShapedArray]:
    theta, (*_, status), (cotangent,) = _split(program, operands)
    lead = cotangent.shape[: int(directions)]
    sizes = [(*lead, *(() if s else status.shape), t.shape[-1]) for t, w, s in zip(theta, wanted, summed, strict=True) if w]
    return _avals(theta, *((size, _dtype(theta)) for size in sizes), (status.shape, jnp.bool_))


def _split(program: Program, operands: Sequence[Any]) -> tuple[Sequence[Any], Sequence[Any], Sequence[Any]]:
    """Parameters, tape with status, and what the derivative is applied to."""
    p = program.count
    return operands[:p], operands[p : p + _TAPE], operands[p + _TAPE :]


# ---- derivatives ----


def _solve_jvp(
    primals: Sequence[Any], tangents: Sequence[Any], *, tape: bool, program: Program, **how: Any
) -> tuple[list[Any], list[Any]]:
    results = solve_p.bind(*primals, program=program, tape=True, **how)
    _, status, _, _, *xzs = results
    moved = _apply_jvp(program, (*primals, *xzs, status), tangents)
    kept = results if tape else results[:_TAPE]
    return kept, [moved, *map(_no_tangent, kept[1:])]


def _apply_jvp(program: Program, at: Sequence[Any], tangents: Sequence[Any], *, directions: bool = False) -> Any:
    """Push tangents, one per parameter, of which some are symbolic zeros; at least one is not."""
    given = tuple(not _zero(t) for t in tangents)
    moving = [ad.instantiate_zeros(t) for t, g in zip(tangents, given, strict=True) if g]
    return jvp_p.bind(*at, *moving, program=program, given=given, directions=directions)


def _jvp_jvp(
    primals: Sequence[Any], tangents: Sequence[Any], *, program: Program, given: tuple[bool, ...], directions: bool
) -> tuple[Any, Any]:
    out = jvp_p.bind(*primals, program=program, given=given, directions=directions)
    _refuse_second(program, tangents)
    moving = iter(_split(program, tangents)[2])
    dots = [next(moving) if g else None for g in given]
    return out, _apply_jvp(program, primals[: program.count + _TAPE], dots, directions=directions)


def _vjp_jvp(primals: Sequence[Any], tangents: Sequence[Any], *, program: Program, **how: Any) -> tuple[list[Any], list[Any]]:
    out = vjp_p.bind(*primals, program=program, **how)
    _refuse_second(program, tangents)
    *gradients, _ = vjp_p.bind(*primals[:-1], ad.instantiate_zeros(tangents[-1]), program=program, **how)
    return out, [*gradients, _no_tangent(out[-1])]


def _refuse_second(program: Program, tangents: Sequence[Any]) -> None:
    if not all(map(_zero, tangents[: program.count])):
        raise DerivativeError("Second derivatives are not available.")


def _jvp_transpose(cotangent: Any, *operands: Any, program: Program, given: tuple[bool, ...], directions: bool) -> list[Any]:
    theta, (*xzs, status), moving = _split(program, operands)
    if _zero(cotangent):
        return [None] * len(operands)
    shapes = [m.aval.shape for m in moving]
    axes = iter(shapes)
    summed = tuple(math.prod(next(axes)[int(directions) : -1]) == 1 if g else False for g in given)
    # 0 · NaN is NaN: a loss that saw the NaN of a failed instance must not reach a shared parameter.
    cotangent = jnp.where((status <= 1)[..., None], cotangent, 0)
    *gradients, _ = vjp_p.bind(*theta, *xzs, status, cotangent, program=program, wanted=given, summed=summed, directions=directions)
    sums = [s for s, g in zip(summed, given, strict=True) if g]
    pulled = [_sum_to(g, shape, directions, s, status.ndim) for g, shape, s in zip(gradients, shapes, sums, strict=True)]
    return [None] * (program.count + _TAPE) + pulled


def _sum_to(gradient: jax.Array, shape: tuple[int, ...], directions: bool, summed: bool, rank: int) -> jax.Array:
    """Sum ([K,] *batch, size), or ([K,] size), over the axes along which a tangent of ``shape`` was broadcast."""
    lead = shape[: int(directions)]
    own = shape[len(lead) :]
    padded = (*lead, *(() if summed else (1,) * (rank + 1 - len(own)) + own[:-1]), shape[-1])
    axes = tuple(k for k, (want, have) in enumerate(zip(padded, gradient.shape, strict=True)) if want != have)
    return jnp.sum(gradient, axis=axes).reshape(shape) if axes else gradient.reshape(shape)


def _vjp_transpose(
    cotangents: Sequence[Any],
    *operands: Any,
    program: Program,
    wanted: tuple[bool, ...],
    summed: tuple[bool, ...],
    directions: bool,
) -> list[Any]:
    gradients = iter(cotangents)
    tangents = [next(gradients) if w else None for w in wanted]
    if all(map(_zero, tangents)):
        return [None] * len(operands)
    return [None] * (len(operands) - 1) + [_apply_jvp(program, operands[:-1], tangents, directions=directions)]


def _zero(tangent: Any) -> bool:
    return tangent is None or type(tangent) is ad.Zero


def _no_tangent(value: Any) -> ad.Zero:
    return ad.Zero(jax.typeof(value).to_tangent_aval())


# ---- batching ----


def _solve_batch(arrays: Sequence[Any], dims: Sequence[Any], **params: Any) -> tuple[list[Any], list[int]]:
    rank = max(a.ndim - 1 - (d is not None) for a, d in zip(arrays, dims, strict=True))
    results = solve_p.bind(*(_front(a, d, rank + 2) for a, d in zip(arrays, dims, strict=True)), **params)
    return results, [0] * len(results)


def _front(array: Any, dim: int | None, ndim: int, at: int = 0) -> Any:
    """Move the mapped axis to ``at`` and fill up with axes of length one behind it; what is not mapped stays."""
    if dim is None:
        return array
    array = jnp.moveaxis(array, dim, at)
    return array.reshape(*array.shape[: at + 1], *(1,) * (ndim - array.ndim), *array.shape[at + 1 :])


def _linear_batch(
    primitive: Primitive,
    full: bool,
    arrays: Sequence[Any],
    dims: Sequence[Any],
    *,
    program: Program,
    directions: bool,
    **params: Any,
) -> tuple[Any, Any]:
    """One more axis; ``full`` says that what the derivative is applied to has all batch axes (cotangents), else they broadcast."""
    size = next(a.shape[d] for a, d in zip(arrays, dims, strict=True) if d is not None)
    rule = _more_instances if any(d is not None for d in dims[: program.count + _TAPE]) else _more_directions
    return rule(primitive, full, arrays, dims, size, program=program, directions=directions, **params)


def _more_directions(
    primitive: Primitive,
    full: bool,
    arrays: Sequence[Any],
    dims: Sequence[Any],
    size: int,
    *,
    program: Program,
    directions: bool,
    **params: Any,
) -> tuple[Any, Any]:
    moving, fixed = arrays[program.count + _TAPE :], arrays[: program.count + _TAPE]
    moved = [a[None] if d is None else jnp.moveaxis(a, d, 0) for a, d in zip(moving, dims[len(fixed) :], strict=True)]
    K = max(a.shape[1] for a in moved) if directions else 1
    if directions:
        moved = [_flat(a, size, K) for a in moved]
    out = primitive.bind(*fixed, *moved, program=program, directions=True, **params)
    split = [a.reshape(size, K, *a.shape[1:]) if directions else a for a in (out[:-1] if primitive.multiple_results else [out])]
    return ([*split, out[-1]], [*(0 for _ in split), None]) if primitive.multiple_results else (split[0], 0)


def _flat(array: Any, size: int, K: int) -> Any:
    """(size | 1, K | 1, …) → (size · K | 1, …)."""
    lead, rest = array.shape[:2], array.shape[2:]
    return array.reshape(1, *rest) if lead == (1, 1) else jnp.broadcast_to(array, (size, K, *rest)).reshape(size * K, *rest)


def _more_instances(
    primitive: Primitive,
    full: bool,
    arrays: Sequence[Any],
    dims: Sequence[Any],
    size: int,
    *,
    program: Program,
    directions: bool,
    **params: Any,
) -> tuple[Any, Any]:
    p, lead = program.count, int(directions)
    rank = arrays[p + _TAPE - 1].ndim - (dims[p + _TAPE - 1] is not None)
    theta = [_front(a, d, rank + 2) for a, d in zip(arrays[:p], dims[:p], strict=True)]
    tape = [_whole(a, d, size, 0) for a, d in zip(arrays[p : p + _TAPE], dims[p : p + _TAPE], strict=True)]
    moving = list(zip(arrays[p + _TAPE :], dims[p + _TAPE :], strict=True))
    moved = [_whole(a, d, size, lead) if full else _front(a, d, rank + 2 + lead, lead) for a, d in moving]
    summed = params.get("summed", ())
    if summed:
        params = {**params, "summed": (False,) * p}
    out = primitive.bind(*theta, *tape, *moved, program=program, directions=directions, **params)
    if not primitive.multiple_results:
        return out, lead
    sums = [s for s, w in zip(summed, params["wanted"], strict=True) if w]
    inner = tuple(range(lead + 1, lead + 1 + rank))
    gradients = [jnp.sum(g, axis=inner) if s and inner else g for g, s in zip(out[:-1], sums, strict=True)]
    return [*gradients, out[-1]], [*(lead for _ in gradients), 0]


def _whole(array: Any, dim: int | None, size: int, at: int) -> Any:
    """Move the mapped axis to ``at``, or repeat there what is not mapped."""
    if dim is not None:
        return jnp.moveaxis(array, dim, at)
    return jnp.broadcast_to(jnp.expand_dims(array, at), (*array.shape[:at], size, *array.shape[at:]))


# ---- registration ----


@lru_cache(maxsize=512)
def _compiled(primitive: Primitive, params: tuple[tuple[str, Any], ...]) -> Callable[..., Any]:
    return jax.jit(partial(primitive.bind, **dict(params)))


for _primitive, _jvp, _transpose, _batch in (
    (solve_p, _solve_jvp, None, _solve_batch),
    (jvp_p, _jvp_jvp, _jvp_transpose, partial(_linear_batch, jvp_p, False)),
    (vjp_p, _vjp_jvp, _vjp_transpose, partial(_linear_batch, vjp_p, True)),
):
    _primitive.def_impl(lambda *operands, _primitive=_primitive, **params: _compiled(_primitive, tuple(params.items()))(*operands))
    ad.primitive_jvps[_primitive] = _jvp
    batching.primitive_batchers[_primitive] = _batch
    if _transpose is not None:
        ad.primitive_transposes[_primitive] = _transpose
lower(solve_p, Program.solve, lambda program, options, nan, tape: {"nan": nan, **settings(program, options)})
lower(jvp_p, Program.jvp, lambda program, given, directions: {"given": flags(given), "directions": directions, **settings(program)})
lower(
    vjp_p,
    Program.vjp,
    lambda program, wanted, summed, directions: {"wanted": flags(wanted), "directions": directions, **settings(program)},
)
