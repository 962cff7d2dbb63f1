"""Warm starts in compiled code, where points are operands that scans carry; and what else a solve reports there."""

from __future__ import annotations

from typing import Any

import cvxpy as cp
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvxpylayers import Status
from cvxpylayers.errors import InputError, InputTypeError
from cvxpylayers.jax import CvxpyLayer, SolveInfo, WarmStart
from tests.jax.cases import case

N, STEPS = 12, 5


@pytest.fixture(params=["compiled", "callback"])
def layer(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> CvxpyLayer:
    """Projection onto a polyhedron that cuts through the box, called from compiled code and through Python."""
    monkeypatch.setenv("CVXPYLAYERS_JAX", request.param)
    x, p, b = cp.Variable(N), cp.Parameter(N), cp.Parameter(4)
    rows = np.random.default_rng(0).normal(size=(4, N))
    problem = cp.Problem(cp.Minimize(0.5 * cp.sum_squares(x - p)), [rows @ x <= b, x >= -1, x <= 1, cp.sum(x) == 0])
    return CvxpyLayer(problem, [p, b], [x])


def draw(size: int = 20) -> tuple[Any, Any]:
    rng = np.random.default_rng(1)
    return 2 * rng.normal(size=(size, N)).astype(np.float32), rng.uniform(0.5, 1.5, (size, 4)).astype(np.float32)


def steps(p: Any) -> Any:
    return p + 0.01 * jnp.arange(STEPS)[:, None, None] * jnp.cos(jnp.arange(N, dtype=jnp.float32))


def chain(layer: CvxpyLayer, path: Any, b: Any, start: WarmStart) -> tuple[Any, Any]:
    """Solutions and iterations along a path of targets, each solve starting where the one before it ended."""

    def step(start: WarmStart, p: Any) -> tuple[WarmStart | None, tuple[Any, Any]]:
        (x,), info = layer.solve(p, b, warm_start=start)
        return info.warm_start, (x, info.iterations)

    return jax.lax.scan(step, start, path)[1]


def test_it_pays_in_a_scan_and_changes_no_answer(layer: CvxpyLayer) -> None:
    p, b = draw()
    path = steps(p)
    warm, count = jax.jit(lambda path: chain(layer, path, b, layer.cold_start(20)))(path)
    (cold,), info = jax.jit(layer.solve)(path, b)
    np.testing.assert_allclose(warm, cold, atol=1e-6)
    np.testing.assert_array_equal(count[0], info.iterations[0])
    assert info.iterations[1:].mean() >= 1.5 * count[1:].mean()


def test_vmap_of_a_chain_is_the_chain_of_the_batch(layer: CvxpyLayer) -> None:
    """Mapped over starts and parameters, over either alone, and over neither of two batch axes."""
    p, b = draw(4)
    path = steps(p)
    expected = chain(layer, path, b, layer.cold_start(4))
    for found in (
        jax.vmap(lambda path, b: chain(layer, path, b, layer.cold_start()), (1, 0), 1)(path, b),
        jax.jit(jax.vmap(lambda path, b, start: chain(layer, path, b, start), (1, 0, 0), 1))(path, b, layer.cold_start(4)),
    ):
        jax.tree.map(np.testing.assert_array_equal, found, expected)
    start = layer.solve(p, b, warm_start=layer.cold_start(4))[1].warm_start
    assert start is not None
    from_each = jax.jit(jax.vmap(lambda start: layer.solve(p[0], b[0], warm_start=start)[1].iterations))(start)
    assert from_each[0] < from_each[1:].min()
    to_each = jax.vmap(lambda p: layer.solve(p, b[0], warm_start=WarmStart(start.points[0]))[1].iterations)(p)
    np.testing.assert_array_equal(to_each[0], from_each[0])


def test_no_point_is_a_cold_start_bit_by_bit(layer: CvxpyLayer) -> None:
    (x,), info = layer.solve(*draw(), warm_start=layer.cold_start())
    (expected,), cold = layer.solve(*draw())
    np.testing.assert_array_equal(x, expected)
    np.testing.assert_array_equal(info.iterations, cold.iterations)
    assert cold.warm_start is None


def test_derivatives_do_not_see_where_a_solve_started(layer: CvxpyLayer) -> None:
    p, b = draw()
    start = layer.solve(p, b, warm_start=layer.cold_start())[1].warm_start

    def loss(p: Any, b: Any, **how: Any) -> Any:
        return jnp.sum(layer.solve(p, b, **how)[0][0] ** 3)

    warm = jax.jit(jax.grad(lambda *at: loss(*at, warm_start=start), (0, 1)))
    found, expected = warm(p, b), jax.jit(jax.grad(loss, (0, 1)))(p, b)
    jax.tree.map(lambda f, e: np.testing.assert_allclose(f, e, atol=1e-5), found, expected)
    through = jax.jit(jax.grad(lambda path: jnp.sum(chain(layer, path, b, layer.cold_start(20))[0] ** 3)))(steps(p))
    direct = jax.grad(lambda path: jnp.sum(layer(path, b)[0] ** 3))(steps(p))
    np.testing.assert_allclose(through, direct, atol=1e-5)


def test_failures_start_cold_next_time(layer: CvxpyLayer) -> None:
    p, b = draw()
    start = layer.solve(p, b, warm_start=layer.cold_start())[1].warm_start
    (x,), info = layer.solve(p, b.copy() * np.where(np.arange(20) == 3, -1e3, 1)[:, None], warm_start=start, on_failure="nan")
    assert info.status[3] == Status.PRIMAL_INFEASIBLE
    assert info.warm_start is not None
    assert np.isnan(x[3]).all()
    nan = np.isnan(np.asarray(info.warm_start.points).view(np.float64)).any(-1)
    np.testing.assert_array_equal(nan, np.arange(20) == 3)


def test_mistakes_in_words(layer: CvxpyLayer) -> None:
    p, b = draw()
    with pytest.raises(InputError, match="another problem"):
        layer.solve(p, b, warm_start=case("qp").layer.cold_start())
    with pytest.raises(InputError, match=r"shape \(20,\), but the points to start from \(3,\)"):
        layer.solve(p, b, warm_start=layer.cold_start(3))
    with pytest.raises(InputTypeError, match="cold_start"):
        layer.solve(p, b, warm_start=p)


@pytest.mark.parametrize("family", ["qp", "lp", "cones", "gp"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_margins_are_those_of_the_twin(family: str, dtype: str) -> None:
    """Eagerly, compiled and mapped."""
    import torch

    with jax.enable_x64(dtype == "float64"):
        found = case(family)
        arrays = found.sample((5,), (), dtype=dtype)
        expected = found.twin.solve(*map(torch.as_tensor, arrays))[1].margin
        assert (expected > 0).any()
        slack = {"float32": 1e-5, "float64": 0.0 if found.exact else 1e-10}[dtype]
        infos: list[SolveInfo] = [
            found.layer.solve(*arrays)[1],
            jax.jit(found.layer.solve)(*arrays)[1],
            jax.jit(jax.vmap(found.layer.solve, (0, None, None)))(*arrays)[1],
        ]
        for info in infos:
            assert info.margin.dtype == dtype
            np.testing.assert_allclose(info.margin, expected, rtol=slack, atol=0 if not slack else 1e-7)
            np.testing.assert_allclose(info.concrete().margin, expected, rtol=slack, atol=0 if not slack else 1e-7)
