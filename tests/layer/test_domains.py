"""Declared domains of parameters: what rounding may miss them by, and what of a nearly symmetric matrix counts; on both paths."""

from __future__ import annotations

from typing import Any

import cvxpy as cp
import jax
import numpy as np
import pytest
from jax.test_util import check_grads

from cvxpylayers import Status
from cvxpylayers._layer.layer import Layer
from cvxpylayers.jax import CvxpyLayer
from problems.conic_families import ALL
from problems.families import Family, Parametrized

ROOT = np.array([[1.0, 1.0], [-1.0, 1.0]]) / np.sqrt(2)


def spectrum(*eigenvalues: float) -> np.ndarray:
    return ROOT @ np.diag(eigenvalues) @ ROOT.T


# attributes, dtype, value, whether it is in the domain but for rounding
DOMAINS: list[tuple[dict[str, Any], str, Any, bool]] = [
    ({"symmetric": True}, "f8", [[1.0, 0.5], [0.5001, 2.0]], True),
    ({"symmetric": True}, "f8", [[1.0, 0.5], [0.49, 2.0]], False),
    ({"symmetric": True}, "f4", [[1.0, 0.5], [0.49, 2.0]], False),
    ({"symmetric": True}, "f8", [[1e-6, 5e-7], [4e-7, 1e-6]], False),
    ({"PSD": True}, "f8", [[1.0, 1e-3], [0.0, 1.0]], True),
    ({"PSD": True}, "f4", [[1.0, 1e-3], [0.0, 1.0]], True),
    ({"PSD": True}, "f8", [[1.0, 0.9995], [1.0005, 1.0]], True),  # neither triangle alone would do for both
    ({"PSD": True}, "f8", [[1.0, 1.0005], [0.9995, 1.0]], True),
    ({"NSD": True}, "f8", [[-1.0, -1.0005], [-0.9995, -1.0]], True),
    ({"PSD": True}, "f8", spectrum(1.0, -5e-10), True),
    ({"PSD": True}, "f8", spectrum(1.0, -7e-8), False),
    ({"PSD": True}, "f4", spectrum(1.0, -7e-8), True),
    ({"PSD": True}, "f4", spectrum(1e4, -1e-3), True),
    ({"PSD": True}, "f4", spectrum(1.0, -1e-4), False),
    ({"NSD": True}, "f4", spectrum(-1.0, 7e-8), True),
    ({"NSD": True}, "f4", spectrum(-1.0, 1e-4), False),
    ({"nonneg": True}, "f8", [[1.0, -1e-9], [0.0, 1.0]], True),
    ({"nonneg": True}, "f8", [[1.0, -1e-6], [0.0, 1.0]], False),
    ({"nonneg": True}, "f8", [[1e6, -1e-3], [0.0, 1.0]], True),
    ({"nonneg": True}, "f8", [[1e6, -1.0], [0.0, 1.0]], False),
    ({"nonneg": True}, "f4", [[1.0, -1e-6], [0.0, 1.0]], True),
    ({"nonneg": True}, "f4", [[1.0, -1e-4], [0.0, 1.0]], False),
    ({"nonpos": True}, "f8", [[-1.0, 1e-9], [0.0, -1.0]], True),
    ({"nonpos": True}, "f8", [[-1.0, 1e-6], [0.0, -1.0]], False),
    ({"bounds": [0, 1]}, "f8", [[1.0 + 1e-9, -1e-9], [0.0, 1.0]], True),
    ({"bounds": [0, 1]}, "f4", [[1.0 + 5e-7, 0.0], [0.0, 1.0]], True),
    ({"bounds": [0, 1]}, "f8", [[1.0 + 1e-6, 0.0], [0.0, 1.0]], False),
    ({"diag": True}, "f8", [[1.0, 1e-9], [0.0, 1.0]], True),
    ({"diag": True}, "f8", [[1.0, 1e-3], [0.0, 1.0]], False),
    ({"diag": True}, "f4", [[1.0, 1e-6], [0.0, 1.0]], True),
]


def reads(attributes: dict[str, Any], solver: Any = CvxpyLayer) -> Any:
    """x is the first row of what S is taken for."""
    x, S = cp.Variable(2), cp.Parameter((2, 2), name="S", **attributes)
    return solver(cp.Problem(cp.Minimize(cp.sum_squares(x - S[0]))), [S], [x], on_failure="nan")


