"""What is MLX's own: its transformations and types; `tests/laws/test_front_ends.py` has what all libraries share."""

from __future__ import annotations

from typing import Any

import cvxpy as cp
import numpy as np
import pytest

mx: Any = pytest.importorskip("mlx.core")

from cvxpylayers import InputError, InputTypeError
from cvxpylayers.mlx import CvxpyLayer
from cvxpylayers.numpy import CvxpyLayer as NumpyLayer

Array = np.ndarray[Any, Any]


def problem() -> tuple[cp.Problem, list[cp.Parameter], list[cp.Variable]]:
    x = cp.Variable(2, name="x")
    A, b, lam = cp.Parameter((3, 2), name="A"), cp.Parameter(3, name="b"), cp.Parameter(nonneg=True, name="lam")
    budget = cp.sum(x) == 1
    objective = cp.Minimize(cp.sum_squares(A @ x - b) + (0.1 + lam) * cp.sum_squares(x))
    return cp.Problem(objective, [budget, x >= 0.1]), [A, b, lam], [x, budget.dual_variables[0]]


@pytest.fixture(autouse=True)
def _cpu() -> Any:
    """float64 exists on the CPU alone."""
    with mx.stream(mx.cpu):
        yield


@pytest.fixture(scope="module")
def layer() -> CvxpyLayer:
    return CvxpyLayer(*problem())


@pytest.fixture(scope="module")
def reference() -> NumpyLayer:
    return NumpyLayer(*problem())


def data(*batch: int) -> list[Array]:
    rng = np.random.default_rng(1)
    return [rng.normal(size=(*batch, 3, 2)), rng.normal(size=3), rng.uniform(0.5, 1.0, size=batch)]


def arrays(values: list[Array], dtype: Any = None) -> list[Any]:
    return [mx.array(v, dtype=dtype or mx.float64) for v in values]


def loss(layer: CvxpyLayer) -> Any:
    def of(*params: Any) -> Any:
        x, dual = layer(*params)
        return (x * x).sum() + dual.sum()

    return of


def test_forward_mode(layer: CvxpyLayer, reference: NumpyLayer) -> None:
    values, tangents = data(3), [np.ones_like(v) for v in data(3)]
    _, pushed = mx.jvp(lambda *p: layer(*p), arrays(values), arrays(tangents))
    for found, true in zip(pushed, reference.linearize(*values).jvp(*tangents), strict=True):
        np.testing.assert_allclose(np.array(found), true, rtol=1e-12)
    (_, only_b) = mx.jvp(lambda b: layer(*arrays(values[:1]), b, *arrays(values[2:])), arrays(values[1:2]), arrays(tangents[1:2]))
    np.testing.assert_allclose(np.array(only_b[0]), reference.linearize(*values).jvp(None, tangents[1], None)[0], rtol=1e-12)


def test_gradients_of_gradients_agree_with_central_differences(layer: CvxpyLayer) -> None:
    values, h = data(2), 1e-5
    direction = np.random.default_rng(2).normal(size=values[0].shape)

    def slope(A: Any) -> Any:
        return (mx.grad(loss(layer))(A, *arrays(values[1:])) * mx.array(direction, dtype=mx.float64)).sum()

    second = np.array(mx.grad(slope)(arrays(values)[0]))
    other = np.random.default_rng(3).normal(size=values[0].shape)
    ahead, behind = (float(slope(mx.array(values[0] + s * h * other, dtype=mx.float64))) for s in (1, -1))
    np.testing.assert_allclose((second * other).sum(), (ahead - behind) / (2 * h), rtol=1e-5)


@pytest.mark.parametrize("name", ["float16", "bfloat16", "float32", "float64"])
def test_outputs_and_gradients_have_the_type_of_the_parameters(layer: CvxpyLayer, reference: NumpyLayer, name: str) -> None:
    dtype = getattr(mx, name)
    inputs = arrays(data(2), dtype)
    assert {o.dtype for o in layer(*inputs)} == {dtype}
    assert [g.dtype for g in mx.grad(loss(layer), argnums=(0, 1, 2))(*inputs)] == [dtype] * 3
    exact = reference(*(np.array(v.astype(mx.float32)) if name != "float64" else np.array(v) for v in inputs))
    coarse = {"float16": 1e-3, "bfloat16": 1e-2, "float32": 1e-6, "float64": 1e-12}[name]
    np.testing.assert_allclose(np.array(layer(*inputs)[0].astype(mx.float32)), exact[0], rtol=coarse, atol=1e-7)


def test_compiled_and_vmapped_code_is_refused_in_words(layer: CvxpyLayer) -> None:
    values = arrays(data(3))
    with pytest.raises(InputError, match=r"Call the layer outside mx.compile.*layer\(A_batch, b_shared\)"):
        mx.compile(lambda *p: layer(*p))(*values)
    with pytest.raises(InputError, match=r"instead of mx\.vmap"):
        mx.vmap(lambda A, lam: layer(A, values[1], lam))(values[0], values[2])
    (x, _) = layer(*values)  # and what is around the layer can be compiled
    np.testing.assert_allclose(float(mx.compile(lambda x: (x * x).sum())(x)), float((x * x).sum()))


def test_training_reduces_a_loss(layer: CvxpyLayer) -> None:
    A, b, lam = arrays(data(8), mx.float32)
    target = mx.array([0.7, 0.3])
    step = mx.value_and_grad(lambda b: ((layer(A, b, lam)[0] - target) ** 2).sum())
    first, _ = step(b)
    for _ in range(15):
        value, gradient = step(b)
        b = b - 0.5 * gradient
    assert float(value) < 0.7 * float(first)


def test_mistakes_name_the_parameter(layer: CvxpyLayer) -> None:
    A, b, lam = arrays(data(3))
    with pytest.raises(InputTypeError, match=r"Parameter 'b' must be an mlx\.core\.array; got list: use mx\.array"):
        layer(A, [1.0, 2.0, 3.0], lam)
    with pytest.raises(InputError, match="takes 3 parameters"):
        layer(A, b)
