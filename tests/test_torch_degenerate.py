"""Degenerate instances: the minimum-norm derivative where the optimality conditions determine one, a flag where they do not."""

from __future__ import annotations

import cvxpy as cp
import numpy as np
import pytest
import torch

from cvxpylayers.torch import CvxpyLayer
from tests.oracles import jacobian

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
