"""Every engine through every front end: the numbers of the NumPy one, which the contract suite compares with Clarabel's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np
import pytest

from cvxpylayers import MissingPackageError
from cvxpylayers._engines.registry import names, resolve
from cvxpylayers.numpy import CvxpyLayer
from tests.contract import CASES, Case, compiled, quadratic
from tests.front_ends import Array, FrontEnd, Jax, Mlx, Torch


class JittedJax(Jax):
    """Engines other than the native one are called back from compiled code."""

    def vjp(self, layer: Any, values: Sequence[Any], cotangents: Sequence[Any], **options: Any) -> tuple[list[Array], list[Array]]:
        import jax

        return super().vjp(jax.jit(lambda *parameters: layer(*parameters, **options)), values, cotangents)


FRONT_ENDS = [Torch("float64"), JittedJax("float64"), Mlx("float64")]


@cache
def through_numpy(solver: str, make: Callable[[], Case]) -> tuple[Case, list[Array], list[Array]]:
    """The problem, outputs, and the gradients of half their squares."""
    case = make()
    point = CvxpyLayer(*case[:3], solver=solver).linearize(*case.values)
    return case, list(point.outputs), list(point.vjp(*point.outputs))


@pytest.mark.parametrize("front", FRONT_ENDS, ids=lambda front: front.library)
@pytest.mark.parametrize("make", CASES.values(), ids=CASES)
@pytest.mark.parametrize("solver", names())
def test_front_ends_agree(solver: str, make: Callable[[], Case], front: FrontEnd) -> None:
    if resolve(solver)[0].capabilities.lacks(compiled(make())):
        pytest.skip(f"{solver} does not take this problem")
    try:
        case, outputs, gradients = through_numpy(solver, make)
    except MissingPackageError as error:
        pytest.skip(str(error))
    with front.context():
        found = front.vjp(front.kind(*case[:3], solver=solver), case.values, outputs)
    for theirs, ours in zip(found, (outputs, gradients), strict=True):
        for a, b in zip(theirs, ours, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


def test_different_engines_side_by_side_in_threads() -> None:
    case = quadratic()
    layers = [CvxpyLayer(*case[:3], solver=name) for name in ("NATIVE", "OSQP", "QOCO", "DAQP")]
    expected = [layer(*case.values) for layer in layers]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(3):
            for found, true in zip(pool.map(lambda layer: layer(*case.values), layers), expected, strict=True):
                for a, b in zip(found, true, strict=True):
                    np.testing.assert_array_equal(a, b)
