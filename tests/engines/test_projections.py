"""Projections onto the cones: Moreau's decomposition identifies them, central differences their derivatives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cvxpylayers._engines.judge.projections import Projection
from cvxpylayers._program import Cones

Array = np.ndarray[Any, Any]
CONES = {
    "zero": Cones(zero=3),
    "nonneg": Cones(nonneg=4),
    "second-order": Cones(soc=(1, 2, 5)),
    "semidefinite": Cones(psd=(1, 2, 4)),
    "exponential": Cones(exp=2),
    "power": Cones(power=(0.3, 0.5, 0.9)),
    "all": Cones(zero=1, nonneg=2, soc=(3,), psd=(3,), exp=1, power=(0.2,)),
}


def in_cone(cones: Cones, v: Array, dual: bool, slack: float) -> bool:
    """Membership of K, or of K*, to ``slack``."""
    at = cones.zero
    if not dual and np.abs(v[:at]).max(initial=0.0) > slack:
        return False
    ok = bool((v[at : at + cones.nonneg] >= -slack).all())
    at += cones.nonneg
    for k in cones.soc:
        ok &= v[at] >= np.linalg.norm(v[at + 1 : at + k]) - slack
        at += k
    for k in cones.psd:
        column, row = np.tril_indices(k)
        W = np.zeros((k, k))
        W[row, column] = W[column, row] = v[at : at + len(row)] / np.where(row == column, 1.0, np.sqrt(2))
        ok &= np.linalg.eigvalsh(W)[0] >= -slack
        at += len(row)
    for _ in range(cones.exp):
        x, y, t = v[at : at + 3]
        if dual:  # {(u, v, w): u < 0, -u exp(v/u) ≤ e w}, closed by u = 0, v ≥ 0, w ≥ 0
            ok &= t >= -slack and (
                -x * np.exp(np.clip(y / x, -700, 700) - 1) <= t + slack if x < -1e-9 else x <= slack and y >= -slack
            )
        else:
            ok &= t >= -slack and (y * np.exp(np.clip(x / y, -700, 700)) <= t + slack if y > 1e-9 else y >= -slack and x <= slack)
        at += 3
    for a in cones.power:
        x, y, t = v[at : at + 3]
        p, q = (max(x, 0) + slack, max(y, 0) + slack) / (np.array([a, 1 - a]) if dual else np.ones(2))  # y^0.1 magnifies rounding
        ok &= min(x, y) >= -slack and p**a * q ** (1 - a) >= abs(t) - slack
        at += 3
    return bool(ok)


def points(cones: Cones) -> list[Array]:
    rng = np.random.default_rng(0)
    return [scale * rng.normal(size=cones.rows) for scale in (1.0, 1.0, 1.0, 1e-3, 30.0) for _ in range(12)]


@pytest.mark.parametrize("cones", CONES.values(), ids=CONES)
def test_every_point_splits_into_a_complementary_pair(cones: Cones) -> None:
    for w in points(cones):
        s = Projection(cones)(w)
        z, size = s - w, max(1.0, float(np.abs(w).max()))
        assert in_cone(cones, s, False, 1e-9 * size)
        assert in_cone(cones, z, True, 1e-9 * size)
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
