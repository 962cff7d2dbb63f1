"""Batches in every shape, and first derivatives in every mode: what ``test_jax_matrix`` composes, one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.jax.cases import FAMILIES, Array, Case, case, close, loss_of, same, torch_gradients, weights

Params = tuple[Any, ...]


@pytest.fixture(params=["float32", "float64"])
def dtype(request: pytest.FixtureRequest) -> Iterator[str]:
    """The dtype of the parameters, with x64 enabled just for double precision."""
    with jax.enable_x64(request.param == "float64"):
        yield request.param


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> Case:
    return case(request.param)


def singles(layer: Any, arrays: list[Array], axes: tuple[int | None, ...]) -> list[Array]:
    """One call an instance; ``axes[i]`` is the batch axis of parameter i."""
    size = next(a.shape[k] for a, k in zip(arrays, axes, strict=True) if k is not None)
    calls = [layer(*(a if k is None else np.take(a, i, axis=k) for a, k in zip(arrays, axes, strict=True))) for i in range(size)]
    return [np.stack(outputs) for outputs in zip(*calls, strict=True)]


BATCHES = {
    "alone": [()],
    "all": [(5,)],
    "first": [(5,), ()],
    "last": [(), (), (5,)],
    "crossed": [(2, 1), (3,), ()],
    "empty": [(0,)],
}


@pytest.mark.parametrize("batch", BATCHES)
def test_leading_axes(family: Case, dtype: str, batch: str) -> None:
    arrays = family.sample(*BATCHES[batch], dtype=dtype)
    found = family.layer(*arrays)
    for output, expected in zip(found, family.twin(*map(_tensor, arrays)), strict=True):
        assert output.dtype == dtype
        same(family, output, expected.numpy())


@pytest.mark.parametrize("batch", BATCHES)
def test_gradients_of_leading_axes(family: Case, dtype: str, batch: str) -> None:
    arrays = family.sample(*BATCHES[batch], dtype=dtype)
    wrap = jax.jit if dtype == "float32" else lambda f: f  # compiled, and op by op, which takes five times as long
    found = wrap(jax.grad(loss_of(family.layer), (0, 1, 2)))(*arrays)
    for gradient, expected in zip(found, torch_gradients(family.twin, arrays), strict=True):
        assert gradient.dtype == dtype
        close(gradient, expected)


def _tensor(array: Array) -> Any:
    import torch

    return torch.as_tensor(array)


AXES = [(0, 0, 0), (0, None, None), (None, 0, None), (None, None, 0), (1, 0, None), (-1, None, 0)]


@pytest.mark.parametrize("axes", AXES, ids=str)
@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit], ids=["eager", "jit"])
def test_vmap_any_axis(family: Case, dtype: str, axes: tuple[int | None, ...], wrap: Callable[..., Any]) -> None:
    arrays = [
        np.moveaxis(a, 0, k) if k is not None and a.ndim > 1 else a for a, k in zip(_spread(family, axes, dtype), axes, strict=True)
    ]
    axes = tuple(None if k is None else k % a.ndim for a, k in zip(arrays, axes, strict=True))
    found = wrap(jax.vmap(family.layer.__call__, axes))(*arrays)
    for output, expected in zip(found, singles(family.layer, arrays, axes), strict=True):
        same(family, output, expected)


def _spread(family: Case, axes: tuple[int | None, ...], dtype: str) -> list[Array]:
    return family.sample(*((() if k is None else (4,)) for k in axes), dtype=dtype)


def test_vmap_out_axes_and_nesting(family: Case, dtype: str) -> None:
    arrays = family.sample((3,), (4,), (), dtype=dtype)
    layer = family.layer
    nested = jax.vmap(jax.vmap(layer, (None, 0, None)), (0, None, None), out_axes=1)
    direct = layer(arrays[0][:, None], arrays[1], arrays[2])
    for output, expected in zip(nested(*arrays), direct, strict=True):
        same(family, output, np.moveaxis(np.asarray(expected), 0, 1))
    # over a call that has batch axes of its own
    over = jax.vmap(lambda F: layer(F[None], arrays[1], arrays[2]))(arrays[0])
    for output, expected in zip(over, direct, strict=True):
        same(family, output, expected)


def test_first_derivatives_agree(family: Case, dtype: str) -> None:
    """grad, vjp, jvp, jacfwd, jacrev and linearize tell the same story, eagerly and compiled."""
    arrays = family.sample((), dtype=dtype)
    loss = loss_of(family.layer)
    expected = torch_gradients(family.twin, arrays)
    tangents = [weights(a.shape, dtype) for a in arrays]
    slope = sum(float((t * g).sum()) for t, g in zip(tangents, expected, strict=True))
    for wrap in (lambda f: f, jax.jit):
        for found in (
            wrap(jax.grad(loss, (0, 1, 2)))(*arrays),
            wrap(jax.jacfwd(loss, (0, 1, 2)))(*arrays),
            wrap(jax.jacrev(loss, (0, 1, 2)))(*arrays),
            wrap(lambda *p: jax.vjp(loss, *p)[1](jnp.ones((), dtype)))(*arrays),
        ):
            for gradient, e in zip(found, expected, strict=True):
                assert gradient.dtype == dtype
                close(gradient, e)
        close(wrap(lambda p, t: jax.jvp(loss, p, t)[1])(tuple(arrays), tuple(tangents)), np.asarray(slope, dtype))
    _, push = jax.linearize(loss, *arrays)
    close(push(*tangents), np.asarray(slope, dtype))


def test_jacobians_of_all_outputs(family: Case, dtype: str) -> None:
    arrays = family.sample((), dtype=dtype)
    forward, reverse = (jax.jit(jac(family.layer.__call__, (0, 1, 2)))(*arrays) for jac in (jax.jacfwd, jax.jacrev))
    for row_f, row_r in zip(forward, reverse, strict=True):
        for f, r in zip(row_f, row_r, strict=True):
            close(f, r)
    for i, output in enumerate(family.layer(*arrays)):
        w = weights(output.shape, dtype)
        pulled = jax.vjp(lambda *p, i=i: family.layer(*p)[i], *arrays)[1](w)
        for block, gradient in zip(reverse[i], pulled, strict=True):
            close(np.tensordot(w, np.asarray(block), w.ndim), gradient)


def test_vmap_over_tangents_and_cotangents_keeps_the_linearization(family: Case, dtype: str) -> None:
    """Two nested maps over directions, of a batch with shared parameters."""
    arrays = family.sample((3,), (), (), dtype=dtype)
    outputs, pull = jax.vjp(family.layer.__call__, *arrays)
    many = tuple(weights((2, 4, *o.shape), dtype) for o in outputs)
    found = jax.vmap(jax.vmap(pull))(many)
    for i in range(2):
        for j in range(4):
            for g, e in zip(found, pull(tuple(m[i, j] for m in many)), strict=True):
                close(g[i, j], e)
    _, push = jax.linearize(family.layer.__call__, *arrays)
    t0, t1 = weights((4, *arrays[0].shape), dtype), weights((2, *arrays[1].shape), dtype)
    crossed = jax.vmap(jax.vmap(push, (0, None, None)), (None, 0, None))(t0, t1, arrays[2])
    for i in range(2):
        for j in range(4):
            for g, e in zip(crossed, push(t0[j], t1[i], arrays[2]), strict=True):
                close(g[i, j], e)


def test_transposing_twice_is_nothing(family: Case, dtype: str) -> None:
    """The VJP is linear in the cotangent, and its own transpose is the JVP."""
    arrays = family.sample((3,), (), (3,), dtype=dtype)
    outputs, pull = jax.vjp(family.layer.__call__, *arrays)
    again = jax.linear_transpose(pull, outputs)
    tangents = tuple(weights(a.shape, dtype) for a in arrays)
    (found,), (_, expected) = again(tangents), jax.jvp(family.layer.__call__, tuple(map(jnp.asarray, arrays)), tangents)
    for f, e in zip(found, expected, strict=True):
        close(f, e)
