"""The solve and its derivatives as JAX primitives.

    solve   θ… [, x, z, s]                    → outputs, status, iterations, residuals, margin [, x, z, s]
    jvp     θ…, x, z, s, status, dθ…          → outputs      J dθ
    vjp     θ…, x, z, s, status, y            → gradients…   Jᵀ y
    bend    θ…, x, z, s, status, dθ…, dθ'…    → outputs      D²[dθ, dθ']
    hvp     θ…, x, z, s, status, y, dθ…       → gradients…   ⟨y, D²[dθ, ·]⟩

Parameters θ_i have shape (*batch_i, size_i), their batch axes broadcast; status and the tape x, z, s (doubles as pairs of uint32,
which exist in either x64 mode) have all batch axes. ``given``, ``along`` and ``wanted`` say for which parameters there are tangents
and gradients; the latter are per instance or ``summed`` over the batch, and followed by degeneracy flags. ``directions`` puts an
axis K in front of tangents (length K or 1), outputs and gradients: several directions at one linearization, which is factored once.
A solve may be given the tape of another to start from.

Each derivative is linear in what it is applied to, and the transpose of another: jvp of vjp; hvp of bend in either tangent, and of
itself in dθ, since D² is symmetric. The tape is a function of θ, whose derivative hvp and bend contain: it has no tangent itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.sharding import NamedSharding, PartitionSpec

from cvxpylayers.jax._program import Program

solve_p = Primitive("cvxpylayers_solve")
jvp_p = Primitive("cvxpylayers_jvp")
vjp_p = Primitive("cvxpylayers_vjp")
bend_p = Primitive("cvxpylayers_bend")
hvp_p = Primitive("cvxpylayers_hvp")
solve_p.multiple_results = vjp_p.multiple_results = hvp_p.multiple_results = True
TAPE = 4  # x, z, s, status
FACTS = 5  # results of a solve in front of x, z, s
Mask = tuple[bool, ...]


def split(program: Program, operands: Sequence[Any]) -> tuple[Sequence[Any], Sequence[Any], Sequence[Any]]:
    """Parameters, tape with status, and what the derivative is applied to."""
    p = program.count
    return operands[:p], operands[p : p + TAPE], operands[p + TAPE :]


# ---- shapes ----


def _avals(operands: Sequence[Any], *types: tuple[tuple[int, ...], Any]) -> list[ShapedArray]:
    """Results of the given shapes and dtypes, on the mesh of the operands and varying over the same axes."""
    if not operands or operands[0].sharding.mesh.empty:
        return [ShapedArray(shape, jnp.dtype(dtype)) for shape, dtype in types]
    first, mesh = operands[0], operands[0].sharding.mesh
    return [
        first.update(shape=s, dtype=jnp.dtype(d), weak_type=False, sharding=NamedSharding(mesh, PartitionSpec(*(None,) * len(s))))
        for s, d in types
    ]


def _dtype(operands: Sequence[Any]) -> Any:
    return operands[0].dtype if operands else jnp.result_type(float)


@solve_p.def_abstract_eval
def _(*operands: Any, program: Program, tape: bool, **_: Any) -> list[ShapedArray]:
    batch = jnp.broadcast_shapes(*(a.shape[:-1] for a in operands)) if operands else ()
    dtype = _dtype(operands[: program.count])
    types = [((*batch, program.outputs), dtype), (batch, jnp.int8), (batch, jnp.int32), ((*batch, 4), dtype), (batch, dtype)]
    widths = program.widths if tape else ()
    return _avals(operands, *types, *(((*batch, 2 * width), jnp.uint32) for width in widths))


def _outputs_aval(*operands: Any, program: Program, directions: bool, **_: Any) -> ShapedArray:
    theta, (*_xzs, status), moving = split(program, operands)
    lead = (max(t.shape[0] for t in moving),) if directions else ()
    return _avals(theta, ((*lead, *status.shape, program.outputs), _dtype(theta)))[0]


def _gradient_avals(*operands: Any, program: Program, wanted: Mask, summed: Mask, directions: bool, **_: Any) -> list[ShapedArray]:
    theta, (*_xzs, status), moving = split(program, operands)
    lead = (max(t.shape[0] for t in moving),) if directions else ()
    rows = [(*lead, *(() if s else status.shape), t.shape[-1]) for t, w, s in zip(theta, wanted, summed, strict=True) if w]
    return _avals(theta, *((row, _dtype(theta)) for row in rows), (status.shape, jnp.bool_))


jvp_p.def_abstract_eval(_outputs_aval)
bend_p.def_abstract_eval(_outputs_aval)
vjp_p.def_abstract_eval(_gradient_avals)
hvp_p.def_abstract_eval(_gradient_avals)
