"""Second derivatives: all orders of modes agree, and they are those of gradients at neighbouring parameters.

Op by op they take ten times as long as compiled: that this is the same is asked by ``test_modes_agree`` alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvxpylayers.errors import DerivativeError
from tests.jax.cases import Case, case, weights


@pytest.fixture(autouse=True)
def _double() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


@pytest.fixture(params=["qp", "lp", "cones"])
def family(request: pytest.FixtureRequest) -> Case:
    return case(request.param)


def loss_of(family: Case) -> Callable[..., Any]:
    """Curved in the outputs, so that their first derivatives matter too."""
    return lambda *params: sum(jnp.sum(weights(o.shape) * jnp.sin(o)) for o in family.layer(*params))


def close(found: Any, expected: Any, slack: float = 1e-8) -> None:
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=0, atol=slack * max(1.0, float(np.abs(expected).max(initial=0.0))))


BOTH = (0, 2)


@cache
def hessian_of(family: Case) -> Any:
    return jax.hessian(loss_of(family), BOTH)(*family.sample((), seed=1))


def test_hessian_is_the_difference_of_gradients(family: Case) -> None:
    arrays = family.sample((), seed=1)
    gradient = jax.jit(jax.grad(loss_of(family), (0, 1, 2)))
    directions = [weights(a.shape) for a in arrays]
    step = 1e-5
    ahead, behind = (gradient(*(a + sign * step * d for a, d in zip(arrays, directions, strict=True))) for sign in (1, -1))
    _, found = jax.jvp(gradient, tuple(arrays), tuple(directions))
    for f, a, b in zip(found, ahead, behind, strict=True):
        close(f, (np.asarray(a) - np.asarray(b)) / (2 * step), 1e-5)


@pytest.mark.parametrize("outer", [jax.jacfwd, jax.jacrev])
@pytest.mark.parametrize("inner", [jax.jacfwd, jax.jacrev])
def test_modes_agree(family: Case, outer: Any, inner: Any) -> None:
    arrays = family.sample((), seed=1)
    expected = hessian_of(family)
    found = jax.jit(outer(inner(loss_of(family), BOTH), BOTH))(*arrays)
    jax.tree.map(close, found, expected)
    sizes = [arrays[k].size for k in BOTH]
    close(expected[0][1].reshape(sizes), expected[1][0].reshape(sizes[::-1]).T)  # symmetric


def test_hessians_of_a_batch(family: Case) -> None:
    """Under jit and vmap, also of shared parameters, per instance and summed."""
    arrays = family.sample((3,), (), seed=1)
    axes = (0, None, None)
    function = jax.jit(jax.hessian(loss_of(family), (0, 1)))
    found = jax.jit(jax.vmap(function, axes))(*arrays)
    expected = [function(a, *arrays[1:]) for a in arrays[0]]
    jax.tree.map(lambda f, *e: close(f, np.stack(e)), found, *expected)
    mapped = jax.vmap(loss_of(family), axes)
    for outer in (jax.jacfwd, jax.jacrev):
        total = jax.jit(outer(jax.grad(lambda *p: jnp.sum(mapped(*p)), 1), 1))(*arrays)
        close(total, np.sum([e[1][1] for e in expected], axis=0))


def test_forward_over_forward_of_a_batch(family: Case) -> None:
    arrays = family.sample((3,), (), seed=1)
    twice = jax.vmap(jax.jacfwd(jax.jacfwd(loss_of(family), 2), (1, 2)), (0, None, None))
    expected = jax.vmap(jax.jacfwd(jax.jacrev(loss_of(family), 2), (1, 2)), (0, None, None))
    jax.tree.map(close, jax.jit(twice)(*arrays), jax.jit(expected)(*arrays))


def test_hessian_vector_products(family: Case) -> None:
    """grad of ⟨grad, v⟩, and many at one linearization."""
    arrays = family.sample((), seed=1)
    gradient = jax.grad(loss_of(family))
    hessian = jax.jit(jax.hessian(loss_of(family)))(*arrays)
    v = weights((4, *arrays[0].shape))
    expected = np.tensordot(v, hessian, arrays[0].ndim)
    pulled = jax.jit(jax.vmap(lambda d: jax.grad(lambda p: jnp.vdot(gradient(p, *arrays[1:]), d))(arrays[0])))(v)
    _, pushed = jax.linearize(lambda p: gradient(p, *arrays[1:]), arrays[0])
    close(pulled, expected)
    close(jax.vmap(pushed)(v), expected)


def test_third_order_is_refused() -> None:
    family = case("qp")
    arrays = family.sample(())
    for transform in (jax.jacfwd, jax.jacrev, jax.grad):
        with pytest.raises(DerivativeError, match="third"):
            transform(lambda g: jnp.sum(jax.hessian(loss_of(family), 1)(arrays[0], g, arrays[2])))(arrays[1])
