"""The examples of custom engines and of the NumPy front end do what they say."""

from __future__ import annotations

import numpy as np
import pytest

import projected_gradient
import sklearn_estimator


def test_the_custom_engine_differentiates_like_the_native_one(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("jax")
    projected_gradient.main()
    lines = [line.split("instance: ")[1] for line in capsys.readouterr().out.splitlines()]
    assert len(lines) == 3
    assert len(set(lines)) == 1


def test_the_estimator_finds_better_penalties() -> None:
    rng = np.random.default_rng(1)
    X, true = rng.normal(size=(40, 6)), np.array([1.0, 0, 0, 0.5, 0, 0])
    model = sklearn_estimator.TunedRegression(steps=15).fit(X, X @ true + 0.5 * rng.normal(size=40))
    assert model.path_[-1] < model.path_[0]
    assert (model.coef_ >= -1e-9).all()
    assert np.mean((model.predict(X) - X @ true) ** 2) < 0.1
