"""What is installed is what pyproject.toml promises. ``.ci/run`` runs this against a wheel, away from the checkout."""

from __future__ import annotations

import importlib.metadata
import importlib.resources
import re
import tomllib
from pathlib import Path

import cvxpy as cp
import pytest

import cvxpylayers

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PINS = dict(
    line.split("==") for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines() if not line.startswith("#")
)


def normal(requirement: str) -> str:
    """The name in a requirement, as registries spell it."""
    return re.sub(r"[-_.]+", "-", re.split(r"[\[<>=!~; ]", requirement, maxsplit=1)[0]).lower()


def test_version_and_license() -> None:
    metadata = importlib.metadata.metadata("cvxpylayers")
    assert cvxpylayers.__version__ == metadata["Version"] == PROJECT["version"]
    assert metadata["License-Expression"] == "Apache-2.0"
    assert (importlib.resources.files("cvxpylayers") / "py.typed").is_file()


def test_a_user_needs_four_packages() -> None:
    needed = [r for r in importlib.metadata.requires("cvxpylayers") or [] if "extra ==" not in r]
    assert {normal(r) for r in needed} == {"numpy", "scipy", "cvxpy", "clarabel"}
    assert all(">=" in r for r in needed)
    extras = importlib.metadata.metadata("cvxpylayers").get_all("Provides-Extra") or []
    assert {"torch", "jax", "mlx", "solvers", "tables", "plots", "ray", "dask", "spark", "all", "dev", "docs"} == set(extras)


def test_everything_that_the_makefile_installs_is_pinned() -> None:
    extras = PROJECT["optional-dependencies"]
    pinned = {normal(name) for name in PINS}
    installed = [r for kind in ("torch", "jax", "mlx", "solvers", "tables", "plots", "dask", "docs", "dev") for r in extras[kind]]
    wanted = {normal(r) for r in (*PROJECT["dependencies"], *installed, "skfolio")}
    assert wanted <= pinned


def test_the_installed_package_solves_and_differentiates() -> None:
    torch = pytest.importorskip("torch")
    from cvxpylayers.torch import CvxpyLayer

    y, x = cp.Parameter(3), cp.Variable(3)
    layer = CvxpyLayer(cp.Problem(cp.Minimize(cp.sum_squares(x - y)), [cp.sum(x) == 1, x >= 0]), [y], [x])
    point = torch.tensor([[0.5, 0.2, -3.0], [2.0, 0.0, 0.0]], dtype=torch.float64, requires_grad=True)
    (projection,) = layer(point)
    # The first lands on the edge between two vertices, which share the missing 0.3; the second on a vertex.
    expected = torch.tensor([[0.65, 0.35, 0.0], [1.0, 0.0, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(projection, expected, rtol=0, atol=1e-8)
    projection[:, 0].sum().backward()
    expected = torch.tensor([[0.5, -0.5, 0.0], [0.0, 0.0, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(point.grad, expected, rtol=0, atol=1e-8)


def test_compiled_programs_of_jax_call_the_kernel() -> None:
    jax = pytest.importorskip("jax")
    from cvxpylayers.jax import CvxpyLayer

    y, x = cp.Parameter(3), cp.Variable(3)
    layer = CvxpyLayer(cp.Problem(cp.Minimize(cp.sum_squares(x - y)), [cp.sum(x) == 1, x >= 0]), [y], [x])
    compiled = jax.jit(layer.__call__).lower(jax.numpy.ones((2, 3))).compile()
    program = compiled.as_text()
    assert 'custom_call_target="cvxpylayers_solve"' in program
    assert "callback" not in program
    assert abs(compiled(jax.numpy.ones((2, 3)))[0] - 1 / 3).max() < 1e-6


def test_the_laws_of_engines_come_with_the_package() -> None:
    from cvxpylayers.testing import EngineContract

    assert any(name.startswith("test_") for name in vars(EngineContract))
