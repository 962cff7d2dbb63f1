"""``gradcheck`` and ``gradgradcheck`` of one family for each cone, in both modes, exact and smoothed."""

from __future__ import annotations

from collections.abc import Callable

import cvxpy as cp
import pytest
import torch

from cvxpylayers.torch import CvxpyLayer

F64 = torch.float64
Build = Callable[[cp.Variable, cp.Parameter], list[cp.Constraint]]
FAMILIES: dict[str, Build] = {
    "zero": lambda x, p: [cp.sum(x) == p[0]],
    "nonneg": lambda x, p: [x >= 0.1 * p, cp.sum(x) <= 1],
    "second-order": lambda x, p: [cp.norm(x) <= 1 + 0.1 * p[0]],
    "semidefinite": lambda x, p: [cp.bmat([[1 + x[0], x[1]], [x[1], 1 - x[2]]]) >> 0],
    "exponential": lambda x, p: [cp.log_sum_exp(x) <= 0.1 * p[1]],
    "power": lambda x, p: [cp.PowCone3D(x[0] + 1, x[1] + 1, x[2], 0.3), x <= 0.5],
}


def layer_of(family: str, **options: object) -> CvxpyLayer:
    """The nearest point of a set that moves, to one outside of it."""
    x, p = cp.Variable(3), cp.Parameter(3)
    problem = cp.Problem(cp.Minimize(0.5 * cp.sum_squares(x - 2 * p)), FAMILIES[family](x, p))
    return CvxpyLayer(problem, [p], [x], solver_args={"tolerance": 1e-10, **options})


def points() -> torch.Tensor:
    return torch.tensor([[1.0, 0.8, 1.3], [0.7, -0.6, 0.9]], dtype=F64, requires_grad=True)


@pytest.mark.parametrize("family", FAMILIES)
def test_first_derivatives(family: str) -> None:
    layer = layer_of(family)
    assert torch.autograd.gradcheck(lambda p: layer(p)[0], points(), check_forward_ad=True, eps=1e-5, atol=2e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_second_derivatives(family: str) -> None:
    layer = layer_of(family)
    assert torch.autograd.gradgradcheck(lambda p: layer(p)[0].sin(), points(), check_fwd_over_rev=True, atol=2e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_smoothed_second_derivatives(family: str) -> None:
    """Smoothed gradients are those of the central path; their derivatives those of its curvature."""
    layer = layer_of(family, derivative="smoothed", smoothing=1e-2)
    p, direction = points(), torch.tensor([[0.3, -0.2, 0.5], [0.1, 0.4, -0.6]], dtype=F64)

    def gradient(p: torch.Tensor) -> torch.Tensor:
        return torch.autograd.grad(layer(p)[0].sum(), p, create_graph=True)[0]

    (found,) = torch.autograd.grad(gradient(p), p, direction)
    step = 1e-4
    ahead, behind = (gradient((p.detach() + s * direction).requires_grad_()).detach() for s in (step, -step))
    torch.testing.assert_close(found, (ahead - behind) / (2 * step), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_compiled_is_eager_to_the_bit(family: str) -> None:
    layer, p = layer_of(family), points()
    torch._dynamo.reset()
    compiled = torch.compile(lambda p: layer(p)[0].sin().sum(), fullgraph=True, backend="aot_eager")
    value, expected = compiled(p), layer(p)[0].sin().sum()
    assert torch.equal(value, expected)
    assert torch.equal(torch.autograd.grad(value, p)[0], torch.autograd.grad(expected, p)[0])
