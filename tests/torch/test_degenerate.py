"""Degenerate instances: the minimum-norm derivative where the optimality conditions determine one, a flag where they do not."""

from __future__ import annotations

import cvxpy as cp
import numpy as np
import pytest
import torch

from cvxpylayers.torch import CvxpyLayer
from problems.oracles import jacobian

F64 = torch.float64


def pseudoinverse(layer: CvxpyLayer, inputs: list[torch.Tensor], weight: torch.Tensor) -> list[torch.Tensor]:
    """The VJP of ``weight`` (B, outputs) by the dense pseudoinverse at the layer's own solution."""
    core = layer._layer
    batch = core.batch([t.detach().numpy() for t in inputs])
    tape = core.solve([t.detach().numpy() for t in inputs], tape=True).tape
    assert tape is not None
    theta = batch.theta()[:, :-1]
    rows = [w @ jacobian(core.compiled, theta[i], tape.x[i], tape.z[i], tape.s[i]) for i, w in enumerate(weight.numpy())]
    parts = np.split(np.array(rows), np.cumsum([p.size for p in core.compiled.parameters])[:-1], axis=1)
    return [torch.tensor(part).reshape(len(rows), *p.shape) for part, p in zip(parts, core.compiled.parameters, strict=True)]


def gradients(layer: CvxpyLayer, inputs: list[torch.Tensor], weight: torch.Tensor) -> tuple[list[torch.Tensor], np.ndarray]:
    inputs = [t.requires_grad_() for t in inputs]
    outputs, info = layer.solve(*inputs)
    assert not info.degenerate.any()
    joint = torch.cat([o.reshape(len(weight), -1) for o in outputs], dim=1)
    return list(torch.autograd.grad((weight * joint).sum(), inputs)), info.degenerate


def test_redundant_equalities_leave_the_solution_differentiable(solver: str | None) -> None:
    x, p, b = cp.Variable(3), cp.Parameter(3), cp.Parameter()
    problem = cp.Problem(cp.Minimize(cp.sum_squares(x - p)), [cp.sum(x) == b, 2 * cp.sum(x) == 2 * b, x >= 0])
    layer = CvxpyLayer(problem, [p, b], [x], solver=solver)
    inputs = [torch.tensor([[1.0, 0.5, -3.0], [0.2, 0.1, 0.4]], dtype=F64), torch.ones(2, dtype=F64)]
    weight = torch.randn(2, 3, dtype=F64)
    found, _ = gradients(layer, inputs, weight)
    for f, e in zip(found, pseudoinverse(layer, inputs, weight), strict=True):
        torch.testing.assert_close(f, e, atol=1e-6, rtol=0)


def test_duplicated_inequalities_leave_the_solution_differentiable(solver: str | None) -> None:
    x, p, u = cp.Variable(2), cp.Parameter(2), cp.Parameter(2)
    layer = CvxpyLayer(cp.Problem(cp.Minimize(cp.sum_squares(x - p)), [x <= u, x <= u]), [p, u], [x], solver=solver)
    inputs = [torch.tensor([[1.0, 0.5], [-1.0, 2.0]], dtype=F64), torch.tensor([[0.0, 1.0], [0.0, 1.0]], dtype=F64)]
    found, _ = gradients(layer, inputs, torch.ones(2, 2, dtype=F64))
    torch.testing.assert_close(found[0], torch.tensor([[0.0, 1.0], [1.0, 0.0]], dtype=F64), atol=1e-6, rtol=0)
    torch.testing.assert_close(found[1], torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=F64), atol=1e-6, rtol=0)


def test_solutions_that_are_not_unique_are_flagged_alone_and_bounded(solver: str | None) -> None:
    x, b, c = cp.Variable(2), cp.Parameter(), cp.Parameter(2)
    layer = CvxpyLayer(cp.Problem(cp.Minimize(c @ x), [cp.sum(x) >= b, x >= 0]), [b, c], [x], solver=solver)
    inputs = [torch.ones(3, dtype=F64), torch.tensor([[1.0, 2.0], [1.0, 1.0], [2.0, 1.0]], dtype=F64)]
    found, flags = gradients(layer, inputs, torch.tensor([[1.0, -1.0]] * 3, dtype=F64))
    assert flags.tolist() == [False, True, False]
    torch.testing.assert_close(found[0][[0, 2]], torch.tensor([1.0, -1.0], dtype=F64), atol=1e-7, rtol=0)
    torch.testing.assert_close(found[1][[0, 2]], torch.zeros(2, 2, dtype=F64), atol=1e-7, rtol=0)
    assert all(f.isfinite().all() for f in found)


