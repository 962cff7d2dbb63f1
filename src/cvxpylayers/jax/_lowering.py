"""From primitives to XLA: custom calls into the kernel on CPU, callbacks to the host elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Primitive
from jax.interpreters import mlir

from cvxpylayers.jax._export import refuse, told
from cvxpylayers.jax._partition import spread
from cvxpylayers.jax._primitives import Mask, hvp_p, jvp2_p, jvp_p, solve_p, split, vjp_p
from cvxpylayers.jax._program import Program

# A compiled program may outlive every layer and must find its kernel: one of each distinct problem stays for good. (JAX can tie
# objects to an executable, but does not export or serialize such executables.)
_COMPILED: dict[int, Program] = {}


def _lower(primitive: Primitive, host: Callable[..., Any], attributes: Callable[..., dict[str, Any]]) -> None:
    """Register both lowerings of ``primitive``; ``host`` is the method of ``Program``, ``attributes`` what the handler is told."""

    def callback(ctx: mlir.LoweringRuleContext, *operands: Any, **params: Any) -> Any:
        refuse(ctx, params["program"])
        types = [jax.ShapeDtypeStruct(a.shape, a.dtype) for a in ctx.avals_out]
        call = partial(_on_host, host, types, params)
        return mlir.lower_fun(partial(jax.pure_callback, call, types), multiple_results=True)(ctx, *operands)

    def custom_call(ctx: mlir.LoweringRuleContext, *operands: Any, **params: Any) -> Any:
        program: Program = params["program"]
        if program.key is None:
            return callback(ctx, *operands, **params)
        _COMPILED[program.key] = program
        return spread(primitive, alone)(ctx, *operands, **params)

    def alone(ctx: mlir.LoweringRuleContext, *operands: Any, **params: Any) -> Any:
        facts = {"key": np.int64(params["program"].key), **attributes(**params)}
        return told(ctx, jax.ffi.ffi_lowering(primitive.name)(ctx, *operands, **facts))

    mlir.register_lowering(primitive, callback)
    mlir.register_lowering(primitive, custom_call, platform="cpu")


def _on_host(host: Callable[..., Any], types: list[jax.ShapeDtypeStruct], params: dict[str, Any], *operands: Any) -> list[Any]:
    arguments = {k: v for k, v in params.items() if k != "program"}
    found = host(params["program"], *map(np.asarray, operands), **arguments)
    results = found if isinstance(found, tuple) else (found,)
    return [np.asarray(r, dtype=t.dtype).reshape(t.shape) for r, t in zip(results, types, strict=True)]


def _about(program: Program, directions: bool, **masks: Mask) -> dict[str, Any]:
    marks = {name: np.array(mask, dtype=np.int64) for name, mask in masks.items() if name != "summed"}
    return {"directions": directions, **marks, **program.settings(())}


def _jvp2(*operands: Any, program: Program, given: Mask, along: Mask, directions: bool) -> Any:
    """D²[dθ, dθ'] by one hvp an output, all at one factorization: its entry o is ⟨dθ, ⟨e_o, D²[·, dθ']⟩⟩."""
    theta, tape, moving = split(program, operands)
    first, second = moving[: sum(given)], moving[sum(given) :]
    how = {"given": along, "wanted": given, "summed": (False,) * program.count, "directions": directions}

    def entry(unit: Any) -> Any:
        weight = jnp.broadcast_to(unit, ((1,) if directions else ()) + tape.shape[:-1] + unit.shape)
        *gradients, _ = hvp_p.bind(*theta, tape, weight, *second, program=program, **how)
        return sum(jnp.sum(g * _aligned(t, g.ndim, directions), axis=-1) for g, t in zip(gradients, first, strict=True))

    return jax.vmap(entry, out_axes=-1)(jnp.eye(program.outputs, dtype=theta[0].dtype))


def _aligned(tangent: Any, ndim: int, directions: bool) -> Any:
    """The axis of the directions, if any, in front of all batch axes."""
    return tangent.reshape(tangent.shape[0], *(1,) * (ndim - tangent.ndim), *tangent.shape[1:]) if directions else tangent


@lru_cache(maxsize=512)
def _compiled(primitive: Primitive, params: tuple[tuple[str, Any], ...]) -> Callable[..., Any]:
    return jax.jit(partial(primitive.bind, **dict(params)))


for _primitive in (solve_p, jvp_p, vjp_p, jvp2_p, hvp_p):
    _primitive.def_impl(lambda *operands, _primitive=_primitive, **params: _compiled(_primitive, tuple(params.items()))(*operands))
_lower(
    solve_p,
    Program.solve,
    lambda program, options, rounding, nan, tape: {"nan": nan, "rounding": np.array(rounding), **program.settings(options)},
)
_lower(jvp_p, Program.jvp, _about)
_lower(vjp_p, Program.vjp, _about)
_lower(hvp_p, Program.hvp, _about)
mlir.register_lowering(jvp2_p, mlir.lower_fun(_jvp2, multiple_results=False))
