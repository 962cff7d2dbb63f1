"""Gradients against closed forms, against the dense derivative of the optimality conditions, and against differences."""

from __future__ import annotations

from collections.abc import Callable

import cvxpy as cp
import numpy as np
import pytest
import torch

from cvxpylayers.torch import CvxpyLayer
from problems.families import SMALL, Family
from problems.oracles import jacobian, reference

F64 = torch.float64
Function = Callable[..., tuple[torch.Tensor, ...]]


def agree(found: Function, expected: Function, *inputs: torch.Tensor, tolerance: float = 1e-8) -> None:
    """Values, VJPs of a random cotangent and JVPs of a random tangent of two functions agree, relative to the largest entry."""
    inputs = tuple(t.detach().requires_grad_() for t in inputs)
    results = []
    for function in (found, expected):
        outputs = function(*inputs)
        weights = [torch.sin(torch.arange(o.numel(), dtype=F64) + 1).reshape(o.shape) for o in outputs]
        loss = sum((w * o).sum() for w, o in zip(weights, outputs, strict=True))
        results.append((*outputs, *torch.autograd.grad(loss, inputs)))
    for a, b in zip(*results, strict=True):
        assert a.shape == b.shape
        torch.testing.assert_close(a, b, atol=tolerance * max(1.0, b.abs().max().item()), rtol=0)


def projection(*constraints: Callable[[cp.Variable], cp.Constraint], n: int = 4) -> tuple[cp.Problem, cp.Parameter, cp.Variable]:
    x, p = cp.Variable(n), cp.Parameter(n)
    return cp.Problem(cp.Minimize(0.5 * cp.sum_squares(x - p)), [c(x) for c in constraints]), p, x


def test_least_squares(solver: str | None) -> None:
    x, A, b = cp.Variable(3), cp.Parameter((5, 3)), cp.Parameter(5)
    layer = CvxpyLayer(cp.Problem(cp.Minimize(cp.sum_squares(A @ x - b))), [A, b], [x], solver=solver)

    def closed(A: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor]:
        return ((torch.linalg.solve(A.mT @ A, A.mT) @ b[..., None])[..., 0],)

    agree(layer, closed, torch.randn(6, 5, 3, dtype=F64), torch.randn(6, 5, dtype=F64))


def test_projection_on_a_box(solver: str | None) -> None:
    x, p, lo, hi = cp.Variable(4), cp.Parameter(4), cp.Parameter(4), cp.Parameter(4)
    layer = CvxpyLayer(cp.Problem(cp.Minimize(0.5 * cp.sum_squares(x - p)), [x >= lo, x <= hi]), [p, lo, hi], [x], solver=solver)
    p_, lo_ = 2 * torch.randn(8, 4, dtype=F64), -torch.rand(4, dtype=F64)
    agree(layer, lambda p, lo, hi: (torch.minimum(torch.maximum(p, lo), hi),), p_, lo_, lo_ + 1)


def test_projection_on_the_simplex(solver: str | None) -> None:
    problem, p, x = projection(lambda x: cp.sum(x) == 1, lambda x: x >= 0)

    def closed(p: torch.Tensor) -> tuple[torch.Tensor]:
        ordered = p.sort(descending=True).values
        threshold = (ordered.cumsum(-1) - 1) / torch.arange(1, p.shape[-1] + 1, dtype=F64)
        support = (ordered > threshold).sum(-1, keepdim=True)
        return ((p - threshold.gather(-1, support - 1)).clamp(min=0),)

    agree(CvxpyLayer(problem, [p], [x], solver=solver), closed, torch.randn(8, 4, dtype=F64))


def affine() -> tuple[cp.Problem, list[cp.Parameter], cp.Variable, cp.Constraint]:
    x, p, C, d = cp.Variable(4), cp.Parameter(4), cp.Parameter((2, 4)), cp.Parameter(2)
    constraint = C @ x == d
    return cp.Problem(cp.Minimize(0.5 * cp.sum_squares(x - p)), [constraint]), [p, C, d], x, constraint