@pytest.mark.parametrize("point", [0.0, 1.0])
def test_ties_are_flagged_and_count_as_active(point: float) -> None:
    x, p = cp.Variable(2), cp.Parameter(2)
    layer = CvxpyLayer(cp.Problem(cp.Minimize(0.5 * cp.sum_squares(x - p)), [x >= 0, x <= 1]), [p], [x])
    found, flags = gradients(layer, [torch.tensor([[point, 0.5], [0.3, 0.5]], dtype=F64)], torch.ones(2, 2, dtype=F64))
    assert flags.tolist() == [True, False]
    torch.testing.assert_close(found[0], torch.tensor([[0.0, 1.0], [1.0, 1.0]], dtype=F64), atol=1e-6, rtol=0)


@pytest.mark.parametrize("penalty", [1.0, 1e3, 1e6, 1e8])
def test_a_row_at_a_kink_counts_where_a_parameter_moves_it(penalty: float) -> None:
    """min ½(y - v)² + p pos(y)²: y = v below 0, though two rows with zero multipliers hold t = 0; at v = 0 its slope jumps."""
    y, p, v = cp.Variable(), cp.Parameter(nonneg=True), cp.Parameter()
    layer = CvxpyLayer(cp.Problem(cp.Minimize(0.5 * cp.square(y - v) + p * cp.square(cp.pos(y)))), [p, v], [y])
    at = torch.tensor([-1.0, 0.0, 2.0], dtype=F64, requires_grad=True)
    (found,), info = layer.solve(torch.tensor(penalty, dtype=F64), at)
    (slopes,) = torch.autograd.grad(found.sum(), [at])
    assert info.degenerate.tolist() == [False, True, False]
    torch.testing.assert_close(slopes[[0, 2]], torch.tensor([1.0, 1 / (1 + 2 * penalty)], dtype=F64), atol=0, rtol=1e-6)


@pytest.mark.parametrize("penalty", [1.0, 1e5, 1e6, 3e6, 1e7, 1e8, 1e9, 1e12])
def test_a_large_penalty_does_not_loosen_a_bound(penalty: float) -> None:
    """min (u - 1)² + p s², s ≥ u + 2, u ≥ -1: u = -1 wherever 2 is moved once p > 2, since the two active rows are independent."""
    u, s, p, c = cp.Variable(), cp.Variable(), cp.Parameter(nonneg=True), cp.Parameter()
    layer = CvxpyLayer(cp.Problem(cp.Minimize((u - 1) ** 2 + p * s**2), [u + c <= s, u >= -1]), [p, c], [u])
    moved = torch.tensor(2.0, dtype=F64, requires_grad=True)
    (found,), info = layer.solve(torch.tensor(penalty, dtype=F64), moved)
    (gradient,) = torch.autograd.grad(found, [moved])
    assert gradient.item() == pytest.approx(-penalty / (1 + penalty) if penalty < 2 else 0.0, abs=1e-9)
    assert not info.degenerate.any()


