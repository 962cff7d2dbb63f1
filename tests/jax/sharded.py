"""Batches spread over eight devices: what plain ``jit`` makes of them, as JSON, in a process that has so many.

    python -m tests.jax.sharded [gspmd]

For each layout, kind of mesh and function: the instances that a call of each primitive gets and those that are a device's share,
whether something is gathered, whether the program before its partition says which problem it solves, and how far results are from
those of one device.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8"  # the last counts

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from tests.jax.cases import case, loss_of, weights


class Layout(NamedTuple):
    """A mesh, the batch axes of F, g and u, and how they are split."""

    mesh: dict[str, int]
    batches: tuple[tuple[int, ...], ...]
    specs: tuple[P, ...]
    copies: int = 1  # devices that hold the same instances


LAYOUTS = {
    "one axis": Layout({"d": 8}, ((16,), (16,), ()), (P("d"), P("d"), P())),
    "one parameter alone": Layout({"d": 8}, ((), (16,), ()), (P(), P("d"), P())),
    "both axes of a mesh": Layout({"a": 4, "b": 2}, ((16,), (), (16,)), (P(("b", "a")), P(), P(("b", "a")))),
    "copies": Layout({"a": 4, "b": 2}, ((8,), (8,), ()), (P("a"), P("a"), P()), copies=2),
    "entries": Layout({"a": 4, "b": 2}, ((8,), (8,), ()), (P("a", "b"), P("a", "b"), P()), copies=2),
    "crossed": Layout({"a": 4, "b": 2}, ((8, 1), (4,), ()), (P("a"), P("b"), P())),
}


def functions(layer: Any) -> dict[str, Callable[..., Any]]:
    """Functions of (F, g, u); those that are vmapped take their batch from the map."""
    loss = loss_of(layer)
    tangents = lambda params: tuple(jnp.asarray(weights(p.shape[-1:], p.dtype) if p.ndim else 1.0, p.dtype) + 0 * p for p in params)
    return {
        "solve": layer.__call__,
        "statuses": lambda *params: layer.solve(*params)[1].status,
        "jvp": lambda *params: jax.jvp(layer.__call__, params, tangents(params))[1],
        "vjp": jax.grad(loss, (0, 1, 2)),
        "hvp": lambda *params: jax.jvp(jax.grad(loss, (0, 1, 2)), params, tangents(params))[1],
        "second push": lambda *params: jax.jvp(lambda *q: jax.jvp(layer.__call__, q, tangents(q))[1], params, tangents(params))[1],
        "many directions": lambda *params: jax.vmap(jax.vjp(layer.__call__, *params)[1])(
            tuple(jnp.stack([o, 2 * o]) for o in layer(*params))
        ),
    }


def over(function: Callable[..., Any], batches: tuple[tuple[int, ...], ...]) -> Callable[..., Any]:
    """The function mapped over one batch axis, whatever has it."""
    return jax.vmap(function, tuple(0 if batch else None for batch in batches))


def instances(text: str) -> dict[str, list[int]]:
    """How many instances the calls of each primitive get in a compiled program."""
    seen: dict[str, set[int]] = {}
    for shapes, kind in re.findall(r'= (\S.*?) custom-call\(.*custom_call_target="cvxpylayers_(\w+)"', text):
        whole = re.findall(r"(?:s8|pred)\[([\d,]*)\]", shapes) or [re.findall(r"\[([\d,]*),\d+\]", shapes)[0]]  # but the entries
        seen.setdefault(kind, set()).add(int(np.prod([int(d) for d in whole[-1].split(",") if d], dtype=int)))
    return {kind: sorted(sizes) for kind, sizes in seen.items()}


def ways(gspmd: bool, layout: str, even: bool) -> Iterator[tuple[AxisType, bool]]:
    """Kinds of meshes, and whether the function is mapped: all functions on all layouts, one of the rest for every second pair."""
    yield AxisType.Auto, False
    if not gspmd and (even or layout == "crossed"):
        yield AxisType.Explicit, False
    if not gspmd and not even and layout != "crossed":
        yield AxisType.Auto, True


def report() -> dict[str, Any]:
    """One entry for each layout, kind of mesh and function."""
    gspmd = "gspmd" in sys.argv
    if gspmd:
        jax.config.update("jax_use_shardy_partitioner", False)
    qp, found = case("qp"), {}
    for i, (name, layout) in enumerate(LAYOUTS.items()):
        params = qp.sample(*layout.batches, dtype="float32")
        for j, (title, function) in enumerate(functions(qp.layer).items()):
            alone: dict[bool, list[Any]] = {}  # on one device, mapped and not
            for kind, mapped in ways(gspmd, name, (i + j) % 2 == 0):
                mesh = jax.make_mesh(tuple(layout.mesh.values()), tuple(layout.mesh), axis_types=(kind,) * len(layout.mesh))
                spread = [jax.device_put(p, NamedSharding(mesh, spec)) for p, spec in zip(params, layout.specs, strict=True)]
                f = jax.jit(over(function, layout.batches) if mapped else function)
                lowered = f.lower(*spread)
                compiled = lowered.compile()
                text = compiled.as_text()
                expected = alone[mapped] = alone.get(mapped) or [*map(np.asarray, jax.tree.leaves(f(*params)))]
                pairs = zip(map(np.asarray, jax.tree.leaves(compiled(*spread))), expected, strict=True)
                found[f"{name}, {kind.name}, {'vmap of ' * mapped}{title}"] = {
                    "calls": instances(text),
                    "share": int(np.prod(np.broadcast_shapes(*layout.batches))) * layout.copies // 8,
                    "gathered": "all-gather" in text and name != "entries",  # which are not split
                    "signed": str(qp.layer._program.key) in lowered.as_text(),
                    "error": max(float(np.abs(r - e).max() / max(1.0, np.abs(e).max())) for r, e in pairs),
                }
    return found


if __name__ == "__main__":
    print(json.dumps(report()))
