"""diffcp's own derivative, where ``mode`` asks for it: that of the native kernel, on problems that it takes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from cvxpylayers import OptionError
from cvxpylayers.errors import DerivativeError
from cvxpylayers.numpy import CvxpyLayer
from cvxpylayers.testing._cases import Case, exponential, linear, quadratic, rng, second_order

pytest.importorskip("diffcp")


def layer(case: Case, **options: object) -> CvxpyLayer:
    return CvxpyLayer(*case[:3], solver="DIFFCP", solver_args=options)


@pytest.mark.parametrize("mode", ["lsqr", "lsmr", "dense"])
@pytest.mark.parametrize("make", [linear, second_order, exponential])
def test_its_derivative_is_the_native_one(make: Callable[[], Case], mode: str) -> None:
    case = make()
    ours, theirs = CvxpyLayer(*case[:3]).linearize(*case.values), layer(case, mode=mode).linearize(*case.values)
    cotangents = [rng().normal(size=o.shape) for o in ours.outputs]
    tangents = [rng().normal(size=v.shape) for v in case.values]
    for found, true in zip(theirs.vjp(*cotangents), ours.vjp(*cotangents), strict=True):
        np.testing.assert_allclose(found, true, rtol=1e-6, atol=1e-6)
    for found, true in zip(theirs.jvp(*tangents), ours.jvp(*tangents), strict=True):
        np.testing.assert_allclose(found, true, rtol=1e-6, atol=1e-6)
    for found, true in zip(theirs.jacobian(), ours.jacobian(), strict=True):
        for a, b in zip(found, true, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)


def test_an_instance_without_a_solution_contributes_nothing() -> None:
    case = linear()
    assert case.broken is not None
    last = case.values[-1].copy()
    last[1] = case.broken
    point = layer(case, mode="lsmr").linearize(*case.values[:-1], last, on_failure="nan")
    gradients = point.vjp(*(np.ones_like(o) for o in point.outputs))
    assert (gradients[0][1] == 0).all()
    assert all(np.isfinite(g).all() for g in gradients)


@pytest.mark.parametrize("solve_method", ["SCS", "ECOS", "Clarabel"])
def test_the_solver_inside_can_be_chosen(solve_method: str) -> None:
    case = linear()
    outputs, info = layer(case, solve_method=solve_method).solve(*case.values)
    assert info.solved.all()
    np.testing.assert_allclose(outputs[0], CvxpyLayer(*case[:3])(*case.values)[0], atol=1e-8)
    assert case.broken is not None
    _, info = layer(case, solve_method=solve_method).solve(*case.values[:-1], case.broken, on_failure="nan")
    assert [str(status) for status in info.status] == ["primal_infeasible"] * 3


def test_what_its_derivative_does_not_do_is_said() -> None:
    with pytest.raises(OptionError, match="diffcp differentiates linear objectives only"):
        layer(quadratic(), mode="lsqr")
    with pytest.raises(OptionError, match="'mode' must be one of 'lsqr', 'lsmr', 'dense'; got 'lpgd'"):
        layer(linear(), mode="lpgd")
    with pytest.raises(OptionError, match="'mode' belongs to the constructor"):
        layer(linear())(*linear().values, solver_args={"mode": "dense"})
    values = linear().values
    point = layer(linear(), mode="lsqr").linearize(*values)
    with pytest.raises(DerivativeError, match="diffcp has no second derivatives"):
        point._layer.hvp(point._point, point.outputs, values, [True] * len(values))
