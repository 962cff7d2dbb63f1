"""A warm start changes how soon a solution is found, and nothing else."""

from __future__ import annotations

import copy
import pickle

import cvxpy as cp
import numpy as np
import pytest
import torch

from cvxpylayers import InputError, WarmStart
from cvxpylayers.torch import CvxpyLayer

F64 = torch.float64
N = 12


def layer_of(kind: str = "quadratic", **options: object) -> CvxpyLayer:
    """min ½‖x - p‖² or pᵀx over a polyhedron that cuts through the box."""
    x, p, b = cp.Variable(N), cp.Parameter(N), cp.Parameter(4)
    rows = np.random.default_rng(0).normal(size=(4, N))
    objective = 0.5 * cp.sum_squares(x - p) if kind == "quadratic" else p @ x
    problem = cp.Problem(cp.Minimize(objective), [rows @ x <= b, x >= -1, x <= 1, cp.sum(x) == 0])
    return CvxpyLayer(problem, [p, b], [x], **options)


def moving(steps: int, size: int = 40, step: float = 0.01) -> list[list[torch.Tensor]]:
    data = [2 * torch.randn(size, N, dtype=F64), torch.rand(size, 4, dtype=F64) + 0.5]
    return [[t + k * step * torch.ones_like(t).cos() for t in data] for k in range(steps)]


@pytest.mark.parametrize("kind", ["quadratic", "linear"])
def test_it_pays_and_changes_no_answer(kind: str) -> None:
    layer, start = layer_of(kind), WarmStart()
    cold, warm = [], []
    for inputs in moving(6):
        (x,), info = layer.solve(*inputs)
        (again,), following = layer.solve(*inputs, warm_start=start)
        assert info.warm_start is None
        assert following.warm_start is not None
        start = following.warm_start
        torch.testing.assert_close(again, x, atol=1e-6, rtol=0)
        cold.append(info.iterations.mean())
        warm.append(following.iterations.mean())
    assert warm[0] == cold[0]
    assert np.mean(cold[1:]) >= 1.5 * np.mean(warm[1:])


def test_a_point_belongs_to_its_instance_alone() -> None:
    first, second = moving(2)
    layer = layer_of()
    start = layer.solve(*first, warm_start=WarmStart())[1].warm_start
    assert start is not None
    assert start.x is not None
    assert start.z is not None
    assert start.s is not None
    together, _ = layer.solve(*second, warm_start=start)
    for threads in (1, 3):
        again, _ = layer.solve(*second, warm_start=start, solver_args={"threads": threads})
        assert torch.equal(again[0], together[0])
    for i in (0, 7, 39):
        alone, _ = layer.solve(*(t[i] for t in second), warm_start=WarmStart(start.x[i], start.z[i], start.s[i]))
        assert torch.equal(alone[0], together[0][i])


def test_batches_may_grow_and_shrink() -> None:
    layer = layer_of()
    inputs = moving(1)[0]
    start = layer.solve(*(t[:10] for t in inputs), warm_start=WarmStart())[1].warm_start
    _, grown = layer.solve(*inputs, warm_start=start)
    cold = layer.solve(*inputs)[1].iterations
    assert (grown.iterations[10:] == cold[10:]).all()
    assert (grown.iterations[:10] < cold[:10]).all()
    _, shrunk = layer.solve(*(t[:3] for t in inputs), warm_start=grown.warm_start)
    assert (shrunk.iterations < cold[:3]).all()
    _, one = layer.solve(*(t[4] for t in inputs), warm_start=WarmStart())
    _, shared = layer.solve(inputs[0][4].expand(5, N), inputs[1][4], warm_start=one.warm_start)
    assert (shared.iterations < one.iterations).all()


def test_no_point_is_a_cold_start_bit_by_bit() -> None:
    layer = layer_of()
    inputs = moving(1)[0]
    info = layer.solve(*inputs, warm_start=WarmStart())[1]
    assert info.warm_start is not None
    assert info.warm_start.x is not None
    nothing = WarmStart(*(np.full_like(a, np.nan) for a in (info.warm_start.x, info.warm_start.z, info.warm_start.s)))
    (x,), again = layer.solve(*inputs, warm_start=nothing)
    assert torch.equal(x, layer(*inputs)[0])
    np.testing.assert_array_equal(again.iterations, info.iterations)


@pytest.mark.parametrize("kind", ["quadratic", "linear"])
def test_a_misleading_point_does_no_harm(kind: str) -> None:
    layer, inputs = layer_of(kind), moving(1)[0]
    structure = layer._layer.compiled.structure
    rng = np.random.default_rng(1)
    nonsense = WarmStart(*(rng.normal(size=(40, width)) ** 3 for width in (structure.n, structure.m, structure.m)))
    (x,), info = layer.solve(*inputs, warm_start=nonsense)
    assert not info.codes.any()
    torch.testing.assert_close(x, layer(*inputs)[0], atol=1e-6, rtol=0)


def test_failures_stay_failures_and_start_cold_next_time() -> None:
    layer, (p, b) = layer_of(), moving(1)[0]
    start = layer.solve(p, b, warm_start=WarmStart())[1].warm_start
    spoilt = b.clone()
    spoilt[3] = -100.0
    (x,), info = layer.solve(p, spoilt, warm_start=start, on_failure="nan")
    assert info.failed.tolist() == [3]
    assert str(info.status[3]) == "primal_infeasible"
    assert info.warm_start is not None
    assert info.warm_start.x is not None
    assert np.isnan(info.warm_start.x).any(axis=1).nonzero()[0].tolist() == [3]
    assert x[3].isnan().all()


def test_gradients_are_those_of_the_solution() -> None:
    layer, (p, b) = layer_of(), moving(1)[0]
    p.requires_grad_()
    start = layer.solve(p, b, warm_start=WarmStart())[1].warm_start
    (x,), _ = layer.solve(p, b, warm_start=start)
    (found,) = torch.autograd.grad(x.sin().sum(), p)
    (expected,) = torch.autograd.grad(layer(p, b)[0].sin().sum(), p)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


def test_a_module_remembers_when_told_to() -> None:
    layer = layer_of()
    inputs = moving(1)[0]
    counts = [layer.solve(*inputs, warm_start=True)[1].iterations.mean() for _ in range(2)]
    assert counts[1] < 0.5 * counts[0]
    layer(*inputs, warm_start=True)
    for clone in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert clone.solve(*inputs, warm_start=True)[1].iterations.mean() == counts[0]


def test_other_engines_and_cones_start_cold_without_a_word(recwarn: pytest.WarningsRecorder) -> None:
    inputs = moving(1)[0]
    layer = layer_of(solver="CLARABEL")
    start = layer.solve(*inputs, warm_start=WarmStart())[1].warm_start
    assert torch.equal(layer.solve(*inputs, warm_start=start)[0][0], layer(*inputs)[0])
    x, p = cp.Variable(3), cp.Parameter(3)
    ball = CvxpyLayer(cp.Problem(cp.Minimize(cp.sum_squares(x - p)), [cp.norm(x) <= 1]), [p], [x])
    points = torch.randn(5, 3, dtype=F64)
    start = ball.solve(points, warm_start=WarmStart())[1].warm_start
    assert torch.equal(ball.solve(points, warm_start=start)[0][0], ball(points)[0])
    assert not [w for w in recwarn if "warm_start" in str(w.message)]


def test_a_point_of_another_problem_is_refused() -> None:
    inputs = moving(1)[0]
    with pytest.raises(InputError, match="belongs to another problem"):
        layer_of().solve(*inputs, warm_start=WarmStart(*(np.zeros((40, 2)) for _ in range(3))))
