"""Data in single precision are rounded data: what rounding may explain is no verdict, in double precision it is one."""

from __future__ import annotations

from typing import Any

import cvxpy as cp
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvxpylayers import Status
from cvxpylayers._layer.layer import Call, Layer
from cvxpylayers.jax import CvxpyLayer as JaxLayer

K, B = 6, 12
ENGINES = [None, "CLARABEL", "OSQP", "SCS", "PIQP"]
x, S, mu = cp.Variable(K), cp.Parameter((K, K), PSD=True), cp.Parameter(K)
FEASIBLE = {"simplex": [cp.sum(x) == 1, x >= 0], "box": [x <= 1, x >= -1], "ball": [cp.norm(x) <= 1]}


def covariances() -> tuple[np.ndarray, np.ndarray]:
    """Of rank two, as single precision gives them, at several scales; and means."""
    rng = np.random.default_rng(0)
    F = rng.normal(size=(B, 2, K)).astype("f4")
    C = np.einsum("bki,bkj->bij", F, F) * np.logspace(-2, 3, B, dtype="f4")[:, None, None]
    assert (np.linalg.eigvalsh(C.astype("f8"))[:, 0] < -2e-9 * np.abs(C).max(axis=(1, 2))).sum() > B // 2
    return C, rng.normal(size=(B, K)).astype("f4")


