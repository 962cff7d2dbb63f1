"""Small layers for files, each with values of its parameters; and files whose contents are changed, with digests that fit."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from typing import Any

import cvxpy as cp
import numpy as np

from cvxpylayers import _file
from cvxpylayers.numpy import CvxpyLayer
from problems.families import nnls

HEAD = 16  # bytes before the header


def shrunken(weight: float = 1.0) -> CvxpyLayer:
    """min ‖x - b‖² + weight ‖x‖₁, x ≤ 2: two variables x, one parameter b."""
    x, b = cp.Variable(2, name="x"), cp.Parameter(2, name="b")
    return CvxpyLayer(cp.Problem(cp.Minimize(cp.sum_squares(x - b) + weight * cp.norm1(x)), [x <= 2]), [b], [x])


def _quadratic() -> tuple[CvxpyLayer, list[Any]]:
    layer = CvxpyLayer(*nnls().make(), solver_args={"tolerance": 1e-9})
    rng = np.random.default_rng(0)
    return layer, [rng.standard_normal((7, 3, 2)), rng.standard_normal((7, 3))]


def _conic() -> tuple[CvxpyLayer, list[Any]]:
    x, X = cp.Variable(3, name="x"), cp.Variable((2, 2), PSD=True, name="X")
    c, r = cp.Parameter(3, name="c"), cp.Parameter(nonneg=True, name="r")
    cones = [cp.norm(x) <= r, cp.trace(X) == 1, X[0, 1] == x[0] / 4, cp.exp(x[1]) <= 2, cp.power(x[2] + 3, 0.3, approx=False) >= 1]
    return CvxpyLayer(cp.Problem(cp.Minimize(c @ x + X[0, 0]), cones), [c, r], [x, X]), [np.eye(3), np.ones(3)]


def _geometric() -> tuple[CvxpyLayer, list[Any]]:
    x, a = cp.Variable(2, pos=True, name="x"), cp.Parameter(2, pos=True, name="a")
    problem = cp.Problem(cp.Minimize(a[0] * x[0] + a[1] / (x[0] * x[1])), [x[1] <= 2])
    return CvxpyLayer(problem, [a], [x], gp=True), [np.array([[1.0, 2.0], [3.0, 0.5]])]


def _declared() -> tuple[CvxpyLayer, list[Any]]:
    x = cp.Variable(2, name="x")
    S, u = cp.Parameter((2, 2), PSD=True, name="S"), cp.Parameter(2, bounds=[0, 3], name="u")
    problem = cp.Problem(cp.Maximize(cp.sum(x) - cp.quad_form(x, S)), [x <= u])
    return CvxpyLayer(problem, [S, u], [x], on_failure="nan", solver="CLARABEL"), [np.eye(2) + 1, np.ones((3, 2))]


LAYERS: dict[str, Callable[[], tuple[CvxpyLayer, list[Any]]]] = {
    "quadratic": _quadratic,
    "conic": _conic,
    "geometric": _geometric,
    "declared": _declared,
}


def sealed(content: bytes) -> bytes:
    """The content with its digest."""
    return content + _file._digest(content)


def rewritten(data: bytes, change: Callable[[dict[str, Any]], None]) -> bytes:
    """The file with another header, and a digest that fits."""
    (length,) = struct.unpack_from("<I", data, 12)
    header = json.loads(data[HEAD : HEAD + length])
    change(header)
    text = json.dumps(header).encode()
    return sealed(data[:12] + struct.pack("<I", len(text)) + _file._padded(text) + data[HEAD + _file._up(length) : -16])