corner = cp.Variable(2)
many = cp.Parameter(3)
above = cp.Variable()
first, second = cp.Parameter(), cp.Parameter()
plan, supply, demand = cp.Variable((2, 2)), cp.Parameter(2), cp.Parameter(2)
weights, cap = cp.Variable(5), cp.Parameter()
returns = np.array([0.5, 0.4, 0.1, 0.05, 0.0])
choice, price = cp.Variable(3), cp.Parameter(3)
CHOICES = {
    "corner": (cp.Problem(cp.Minimize(cp.sum_squares(corner - np.array([3.0, 2.0]))),
                          [corner <= many[:2], cp.sum(corner) <= many[2]]), [many], corner),
    "two bounds": (cp.Problem(cp.Minimize(above**2), [above >= first, above >= second]), [first, second], above),
    "transport": (cp.Problem(cp.Minimize(cp.sum(cp.multiply(np.array([[1.0, 2.0], [2.0, 1.5]]), plan))),
                             [cp.sum(plan, axis=1) == supply, cp.sum(plan, axis=0) == demand, plan >= 0]), [supply, demand], plan),
    "cap": (cp.Problem(cp.Maximize(returns @ weights), [cp.sum(weights) == 1, weights >= 0, weights <= cap]), [cap], weights),
    "edge": (cp.Problem(cp.Maximize(price @ choice), [cp.sum(choice) == 1, choice >= 0]), [price], choice),
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "values", "weight", "expected"),
    [
        ("corner", [[1.0, 1.0, 2.0]], [1.0, 0.0], [[1.0, 0.0, 0.0]]),  # y₀ = r₀ with every multiplier
        ("corner", [[1.0, 1.0, 2.0]], [0.0, 1.0], None),  # y₁ = min(r₁, r₂ - r₀)
        ("corner", [[1.0, 1.0, 2.5]], [0.0, 1.0], [[0.0, 1.0, 0.0]]),
        ("two bounds", [1.0, 1.0], 1.0, None),
        ("two bounds", [1.0, 0.5], 1.0, [1.0, 0.0]),
        ("transport", [[0.5, 0.5], [0.5, 0.5]], [[1.0, 0.0], [0.0, 0.0]], None),
        ("cap", [0.5], returns, None),  # slopes 0.1 and 0.7
        ("cap", [0.4], returns, [0.7]),
        ("cap", [0.6], returns, [0.1]),
        ("cap", [0.5], [0.0, 0.0, 0.0, 1.0, 0.0], [0.0]),
        ("edge", [[1.0, 1.0, 0.0]], [1.0, 1.0, 0.0], None),  # the solution jumps
        ("edge", [[1.0, 0.9, 0.0]], [1.0, 1.0, 0.0], [[0.0, 0.0, 0.0]]),
    ],
)
def test_derivatives_are_given_where_they_exist_and_marked_where_not(
    name: str, values: list[list[float] | float], weight: list[float], expected: list[list[float] | float] | None
) -> None:
    problem, parameters, variable = CHOICES[name]
    inputs = [torch.tensor(v, dtype=F64, requires_grad=True) for v in values]
    (found,), info = CvxpyLayer(problem, parameters, [variable]).solve(*inputs)
    gradients = torch.autograd.grad((torch.as_tensor(np.array(weight), dtype=F64) * found).sum(), inputs)
    assert bool(info.degenerate) == (expected is None)
    for g, e in zip(gradients, expected or [], strict=expected is not None):
        torch.testing.assert_close(g, torch.tensor(e, dtype=F64), atol=1e-9, rtol=0)


VANISHING = {
    "log_sum_exp": (cp.log_sum_exp, lambda y: -1.0),
    "max": (cp.max, lambda y: -1.0),
    "norm": (cp.norm, lambda y: -float(y.sum() / np.linalg.norm(y))),
    "norm1": (cp.norm1, lambda y: -3.0),
}
LEAST = {"log_sum_exp": 1e-8, "max": 1e-10, "norm": 1e-12, "norm1": 1e-12}  # weights from which on the derivative must be given


@pytest.mark.parametrize("weight", [10.0**-k for k in range(1, 13)] + [0.0])
@pytest.mark.parametrize("name", VANISHING)
def test_weights_that_vanish_keep_their_derivative_or_are_marked(name: str, weight: float) -> None:
    """d Σy / dλ of min ½‖y - p‖² + λ f(y) is -Σ∇f(p) as λ → 0; at 0 itself the problem does not determine it."""
    f, slope = VANISHING[name]
    point = np.array([3.0, 4.0, 1.0])
    y, scale = cp.Variable(3), cp.Parameter(nonneg=True)
    layer = CvxpyLayer(cp.Problem(cp.Minimize(0.5 * cp.sum_squares(y - point) + scale * f(y))), [scale], [y])
    at = torch.tensor(weight, dtype=F64, requires_grad=True)
    (found,), info = layer.solve(at)
    (gradient,) = torch.autograd.grad(found.sum(), [at])
    exact = abs(gradient.item() - slope(found.detach().numpy())) <= 1e-6
    assert info.degenerate.all() if weight == 0 else exact or info.degenerate.all()
    assert exact or weight < LEAST[name]
