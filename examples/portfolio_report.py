"""What the demo shows: a backtest of each strategy, a table, and curves."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from portfolio_data import HORIZON, YEAR, Data, regret

COST = 0.001  # per unit traded


@dataclass
class Backtest:
    """One strategy on the test years, after costs, in the units of a year."""

    name: str
    wealth: np.ndarray  # (days + 1,), from 1
    annual_return: float
    volatility: float
    turnover: float
    regret: np.ndarray  # (D,) of each decision, against the best one in hindsight
    weights: np.ndarray  # (days, N) held

    @property
    def sharpe(self) -> float:
        """Return over volatility, with a riskless rate of zero."""
        return self.annual_return / self.volatility


def backtest(name: str, decisions: torch.Tensor, best: torch.Tensor, test: Data, prices: np.ndarray) -> Backtest:
    """Hold the average of the last month's decisions every day, so that the day of the month does not matter."""
    sums = np.cumsum(np.vstack([np.zeros((1, prices.shape[1])), decisions.numpy()]), axis=0)
    held = (sums[HORIZON:] - sums[:-HORIZON]) / HORIZON
    days = test.days[HORIZON - 1 :]
    growth = prices[days + 1] / prices[days]
    drifted = held * growth / (held * growth).sum(axis=1, keepdims=True)
    trades = np.abs(held - np.vstack([held[:1], drifted[:-1]])).sum(axis=1)
    daily = (held * growth).sum(axis=1) * (1 - COST * trades) - 1
    return Backtest(
        name=name,
        wealth=np.cumprod(np.concatenate([[1.0], 1 + daily])),
        annual_return=float(np.prod(1 + daily) ** (YEAR / len(daily)) - 1),
        volatility=float(daily.std() * np.sqrt(YEAR)),
        turnover=float(trades.mean() * YEAR),
        regret=regret(decisions, best, test).numpy(),
        weights=held,
    )


def difference(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """Mean of a − b and its standard error over blocks of a quarter, since neighbouring decisions share most of their outcome."""
    d = a - b
    blocks = np.array([block.mean() for block in np.array_split(d, max(2, len(d) // 63))])
    return float(d.mean()), float(blocks.std(ddof=1) / np.sqrt(len(blocks)))


def report(console: Console, tests: list[Backtest], dates: np.ndarray) -> None:
    """The table of the test years, and whether its main difference means anything."""
    table = Table(
        title=f"Test years {dates[0]} to {dates[-1]}, after costs of {1e4 * COST:.0f} bp per unit traded", title_justify="left"
    )
    table.add_column("strategy", no_wrap=True)
    for heading in ("return\n% a year", "risk\n% a year", "Sharpe", "turnover\n× a year", "regret\n% a year"):
        table.add_column(heading, justify="right")
    for t in tests:
        figures = (100 * t.annual_return, 100 * t.volatility, t.sharpe, t.turnover, t.regret.mean())
        table.add_row(t.name, *(f"{value:.{digits}f}" for value, digits in zip(figures, (1, 1, 2, 1, 2), strict=True)))
    console.print(table)
    end_to_end, *others = tests
    console.print(f"Regret of {end_to_end.name} less that of the others, ± one standard error:")
    for other in others:
        mean, error = difference(end_to_end.regret, other.regret)
        console.print(f"  {other.name:<24}{mean:+.3f} ± {error:.3f}")


def plot(
    path: Path, curves: dict[str, tuple[list[int], list[float]]], tests: list[Backtest], dates: np.ndarray, tickers: list[str]
) -> None:
    """Learning curves, wealth, and what the end-to-end portfolio held."""
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    style = {
        "font.size": 10, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.alpha": 0.25,
        "axes.titleweight": "bold", "axes.titlelocation": "left", "legend.frameon": False, "figure.dpi": 140,
    }  # fmt: skip
    colors = {
        "end to end": "#0b6e99",
        "predict, then optimize": "#d9822b",
        "history, then optimize": "#9a6fb0",
        "equal weight": "#7a7a7a",
    }
    with plt.rc_context(style):
        figure, axes = plt.subplot_mosaic(
            [["learn", "wealth"], ["hold", "hold"]], figsize=(12, 8), height_ratios=[1.15, 1], layout="constrained"
        )
        for name, (steps, regrets) in curves.items():
            axes["learn"].plot(steps, regrets, color=colors[name], lw=2, ls="-" if len(steps) > 2 else ":", label=name)
        axes["learn"].set(title="Learning: regret on the validation years", xlabel="step", yscale="log")
        axes["learn"].set_ylabel("volatility above the best in hindsight, % a year")
        axes["learn"].set_yticks([2, 3, 4, 6, 8, 12], labels=["2", "3", "4", "6", "8", "12"])
        axes["learn"].minorticks_off()
        axes["learn"].legend()
        for t in tests:
            axes["wealth"].plot(dates, t.wealth[1:], color=colors[t.name], lw=1.8, label=f"{t.name}  ({t.wealth[-1]:.1f}×)")
        axes["wealth"].set(title="Test: wealth after costs", yscale="log", ylabel="multiple of the start")
        axes["wealth"].set_yticks([1, 2, 4, 8], labels=["1×", "2×", "4×", "8×"])
        axes["wealth"].minorticks_off()
        axes["wealth"].legend()
        order = np.argsort(-tests[0].weights.mean(axis=0))
        axes["hold"].stackplot(
            dates, tests[0].weights[:, order].T, labels=[tickers[i] for i in order], colors=plt.get_cmap("tab20").colors, lw=0
        )
        axes["hold"].set(title="What the end-to-end portfolio held", ylim=(0, 1), xlim=(dates[0], dates[-1]))
        axes["hold"].legend(loc="center left", bbox_to_anchor=(1.0, 0.5), ncols=2, fontsize=8, reverse=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path)
