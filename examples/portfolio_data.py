"""The prices of the demo and what can be made of them: what was known on a day, and what came after."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

HORIZON = 21  # trading days that a decision is held
YEAR = 252  # trading days
TRAIN_END, VALIDATION_END = np.datetime64("2006-01-01"), np.datetime64("2011-01-01")


def load_prices() -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Dates (T,), closing prices (T, N) in dollars and the tickers, read from the files of skfolio without importing it."""
    spec = importlib.util.find_spec("skfolio")
    if spec is None or spec.origin is None:
        raise SystemExit("The demo reads the prices that ship with skfolio: pip install --no-deps skfolio")
    path = Path(spec.origin).parent / "datasets" / "data" / "sp500_dataset.csv.gz"
    table = np.genfromtxt(path, delimiter=",", names=True, dtype=None, encoding="utf-8")
    tickers = list(table.dtype.names[1:])
    return table["Date"].astype("datetime64[D]"), np.stack([table[name] for name in tickers], axis=1), tickers


@dataclass(frozen=True)
class Data:
    """One row per decision: what is known then (features, history) and what came after (outcome)."""

    days: np.ndarray  # (D,) row of the price table
    features: torch.Tensor  # (D, N, K)
    history: torch.Tensor  # (D, N, N), covariance of the past, a year
    outcome: torch.Tensor  # (D, H, N), the daily returns of the next month

    def __getitem__(self, rows: np.ndarray | torch.Tensor) -> Data:
        return Data(self.days[rows], self.features[rows], self.history[rows], self.outcome[rows])

    def __len__(self) -> int:
        return len(self.days)


def build(prices: np.ndarray) -> Data:
    """What was known on every day that has a year before it, and the month after it."""
    returns = np.diff(prices, axis=0, prepend=prices[:1]) / np.vstack([prices[:1], prices[:-1]])
    days = np.arange(YEAR + 1, len(prices) - HORIZON)
    decay = 0.5 ** (1 / 63)
    second = returns[1 : YEAR + 1].T @ returns[1 : YEAR + 1] / YEAR
    history = np.empty((len(days), *second.shape))
    for row, r in enumerate(returns[days]):
        second = decay * second + (1 - decay) * np.outer(r, r)
        history[row] = YEAR * second
    volatility = np.sqrt(np.diagonal(history, axis1=1, axis2=2))
    correlation = history / (volatility[:, :, None] * volatility[:, None, :])

    logs, squares, market = np.log(prices), np.cumsum(returns**2, axis=0), np.cumsum(returns.mean(axis=1) ** 2)[:, None]
    columns = [np.log(volatility), correlation.mean(axis=2)]
    for span in (5, 21, 63, 126, 252):
        momentum = (logs[days] - logs[days - span]) / (volatility * np.sqrt(span / YEAR))
        columns += [momentum, np.broadcast_to(momentum.mean(axis=1, keepdims=True), momentum.shape)]
        for total in (squares, market):
            recent = np.sqrt((total[days] - total[days - span]) * YEAR / span)
            columns.append(np.log((recent + 1e-3) / volatility))
    outcome = np.lib.stride_tricks.sliding_window_view(returns, HORIZON, axis=0)[days + 1].transpose(0, 2, 1)
    return Data(days, *(torch.tensor(a, dtype=torch.float32) for a in (np.stack(columns, axis=-1), history, outcome)))


def split(data: Data, dates: np.ndarray) -> tuple[Data, Data, Data]:
    """Training, validation and test days, features in units of the training years; no outcome reaches into the next part."""
    start, end = dates[data.days], dates[data.days + HORIZON]
    training = data[end < TRAIN_END]
    mean, scale = training.features.mean(dim=(0, 1)), training.features.std(dim=(0, 1))
    data = replace(data, features=(data.features - mean) / scale)
    return data[end < TRAIN_END], data[(start >= TRAIN_END) & (end < VALIDATION_END)], data[start >= VALIDATION_END]


def volatility(weights: torch.Tensor, data: Data) -> torch.Tensor:
    """What a decision went through (B,): the volatility of its daily returns in the month after, per cent a year."""
    daily = torch.einsum("bhn,bn->bh", data.outcome, weights)
    return 100 * (YEAR * daily.square().mean(dim=-1)).sqrt()


def regret(weights: torch.Tensor, best: torch.Tensor, data: Data) -> torch.Tensor:
    """Volatility (B,) above that of the best decisions in hindsight, per cent a year."""
    return volatility(weights, data) - volatility(best, data)
