"""Derivatives with cones, whatever the ranks: VJP and JVP are adjoint to each other where solutions are not unique too."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cvxpylayers._engines.native.engine import NativeEngine
from cvxpylayers._program import Cones, Status
from problems.conic import random_conic
from problems.mixes import MIXES
from problems.programs import pick
from tests.checks import assert_adjoint, assert_second_derivative, differentiate

mixes = pytest.mark.parametrize("cones", MIXES.values(), ids=MIXES)


@pytest.mark.isa
@mixes
@pytest.mark.parametrize(("rank", "unique"), [(None, True), (3, False), (0, False)], ids=["definite", "low_rank", "linear"])
def test_adjoint_identity(cones: Cones, rank: int | None, unique: bool) -> None:
    d = random_conic(np.random.default_rng(80), 8, cones, 12, rank=rank, unique=unique)
    native = NativeEngine(d.compiled, {})
    keep = np.flatnonzero(native.solve(d.batch, {}, tape=False).status == Status.SOLVED)
    assert_adjoint(differentiate(native, pick(d.batch, keep)))


@pytest.mark.isa
@mixes
@pytest.mark.parametrize("options", [{}, {"derivative": "smoothed", "smoothing": 0.1}], ids=["exact", "smoothed"])
def test_second_derivatives(cones: Cones, options: dict[str, Any]) -> None:
    d = random_conic(np.random.default_rng(81), 8, cones, 3)
    assert_second_derivative(NativeEngine(d.compiled, {"fallback": False, **options}), d.batch, 3e-5)
