"""Second derivatives: differences of gradients confirm them, and every way to take them agrees."""

from __future__ import annotations

from collections.abc import Callable

import cvxpy as cp
import pytest
import torch
from torch.func import grad, hessian, jacfwd, jacrev, vmap

from cvxpylayers import errors
from cvxpylayers.torch import CvxpyLayer

F64 = torch.float64


def draw(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=F64)


def solved(layer: CvxpyLayer) -> Callable[..., torch.Tensor]:
    return lambda *inputs: layer(*inputs)[0]


def ridge_data() -> list[torch.Tensor]:
    return [draw(2, 3, 2), draw(3), torch.rand(2, dtype=F64) + 0.5, 1 + torch.rand(2, dtype=F64)]


def test_gradgradcheck(ridge: CvxpyLayer) -> None:
    inputs = [t.requires_grad_() for t in ridge_data()]
    assert torch.autograd.gradgradcheck(solved(ridge), inputs, check_fwd_over_rev=True, check_rev_over_rev=True, atol=1e-5)


def test_every_order_of_modes_gives_one_hessian(ridge: CvxpyLayer) -> None:
    A, b, lam, u = ridge_data()

    def loss(b: torch.Tensor) -> torch.Tensor:
        return ridge(A, b, lam, u)[0].sin().sum()

    reference = hessian(loss)(b)
    torch.testing.assert_close(reference, reference.mT, atol=1e-9, rtol=0)
    for other in (jacrev(jacrev(loss)), jacrev(jacfwd(loss)), lambda b: torch.autograd.functional.hessian(loss, b)):
        torch.testing.assert_close(other(b), reference, atol=1e-8, rtol=0)


def test_hessians_of_many_instances(ridge: CvxpyLayer) -> None:
    A, b, lam, u = ridge_data()
    loss = lambda A, b, lam: ridge(A, b, lam, u)[0].sin().sum()
    found = vmap(hessian(loss, argnums=1), in_dims=(0, None, 0))(A, b, lam)
    one_by_one = torch.stack([hessian(loss, argnums=1)(A[k], b, lam[k]) for k in range(2)])
    torch.testing.assert_close(found, one_by_one, atol=1e-9, rtol=0)
    torch.testing.assert_close(found.sum(0), hessian(loss, argnums=1)(A, b, lam), atol=1e-9, rtol=0)


def test_a_gradient_penalty_trains(nnls: CvxpyLayer) -> None:
    A, b = draw(4, 3, 2).requires_grad_(), draw(3)
    (gradient,) = torch.autograd.grad(nnls(A, b)[0].square().sum(), A, create_graph=True)
    gradient.square().sum().backward()
    penalty = grad(lambda A: grad(lambda A: nnls(A, b)[0].square().sum())(A).square().sum())(A.detach())
    torch.testing.assert_close(A.grad, penalty, atol=1e-9, rtol=0)


ORDERS = {"hessian": hessian, "reverse twice": lambda f: jacrev(jacrev(f)), "reverse over forward": lambda f: jacrev(jacfwd(f))}


@pytest.mark.parametrize("second", ORDERS.values(), ids=ORDERS)
def test_second_derivatives_compile(ridge: CvxpyLayer, second: Callable[..., Callable[..., torch.Tensor]]) -> None:
    A, b, lam, u = ridge_data()
    function = second(lambda b: ridge(A, b, lam, u)[0].sin().sum())
    assert torch.equal(torch.compile(function, fullgraph=True, backend="aot_eager")(b), function(b))


def test_what_is_not_offered_says_so(nnls: CvxpyLayer) -> None:
    A, b = draw(3, 2), draw(3)
    with pytest.raises(errors.DerivativeError, match="Third derivatives"):
        jacrev(jacrev(jacrev(lambda b: nnls(A, b)[0])))(b)


def test_scalar_parameters_and_several_outputs() -> None:
    x, t, a, c = cp.Variable(2), cp.Variable(), cp.Parameter(2), cp.Parameter(nonneg=True)
    bound = x >= 0
    problem = cp.Problem(cp.Minimize(cp.sum_squares(x - a) + c * cp.square(t - cp.sum(x)) + cp.square(t)), [bound])
    layer = CvxpyLayer(problem, [a, c], [x, t, bound.dual_variables[0]])
    inputs = [torch.tensor([[1.0, -1.0], [0.5, 2.0]], dtype=F64).requires_grad_(), torch.tensor(0.7, dtype=F64).requires_grad_()]
    assert torch.autograd.gradgradcheck(layer, inputs, check_fwd_over_rev=True, atol=1e-5)
