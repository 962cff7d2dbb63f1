"""A solve as a differentiable function: four maps, each the derivative of the one before it.

With y = f(θ) the outputs at a solution, J = f'(θ), and the tape of the solve, which is all that derivatives see of it:

    Solve  θ ↦ y              Pull  (θ, c) ↦ Jᵀc           Push  (θ, t) ↦ J t           Hvp  (θ, c, t) ↦ ∇²⟨c, f⟩ t

Pull and Push are linear in c and t and adjoint to each other; the second derivative of ⟨c, f⟩ is symmetric, so Hvp is the
derivative of Pull along θ, forward and in reverse, and that of Push in reverse. The work is done by a ``Site``, the first argument
of every map; tensors follow in one row as there, which is how ``torch.autograd.Function`` wants them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch._C._functorch import unwrap_if_dead
from torch.autograd import Function, forward_ad

from cvxpylayers.errors import DerivativeError
from cvxpylayers.torch import _vmap
from cvxpylayers.torch._site import Derivative, Maybe, Site, Tensors, Wanted


def transformed() -> bool:
    """Whether a transformation of ``torch.func`` or forward mode is at work."""
    return forward_ad._current_level >= 0 or torch._C._are_functorch_transforms_active()


def recording(parameters: Tensors) -> bool:
    """Whether somebody may ask for derivatives of what is computed from ``parameters``."""
    if torch.is_grad_enabled():
        for p in parameters:
            if getattr(p, "requires_grad", False):
                return True
    return transformed()


def apply(function: type[Function], site: Site, *arguments: Any) -> tuple[torch.Tensor, ...]:
    """``function.apply``, which outside of ``torch.func`` spends most of its time on inspecting the signature."""
    found: tuple[torch.Tensor, ...]
    if torch._C._are_functorch_transforms_active():
        found = function.apply(site, *arguments)
    else:
        alive = [unwrap_if_dead(a) if isinstance(a, torch.Tensor) else a for a in arguments]
        found = _unchecked(function)(site, *alive)
    return found


@cache
def _unchecked(function: type[Function]) -> Callable[..., tuple[torch.Tensor, ...]]:
    """What ``function.apply`` ends in."""
    found: Callable[..., tuple[torch.Tensor, ...]] = super(Function, function).apply  # type: ignore[misc]  # C code, without types
    return found


class Solve(Function):
    """(site, *parameters) → (*outputs, tape)."""

    @staticmethod
    def forward(site: Site, *parameters: torch.Tensor) -> Tensors:
        return site.solve(parameters, tape=True)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensors) -> None:
        ctx.site, tape = inputs[0], output[-1]
        ctx.mark_non_differentiable(tape)
        _save(ctx, [tape, *inputs[1:]])

    @staticmethod
    def backward(ctx: Any, *cotangents: torch.Tensor | None) -> Maybe:
        return None, *pull(ctx.site, False, ctx.needs_input_grad[1:], [*ctx.saved_tensors, *cotangents[:-1]])

    @staticmethod
    def jvp(ctx: Any, _: None, *tangents: torch.Tensor | None) -> Maybe:
        return *push(ctx.site, False, (True,) * ctx.site.outputs, [*ctx.saved_tensors, *tangents]), None

    @staticmethod
    def vmap(info: Any, dims: tuple[Any, ...], site: Site, *parameters: torch.Tensor) -> tuple[Tensors, int]:
        return Solve.apply(site, *_vmap.solve(site, parameters, dims[1:])), 0


class _Map(Derivative):
    """A derivative of a site, as it runs and as it is mapped."""

    @classmethod
    def forward(cls, site: Site, many: bool, wanted: Wanted, *row: torch.Tensor | None) -> Tensors:
        return tuple(getattr(site, cls.name)(many, wanted, row))

    @classmethod
    def vmap(cls, info: Any, dims: tuple[Any, ...], site: Site, many: bool, wanted: Wanted, *row: Any) -> tuple[Tensors, int]:
        return _vmap.derivative(cls, info.batch_size, site, many, wanted, row, dims[3:])


class _Linear(_Map):
    """Pull and Push, linear in what ends their row."""

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensors) -> None:
        ctx.site, ctx.many, ctx.wanted, *row = inputs
        _save(ctx, row)

    @classmethod
    def backward(cls, ctx: Any, *given: torch.Tensor | None) -> Maybe:
        tape, parameters, own = ctx.site.cut(ctx.saved_tensors)
        _, needs, also = ctx.site.cut(ctx.needs_input_grad[3:])
        back = _spread(given, ctx.wanted)
        cotangents, tangents = (back, own) if cls.tangents else (own, back)
        bent = hvp(ctx.site, ctx.many, needs, [tape, *parameters, *cotangents, *tangents])
        adjoint = pull if cls.tangents else push
        return *(None,) * 4, *_total(bent, ctx.many), *adjoint(ctx.site, ctx.many, also, [tape, *parameters, *back])


class Pull(_Linear):
    """(site, many, wanted, tape, *parameters, *cotangents) → gradients of the wanted parameters."""

    name, tangents, gradients = "vjp", False, True

    @staticmethod
    def jvp(ctx: Any, _: None, __: None, ___: None, *moved: torch.Tensor | None) -> Maybe:
        tape, parameters, cotangents = ctx.site.cut(ctx.saved_tensors)
        _, tangents, turned = ctx.site.cut(moved)
        straight = pull(ctx.site, ctx.many, ctx.wanted, [tape, *parameters, *turned])
        if ctx.many:
            tangents = [None if t is None else t.expand(_vmap.directions(cotangents), *t.shape) for t in tangents]
        bent = hvp(ctx.site, ctx.many, ctx.wanted, [tape, *parameters, *cotangents, *tangents])
        return tuple(_add(a, b) for a, b, want in zip(straight, bent, ctx.wanted, strict=True) if want)


class Push(_Linear):
    """(site, many, wanted, tape, *parameters, *tangents) → tangents of the wanted outputs."""

    name, tangents, gradients = "jvp", True, False

    @staticmethod
    def jvp(ctx: Any, _: None, __: None, ___: None, *moved: torch.Tensor | None) -> Maybe:
        tape, parameters, _tangents = ctx.site.cut(ctx.saved_tensors)
        _, turned, straight = ctx.site.cut(moved)
        if not _zero(turned):
            raise DerivativeError("Forward mode over forward mode is not offered: use torch.func.hessian, or jacrev of jacrev.")
        found = push(ctx.site, ctx.many, ctx.wanted, [tape, *parameters, *straight])
        return tuple(t for t, want in zip(found, ctx.wanted, strict=True) if want)


class Hvp(_Map):
    """(site, many, wanted, tape, *parameters, *cotangents, *tangents) → gradients of the wanted parameters."""

    name, tangents, gradients = "hvp", True, True

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensors) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *_: torch.Tensor | None) -> Maybe:
        raise DerivativeError("Third derivatives of a layer are not offered.")

    jvp = backward


def pull(site: Site, many: bool, wanted: Wanted, row: Maybe) -> Maybe:
    """One gradient per parameter; None where it is zero or not wanted."""
    if not any(wanted) or _zero(site.cut(row)[2]):
        return [None] * len(wanted)
    if torch.is_grad_enabled() or transformed():
        return _spread(site.recorded(Pull, many, wanted, row), wanted)
    return _spread(site.vjp(many, wanted, row), wanted)


def push(site: Site, many: bool, wanted: Wanted, row: Maybe) -> Maybe:
    """One tangent per output; None where it is zero or not wanted."""
    if not any(wanted) or _zero(site.cut(row)[2]):
        return [None] * len(wanted)
    return _spread(site.recorded(Push, many, wanted, row), wanted)


def hvp(site: Site, many: bool, wanted: Wanted, row: Maybe) -> Maybe:
    """As ``pull``, its derivative."""
    rest = site.cut(row)[2]
    if not any(wanted) or _zero(rest[: site.outputs]) or _zero(rest[site.outputs :]):
        return [None] * len(wanted)
    return _spread(site.recorded(Hvp, many, wanted, row), wanted)


def _save(ctx: Any, row: Maybe) -> None:
    ctx.save_for_backward(*row)
    if transformed():  # what is saved for forward mode outlives the backward pass
        ctx.save_for_forward(*row)
    ctx.set_materialize_grads(False)


def _zero(tensors: Maybe) -> bool:
    for t in tensors:  # noqa: SIM110  # a generator takes longer than what it generates
        if t is not None:
            return False
    return True


def _spread(found: Maybe, wanted: Wanted) -> Maybe:
    """What was found for the wanted, None for the others."""
    each = iter(found)
    return [next(each) if want else None for want in wanted]


def _total(gradients: Maybe, many: bool) -> Maybe:
    return [g.sum(0) if many and g is not None else g for g in gradients]


def _add(a: torch.Tensor | None, b: torch.Tensor | None) -> torch.Tensor | None:
    return b if a is None else a if b is None else a + b
