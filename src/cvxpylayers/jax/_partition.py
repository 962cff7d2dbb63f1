"""Batches that are spread over devices: every device works on its own instances.

Partitioners know nothing of custom calls and would gather their operands. Told here is that batch axes may be split, that
everything else (entries, directions) is whole everywhere, and that gradients summed over the batch are summed over the devices.

A way to split the batch is an array of device numbers (*tiles, copies), one axis of tiles a batch axis: devices along the last
axis hold the same instances. All shardings of a call follow from it: an operand without some batch axis, or of length 1 there, is
whole along it, and the devices along it are copies.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.experimental.custom_partitioning import ArrayMapping, SdyShardingRule, custom_partitioning
from jax.extend.core import Primitive
from jax.extend.mlir import ir
from jax.interpreters import mlir
from jax.sharding import Mesh

from cvxpylayers._typing import NDArray
from cvxpylayers.jax._primitives import jvp_p, solve_p

Devices = NDArray[np.int64]
_AXIS = "devices"


class _Axes(NamedTuple):
    """Of an operand or result: its shape, of which the axes between ``lead`` and the last ``own`` are batch axes."""

    shape: tuple[int, ...]
    lead: int
    own: int

    @property
    def batch(self) -> tuple[int, ...]:
        return self.shape[self.lead : len(self.shape) - self.own]


class _Call(NamedTuple):
    """A primitive with its parameters, and the axes of all its operands and results."""

    primitive: Primitive
    params: dict[str, Any]
    operands: Sequence[_Axes]
    results: Sequence[_Axes]

    @property
    def whole(self) -> int:
        """The index of a result with all batch axes."""
        return 1 if self.primitive is solve_p else len(self.results) - 1

    @property
    def batch(self) -> tuple[int, ...]:
        return self.results[self.whole].batch


def describe(primitive: Primitive, params: dict[str, Any], avals_in: Sequence[Any], avals_out: Sequence[Any]) -> _Call:
    """What the partitioners have to know of a call."""
    lead, fixed = int(params.get("directions", False)), params["program"].count + 1
    operands = [_Axes(a.shape, lead if i >= fixed else 0, 1) for i, a in enumerate(avals_in)]
    if primitive is solve_p:
        own = [1, 0, 0, 1, 0, 1]  # outputs, status, iterations, residuals, margin, tape
        results = [_Axes(a.shape, 0, k) for a, k in zip(avals_out, own, strict=False)]
    else:
        results = [_Axes(a.shape, lead, 1) for a in avals_out]
        if primitive is not jvp_p:
            results[-1] = _Axes(avals_out[-1].shape, 0, 0)  # the flags
    return _Call(primitive, params, operands, results)


def spread(primitive: Primitive, alone: Callable[..., Any]) -> Callable[..., Any]:
    """The lowering ``alone`` of a call, with what partitioners need to split it where a program has several devices."""

    def lower(ctx: mlir.LoweringRuleContext, *operands: Any, **params: Any) -> Any:
        axis: Any = ctx.module_context.axis_context
        count = getattr(axis, "num_devices", 1)  # inside shard_map there is no such number, and nothing to split
        here = jax.devices(ctx.module_context.platforms[0]) if count > 1 else []
        if not operands or count == 1 or len(here) < count or ctx.module_context.lowering_parameters.for_export:
            return alone(ctx, *operands, **params)
        call = describe(primitive, params, ctx.avals_in, ctx.avals_out)
        devices = tuple(getattr(axis, "device_assignment", None) or here[:count])  # stand for their places alone
        known = ctx.module_context.replace(axis_context=replace(axis, device_assignment=devices, abstract_mesh=None))
        results = mlir.lower_fun(_partitioned(call, devices))(ctx.replace(module_context=known), *operands)
        _sign(results[0], call)
        return results

    return lower


def _sign(result: Any, call: _Call) -> None:
    """Write into the program what is called, of which it holds no more than an address until it is partitioned.

    Caches know programs by their text: the same address in two processes must not make programs of different layers one.
    """
    program = call.params["program"]
    rest = sorted((name, repr(value)) for name, value in call.params.items() if name != "program")
    text = ir.StringAttr.get(repr((call.primitive.name, program.key, program.options, rest)))
    result.owner.attributes["mhlo.frontend_attributes"] = ir.DictAttr.get({"cvxpylayers": text})


def _partitioned(call: _Call, devices: tuple[Any, ...]) -> Callable[..., Any]:
    """The call as a function whose partitions are known."""
    function = custom_partitioning(lambda *operands: _bound(call, operands))
    mesh = Mesh(np.array(devices), (_AXIS,))

    def shardings(split: Devices, arrays: Sequence[_Axes], like: Any) -> tuple[Any, ...]:
        return tuple(type(like)(devices, _sharding(split, a, len(call.batch), like._hlo_sharding)) for a in arrays)

    def partition(_: Any, __: Any, results: Sequence[Any]) -> tuple[Any, ...]:
        like = results[call.whole].sharding
        split = _divisible(_split(like._hlo_sharding, call.results[call.whole], call.batch, len(devices)), call.batch)
        return mesh, _local(call, split), shardings(split, call.results, like), shardings(split, call.operands, like)

    def infer(_: Any, operands: Sequence[Any], __: Any) -> tuple[Any, ...]:  # asked by GSPMD, where an operand has a sharding
        known = [(o.sharding, axes) for o, axes in zip(operands, call.operands, strict=True) if o.sharding is not None]
        splits = [_split(sharding._hlo_sharding, axes, call.batch, len(devices)) for sharding, axes in known]
        return shardings(_divisible(_joint(splits), call.batch), call.results, known[0][0])

    function.def_partition(partition, infer_sharding_from_operands=infer, decode_shardings=False, sharding_rule=_rule(call))
    return function


def _bound(call: _Call, operands: Sequence[Any]) -> tuple[Any, ...]:
    found = call.primitive.bind(*operands, **call.params)
    return tuple(found) if call.primitive.multiple_results else (found,)


def _local(call: _Call, split: Devices) -> Callable[..., tuple[Any, ...]]:
    """The call as a device makes it."""
    groups = split.reshape(-1, split.shape[-1]).T.tolist()  # one for each copy: the devices that share the batch
    summed = [s for s, wanted in zip(call.params.get("summed", ()), call.params.get("wanted", ()), strict=True) if wanted]

    def local(*operands: Any) -> tuple[Any, ...]:
        found = list(_bound(call, operands))
        for i, total in enumerate(summed):
            if total and len(groups[0]) > 1:
                found[i] = jax.lax.psum(found[i], _AXIS, axis_index_groups=groups)
        return tuple(found)

    return local


def _rule(call: _Call) -> SdyShardingRule:
    """One factor for each batch axis; all others are needed whole."""
    rank, whole = len(call.batch), []

    def mapping(name: str, axes: _Axes) -> ArrayMapping:
        factors = []
        for k, size in enumerate(axes.shape):
            place = k - axes.lead + rank - len(axes.batch)
            if axes.lead <= k < len(axes.shape) - axes.own and size == call.batch[place]:
                factors.append(f"batch{place}")
            else:
                factors.append(f"{name}x{k}")
                whole.append(factors[-1])
        return ArrayMapping(*factors)

    operands = tuple(mapping(f"o{i}", a) for i, a in enumerate(call.operands))
    results = tuple(mapping(f"r{i}", a) for i, a in enumerate(call.results))
    return SdyShardingRule(operands, results, need_replication_factors=tuple(whole))


def _split(sharding: Any, axes: _Axes, batch: tuple[int, ...], count: int) -> Devices:
    """How an array of these axes is split by XLA's ``sharding``."""
    if sharding.is_replicated():
        return np.arange(count).reshape(*(1,) * len(batch), count)
    devices = np.array(sharding.tile_assignment_devices()).reshape(sharding.tile_assignment_dimensions())
    places = range(axes.lead, len(axes.shape) - axes.own)
    order = [*places, *(k for k in range(devices.ndim) if k not in places)]
    tiles = [devices.shape[k] for k in places]
    return devices.transpose(order).reshape(*(1,) * (len(batch) - len(tiles)), *tiles, -1)


