"""``torch.func`` and forward mode: each transformation gives what plain calls give, and Jacobians factorize once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.autograd import forward_ad
from torch.func import functional_call, grad, jacfwd, jacrev, jvp, vjp, vmap

from cvxpylayers.torch import CvxpyLayer

F64 = torch.float64


def draw(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=F64)


def solved(layer: CvxpyLayer) -> Callable[..., torch.Tensor]:
    return lambda *inputs: layer(*inputs)[0]


# A is (3, 2), b is (3): the shapes with the mapped axis in some place, and where that is.
MAPPED = {
    "both": ((5, 3, 2), (5, 3), (0, 0), 0),
    "first": ((5, 3, 2), (3,), (0, None), 0),
    "second": ((3, 2), (5, 3), (None, 0), 0),
    "last axes": ((3, 2, 5), (3, 5), (2, 1), 1),
    "beside a batch": ((5, 3, 2), (4, 3), (0, None), 0),
    "beside a batch of the other": ((4, 3, 2), (5, 3), (None, 0), 1),
    "inside a batch": ((4, 5, 3, 2), (5, 3), (1, 0), 0),
}


@pytest.mark.parametrize("case", MAPPED.values(), ids=MAPPED)
def test_vmap_is_a_loop(nnls: CvxpyLayer, case: tuple[Any, ...]) -> None:
    shape_A, shape_b, in_dims, out_dim = case
    A, b = draw(*shape_A), draw(*shape_b)
    pick = [[t.select(d, i) if d is not None else t for t, d in zip((A, b), in_dims, strict=True)] for i in range(5)]
    found = vmap(solved(nnls), in_dims=in_dims, out_dims=out_dim)(A, b)
    assert torch.equal(found, torch.stack([nnls(*one)[0] for one in pick], dim=out_dim))
    square = lambda *t: nnls(*t)[0].square().sum()
    gradients = vmap(grad(square, argnums=(0, 1)), in_dims=in_dims)(A, b)
    for k, gradient in enumerate(gradients):
        expected = torch.stack([grad(square, argnums=k)(*one) for one in pick])
        torch.testing.assert_close(gradient, expected, atol=1e-12, rtol=0)


def test_vmap_nests(nnls: CvxpyLayer) -> None:
    A, b = draw(5, 3, 2), draw(7, 3)
    found = vmap(vmap(solved(nnls), in_dims=(None, 0)), in_dims=(0, None))(A, b)
    assert torch.equal(found, nnls(A[:, None], b)[0])


def test_vmap_over_what_an_outer_function_differentiates(nnls: CvxpyLayer) -> None:
    A, b = draw(5, 3, 2), draw(3)
    mapped = grad(lambda A, b: vmap(solved(nnls), in_dims=(0, None))(A, b).square().sum(), argnums=(0, 1))(A, b)
    direct = grad(lambda A, b: nnls(A, b)[0].square().sum(), argnums=(0, 1))(A, b)
    assert all(torch.equal(m, d) for m, d in zip(mapped, direct, strict=True))


def test_vjp_and_jvp_are_adjoint(ridge: CvxpyLayer) -> None:
    inputs = draw(4, 3, 2), draw(3), torch.rand(4, dtype=F64), 1 + torch.rand(4, 2, dtype=F64)
    tangents = tuple(torch.randn_like(t) for t in inputs)
    value, pushed = jvp(solved(ridge), inputs, tangents)
    again, pull = vjp(solved(ridge), *inputs)
    assert torch.equal(value, again)
    cotangent = torch.randn_like(value)
    forward = (cotangent * pushed).sum()
    backward = sum((g * t).sum() for g, t in zip(pull(cotangent), tangents, strict=True))
    torch.testing.assert_close(forward, backward, atol=1e-9, rtol=0)


def test_jacobians_agree_and_factor_once(ridge: CvxpyLayer) -> None:
    inputs = draw(3, 2), draw(3), torch.rand((), dtype=F64), 1 + torch.rand(2, dtype=F64)
    calls: list[str] = []
    engine = ridge._layer.engine

    def spy(name: str, run: Callable[..., Any]) -> None:
        setattr(engine, name, lambda *args, **kwargs: (calls.append(name), run(*args, **kwargs))[1])

    for name in ("vjp", "jvp"):
        spy(name, getattr(engine, name))
    reverse = jacrev(solved(ridge), argnums=(0, 1, 2, 3))(*inputs)
    assert calls == ["vjp"]
    forward = [jacfwd(solved(ridge), argnums=k)(*inputs) for k in range(4)]
    assert calls == ["vjp", "jvp", "jvp", "jvp", "jvp"]
    classic = torch.autograd.functional.jacobian(solved(ridge), inputs)
    for r, f, c in zip(reverse, forward, classic, strict=True):
        torch.testing.assert_close(r, f, atol=1e-9, rtol=0)
        torch.testing.assert_close(r, c, atol=1e-9, rtol=0)


def test_jacobians_of_many_instances(nnls: CvxpyLayer) -> None:
    A, b = draw(5, 3, 2), draw(3)
    mapped = vmap(jacrev(solved(nnls)), in_dims=(0, None))(A, b)
    forward = vmap(jacfwd(solved(nnls)), in_dims=(0, None))(A, b)
    torch.testing.assert_close(mapped, forward, atol=1e-9, rtol=0)
    torch.testing.assert_close(mapped, torch.stack([jacrev(solved(nnls))(a, b) for a in A]), atol=1e-12, rtol=0)


def test_chunks_of_a_jacobian_are_the_jacobian(ridge: CvxpyLayer) -> None:
    inputs = draw(3, 2), draw(3), torch.rand((), dtype=F64), 1 + torch.rand(2, dtype=F64)
    whole = jacrev(solved(ridge), argnums=1)(*inputs)
    assert torch.equal(jacrev(solved(ridge), argnums=1, chunk_size=1)(*inputs), whole)


def test_classic_forward_mode(nnls: CvxpyLayer) -> None:
    A, b, dA = draw(4, 3, 2), draw(3), draw(4, 3, 2)
    with forward_ad.dual_level():
        x, dx = forward_ad.unpack_dual(nnls(forward_ad.make_dual(A, dA), b)[0])
    assert torch.equal(x, nnls(A, b)[0])
    torch.testing.assert_close(dx, jvp(lambda A: nnls(A, b)[0], (A,), (dA,))[1], atol=1e-12, rtol=0)
    with forward_ad.dual_level():
        assert forward_ad.unpack_dual(nnls(A, b)[0]).tangent is None


def test_functional_call(nnls: CvxpyLayer) -> None:
    model = torch.nn.ModuleDict({"linear": torch.nn.Linear(3, 3, dtype=F64), "layer": nnls})

    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.parts = model

        def forward(self, A: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
            return self.parts["layer"](A, self.parts["linear"](b))[0]

    module, A, b = Model(), draw(4, 3, 2), draw(4, 3)
    weights = dict(module.named_parameters())
    found = grad(lambda w: functional_call(module, w, (A, b)).square().sum())(weights)
    loss = module(A, b).square().sum()
    for name, gradient in zip(weights, torch.autograd.grad(loss, list(weights.values())), strict=True):
        torch.testing.assert_close(found[name], gradient, atol=1e-12, rtol=0)
    per_sample = vmap(grad(lambda w, A, b: functional_call(module, w, (A, b)).square().sum()), in_dims=(None, 0, 0))
    for name, gradients in per_sample(weights, A, b).items():
        torch.testing.assert_close(gradients.sum(0), found[name], atol=1e-12, rtol=0)


def test_gradcheck_in_both_modes(ridge: CvxpyLayer) -> None:
    inputs = [t.requires_grad_() for t in (draw(2, 3, 2), draw(3), torch.rand(2, dtype=F64) + 0.5, 1 + torch.rand(2, 2, dtype=F64))]
    assert torch.autograd.gradcheck(solved(ridge), inputs, check_forward_ad=True, eps=1e-5, atol=1e-6)


def test_failed_instances_have_no_derivative(interval: CvxpyLayer) -> None:
    lo = torch.tensor([[0.5, 0.0], [2.0, 0.0]], dtype=F64)
    hi, c = torch.ones(2, dtype=F64), torch.ones((), dtype=F64)
    jacobian = vmap(jacrev(lambda lo: interval(lo, hi, c, on_failure="nan")[0]))(lo)
    np.testing.assert_array_equal(jacobian[1], 0.0)
    torch.testing.assert_close(jacobian[0].diagonal(), torch.tensor([1.0, 1.0], dtype=F64), atol=1e-6, rtol=0)
