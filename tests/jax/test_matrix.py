"""Transformations of every family, batched in every way: values are those of single calls, bit by bit, derivatives PyTorch's."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest

from tests.jax.cases import FAMILIES, SINGLE, Array, Case, case, close, loss_of, same, torch_gradients, weights

SIZE = 4
BATCHING = ("all", "first", "rest")
DTYPES = ("float32", "float64")


def sampled(family: Case, batching: str, dtype: str) -> tuple[list[Array], tuple[int | None, ...]]:
    """Parameters and the axis of each that is mapped: all of them, the first alone, or all but the first."""
    first, rest = {"all": (0, 0), "first": (0, None), "rest": (None, 0)}[batching]
    axes = (first, *(rest for _ in family.draws[1:]))
    return family.sample(*(() if k is None else (SIZE,) for k in axes), dtype=dtype, seed=3), axes


# Every pair of a family, a batching and a dtype, but not every triple: each takes seconds to compile.
@pytest.mark.parametrize(
    ("name", "batching", "dtype"),
    [(n, b, DTYPES[(i + j) % 2]) for i, n in enumerate((*FAMILIES, *SINGLE)) for j, b in enumerate(BATCHING)],
)
def test_every_transformation_of_a_batch(name: str, batching: str, dtype: str) -> None:
    with jax.enable_x64(dtype == "float64"):
        family = case(name)
        arrays, axes = sampled(family, batching, dtype)
        layer, every = family.layer, tuple(range(len(arrays)))
        directions = [weights(a.shape[k is not None :], dtype) for a, k in zip(arrays, axes, strict=True)]

        def single(*params: Any) -> tuple[Any, ...]:
            """All first derivatives of one instance, in every mode."""
            pushed = jax.jvp(loss_of(layer), params, tuple(directions))[1]
            modes = (jax.grad(loss_of(layer), every), jax.jacfwd(loss_of(layer), every), jax.jacrev(layer.__call__, every))
            return pushed, *(mode(*params) for mode in modes)

        def mapped(*params: Any) -> Any:
            return jax.vmap(layer, axes)(*params)

        every_way = jax.jit(lambda *p: (mapped(*p), jax.vmap(single, axes)(*p), jax.grad(loss_of(mapped), every)(*p)))
        values, (pushed, reverse, forward, rows), summed = every_way(*arrays)

        instances = [[a if k is None else a[i] for a, k in zip(arrays, axes, strict=True)] for i in range(SIZE)]
        for output, *expected in zip(values, *(layer(*p) for p in instances), strict=True):
            assert output.dtype == dtype
            same(family, output, np.stack(expected))
        for found, expected in zip(summed, torch_gradients(family.twin, arrays), strict=True):
            close(found, expected)
        for i, p in enumerate(instances):
            expected = torch_gradients(family.twin, p)
            weighted = [sum(_weigh(output[k][i], len(p[k].shape)) for output in rows) for k in every]
            for gradients in (reverse, forward):
                for found, gradient in zip(gradients, expected, strict=True):
                    close(found[i], gradient)
            for found, gradient in zip(weighted, expected, strict=True):
                close(found, gradient)
            close(pushed[i], np.asarray(sum(np.vdot(g, d) for g, d in zip(expected, directions, strict=True)), dtype))


def _weigh(jacobian: Any, rank: int) -> Array:
    """⟨weights, J⟩ for an output's Jacobian (*output, *parameter), the parameter of that rank."""
    shape = jacobian.shape[: jacobian.ndim - rank]
    return np.tensordot(weights(shape, jacobian.dtype), np.asarray(jacobian), len(shape))


@pytest.mark.parametrize("name", SINGLE)
def test_second_derivatives_of_a_batch(name: str) -> None:
    """hessian under jit and vmap is the difference of PyTorch's gradients."""
    with jax.enable_x64(True):
        family, step = case(name), 1e-5
        arrays, axes = sampled(family, "all", "float64")
        hessian = jax.jit(jax.vmap(jax.hessian(loss_of(family.layer)), axes))(*arrays)
        rng = np.random.default_rng(0)
        d = rng.normal(size=arrays[0].shape)
        for i, (first, *rest) in enumerate(zip(*arrays, strict=True)):
            ahead, behind = (torch_gradients(family.twin, [first + s * step * d[i], *rest])[0] for s in (1, -1))
            close(np.tensordot(hessian[i], d[i], d[i].ndim), (ahead - behind) / (2 * step), 1e-5)