def _joint(splits: Sequence[Devices]) -> Devices:
    """Along each axis split as by the one that has most tiles there; where these do not fit, by the one with the fewest copies."""
    rank, count = splits[0].ndim - 1, splits[0].size
    finest = [splits[int(np.argmax([s.shape[k] for s in splits]))] for k in range(rank)]
    tiles, place = [s.shape[k] for k, s in enumerate(finest)], np.empty((rank, count), dtype=np.int64)
    for k, split in enumerate(finest):  # the tile of each device
        place[k, split.reshape(-1)] = np.indices(split.shape)[k].reshape(-1)
    cells = np.ravel_multi_index(tuple(place), tiles) if rank else np.zeros(count, dtype=np.int64)
    if len(set(np.bincount(cells, minlength=int(np.prod(tiles))))) > 1:
        return min(splits, key=lambda s: s.shape[-1])
    return np.argsort(cells, kind="stable").reshape(*tiles, -1)


def _divisible(split: Devices, batch: tuple[int, ...]) -> Devices:
    """Whole along axes that do not fall into equal parts: what would fill them up must not enter a sum."""
    return _whole_along(split, [size % tiles != 0 for size, tiles in zip(batch, split.shape[:-1], strict=True)])


def _whole_along(split: Devices, axes: Sequence[bool]) -> Devices:
    kept = [k for k, whole in enumerate(axes) if not whole]
    order = [*kept, *(k for k, whole in enumerate(axes) if whole), len(axes)]
    return split.transpose(order).reshape(*(1 if whole else split.shape[k] for k, whole in enumerate(axes)), -1)


def _sharding(split: Devices, axes: _Axes, rank: int, like: Any) -> Any:
    """XLA's sharding of an array of these axes; ``like`` is another one."""
    own = axes.batch
    missing = rank - len(own)
    split = _whole_along(split, [k < missing or own[k - missing] == 1 for k in range(rank)])
    tiles, copies = split.shape[missing:-1], split.shape[-1]
    kind = type(like)
    if copies == split.size:
        return kind.replicate()
    proto = type(like.to_proto())()
    proto.type = proto.Type.OTHER
    proto.tile_assignment_dimensions = [*(1,) * axes.lead, *tiles, *(1,) * axes.own, *([copies] if copies > 1 else [])]
    proto.tile_assignment_devices = split.reshape(-1).tolist()
    proto.replicate_on_last_tile_dim = copies > 1
    return kind.from_proto(proto)
