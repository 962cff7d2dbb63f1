"""Every engine through every front end: the numbers of the NumPy one, which the contract suite compares with Clarabel's."""

from __future__ import annotations

import contextlib
import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np
import pytest

from cvxpylayers import MissingPackageError, UnsupportedConeError
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


def side_by_side(case: Case) -> list[CvxpyLayer]:
    """Layers of one problem with every engine that is here and quickly imported."""
    found = []
    for name in (name for name in names() if name not in ("MOREAU", "MPAX")):
        with contextlib.suppress(MissingPackageError, UnsupportedConeError):
            found.append(CvxpyLayer(*case[:3], solver=name))
    return found


def bits(layers: list[CvxpyLayer], values: list[Array]) -> list[Array]:
    """Outputs and gradients of every layer."""
    points = [layer.linearize(*values) for layer in layers]
    return [array for point in points for array in (*point.outputs, *point.vjp(*point.outputs))]


def test_different_engines_side_by_side_in_threads() -> None:
    case = quadratic()
    layers = side_by_side(case)
    expected = [bits([layer], case.values) for layer in layers]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(3):
            for found, true in zip(pool.map(lambda layer: bits([layer], case.values), layers), expected, strict=True):
                for a, b in zip(found, true, strict=True):
                    np.testing.assert_array_equal(a, b)


def test_different_engines_travel_to_a_new_process_together() -> None:
    case = quadratic()
    layers = side_by_side(case)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        found = pool.apply_async(bits, (layers, case.values)).get(60)  # imports everything anew
    for a, b in zip(found, bits(layers, case.values), strict=True):
        np.testing.assert_array_equal(a, b)
