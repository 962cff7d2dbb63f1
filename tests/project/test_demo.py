"""The demo is honest about time, and it runs."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from portfolio_data import HORIZON, build, load_prices, split
from tests.processes import run_script

SCRIPT = Path(__file__).parents[2] / "examples" / "portfolio_demo.py"


def test_what_is_known_does_not_depend_on_what_comes() -> None:
    _, prices, _ = load_prices()
    prices, today = prices[:800], 600
    later = prices.copy()
    later[today + 1 :] *= np.random.default_rng(0).uniform(0.5, 2.0, later[today + 1 :].shape)
    a, b = build(prices), build(later)
    known = a.days <= today
    assert torch.equal(a.features[known], b.features[known])
    assert torch.equal(a.history[known], b.history[known])
    settled = a.days <= today - HORIZON
    assert torch.equal(a.outcome[settled], b.outcome[settled])
    assert not torch.equal(a.outcome[known], b.outcome[known])


def test_outcomes_are_the_returns_of_the_days_after() -> None:
    _, prices, _ = load_prices()
    data = build(prices[:400])
    growth = (1 + data.outcome.double()).prod(dim=1)
    np.testing.assert_allclose(growth, prices[data.days + HORIZON] / prices[data.days], rtol=1e-5)


def test_parts_do_not_overlap() -> None:
    dates, prices, _ = load_prices()
    parts = split(build(prices), dates)
    for earlier, after in itertools.pairwise(parts):
        assert earlier.days.max() + HORIZON < after.days.min()


def test_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    run_script(monkeypatch, SCRIPT, "--steps", 2, "--every", 1, "--batch", 64, "--out", tmp_path)
    assert "0 failures" in capfd.readouterr().out
    assert (tmp_path / "portfolio_demo.png").stat().st_size > 10_000