def taken(attributes: dict[str, Any], value: np.ndarray) -> np.ndarray:
    if {"symmetric", "PSD", "NSD"} & attributes.keys():
        return (value + value.T) / 2
    return value * np.eye(2) if "diag" in attributes else value


@pytest.mark.parametrize("path", ["arrays", "compiled", "callback"])
@pytest.mark.parametrize(("attributes", "dtype", "value", "valid"), DOMAINS)
def test_rounding_is_forgiven_and_mistakes_are_not(
    attributes: dict[str, Any], dtype: str, value: Any, valid: bool, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = np.stack([np.zeros((2, 2)), value]).astype(dtype)
    if path == "arrays":
        call = reads(attributes, Layer).solve([batch])
        (x,), codes = call.outputs, call.info.codes
    else:
        monkeypatch.setenv("CVXPYLAYERS_JAX", path)
        with jax.enable_x64(True):
            (x,), info = reads(attributes).solve(batch)
        codes = np.asarray(info.status)
    np.testing.assert_array_equal(codes, [Status.SOLVED, Status.SOLVED if valid else Status.INVALID_INPUT])
    if valid:
        np.testing.assert_allclose(x[1], taken(attributes, batch[1].astype(np.float64))[0], atol=1e-6 if dtype == "f4" else 1e-12)


NEARLY = np.array([[2.0, 0.5], [0.501, 1.0]])


def quadratic(attributes: dict[str, Any]) -> Any:
    """S makes the quadratic term where it is PSD, and enters an equality."""
    x, S = cp.Variable(2), cp.Parameter((2, 2), **attributes)
    cost = cp.quad_form(x, S) if attributes.get("PSD") else cp.sum_squares(S @ x - 1)
    return CvxpyLayer(cp.Problem(cp.Minimize(cost + cp.sum(x)), [np.array([1.0, 2.0]) @ S @ x == 1]), [S], [x])


@pytest.mark.parametrize("attributes", [{"symmetric": True}, {"PSD": True}])
def test_the_gradient_is_that_of_the_symmetric_part(attributes: dict[str, Any]) -> None:
    layer = quadratic(attributes)
    with jax.enable_x64(True):
        loss = lambda S: (layer(S)[0] @ np.array([1.0, -0.3])).sum()
        gradient = np.asarray(jax.grad(loss)(NEARLY))
        np.testing.assert_array_equal(gradient, gradient.T)
        np.testing.assert_allclose(gradient, jax.grad(loss)((NEARLY + NEARLY.T) / 2), rtol=1e-12)
        check_grads(loss, (NEARLY,), order=2, modes=["rev"])


def partly_read() -> Parametrized:
    """Of p only the ends are read, of unread nothing."""
    x, p, unread = cp.Variable(2, name="x"), cp.Parameter(3, name="p"), cp.Parameter(name="unread")
    problem = cp.Problem(cp.Minimize(cp.sum_squares(x - p[::2]) + cp.multiply(0.0, unread)), [x >= 0])
    return Parametrized(problem, [p, unread], [x])


PARTLY_READ = Family("partly_read", partly_read, lambda rng, B: (rng.normal(size=(B, 3)), rng.normal(size=B)))
WITH_CONES = [ALL[name] for name in ("nnls_3x2", "portfolio_10", "shared_qp_50", "robust_portfolio_20", "psd_projection_6")]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("solver", [None, "CLARABEL"])
@pytest.mark.parametrize("family", [PARTLY_READ, *WITH_CONES], ids=lambda family: family.name)
def test_whoever_reads_it_finds_what_is_no_number(family: Family, solver: str | None, bad: float) -> None:
    layer, arrays = Layer(*family.make(), solver=solver, on_failure="nan"), family.sample(3)
    for i, spec in enumerate(layer.compiled.parameters):
        if spec.unbounded and bad == np.inf:
            continue
        for entry in {0, spec.size // 2, spec.size - 1}:
            spoilt, shared = [a.copy() for a in arrays], arrays[i].ndim == len(spec.shape)
            spoilt[i].reshape(-1, spec.size)[0 if shared else 1, entry] = bad
            call = layer.solve(spoilt)
            assert (call.info.codes == Status.INVALID_INPUT).tolist() == [shared, True, shared], (spec.name, entry)
            assert np.isnan(call.outputs[0][1]).all()