def affine_closed(p: torch.Tensor, C: torch.Tensor, d: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Projection on {C x = d} and the multiplier of f + λᵀ(C x - d)."""
    dual = torch.linalg.solve(C @ C.mT, (C @ p[..., None])[..., 0] - d)
    return p - (C.mT @ dual[..., None])[..., 0], dual


def test_projection_on_an_affine_set_with_its_dual(solver: str | None) -> None:
    problem, parameters, x, constraint = affine()
    layer = CvxpyLayer(problem, parameters, [x, constraint.dual_variables[0]], solver=solver)
    agree(layer, affine_closed, torch.randn(6, 4, dtype=F64), torch.randn(6, 2, 4, dtype=F64), torch.randn(2, dtype=F64))


def test_duals_of_inequalities_and_of_both_directions(solver: str | None) -> None:
    x, p, hi = cp.Variable(4), cp.Parameter(4), cp.Parameter(4)
    above, below = x >= 0, x <= hi
    duals = [above.dual_variables[0], below.dual_variables[0]]
    layer = CvxpyLayer(cp.Problem(cp.Minimize(0.5 * cp.sum_squares(x - p)), [above, below]), [p, hi], [*duals, x], solver=solver)

    def closed(p: torch.Tensor, hi: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (-p).clamp(min=0), (p - hi).clamp(min=0), torch.minimum(p.clamp(min=0), hi)

    agree(layer, closed, 2 * torch.randn(8, 4, dtype=F64), torch.rand(4, dtype=F64) + 0.5)


def test_the_sign_of_duals_is_that_of_cvxpy(solver: str | None) -> None:
    x, c = cp.Variable(3), cp.Parameter(3)
    total, bound = cp.sum(x) == 1, x >= 0
    problem = cp.Problem(cp.Maximize(c @ x - cp.sum_squares(x)), [total, bound])
    layer = CvxpyLayer(problem, [c], [total.dual_variables[0], bound.dual_variables[0]], solver=solver)
    c.value = np.array([0.3, -1.0, 2.0])
    problem.solve(solver=cp.CLARABEL, tol_gap_abs=1e-12, tol_gap_rel=1e-12, tol_feas=1e-12)
    for found, constraint in zip(layer(torch.tensor(c.value)), [total, bound], strict=True):
        np.testing.assert_allclose(found.numpy(), constraint.dual_value, atol=1e-8)


def test_quadratic_form_with_a_parameter_matrix(solver: str | None) -> None:
    x, S, q = cp.Variable(3), cp.Parameter((3, 3), PSD=True), cp.Parameter(3)
    layer = CvxpyLayer(cp.Problem(cp.Minimize(0.5 * cp.quad_form(x, S) + q @ x)), [S, q], [x], solver=solver)
    root = torch.randn(5, 3, 3, dtype=F64)

    def through(solution: Function) -> Function:
        return lambda root, q: solution(root @ root.mT + 0.1 * torch.eye(3, dtype=F64), q)

    agree(through(layer), through(lambda S, q: (-torch.linalg.solve(S, q),)), root, torch.randn(5, 3, dtype=F64))


def test_an_indefinite_matrix_is_an_invalid_instance(solver: str | None) -> None:
    x, S, q = cp.Variable(2), cp.Parameter((2, 2), PSD=True), cp.Parameter(2)
    layer = CvxpyLayer(cp.Problem(cp.Minimize(cp.quad_form(x, S) + q @ x), [x >= -1, x <= 1]), [S, q], [x], solver=solver)
    S_ = torch.tensor([[[2.0, 1.0], [1.0, 2.0]], [[1.0, 2.0], [2.0, 1.0]]], dtype=F64)
    _, info = layer.solve(S_, torch.ones(2, dtype=F64), on_failure="nan")
    assert [str(status) for status in info.status] == ["solved", "invalid_input"]


@pytest.mark.parametrize("family", SMALL.values(), ids=SMALL)
def test_families_agree_with_the_dense_derivative(family: Family, solver: str | None) -> None:
    problem, parameters, variables = family.make()
    layer = CvxpyLayer(problem, parameters, variables, solver=solver)
    compiled = layer._layer.compiled
    inputs = [torch.tensor(a, requires_grad=True) for a in family.sample(4, seed=3)]
    outputs = layer(*inputs)
    batch = layer._layer.batch([t.detach().numpy() for t in inputs])
    weights = np.random.default_rng(0).normal(size=(4, sum(o.size for o in compiled.outputs)))
    joint = torch.cat([o.reshape(4, -1) for o in outputs], dim=1)
    found = torch.autograd.grad((torch.tensor(weights) * joint).sum(), inputs)

    theta = batch.theta()[:, :-1]
    pulled = np.zeros_like(theta)
    for i in range(4):
        exact = reference(compiled, theta[i])
        np.testing.assert_allclose(joint[i].detach(), compiled.R @ np.concatenate([exact.x, exact.z]), atol=1e-6, rtol=1e-6)
        pulled[i] = weights[i] @ jacobian(compiled, theta[i], exact.x, exact.z, exact.s)
    for part, gradient, spec in zip(
        np.split(pulled, np.cumsum([p.size for p in compiled.parameters])[:-1], axis=1), found, compiled.parameters, strict=True
    ):
        expected = part.reshape(4, *spec.shape) if gradient.dim() > len(spec.shape) else part.sum(0).reshape(spec.shape)
        np.testing.assert_allclose(gradient, expected, atol=1e-6 * max(1.0, np.abs(expected).max()), rtol=0)


def ridge_data(batch: int) -> list[torch.Tensor]:
    A, b = torch.randn(batch, 3, 2, dtype=F64), torch.randn(3, dtype=F64)
    return [A, b, torch.rand(batch, dtype=F64) + 0.5, torch.rand(2, dtype=F64) + 0.6]


@pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")  # torch's own, inside its forward mode
def test_gradcheck_in_both_directions(ridge: CvxpyLayer) -> None:
    inputs = [t.requires_grad_() for t in ridge_data(2)]
    assert torch.autograd.gradcheck(lambda *t: ridge(*t)[0], inputs, eps=1e-5, atol=1e-6, rtol=1e-5, check_forward_ad=True)


@pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")
def test_directional_derivatives_are_adjoint(ridge: CvxpyLayer) -> None:
    primal = ridge_data(5)
    tangent = [torch.randn_like(t) for t in primal]
    with torch.autograd.forward_ad.dual_level():
        dual = [torch.autograd.forward_ad.make_dual(p, t) for p, t in zip(primal, tangent, strict=True)]
        forward = torch.autograd.forward_ad.unpack_dual(ridge(*dual)[0]).tangent
    inputs = [t.requires_grad_() for t in primal]
    weight = torch.randn(5, 2, dtype=F64)
    backward = torch.autograd.grad((weight * ridge(*inputs)[0]).sum(), inputs)
    left = (weight * forward).sum()
    right = sum((g * t).sum() for g, t in zip(backward, tangent, strict=True))
    torch.testing.assert_close(left, right, atol=0, rtol=1e-11)


def test_vertex_of_an_lp_moves_with_its_constraints(solver: str | None) -> None:
    x, A, b, c = cp.Variable(2), cp.Parameter((2, 2)), cp.Parameter(2), cp.Parameter(2)
    layer = CvxpyLayer(cp.Problem(cp.Minimize(c @ x), [A @ x >= b]), [A, b, c], [x], solver=solver)
    A_ = torch.tensor([[2.0, 0.5], [0.3, 1.0]], dtype=F64) + 0.1 * torch.randn(5, 2, 2, dtype=F64)
    agree(
        layer,
        lambda A, b, c: (torch.linalg.solve(A, b) + 0 * c,),
        A_,
        torch.randn(5, 2, dtype=F64),
        torch.ones(2, dtype=F64),
        tolerance=1e-7,
    )


def test_parameters_that_are_zero_have_a_gradient(solver: str | None) -> None:
    x, A, b = cp.Variable(2), cp.Parameter((2, 2)), cp.Parameter(2)
    layer = CvxpyLayer(cp.Problem(cp.Minimize(cp.sum_squares(x) + cp.sum_squares(A @ x - b))), [A, b], [x], solver=solver)

    def closed(A: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor]:
        return (torch.linalg.solve(torch.eye(2, dtype=F64) + A.mT @ A, (A.mT @ b[..., None])[..., 0]),)

    agree(layer, closed, torch.zeros(3, 2, 2, dtype=F64), torch.randn(3, 2, dtype=F64))
