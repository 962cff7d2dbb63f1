"""The solve and its derivatives as JAX primitives.

    solve   θ… [, tape]              → outputs, status, iterations, residuals, margin [, tape]
    jvp     θ…, tape, dθ…            → outputs      J dθ
    vjp     θ…, tape, y              → gradients…   Jᵀ y
    jvp2    θ…, tape, dθ…, dθ'…      → outputs      D²[dθ, dθ']
    hvp     θ…, tape, y, dθ…         → gradients…   ⟨y, D²[dθ, ·]⟩

Parameters θ_i have shape (*batch_i, size_i), their batch axes broadcast; the tape, points (x, z, s) as doubles in pairs of uint32,
which exist in either x64 mode, has all batch axes, and is NaN where there is no solution. ``given``, ``along`` and ``wanted`` say
for which parameters there are tangents and gradients; the latter are per instance or ``summed`` over the batch, and followed by
degeneracy flags. ``directions`` puts an axis K in front of tangents (length K or 1), outputs and gradients: several directions at
one linearization, which is factored once.
A solve may be given the tape of another to start from.

Each derivative is linear in what it is applied to, and the transpose of another: jvp of vjp; hvp of jvp2 in either tangent, and of
itself in dθ, since D² is symmetric. The tape is a function of θ, whose derivative hvp and jvp2 contain: it has no tangent itself.
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
jvp2_p = Primitive("cvxpylayers_jvp2")
hvp_p = Primitive("cvxpylayers_hvp")
solve_p.multiple_results = vjp_p.multiple_results = hvp_p.multiple_results = True
FACTS = 5  # results of a solve in front of the tape
Mask = tuple[bool, ...]


def split(program: Program, operands: Sequence[Any]) -> tuple[Sequence[Any], Any, Sequence[Any]]:
    """Parameters, tape, and what the derivative is applied to."""
    p = program.count
    return operands[:p], operands[p], operands[p + 1 :]


def solved(tape: Any) -> Any:
    """Which instances (*batch) have a point, by the half of its first number that holds the exponent."""
    exponent = jnp.uint32(0x7FF00000)
    return (tape[..., 1] & exponent) != exponent


# ---- shapes ----


Row = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], Any]  # directions, batch, entries, dtype


def _avals(operands: Sequence[Any], spec: Sequence[Any], *rows: Row) -> list[ShapedArray]:
    """Results of the given shapes and dtypes, on the mesh of the operands and varying over the same axes.

    ``spec`` says how batch axes are split where shardings are part of types; all other axes are whole.
    """
    shapes = [((*lead, *batch, *own), jnp.dtype(dtype)) for lead, batch, own, dtype in rows]
    if not operands or operands[0].sharding.mesh.empty:
        return [ShapedArray(shape, dtype) for shape, dtype in shapes]
    first, mesh = operands[0], operands[0].sharding.mesh
    specs = [PartitionSpec(*(None,) * len(lead), *(spec if batch else ()), *(None,) * len(own)) for lead, batch, own, _ in rows]
    return [
        first.update(shape=shape, dtype=dtype, weak_type=False, sharding=NamedSharding(mesh, s))
        for (shape, dtype), s in zip(shapes, specs, strict=True)
    ]


def _batch_spec(operands: Sequence[Any], batch: tuple[int, ...]) -> list[Any]:
    """How the first operand that is split along a batch axis is split there."""
    found: list[Any] = [None] * len(batch)
    for a in operands:
        missing = len(batch) - (a.ndim - 1)
        for k, axes in enumerate(a.sharding.spec[: a.ndim - 1], start=missing):
            if found[k] is None and a.shape[k - missing] == batch[k]:
                found[k] = axes
    return found


def _dtype(operands: Sequence[Any]) -> Any:
    return operands[0].dtype if operands else jnp.result_type(float)


@solve_p.def_abstract_eval
def _(*operands: Any, program: Program, tape: bool, **_: Any) -> list[ShapedArray]:
    batch = jnp.broadcast_shapes(*(a.shape[:-1] for a in operands)) if operands else ()
    dtype = _dtype(operands[: program.count])
    rows: list[Row] = [((), batch, (program.outputs,), dtype), ((), batch, (), jnp.int8), ((), batch, (), jnp.int32)]
    rows += [((), batch, (4,), dtype), ((), batch, (), dtype)]
    rows += [((), batch, (2 * program.point,), jnp.uint32)] * tape
    return _avals(operands, _batch_spec(operands, batch), *rows)


def _outputs_aval(*operands: Any, program: Program, directions: bool, **_: Any) -> ShapedArray:
    theta, tape, moving = split(program, operands)
    lead = (max(t.shape[0] for t in moving),) if directions else ()
    return _avals(theta, tape.sharding.spec[:-1], (lead, tape.shape[:-1], (program.outputs,), _dtype(theta)))[0]


def _gradient_avals(*operands: Any, program: Program, wanted: Mask, summed: Mask, directions: bool, **_: Any) -> list[ShapedArray]:
    theta, tape, moving = split(program, operands)
    batch, spec = tape.shape[:-1], tape.sharding.spec[:-1]
    lead, dtype = (max(t.shape[0] for t in moving),) if directions else (), _dtype(theta)
    pairs = [(t, s) for t, w, s in zip(theta, wanted, summed, strict=True) if w]
    rows = [(lead, () if s else batch, t.shape[-1:], dtype) for t, s in pairs]
    return _avals(theta, spec, *rows, ((), batch, (), jnp.bool_))


jvp_p.def_abstract_eval(_outputs_aval)
jvp2_p.def_abstract_eval(_outputs_aval)
vjp_p.def_abstract_eval(_gradient_avals)
hvp_p.def_abstract_eval(_gradient_avals)
