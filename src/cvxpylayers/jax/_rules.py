"""Derivatives of the primitives: rules for forward mode, and for transposition."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad

from cvxpylayers.errors import DerivativeError
from cvxpylayers.jax._primitives import FACTS, Mask, hvp_p, jvp2_p, jvp_p, solve_p, solved, split, vjp_p
from cvxpylayers.jax._program import Program

Rule = Callable[..., Any]

# ---- tangents: one per parameter, None or a symbolic zero where there is none ----


def _zero(tangent: Any) -> bool:
    return tangent is None or type(tangent) is ad.Zero


def _no_tangent(value: Any) -> ad.Zero:
    return ad.Zero(jax.typeof(value).to_tangent_aval())


def _given(tangents: Sequence[Any]) -> tuple[Mask, list[Any]]:
    mask = tuple(not _zero(t) for t in tangents)
    return mask, [t for t, given in zip(tangents, mask, strict=True) if given]


def _spread(mask: Mask, values: Sequence[Any]) -> list[Any]:
    rest = iter(values)
    return [next(rest) if given else None for given in mask]


def _push(program: Program, at: Sequence[Any], tangents: Sequence[Any], directions: bool) -> Any:
    """J dθ, None for no tangents."""
    given, moving = _given(tangents)
    return jvp_p.bind(*at, *moving, program=program, given=given, directions=directions) if moving else None


def _jvp2(program: Program, at: Sequence[Any], first: Sequence[Any], second: Sequence[Any], directions: bool) -> Any:
    """D²[dθ, dθ'], None if one of them is zero."""
    (given, moving), (along, moved) = _given(first), _given(second)
    if not moving or not moved:
        return None
    program.require_second_order()
    return jvp2_p.bind(*at, *moving, *moved, program=program, given=given, along=along, directions=directions)


def _lift(tangents: Sequence[Any], directions: bool) -> list[Any]:
    """Tangents of θ for an application to several directions, which share them."""
    return [t if _zero(t) or not directions else t[None] for t in tangents]


def _add(*terms: Any) -> Any:
    first, *rest = (t for t in terms if t is not None)
    return sum(rest, start=first)


# ---- forward mode ----


def _solve_jvp(primals: Sequence[Any], tangents: Sequence[Any], *, tape: bool, program: Program, **how: Any) -> tuple[Any, Any]:
    results = solve_p.bind(*primals, program=program, tape=True, **how)
    moved = _push(program, (*primals[: program.count], results[FACTS]), tangents[: program.count], False)
    kept = results if tape else results[:FACTS]
    return kept, [moved, *map(_no_tangent, kept[1:])]


def _jvp_jvp(
    primals: Sequence[Any], tangents: Sequence[Any], *, program: Program, given: Mask, directions: bool
) -> tuple[Any, Any]:
    out = jvp_p.bind(*primals, program=program, given=given, directions=directions)
    theta_dot, _, moving_dot = split(program, tangents)
    at, moving = primals[: program.count + 1], primals[program.count + 1 :]
    moved = _push(program, at, _spread(given, moving_dot), directions)
    bent = _jvp2(program, at, _spread(given, moving), _lift(theta_dot, directions), directions)
    return out, _add(moved, bent)


def _vjp_jvp(primals: Sequence[Any], tangents: Sequence[Any], *, program: Program, directions: bool, **how: Any) -> tuple[Any, Any]:
    out = vjp_p.bind(*primals, program=program, directions=directions, **how)
    theta_dot, _, (cotangent_dot,) = split(program, tangents)
    terms = []
    if not _zero(cotangent_dot):
        terms.append(vjp_p.bind(*primals[:-1], cotangent_dot, program=program, directions=directions, **how))
    along, moved = _given(_lift(theta_dot, directions))
    if moved:
        program.require_second_order()
        terms.append(hvp_p.bind(*primals, *moved, program=program, given=along, directions=directions, **how))
    return out, [*(_add(*pair) for pair in zip(*(t[:-1] for t in terms), strict=True)), _no_tangent(out[-1])]


def _second_jvp(
    primitive: Primitive, primals: Sequence[Any], tangents: Sequence[Any], *, program: Program, **how: Any
) -> tuple[Any, Any]:
    """hvp and jvp2 are bilinear; their derivative at other parameters would be of third order."""
    if not all(map(_zero, tangents[: program.count])):
        raise DerivativeError("Derivatives of third and higher order are not available.")
    out = primitive.bind(*primals, program=program, **how)
    fixed, moving, dots = primals[: program.count + 1], primals[program.count + 1 :], tangents[program.count + 1 :]
    # The factors: the cotangent and dθ of hvp, dθ and dθ' of jvp2.
    cut = 1 if primitive is hvp_p else sum(how["given"])
    terms = []
    for part in (slice(0, cut), slice(cut, None)):
        if not all(map(_zero, dots[part])):
            changed = list(moving)
            changed[part] = [jnp.zeros_like(m) if _zero(d) else d for m, d in zip(moving[part], dots[part], strict=True)]
            terms.append(primitive.bind(*fixed, *changed, program=program, **how))
    if primitive is jvp2_p:
        return out, _add(*terms)
    return out, [*(_add(*pair) for pair in zip(*(t[:-1] for t in terms), strict=True)), _no_tangent(out[-1])]


# ---- reverse mode ----


def _masked(cotangent: Any, tape: Any) -> Any:
    """0 · NaN is NaN: a loss that saw the NaN of a failed instance must not reach a shared parameter."""
    return jnp.where(solved(tape)[..., None], cotangent, 0)


def _summed(given: Mask, shapes: Sequence[tuple[int, ...]], directions: bool) -> Mask:
    """Which gradients a tangent of these shapes wants summed over the whole batch."""
    axes = _spread(given, shapes)
    return tuple(shape is not None and math.prod(shape[int(directions) : -1]) == 1 for shape in axes)


def _pull_to(
    primitive: Primitive,
    moving: Sequence[Any],
    targets: Sequence[Any],
    wanted: Mask,
    operands: Sequence[Any],
    *,
    program: Program,
    directions: bool,
    **how: Any,
) -> list[Any]:
    """Gradients by vjp or hvp, in the shapes of the linear operands ``targets``, which came as tangents of the ``wanted``."""
    at = operands[: program.count + 1]
    shapes, rank = [t.aval.shape for t in targets], at[-1].ndim - 1
    summed = _summed(wanted, shapes, directions)
    *gradients, _ = primitive.bind(*at, *moving, program=program, wanted=wanted, summed=summed, directions=directions, **how)
    sums = [s for s, w in zip(summed, wanted, strict=True) if w]
    found = [_sum_to(g, shape, directions, s, rank) for g, shape, s in zip(gradients, shapes, sums, strict=True)]
    return [_typed(g, t.aval) for g, t in zip(found, targets, strict=True)]


def _typed(value: Any, aval: Any) -> Any:
    """Split over devices as ``aval`` is, where types say so: a cotangent has the type of what it belongs to."""
    wanted = aval.sharding
    if value is None or wanted.mesh.empty or jax.typeof(value).sharding.spec == wanted.spec:
        return value
    return jax.sharding.reshard(value, wanted)


def _sum_to(gradient: jax.Array, shape: tuple[int, ...], directions: bool, summed: bool, rank: int) -> jax.Array:
    """Sum ([K,] *batch, size), or ([K,] size), over the axes along which a tangent of ``shape`` was broadcast."""
    lead = shape[: int(directions)]
    own = shape[len(lead) :]
    padded = (*lead, *(() if summed else (1,) * (rank + 1 - len(own)) + own[:-1]), shape[-1])
    axes = tuple(k for k, (want, have) in enumerate(zip(padded, gradient.shape, strict=True)) if want != have)
    return jnp.sum(gradient, axis=axes).reshape(shape) if axes else gradient.reshape(shape)


def _jvp_transpose(cotangent: Any, *operands: Any, program: Program, given: Mask, directions: bool) -> list[Any]:
    _, tape, moving = split(program, operands)
    if _zero(cotangent):
        return [None] * len(operands)
    pulled = _pull_to(vjp_p, [_masked(cotangent, tape)], moving, given, operands, program=program, directions=directions)
    return [None] * (program.count + 1) + pulled


def _vjp_transpose(
    cotangents: Sequence[Any], *operands: Any, program: Program, wanted: Mask, directions: bool, **_: Any
) -> list[Any]:
    pushed = _push(program, operands[:-1], _spread(wanted, cotangents), directions)
    return [None] * (len(operands) - 1) + [_typed(pushed, operands[-1].aval)]


def _jvp2_transpose(cotangent: Any, *operands: Any, program: Program, given: Mask, along: Mask, directions: bool) -> list[Any]:
    _, tape, moving = split(program, operands)
    if _zero(cotangent):
        return [None] * len(operands)
    cut = sum(given)
    first, second = moving[:cut], moving[cut:]
    linear_first = any(map(ad.is_undefined_primal, first))
    targets, fixed, wanted, mask = (first, second, given, along) if linear_first else (second, first, along, given)
    weights = [_masked(cotangent, tape), *fixed]
    pulled = _pull_to(hvp_p, weights, targets, wanted, operands, program=program, directions=directions, given=mask)
    rest: list[Any] = [None] * len(fixed)
    return [*[None] * (program.count + 1), *(pulled + rest if linear_first else rest + pulled)]


def _hvp_transpose(
    cotangents: Sequence[Any], *operands: Any, program: Program, given: Mask, wanted: Mask, directions: bool, **_: Any
) -> list[Any]:
    at, (cotangent, *moving) = operands[: program.count + 1], operands[program.count + 1 :]
    arrived = _spread(wanted, cotangents)
    if ad.is_undefined_primal(cotangent):
        bent = _jvp2(program, at, arrived, _spread(given, moving), directions)
        # One cotangent for several directions receives the sum over them.
        if bent is not None and directions and cotangent.aval.shape[0] != bent.shape[0]:
            bent = jnp.sum(bent, axis=0, keepdims=True)
        return [None] * len(at) + [_typed(bent, cotangent.aval)] + [None] * len(moving)
    mask, back = _given(arrived)
    if not back:
        return [None] * len(operands)
    pulled = _pull_to(hvp_p, [cotangent, *back], moving, given, operands, program=program, directions=directions, given=mask)
    return [None] * (len(at) + 1) + pulled


_RULES: dict[Primitive, tuple[Rule, Rule | None]] = {
    solve_p: (_solve_jvp, None),
    jvp_p: (_jvp_jvp, _jvp_transpose),
    vjp_p: (_vjp_jvp, _vjp_transpose),
    jvp2_p: (partial(_second_jvp, jvp2_p), _jvp2_transpose),
    hvp_p: (partial(_second_jvp, hvp_p), _hvp_transpose),
}
for _primitive, (_jvp, _transpose) in _RULES.items():
    ad.primitive_jvps[_primitive] = _jvp
    if _transpose is not None:
        ad.primitive_transposes[_primitive] = _transpose
