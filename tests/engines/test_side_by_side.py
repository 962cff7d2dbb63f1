"""Layers with different engines in one process, in threads, and in another process: each gives its own bits."""

from __future__ import annotations

import contextlib
import multiprocessing
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from cvxpylayers import MissingPackageError, UnsupportedConeError
from cvxpylayers._engines.registry import names
from cvxpylayers.numpy import CvxpyLayer
from cvxpylayers.testing._cases import Case, quadratic
from cvxpylayers.testing._front_ends import Array


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
