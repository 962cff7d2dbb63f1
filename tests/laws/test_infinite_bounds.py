"""An infinite bound is none: the solution and every derivative are those of the problem without the row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cvxpy as cp
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from cvxpylayers import Status, WarmStart
from cvxpylayers._layer.layer import Call, Layer
from cvxpylayers.jax import CvxpyLayer as JaxLayer
from cvxpylayers.torch import CvxpyLayer as TorchLayer

N, M, B = 5, 7, 6
Rows = tuple[Any, Any, Any]
ALL: Rows = (slice(None),) * 3

COSTS: dict[str, Callable[[Any, Any], Any]] = {
    "quadratic": lambda x, q: cp.sum_squares(x) + q @ x,
    "linear": lambda x, q: q @ x + 3 * cp.norm1(x),
    "conic": lambda x, q: cp.norm(x - 1) + 0.1 * q @ x,
}


def problem(cost: str, rows: Rows = ALL) -> tuple[cp.Problem, list[cp.Parameter], list[cp.Variable]]:
    """min over x of a cost subject to the chosen ones of the rows G x ≤ h, x ≥ lo, x ≤ hi; with their multipliers."""
    x, q, G, h, lo, hi = cp.Variable(N), cp.Parameter(N), cp.Parameter((M, N)), *(cp.Parameter(k) for k in (M, N, N))
    some, low, high = rows
    constraints = [G[some] @ x <= h[some], x[low] >= lo[low], x[high] <= hi[high]]
    outputs = [x, *(c.dual_variables[0] for c in constraints)]
    return cp.Problem(cp.Minimize(COSTS[cost](x, q)), constraints), [q, G, h, lo, hi], outputs


def data() -> list[np.ndarray]:
    """Every way to have no bound: none, some, all; inf and what counts as such."""
    rng = np.random.default_rng(0)
    q, G, h = 3 * rng.normal(size=(B, N)), rng.normal(size=(B, M, N)), rng.uniform(0.5, 1.5, size=(B, M))
    lo, hi = np.full((B, N), -1.0), np.full((B, N), 1.0)
    h[1, [0, 3]], lo[2, 1:], hi[2, 1:3], h[3, 2], hi[4], h[4] = np.inf, -np.inf, 1e20, 1e25, 1e30, np.inf
    return [q, G, h, lo, hi]


def weights(outputs: Any) -> list[np.ndarray]:
    return [np.random.default_rng(1).normal(size=o.shape) for o in outputs]


def derivatives(layer: Layer, arrays: list[np.ndarray], call: Call, cotangents: list[np.ndarray]) -> list[np.ndarray]:
    """Of every kind."""
    tangents = [np.random.default_rng(2).normal(size=a.shape) for a in arrays]
    wanted = [True] * len(arrays)
    first = layer.vjp(call.point, cotangents, wanted)
    return [
        *first,
        *layer.jvp(call.point, tangents),
        *layer.hvp(call.point, cotangents, tangents, wanted),
    ]


@pytest.mark.parametrize(
    "arguments", [{}, {"derivative": "smoothed"}, {"max_iterations": 1}], ids=["exact", "smoothed", "fallback"]
)
@pytest.mark.parametrize("cost", COSTS)
def test_the_row_is_not_there(cost: str, arguments: dict[str, Any]) -> None:
    accuracy = 1e-6 if "max_iterations" in arguments else 1e-9  # Clarabel's answers are not polished
    arrays = data()
    layer = Layer(*problem(cost), solver_args=arguments)
    call = layer.solve(arrays, tape=True)
    cotangents = weights(call.outputs)
    found = derivatives(layer, arrays, call, cotangents)
    assert all(np.isfinite(a).all() for a in (*call.outputs, *found))
    for i in range(B):
        here = [a[i] for a in arrays]
        kept = [np.flatnonzero(np.abs(a) < 1e20) for a in here[2:]]
        reduced = Layer(*problem(cost, tuple(kept)), solver_args=arguments)
        finite = [np.where(np.abs(a) < 1e20, a, 0.0) for a in here]
        alone = reduced.solve(finite, tape=True)
        for k, (output, expected) in enumerate(zip(call.outputs, alone.outputs, strict=True)):
            rows = kept[k - 1] if k else np.arange(N)
            np.testing.assert_allclose(output[i, rows], expected, atol=accuracy)
            np.testing.assert_array_equal(np.delete(output[i], rows), 0.0)
        assert call.info.margin[i] == pytest.approx(alone.info.margin, abs=accuracy)
        own = [cotangents[0][i], *(c[i][rows] for c, rows in zip(cotangents[1:], kept, strict=True))]
        gradients = reduced.vjp(alone.point, own, [True] * 5)
        for gradient, expected, array in zip(found[:5], gradients, here, strict=True):
            np.testing.assert_allclose(gradient[i].reshape(array.shape), expected.reshape(array.shape), atol=10 * accuracy)
            np.testing.assert_array_equal(gradient[i].reshape(array.shape)[np.abs(array) >= 1e20], 0.0)
        assert call.info.degenerate[i] == alone.info.degenerate


@pytest.mark.parametrize("cost", COSTS)
def test_derivatives_are_adjoint_and_those_of_differences(cost: str) -> None:
    arrays = data()
    layer = Layer(*problem(cost))
    call = layer.solve(arrays, tape=True)
    cotangents, tangents = weights(call.outputs), [np.random.default_rng(2).normal(size=a.shape) for a in arrays]
    wanted = [True] * 5
    pushed = layer.jvp(call.point, tangents)
    pulled = layer.vjp(call.point, cotangents, wanted)
    forth = sum(np.vdot(a, b) for a, b in zip(pushed, cotangents, strict=True))
    back = sum(np.vdot(a, b) for a, b in zip(pulled, tangents, strict=True))
    assert forth == pytest.approx(back, rel=1e-10)
    step = 1e-6
    ends = [layer.solve([a + sign * step * t for a, t in zip(arrays, tangents, strict=True)]).outputs for sign in (1, -1)]
    for tangent, plus, minus in zip(pushed, *ends, strict=True):
        np.testing.assert_allclose(tangent, (plus - minus) / (2 * step), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shared", [False, True], ids=["own matrices", "shared matrices"])
@pytest.mark.parametrize("cost", COSTS)
def test_bits_do_not_depend_on_how_infinity_is_written_nor_on_company(cost: str, shared: bool) -> None:
    q, G, h, lo, hi = data()
    arrays = [q, G[0] if shared else G, h, lo, hi]
    layer = Layer(*problem(cost))
    written = [np.where(np.abs(a) >= 1e20, np.copysign(size, a), a) for size in (np.inf, 1e20, 1e300) for a in arrays]
    calls = [layer.solve(written[k : k + 5], tape=True) for k in (0, 5, 10)]
    for call in calls[1:]:
        for found, expected in zip((*call.outputs, call.tape.s), (*calls[0].outputs, calls[0].tape.s), strict=True):
            np.testing.assert_array_equal(found, expected)
    for i in range(B):
        alone = layer.solve([a if a.ndim == 2 and a is arrays[1] else a[i] for a in arrays])
        for found, expected in zip(alone.outputs, calls[0].outputs, strict=True):
            np.testing.assert_array_equal(found, expected[i])


def test_the_other_way_is_infeasible_and_everything_else_invalid() -> None:
    arrays = [np.repeat(a[:1], 8, axis=0) for a in data()]
    q, G, h, lo, hi = arrays
    h[1, 3], lo[2, 0], hi[3, 1], h[4, 0], q[5, 0], G[6, 0, 0] = -np.inf, 1e20, -1e21, np.nan, np.inf, -np.inf
    lo[7, 0], hi[7, 0] = np.nan, -np.inf
    info = Layer(*problem("quadratic")).solve(arrays, on_failure="nan").info
    expected = [Status.SOLVED, *[Status.PRIMAL_INFEASIBLE] * 3, *[Status.INVALID_INPUT] * 4]
    np.testing.assert_array_equal(info.codes, expected)


x, p, r = cp.Variable(3), cp.Parameter(3), cp.Parameter()
USES = [
    ([x <= p], True),
    ([x >= p, 2 * x <= p + 1], True),
    ([cp.sum(x) <= cp.sum(p)], True),
    ([cp.norm1(x) <= p[0]], True),
    ([x <= p, x[0] == p[0]], False),
    ([cp.multiply(p, x) <= p], False),
    ([cp.norm(x - p) <= 1], False),
    ([x == p], False),
    ([x <= p, cp.norm(x) <= p[1]], False),
]


@pytest.mark.parametrize(("constraints", "expected"), USES)
def test_which_parameters_may_be_infinite(constraints: list[Any], expected: bool) -> None:
    layer = Layer(cp.Problem(cp.Minimize(cp.sum_squares(x - 1)), constraints), [p], [x], on_failure="nan")
    assert layer.compiled.parameters[0].unbounded == expected
    many = np.array([[np.inf, np.inf, np.inf], [2.0, 2.0, 2.0]]) * (-1 if constraints[0].args[0] is p else 1)
    status = layer.solve([many]).info.codes
    assert (status[0] == Status.INVALID_INPUT) != expected


def test_warm_starts_know_rows_that_come_and_go() -> None:
    q, G, h, lo, hi = data()
    layer = Layer(*problem("quadratic"))
    start = layer.solve([q, G, h, lo, hi], warm_start=WarmStart()).info.warm_start
    closed = [q, G, np.full_like(h, 1.0), np.full_like(lo, -1.0), np.full_like(hi, 0.5)]
    warm = layer.solve(closed, warm_start=start)
    np.testing.assert_allclose(warm.outputs[0], layer.solve(closed).outputs[0], atol=1e-9)
    again = layer.solve([q, G, h, lo, hi], warm_start=warm.info.warm_start)
    np.testing.assert_allclose(again.outputs[0], layer.solve([q, G, h, lo, hi]).outputs[0], atol=1e-9)
    assert again.info.iterations.mean() < 20


def test_pytorch_to_second_order() -> None:
    layer = TorchLayer(*problem("quadratic"))
    tensors = [torch.tensor(a, requires_grad=True) for a in data()]
    loss = sum((o**2).sum() for o in layer(*tensors))
    gradients = torch.autograd.grad(loss, tensors, create_graph=True)
    second = torch.autograd.grad(sum((g**2).sum() for g in gradients), tensors)
    assert all(torch.isfinite(g).all() for g in (*gradients, *second))
    for gradient, tensor in zip(gradients, tensors, strict=True):
        assert (gradient[tensor.abs() >= 1e20] == 0).all()


@pytest.mark.parametrize("path", ["compiled", "callback"])
@pytest.mark.parametrize("cost", COSTS)
def test_jax_by_every_transformation(cost: str, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CVXPYLAYERS_JAX", path)
    arrays = data()
    plain = Layer(*problem(cost))
    call = plain.solve(arrays, tape=True)
    cotangents = weights(call.outputs)
    expected = plain.vjp(call.point, cotangents, [True] * 5)
    layer = JaxLayer(*problem(cost))
    with jax.enable_x64(True):
        loss = lambda *theta: sum(jnp.vdot(c, o) for c, o in zip(cotangents, layer(*theta), strict=True))
        found = jax.jit(jax.grad(loss, range(5)))(*arrays)
        one = lambda *theta: layer(*theta)[0]
        mapped = jax.jit(jax.vmap(one))(*arrays)
        forward, reverse = (
            jax.jit(f(lambda h: one(arrays[0][4], arrays[1][4], h, *(a[4] for a in arrays[3:])))) for f in (jax.jacfwd, jax.jacrev)
        )
        curved = jax.jit(jax.hessian(lambda h, hi: jnp.sum(one(*arrays[:2], h, arrays[3], hi) ** 2), (0, 1)))(arrays[2], arrays[4])
        outside = layer.solve(*arrays[:3], arrays[3], -jnp.abs(arrays[4]) * 1e20, on_failure="nan")[1].status
        for gradient, true in zip(found, expected, strict=True):
            np.testing.assert_allclose(gradient, true.reshape(gradient.shape), rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(mapped, call.outputs[0], rtol=0, atol=1e-12)
        np.testing.assert_array_equal(forward(arrays[2][4]), 0.0)
        np.testing.assert_array_equal(reverse(arrays[2][4]), 0.0)
        assert all(np.isfinite(block).all() for block in jax.tree.leaves(curved))
        np.testing.assert_array_equal(outside, Status.PRIMAL_INFEASIBLE)
