"""Layers that more than one file asks for."""

from __future__ import annotations

import cvxpy as cp
import pytest

from cvxpylayers.torch import CvxpyLayer


@pytest.fixture
def bounded() -> CvxpyLayer:
    """min |x - c|² over lo ≤ x ≤ hi, of two entries."""
    x, c = cp.Variable(2, name="x"), cp.Parameter(2, name="c")
    lo, hi = cp.Parameter(2, name="lo"), cp.Parameter(2, name="hi")
    return CvxpyLayer(cp.Problem(cp.Minimize(cp.sum_squares(x - c)), [x >= lo, x <= hi]), [c, lo, hi], [x])


@pytest.fixture
def cost() -> CvxpyLayer:
    """A linear program with one solution or, where c has equal entries, many."""
    x, c = cp.Variable(3, name="x"), cp.Parameter(3, name="c")
    return CvxpyLayer(cp.Problem(cp.Minimize(c @ x), [cp.sum(x) == 1, x >= 0]), [c], [x])
