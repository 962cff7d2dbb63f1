"""What users meet: dtypes, names, mistakes in words, failures, layers as values, and modules of others."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from typing import Any

import cvxpy as cp
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

from cvxpylayers import Status
from cvxpylayers.errors import InputError, InputTypeError, OptionError, SolverError
from cvxpylayers.jax import CvxpyLayer
from cvxpylayers.torch import CvxpyLayer as Twin

Problem = tuple[cp.Problem, list[cp.Parameter], list[cp.Variable]]


def interval(names: str = "lhc") -> Problem:
    """min |x|² + c y over l ≤ x ≤ h, y ≥ 0: infeasible for l > h, unbounded for c < 0."""
    x, y = cp.Variable(2, name="x"), cp.Variable(name="y")
    lo, hi, c = cp.Parameter(2, name=names[0]), cp.Parameter(2, name=names[1]), cp.Parameter(name=names[2])
    return cp.Problem(cp.Minimize(cp.sum_squares(x) + c * y), [x >= lo, x <= hi, y >= 0]), [lo, hi, c], [x, y]


@pytest.fixture(params=["compiled", "callback"])
def layer(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> CvxpyLayer:
    """With calls from compiled code, and through Python."""
    monkeypatch.setenv("CVXPYLAYERS_JAX", request.param)
    found = CvxpyLayer(*interval())
    assert (found._program.key is None) == (request.param == "callback")
    return found


@pytest.fixture
def x64() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


ONE, TWO = np.ones(2), np.full(2, 2.0)


# ---- dtypes ----


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_outputs_have_the_dtype_of_the_parameters(layer: CvxpyLayer, dtype: str) -> None:
    lo = jnp.asarray(ONE, dtype)
    x, y = layer(lo, 2 * lo, lo[0])
    assert x.dtype == y.dtype == dtype
    np.testing.assert_allclose(np.asarray(x, np.float32), ONE, rtol=1e-6)
    (gradient,) = jax.grad(lambda *p: layer(*p)[0].sum(), (0,))(lo, 2 * lo, lo[0])
    assert gradient.dtype == dtype


def test_dtypes_are_promoted_as_by_jnp(layer: CvxpyLayer, x64: None) -> None:
    half, single, double = (jnp.asarray(ONE, d) for d in (jnp.float16, jnp.float32, jnp.float64))
    assert layer(half, 2 * single, jnp.float16(1))[0].dtype == jnp.float32
    assert layer(single, 2 * double, 1.0)[0].dtype == jnp.float64
    assert layer(single, 2 * single, 1.0)[0].dtype == jnp.float32  # a Python scalar is weak
    assert layer(single, 2 * single, np.float64(1))[0].dtype == jnp.float64
    assert layer(jnp.ones(2, int), 2 * jnp.ones(2, int), 1)[0].dtype == jnp.float64  # as jnp.sin of integers


def test_scalars_arrays_and_integers(layer: CvxpyLayer) -> None:
    for c in (1, 1.0, np.float32(1), np.ones(()), np.int64(1), jnp.ones(())):
        for lo in (ONE, np.ones(2, int), jnp.ones(2)):
            x, _ = layer(lo, TWO, c)
            assert x.dtype == jnp.float32
            np.testing.assert_allclose(x, ONE, atol=1e-7)


def test_double_precision_inside_without_x64(layer: CvxpyLayer) -> None:
    """Derivatives at a solution found in single precision are as good as their own rounding."""
    assert not jax.config.jax_enable_x64
    x, A, b = cp.Variable(3), cp.Parameter((6, 3)), cp.Parameter(6)
    ridge = CvxpyLayer(cp.Problem(cp.Minimize(cp.sum_squares(A @ x - b)), [x >= 0]), [A, b], [x])
    rng = np.random.default_rng(0)
    at = [(rng.normal(size=s) * [1, 1e3, 1e-3][: s[-1] if len(s) > 1 else 1]).astype(np.float32) for s in ((6, 3), (6,))]
    loss = lambda *p: jnp.sum(ridge(*p)[0])
    single = jax.grad(loss, (0, 1))(*at)
    with jax.enable_x64(True):
        double = jax.grad(loss, (0, 1))(*(a.astype(np.float64) for a in at))
    for s, d in zip(single, double, strict=True):
        np.testing.assert_allclose(s, d, rtol=1e-6, atol=1e-12 * np.abs(d).max())


# ---- mistakes ----


def test_mistakes_in_words(layer: CvxpyLayer) -> None:
    for wrong, error, words in (
        ((ONE, TWO), InputError, "takes 3 parameters"),
        ((ONE, np.ones(3), 1.0), InputError, "must have shape"),
        (([1.0, 1.0], TWO, 1.0), InputTypeError, "jnp.asarray"),
        ((torch.ones(2), TWO, 1.0), InputTypeError, "Tensor"),
        ((ONE.astype(complex), TWO, 1.0), InputTypeError, "real numbers"),
        ((ONE > 0, TWO, 1.0), InputTypeError, "real numbers"),
        ((np.ones((2, 2)), np.ones((3, 2)), 1.0), InputError, "broadcast"),
    ):
        for call in (layer, jax.jit(layer.__call__) if error is InputError else layer):
            with pytest.raises(error, match=words):
                call(*wrong)
    with pytest.raises(OptionError, match="max_iterations"):
        layer(ONE, TWO, 1.0, solver_args={"max_iteration": 3})


def test_parameters_by_name(layer: CvxpyLayer) -> None:
    expected = layer(ONE, TWO, 1.0)
    tree = {"l": ONE, "h": TWO, "c": 1.0}
    for found in (layer(**tree), layer(ONE, c=1.0, h=TWO), jax.jit(lambda t: layer(**t))(tree)):
        jax.tree.map(np.testing.assert_array_equal, found, expected)
    gradient = jax.grad(lambda t: layer(**t)[0].sum())({k: jnp.asarray(v) for k, v in tree.items()})
    np.testing.assert_allclose(gradient["l"], ONE)
    for wrong in ({"l": ONE, "h": TWO, "d": 1.0}, {"l": ONE, "h": TWO}):
        with pytest.raises(InputError):
            layer(**wrong)
    with pytest.raises(InputError, match="'l'"):
        layer(ONE, TWO, l=ONE)


# ---- failures ----

BAD = np.array([[0.0, 0.0], [3.0, 0.0], [np.nan, 0.0], [1.0, 1.0]])


def test_eager_calls_raise(layer: CvxpyLayer) -> None:
    with pytest.raises(SolverError, match=r"2 of 4 instances") as caught:
        layer(BAD, TWO, 1.0)
    assert "primal_infeasible at index 1" in str(caught.value)
    assert "parameter 'l' holds NaN" in str(caught.value)
    assert list(caught.value.info.failed) == [1, 2]
    np.testing.assert_array_equal(np.isnan(caught.value.outputs[0]).all(-1), [False, True, True, False])
    with pytest.raises(SolverError):
        jax.grad(lambda lo: layer(lo, TWO, 1.0)[0].sum())(jnp.asarray(BAD))
    with pytest.warns(RuntimeWarning, match="primal_infeasible"):
        assert np.isfinite(layer(BAD[:2], TWO, 1.0, on_failure="warn")[0]).all()


def test_traced_calls_give_nan_and_zero_gradients(layer: CvxpyLayer) -> None:
    x, _ = jax.jit(layer.__call__)(BAD, TWO, 1.0)
    np.testing.assert_array_equal(np.isnan(x).all(-1), [False, True, True, False])
    gradient = jax.jit(jax.grad(lambda lo, hi: jnp.sum(layer(lo, hi, 1.0)[0] ** 2), (0, 1)))
    lower, shared = gradient(jnp.asarray(BAD), jnp.asarray(TWO))
    np.testing.assert_array_equal(lower[1:3], 0)
    np.testing.assert_allclose(lower[3], 2 * ONE, rtol=1e-6)
    assert np.isfinite(shared).all()
    assert np.isfinite(jax.jit(lambda lo: layer(lo, TWO, 1.0, on_failure="warn")[0])(BAD[:2])).all()
    with pytest.raises(OptionError, match="cannot raise"):
        jax.jit(lambda lo: layer(lo, TWO, 1.0, on_failure="raise"))(BAD)


def test_statuses_under_jit(layer: CvxpyLayer) -> None:
    _, info = jax.jit(layer.solve)(BAD, TWO, np.array([1.0, 1.0, 1.0, -1.0]))
    codes = [Status.SOLVED, Status.PRIMAL_INFEASIBLE, Status.INVALID_INPUT, Status.DUAL_INFEASIBLE]
    np.testing.assert_array_equal(info.status, codes)
    np.testing.assert_array_equal(info.solved, np.equal(codes, Status.SOLVED))
    assert info.status.shape == info.objective.shape == info.iterations.shape == (4,)
    np.testing.assert_allclose(info.objective[0], 0.0, atol=1e-6)
    assert str(info.concrete().status[1]) == "primal_infeasible"
    jax.tree.map(np.testing.assert_array_equal, layer.solve(BAD, TWO, 1.0, on_failure="nan"), jax.jit(layer.solve)(BAD, TWO, 1.0))


def test_degenerate_instances_are_flagged(layer: CvxpyLayer) -> None:
    """At l = 0 the unconstrained solution touches its bound."""
    lo = jnp.array([[0.0, -1.0], [-1.0, -1.0], [1.0, 1.0]])
    _, info = jax.jit(lambda lo: layer.solve(lo, TWO, 1.0, degeneracy=True))(lo)
    twin = Twin(*interval())
    inputs = [torch.tensor(np.asarray(a), requires_grad=True) for a in (lo, TWO, 1.0)]
    (x, _), expected = twin.solve(*inputs)
    (x * torch.tensor([0.5, -0.4])).sum().backward()
    np.testing.assert_array_equal(info.degenerate, expected.degenerate)
    assert layer.solve(lo, TWO, 1.0)[1].degenerate is None


def test_options_of_calls(layer: CvxpyLayer) -> None:
    few = jax.jit(lambda lo: layer.solve(lo, TWO, 1.0, solver_args={"max_iterations": 1, "fallback": False}))
    assert few(np.array([0.5, -3.0]))[1].status == Status.MAX_ITERATIONS
    with pytest.warns(UserWarning, match="cold"):
        layer(ONE, TWO, 1.0, warm_start=True)


def test_smoothed_derivatives_are_those_of_the_twin(layer: CvxpyLayer) -> None:
    how: Any = {"solver_args": {"derivative": "smoothed"}}
    smooth, twin = CvxpyLayer(*interval(), **how), Twin(*interval(), **how)
    lo = np.array([[0.0, -1.0], [0.01, 0.5]], np.float32)
    found = jax.jit(jax.grad(lambda lo: jnp.sum(smooth(lo, TWO, 1.0)[0])))(lo)
    tensor = torch.tensor(lo, requires_grad=True)
    twin(tensor, torch.tensor(TWO), torch.tensor(1.0))[0].sum().backward()
    np.testing.assert_allclose(found, tensor.grad, atol=1e-5)
    assert 0.01 < found[0, 0] < 0.99


def test_what_is_off_the_central_path_is_flagged(layer: CvxpyLayer) -> None:
    """Between equal bounds there is no interior, hence no path."""
    smooth = CvxpyLayer(*interval(), solver_args={"derivative": "smoothed"})
    lo = np.array([[0.0, -1.0], [2.0, 2.0]])
    (x, _), info = jax.jit(lambda lo: smooth.solve(lo, TWO, 1.0, degeneracy=True))(lo)
    np.testing.assert_array_equal(info.degenerate, [False, True])
    np.testing.assert_allclose(x[1], TWO, rtol=1e-6)


# ---- layers as values ----


def test_layers_are_values() -> None:
    """Equal problems make equal layers, whatever their names: one compilation serves them all."""
    first, second, third = CvxpyLayer(*interval()), CvxpyLayer(*interval("abc")), CvxpyLayer(*interval(), on_failure="nan")
    assert first == second != third
    assert hash(first) == hash(second)
    assert len({first, second, third}) == 2
    traces = 0

    @jax.jit
    def call(layer: CvxpyLayer, lo: jax.Array) -> jax.Array:  # no leaves: a static part of the tree
        nonlocal traces
        traces += 1
        return layer(lo, TWO, 1.0)[0]

    for layer in (first, second, copy.deepcopy(first), pickle.loads(pickle.dumps(first))):
        np.testing.assert_allclose(call(layer, ONE), ONE, atol=1e-7)
        np.testing.assert_allclose(jax.jit(lambda layer, lo: layer(lo, TWO, 1.0)[0], static_argnums=0)(layer, ONE), ONE, atol=1e-7)
    assert traces == 1
    assert jax.tree.leaves(first) == []
    assert "engine: NATIVE" in repr(first)


def test_a_compiled_program_outlives_its_layer(layer: CvxpyLayer) -> None:
    compiled = jax.jit(layer.__call__).lower(ONE, TWO, 1.0).compile()
    expected = layer(ONE, TWO, 1.0)
    del layer
    jax.tree.map(np.testing.assert_array_equal, compiled(ONE, TWO, 1.0), expected)


class Projection(eqx.Module):
    """A linear map, then the nearest point of a box."""

    linear: eqx.nn.Linear
    layer: CvxpyLayer

    def __call__(self, features: jax.Array) -> jax.Array:
        return self.layer(self.linear(features), jnp.full(2, 3.0), 1.0)[0]


def test_a_field_of_an_equinox_module_trained_with_optax(layer: CvxpyLayer) -> None:
    keys = jax.random.split(jax.random.key(0), 3)
    model = Projection(eqx.nn.Linear(3, 2, key=keys[0]), layer)
    features, targets = jax.random.normal(keys[1], (16, 3)), jax.random.uniform(keys[2], (16, 2))
    optimizer = optax.adam(3e-2)

    @eqx.filter_jit
    def step(model: Projection, state: Any) -> tuple[Projection, Any, jax.Array]:
        loss, gradient = eqx.filter_value_and_grad(lambda m: jnp.mean((jax.vmap(m)(features) - targets) ** 2))(model)
        updates, state = optimizer.update(gradient, state)
        return eqx.apply_updates(model, updates), state, loss

    state = optimizer.init(eqx.filter(model, eqx.is_array))
    losses = []
    for _ in range(40):
        model, state, loss = step(model, state)
        losses.append(float(loss))
    assert losses[-1] < 0.8 * losses[0]


def test_other_engines_and_empty_batches(layer: CvxpyLayer) -> None:
    other = CvxpyLayer(*interval(), solver="CLARABEL")
    lo = jnp.array([[0.5, 0.25], [1.0, -1.0]])
    for transform in (lambda f: f, jax.jit, lambda f: jax.jit(jax.jacrev(f)), lambda f: jax.jit(jax.jacfwd(f))):
        found, expected = (transform(lambda lo, one=one: one(lo, TWO, 1.0)[0])(lo) for one in (other, layer))
        np.testing.assert_allclose(found, expected, atol=1e-6)
    assert layer(jnp.zeros((0, 2)), TWO, 1.0)[0].shape == (0, 2)
    shared = jax.grad(lambda hi: layer(jnp.zeros((0, 2)), hi, 1.0)[0].sum())(jnp.asarray(TWO))
    np.testing.assert_array_equal(shared, np.zeros(2))
