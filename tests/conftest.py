"""Shared fixtures. Types and shapes in signatures are checked on every call, but where users' mistakes must be met by our words."""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=4")  # before JAX is first imported, which CVXPY does

from jaxtyping import install_import_hook

# Functions of ``projections`` take single numbers, and define others, a million times in some tests: checks would take forty times
# as long as they.
SOURCES = Path(__file__).parents[1] / "src"
ENGINES_BUT = [path for path in SOURCES.glob("cvxpylayers/_engines/**/*.py") if path.stem not in ("__init__", "projections")]
CHECKED = ("_layer.inputs", "_layer.info", "_program", "_canon.layout", "_canon.cvxpy_bridge")
install_import_hook(  # before the package is first imported
    [f"cvxpylayers.{name}" for name in CHECKED]
    + [".".join(path.relative_to(SOURCES).with_suffix("").parts) for path in ENGINES_BUT],
    "beartype.beartype",
)

import cvxpy as cp
import pytest
import torch

from cvxpylayers.torch import CvxpyLayer
from problems.families import SMALL

ENGINES = [pytest.param(None, id="native"), pytest.param("CLARABEL", id="clarabel")]


@pytest.fixture(params=ENGINES)
def solver(request: pytest.FixtureRequest) -> str | None:
    """Every engine, as the ``solver`` argument of a layer."""
    return request.param


@pytest.fixture
def nnls(solver: str | None) -> CvxpyLayer:
    """Nonnegative least squares, parameters A (3, 2) and b (3)."""
    return CvxpyLayer(*SMALL["nnls_3x2"].make(), solver=solver)


@pytest.fixture
def ridge(solver: str | None) -> CvxpyLayer:
    """A strictly convex QP with every kind of data: parameters A (3, 2), b (3), a scalar lam > 0, and a bound u (2)."""
    x = cp.Variable(2, name="x")
    A, b = cp.Parameter((3, 2), name="A"), cp.Parameter(3, name="b")
    lam, u = cp.Parameter(nonneg=True, name="lam"), cp.Parameter(2, name="u")
    objective = cp.Minimize(0.5 * cp.sum_squares(A @ x - b) + lam * cp.sum_squares(x) + 0.1 * cp.sum_squares(x))
    return CvxpyLayer(cp.Problem(objective, [x <= u, cp.sum(x) == 1]), [A, b, lam, u], [x], solver=solver)


@pytest.fixture
def interval(solver: str | None) -> CvxpyLayer:
    """min c x over lo ≤ x and x ≤ hi where ``hi`` may be far away: infeasible for lo > hi, unbounded for c > 0 without lo."""
    x, y = cp.Variable(2, name="x"), cp.Variable(name="y")
    lo, hi, c = cp.Parameter(2, name="lo"), cp.Parameter(2, name="hi"), cp.Parameter(name="c")
    problem = cp.Problem(cp.Minimize(cp.sum_squares(x) + c * y), [x >= lo, x <= hi, y >= 0])
    return CvxpyLayer(problem, [lo, hi, c], [x, y], solver=solver)


def pytest_itemcollected(item: pytest.Item) -> None:
    assert item.path.parent.name == "native" or not item.get_closest_marker("isa"), (
        "make test asks tests/native for isa, nothing else"
    )


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)
