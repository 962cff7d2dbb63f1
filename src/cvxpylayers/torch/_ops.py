"""Operators ``cvxpylayers::solve, vjp, jvp, hvp``: what compilers, exporters and tracers see of a layer.

They are opaque: shapes are known without solving (the fake kernels), numbers come from ``Direct``. Their derivatives are the maps
of ``_function``, at a site that calls the operators below autograd. Layers are named by handles.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import numpy as np
import torch
from torch._functorch.utils import enable_single_level_autograd_function
from torch.autograd import Function, forward_ad

from cvxpylayers._layer.inputs import batch_shape
from cvxpylayers._layer.layer import OnFailure
from cvxpylayers._program import ParameterSpec
from cvxpylayers.errors import OptionError, ProblemError
from cvxpylayers.torch import _vmap
from cvxpylayers.torch._direct import Direct
from cvxpylayers.torch._function import Hvp, Pull, Push, Solve, apply, recording
from cvxpylayers.torch._handles import find, handle, portable
from cvxpylayers.torch._on_device import OnDevice
from cvxpylayers.torch._recorders import archived, require_operators
from cvxpylayers.torch._site import Derivative, Maybe, Site, Tensors, Wanted
from cvxpylayers.torch._tensors import kind

F = TypeVar("F", bound=Callable[..., object])

_LIBRARY: Final = torch.library.Library("cvxpylayers", "DEF")
_ops: Final = torch.ops.cvxpylayers
_TAGS: Final = tuple(tag for name, tag in torch.Tag.__members__.items() if name in ("pt2_compliant_tag", "cudagraph_unsafe"))


def _constant(function: F) -> F:
    """``function``, as ``torch.compiler.assume_constant_result`` marks it, without the compiler, whose import takes seconds."""
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]  # of functions alone, as PyTorch sets it
    return function


def traced_solve(
    ticket: int, parameters: Tensors, solver_args: Mapping[str, Any] | None, on_failure: OnFailure | None
) -> tuple[torch.Tensor, ...]:
    """The outputs, as an operator's, which starts cold; what may be saved carries its layer.

    Raises:
        InputError, ProblemError: the recorder takes no operator; the message says what to use instead.
    """
    if torch.compiler.is_compiling():
        name = _portable(ticket) if torch.compiler.is_exporting() else _handle(ticket)
    else:
        require_operators(parameters)
        name = _carried(ticket) if archived(parameters) else _handle(ticket)
    found = _ops.solve(name, _encoded(solver_args, on_failure), False, list(parameters))
    return tuple(found[i] for i in range(_outputs(ticket)))


@_constant
def _handle(ticket: int) -> str:
    name: str = handle(ticket)
    find(name, keep=True)  # what was recorded may outlive every module
    return name


@_constant
def _portable(ticket: int) -> str:
    return portable(handle(ticket))


def _carried(ticket: int) -> str:
    """With the content, where other processes can make use of it."""
    name: str = _handle(ticket)
    try:
        return portable(name)
    except ProblemError:
        return name


@_constant
def _encoded(solver_args: Mapping[str, Any] | None, on_failure: OnFailure | None) -> str:
    return json.dumps({"solver_args": solver_args and dict(solver_args), "on_failure": on_failure}, default=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise OptionError(f"Options that are recorded with a call must be numbers and words; give {value!r} to the constructor.")


@_constant
def _outputs(ticket: int) -> int:
    return len(find(handle(ticket)).compiled.outputs)


@contextmanager
def _below() -> Iterator[None]:
    """Below autograd, as far as this level goes: outer levels of ``torch.func`` record although ``Function.forward`` does not."""
    with torch._C._AutoDispatchBelowAutograd():
        if not torch._C._are_functorch_transforms_active():
            yield
        else:
            with torch.enable_grad(), forward_ad._set_fwd_grad_enabled(True):
                yield


class Traced(Site):
    """A call that is recorded, by operators below autograd."""

    def __init__(self, handle: str, arguments: str = "{}") -> None:
        super().__init__(find(handle, keep=True))
        self._handle, self._arguments = handle, arguments

    def solve(self, parameters: Tensors, tape: bool) -> Tensors:
        with _below():
            return tuple(_ops.solve(self._handle, self._arguments, tape, list(parameters)))

    def vjp(self, many: bool, wanted: Wanted, row: Maybe) -> Tensors:
        with _below():
            return tuple(_ops.vjp(self._handle, many, list(wanted), list(row)))

    def jvp(self, many: bool, wanted: Wanted, row: Maybe) -> Tensors:
        with _below():
            return tuple(_ops.jvp(self._handle, many, list(wanted), list(row)))

    def hvp(self, many: bool, wanted: Wanted, row: Maybe) -> Tensors:
        with _below():
            return tuple(_ops.hvp(self._handle, many, list(wanted), list(row)))

    def recorded(self, function: type[Derivative], many: bool, wanted: Wanted, row: Maybe) -> Tensors:
        return tuple(getattr(_ops, function.name)(self._handle, many, list(wanted), list(row)))


def _apply(function: type[Function], *arguments: Any) -> list[torch.Tensor]:
    """``function.apply``; inside ``torch.func`` at the level being differentiated, to which the dispatcher has brought us."""
    if not torch._C._are_functorch_transforms_active():
        return list(apply(function, *arguments))
    with enable_single_level_autograd_function():
        return list(super(Function, function).apply(*arguments))  # type: ignore[misc]  # C code, without types


# The solve: what runs, what is known without running, what is differentiated, what is mapped.


def _solve(layer: str, arguments: str, tape: bool, parameters: Tensors) -> list[torch.Tensor]:
    return list(Direct(find(layer), **_given(arguments)).solve(parameters, tape))


def _given(arguments: str) -> dict[str, Any]:
    """What ``_encoded`` wrote."""
    given: dict[str, Any] = {"solver_args": None, "on_failure": None, **json.loads(arguments)}
    return given


def _fake_solve(layer: str, arguments: str, tape: bool, parameters: Tensors) -> list[torch.Tensor]:
    compiled = find(layer, keep=True).compiled
    dtype, device = kind(find(layer), parameters)
    batch = torch.broadcast_shapes(*_batch_axes(compiled.parameters, parameters))
    outputs = [torch.empty((*batch, *o.shape), dtype=dtype, device=device) for o in compiled.outputs]
    if not tape:
        return outputs
    width = compiled.structure.n + 2 * compiled.structure.m
    there = device.type == "meta" or (parameters and OnDevice.of(find(layer), _given(arguments), parameters[0]) is not None)
    return [*outputs, torch.empty((*batch, width), dtype=torch.float64, device=device if there else "cpu")]


def _batch_axes(specs: Sequence[ParameterSpec], parameters: Tensors) -> list[torch.Size]:
    """Batch axes of each parameter, some of them perhaps symbols."""
    ranks = [p.ndim - len(spec.shape) for spec, p in zip(specs, parameters, strict=False)]
    fit = (r >= 0 and p.shape[r:] == spec.shape for r, p, spec in zip(ranks, parameters, specs, strict=False))
    if len(specs) != len(parameters) or not all(fit):
        batch_shape(specs, parameters)  # says what is wrong
    return [p.shape[:rank] for rank, p in zip(ranks, parameters, strict=True)]


def _differentiable_solve(layer: str, arguments: str, tape: bool, parameters: Tensors) -> list[torch.Tensor]:
    site = Traced(layer, arguments)
    if not recording(parameters):
        return list(site.solve(parameters, tape))
    found = _apply(Solve, site, *parameters)
    return found if tape else found[:-1]  # as many as without derivatives: traces count them


def _mapped_solve(info: Any, dims: Any, layer: str, arguments: str, tape: bool, parameters: Tensors) -> tuple[Tensors, list[int]]:
    found = _ops.solve(layer, arguments, tape, _vmap.solve(Traced(layer), parameters, _each(dims[3], parameters)))
    return found, [0] * len(found)


# A derivative, in the same order.


def _runs(function: type[Derivative]) -> Callable[..., list[torch.Tensor]]:
    def run(layer: str, many: bool, wanted: Wanted, row: Maybe) -> list[torch.Tensor]:
        return list(getattr(Direct(find(layer)), function.name)(many, wanted, row))

    return run


def _fake(function: type[Derivative]) -> Callable[..., list[torch.Tensor]]:
    def shapes(layer: str, many: bool, wanted: Wanted, row: Maybe) -> list[torch.Tensor]:
        tape, parameters, rest = Traced(layer).cut(row)
        lead = next(d.shape[:1] for d in rest if d is not None) if many else ()
        if function.gradients:
            return [p.new_empty((*lead, *p.shape)) for p, want in zip(parameters, wanted, strict=True) if want]
        dtype, device = kind(find(layer), parameters)
        shapes = [(*lead, *tape.shape[:-1], *o.shape) for o in find(layer).compiled.outputs]
        return [torch.empty(shape, dtype=dtype, device=device) for shape, want in zip(shapes, wanted, strict=True) if want]

    return shapes


def _differentiable(function: type[Derivative]) -> Callable[..., list[torch.Tensor]]:
    def apply(layer: str, many: bool, wanted: Wanted, row: Maybe) -> list[torch.Tensor]:
        return _apply(function, Traced(layer), many, tuple(wanted), *row)

    return apply


def _mapped(function: type[Derivative]) -> Callable[..., tuple[Tensors, list[int]]]:
    def rule(info: Any, dims: Any, layer: str, many: bool, wanted: Wanted, row: Maybe) -> tuple[Tensors, list[int]]:
        found, dim = _vmap.derivative(function, info.batch_size, Traced(layer), many, wanted, row, _each(dims[3], row))
        return list(found), [dim] * len(found)

    return rule


def _each(dims: Sequence[int | None] | None, tensors: Maybe) -> Sequence[int | None]:
    """One entry per tensor of a list, which has none at all where nothing in it is mapped."""
    return [None] * len(tensors) if dims is None else dims


def _register(name: str, schema: str, runs: Any, fake: Any, differentiable: Any, mapped: Any) -> None:
    _LIBRARY.define(name + schema, tags=_TAGS)
    _LIBRARY.impl(name, runs, "CompositeExplicitAutograd")
    _LIBRARY.impl(name, differentiable, "Autograd")
    torch.library.register_fake(f"cvxpylayers::{name}", fake, lib=_LIBRARY)
    torch.library.register_vmap(f"cvxpylayers::{name}", mapped, lib=_LIBRARY)


_register(
    "solve",
    "(str layer, str arguments, bool tape, Tensor[] parameters) -> Tensor[]",
    *(_solve, _fake_solve, _differentiable_solve, _mapped_solve),
)
for _f in (Pull, Push, Hvp):
    _register(
        _f.name,
        "(str layer, bool many, bool[] wanted, Tensor?[] row) -> Tensor[]",
        *(_runs(_f), _fake(_f), _differentiable(_f), _mapped(_f)),
    )
