"""Projections onto the cones: Moreau's decomposition identifies them, central differences their derivatives."""

from __future__ import annotations

import numpy as np
import pytest

from cvxpylayers._engines.judge.projections import Projection
from cvxpylayers._program import Cones
from problems.programs import Array
from problems.projections import inside

CONES = {
    "zero": Cones(zero=3),
    "nonneg": Cones(nonneg=4),
    "second-order": Cones(soc=(1, 2, 5)),
    "semidefinite": Cones(psd=(1, 2, 4)),
    "exponential": Cones(exp=2),
    "power": Cones(power=(0.3, 0.5, 0.9)),
    "all": Cones(zero=1, nonneg=2, soc=(3,), psd=(3,), exp=1, power=(0.2,)),
}


def points(cones: Cones) -> list[Array]:
    rng = np.random.default_rng(0)
    return [scale * rng.normal(size=cones.rows) for scale in (1.0, 1.0, 1.0, 1e-3, 30.0) for _ in range(12)]


@pytest.mark.parametrize("cones", CONES.values(), ids=CONES)
def test_every_point_splits_into_a_complementary_pair(cones: Cones) -> None:
    for w in points(cones):
        s = Projection(cones)(w)
        z, size = s - w, max(1.0, float(np.abs(w).max()))
        assert inside(cones, s, 1e-9 * size)
        assert inside(cones, z, 1e-9 * size, dual=True)
        assert abs(s @ z) <= 1e-10 * size**2
        np.testing.assert_allclose(Projection(cones)(s), s, atol=1e-9 * size)  # idempotent


@pytest.mark.parametrize("cones", CONES.values(), ids=CONES)
def test_derivatives_agree_with_central_differences(cones: Cones) -> None:
    project, h = Projection(cones), 1e-6
    for w in points(cones)[:36:3]:
        D = project.derivative(w)
        np.testing.assert_allclose(D, D.T, atol=1e-9)
        numeric = np.column_stack([(project(w + h * e) - project(w - h * e)) / (2 * h) for e in np.eye(len(w))])
        np.testing.assert_allclose(D, numeric, atol=2e-6)


@pytest.mark.parametrize("rho", [-300.0, -30.0, -1.0, 0.5, 30.0, 300.0])
def test_derivatives_far_out_on_the_exponential_cone_are_finite_and_symmetric(rho: float) -> None:
    """And Π'(w) w = Π(w), since Π is homogeneous."""
    grow, decay = np.exp(rho), np.exp(-rho)
    w = np.array([rho, 1.0, grow]) / max(1.0, grow) + np.array([1.0, 1 - rho, -decay]) / max(1.0, decay)
    with np.errstate(all="raise", under="ignore"):
        s, D = Projection(Cones(exp=1))(w), Projection(Cones(exp=1)).derivative(w)
    np.testing.assert_allclose(D, D.T, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(D @ w, s, rtol=1e-9, atol=1e-9)
