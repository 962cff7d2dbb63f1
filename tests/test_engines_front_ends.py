"""Every engine through every front end: the same numbers as through NumPy, outputs and gradients."""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from cvxpylayers._engines.registry import names, resolve
from cvxpylayers.numpy import CvxpyLayer
from tests.contract import Case, compiled, exponential, linear, quadratic, second_order

Array = np.ndarray[Any, Any]
ENGINES = [name for name in names() if name != "MOREAU"]


def through_torch(case: Case, solver: str) -> tuple[list[Array], list[Array]]:
    torch = pytest.importorskip("torch")
    from cvxpylayers.torch import CvxpyLayer

    values = [torch.tensor(v, requires_grad=True) for v in case.values]
    outputs = CvxpyLayer(*case[:3], solver=solver)(*values)
    gradients = torch.autograd.grad(sum((o**2).sum() for o in outputs), values)
    return [o.detach().numpy() for o in outputs], [g.numpy() for g in gradients]


def through_jax(case: Case, solver: str) -> tuple[list[Array], list[Array]]:
    jax = pytest.importorskip("jax")
    from cvxpylayers.jax import CvxpyLayer

    with jax.enable_x64(True):
        layer = CvxpyLayer(*case[:3], solver=solver)
        outputs = jax.jit(lambda *p: layer(*p))(*case.values)
        loss = lambda *p: sum((o**2).sum() for o in layer(*p))
        gradients = jax.grad(loss, argnums=tuple(range(len(case.values))))(*case.values)
    return [np.asarray(o) for o in outputs], [np.asarray(g) for g in gradients]


def through_mlx(case: Case, solver: str) -> tuple[list[Array], list[Array]]:
    mx: Any = pytest.importorskip("mlx.core")
    from cvxpylayers.mlx import CvxpyLayer

    layer = CvxpyLayer(*case[:3], solver=solver)
    with mx.stream(mx.cpu):
        values = [mx.array(v, dtype=mx.float64) for v in case.values]
        loss = lambda *p: sum((o * o).sum() for o in layer(*p))
        gradients = mx.grad(loss, argnums=tuple(range(len(values))))(*values)
        alone = len(values) == 1  # then MLX gives the gradient without a tuple around it
        return [np.array(o) for o in layer(*values)], [np.array(g) for g in ([gradients] if alone else gradients)]


@pytest.mark.parametrize("through", [through_torch, through_jax, through_mlx])
@pytest.mark.parametrize("make", [quadratic, linear, second_order, exponential])
@pytest.mark.parametrize("solver", ENGINES)
def test_front_ends_agree(solver: str, make: Callable[[], Case], through: Callable[..., Any]) -> None:
    case = make()
    if resolve(solver)[0].capabilities.lacks(compiled(case)):
        pytest.skip(f"{solver} does not take this problem")
    if sys.platform != "linux" and through is through_mlx:
        pytest.skip("float64 needs the CPU build")
    point = CvxpyLayer(*case[:3], solver=solver).linearize(*case.values)
    outputs, gradients = through(case, solver)
    for found, true in zip(outputs, point.outputs, strict=True):
        np.testing.assert_allclose(found, true, atol=1e-12)
    for found, true in zip(gradients, point.vjp(*(2 * o for o in point.outputs)), strict=True):
        np.testing.assert_allclose(found, true, rtol=1e-7, atol=1e-9)


def test_different_engines_side_by_side_in_threads() -> None:
    case = quadratic()
    layers = [CvxpyLayer(*case[:3], solver=name) for name in ("NATIVE", "OSQP", "QOCO", "DAQP")]
    expected = [layer(*case.values) for layer in layers]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(3):
            for found, true in zip(pool.map(lambda layer: layer(*case.values), layers), expected, strict=True):
                for a, b in zip(found, true, strict=True):
                    np.testing.assert_array_equal(a, b)