def clipped(C: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(C.astype("f8"))
    return np.einsum("bij,bj,bkj->bik", vectors, np.maximum(values, 0.0), vectors)


def gradients(layer: Layer, arrays: list[np.ndarray], call: Call) -> list[np.ndarray]:
    weights = [np.random.default_rng(1).normal(size=o.shape) for o in call.outputs]
    return layer.vjp(call.point, weights, [True] * len(arrays))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("where", FEASIBLE)
def test_a_covariance_is_clipped_in_effect(where: str, engine: str | None) -> None:
    if where == "ball" and engine in ("OSQP", "PIQP"):
        pytest.skip("takes linear constraints")
    C, m = covariances()
    problem = cp.Problem(cp.Minimize(cp.quad_form(x, S) - mu @ x), FEASIBLE[where])
    layer = Layer(problem, [S, mu], [x], solver=engine, on_failure="nan")
    call = layer.solve([C, m], tape=True)
    assert (call.info.codes == Status.SOLVED).all()
    near = clipped(C)
    value = lambda p: np.einsum("bi,bij,bj->b", p, near, p) - (m * p).sum(axis=1)
    best = value(layer.solve([near, m.astype("f8")]).outputs[0])
    np.testing.assert_array_less(np.abs(value(call.outputs[0]) - best), 1e-6 * np.abs(C).max(axis=(1, 2)).clip(1))
    assert all(np.isfinite(g).all() for g in gradients(layer, [C, m], call))
    assert (layer.solve([C, m]).info.codes == Status.SOLVED).all()
    double = layer.solve([C.astype("f8"), m.astype("f8")])
    assert (double.info.codes == Status.INVALID_INPUT).sum() > B // 2
    wrong = C - 1e-4 * np.abs(C).max(axis=(1, 2), keepdims=True) * np.eye(K, dtype="f4")
    assert (layer.solve([wrong, m]).info.codes == Status.INVALID_INPUT).all()


def test_a_clipped_instance_does_not_see_its_company() -> None:
    C, m = covariances()
    layer = Layer(cp.Problem(cp.Minimize(cp.quad_form(x, S) - mu @ x), FEASIBLE["simplex"]), [S, mu], [x])
    together = layer.solve([C, m]).outputs[0]
    for i in range(B):
        np.testing.assert_array_equal(layer.solve([C[i], m[i]]).outputs[0], together[i])
        shared = layer.solve([C[i], np.repeat(m[[i]], 20, axis=0)]).outputs[0]
        np.testing.assert_array_equal(shared, np.broadcast_to(together[i], shared.shape))


X, a, b, cost = cp.Variable((K, K)), cp.Parameter(K), cp.Parameter(K), cp.Parameter((K, K))
MARGINALS = [cp.sum(X, axis=1) == a, cp.sum(X, axis=0) == b]
price = cp.sum(cp.multiply(cost, X))
TRANSPORT: dict[str, tuple[Any, list[Any]]] = {
    "linear": (price, [*MARGINALS, X >= 0]),
    "quadratic": (price + 0.5 * cp.sum_squares(X), [*MARGINALS, X >= 0]),
    "equalities": (price + 0.5 * cp.sum_squares(X), MARGINALS),
    "entropic": (price - 0.1 * cp.sum(cp.entr(X)), MARGINALS),
}


def marginals() -> list[np.ndarray]:
    """Normalized in single precision; of the first three the sums differ by 1e-6 more."""
    rng = np.random.default_rng(0)
    p, q, c = (rng.uniform(size=s).astype("f4") for s in ((B, K), (B, K), (B, K, K)))
    p, q = p / p.sum(axis=1, keepdims=True), q / q.sum(axis=1, keepdims=True)
    q[:3] *= np.float32(1 + 1e-6)
    return [p, q, c]


def disagreement(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    return (p.astype("f8").sum(axis=1) - q.astype("f8").sum(axis=1)) / (2 * K)


@pytest.mark.parametrize("engine", [None, "CLARABEL", "SCS"])
@pytest.mark.parametrize("name", TRANSPORT)
def test_marginals_that_do_not_quite_agree(name: str, engine: str | None) -> None:
    objective, constraints = TRANSPORT[name]
    layer = Layer(cp.Problem(cp.Minimize(objective), constraints), [a, b, cost], [X], solver=engine, on_failure="nan")
    p, q, c = (array[: B if engine is None else 6] for array in marginals())
    off = disagreement(p, q)
    call = layer.solve([p, q, c], tape=True)
    assert (call.info.codes[np.abs(off) > 2e-8] == Status.ALMOST_SOLVED).all()
    assert (call.info.codes <= Status.ALMOST_SOLVED).all()
    np.testing.assert_allclose(call.info.primal_residual[:3], np.abs(off[:3]), rtol=0.2)
    agreeing = [p.astype("f8") - off[:, None], q.astype("f8") + off[:, None], c.astype("f8")]
    nearest = layer.solve(agreeing, tape=True)
    np.testing.assert_allclose(call.outputs[0], nearest.outputs[0], atol=1e-9 if engine is None else 1e-6)
    found, expected = gradients(layer, [p, q, c], call), gradients(layer, agreeing, nearest)
    for gradient, true in zip(found, expected, strict=True):
        assert np.isfinite(gradient).all()
        np.testing.assert_allclose(gradient, true, atol=1e-6 if engine is None else 1e-3)
    double = layer.solve([p.astype("f8"), q.astype("f8"), c.astype("f8")])
    assert not (double.info.codes[:3] == Status.SOLVED).any()
    q[0] *= np.float32(1.001)
    clear = layer.solve([p, q, c]).info.codes
    assert clear[0] > Status.ALMOST_SOLVED
    np.testing.assert_array_equal(clear[1:], call.info.codes[1:])


@pytest.mark.parametrize("name", TRANSPORT)
def test_a_reconciled_instance_does_not_see_its_company(name: str) -> None:
    objective, constraints = TRANSPORT[name]
    layer = Layer(cp.Problem(cp.Minimize(objective), constraints), [a, b, cost], [X])
    arrays = marginals()
    together = layer.solve(arrays).outputs[0]
    for i in range(B):
        np.testing.assert_array_equal(layer.solve([v[i] for v in arrays]).outputs[0], together[i])


low, high, total = cp.Parameter(K), cp.Parameter(K), cp.Parameter()
CONFLICTS: dict[str, tuple[list[Any], Any]] = {
    "a box": ([x >= low, x <= high], lambda h, gap: (h + gap, h, h.sum())),
    "a capped simplex": ([cp.sum(x) == total, x >= low, x <= high], lambda h, gap: (0 * h, 0 * h + 1 / K, 1 + K * gap)),
}


@pytest.mark.parametrize("objective", [mu @ x, cp.sum_squares(x) + mu @ x, cp.norm(x - mu)], ids=["linear", "quadratic", "conic"])
@pytest.mark.parametrize("name", CONFLICTS)
def test_inequalities_that_do_not_quite_agree(name: str, objective: Any) -> None:
    constraints, values = CONFLICTS[name]
    parameters = [low, high, mu, total] if name != "a box" else [low, high, mu]
    layer = Layer(cp.Problem(cp.Minimize(objective), constraints), parameters, [x], on_failure="nan")
    h, m = np.random.default_rng(3).uniform(0.2, 1.0, size=(2, K))
    for gap, solved in ((1e-7, True), (5e-4, False)):
        lows, highs, sums = values(h, gap)
        arrays = [np.asarray(v, "f4") for v in (lows, highs, m, sums)][: len(parameters)]
        call = layer.solve(arrays, tape=True)
        assert bool(call.info.solved) == solved, call.info
        if solved:
            np.testing.assert_allclose(call.outputs[0], highs, atol=1e-6)
            assert all(np.isfinite(g).all() for g in gradients(layer, arrays, call))
        else:
            assert call.info.codes == Status.PRIMAL_INFEASIBLE


@pytest.mark.parametrize("path", ["compiled", "callback"])
def test_jax_knows_the_dtype_in_which_a_parameter_came(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CVXPYLAYERS_JAX", path)
    objective, constraints = TRANSPORT["linear"]
    p, q, c = marginals()
    transport = JaxLayer(cp.Problem(cp.Minimize(objective), constraints), [a, b, cost], [X])
    portfolio = JaxLayer(cp.Problem(cp.Minimize(cp.quad_form(x, S) - mu @ x), FEASIBLE["simplex"]), [S, mu], [x])
    C, m = covariances()

    def statuses(layer: JaxLayer, *arrays: Any) -> np.ndarray:
        return np.asarray(jax.jit(layer.solve)(*arrays)[1].status)

    assert (statuses(transport, p, q, c)[:3] == Status.ALMOST_SOLVED).all()
    assert (statuses(portfolio, C, m) == Status.SOLVED).all()
    with jax.enable_x64(True):
        doubles = [v.astype("f8") for v in (p, q, c, C, m)]
        assert (statuses(transport, *doubles[:3])[:3] == Status.PRIMAL_INFEASIBLE).all()
        assert (statuses(transport, p, q, doubles[2])[:3] == Status.ALMOST_SOLVED).all()
        assert (statuses(portfolio, *doubles[3:]) == Status.INVALID_INPUT).sum() > B // 2
        assert (statuses(portfolio, C, doubles[4]) == Status.SOLVED).all()
        found = jax.jit(jax.grad(lambda *v: jnp.sum(transport(*v)[0] ** 2), (0, 1, 2)))(p, q, c)
        assert all(np.isfinite(g).all() for g in found)
