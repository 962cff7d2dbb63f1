"""Train a network through thousands of portfolio problems a second, on real prices, and see what it was worth.

Every trading day is one convex problem: given a forecast Σ of next month's covariance, find the calmest long-only portfolio,

    minimize   wᵀΣw   over   0 ≤ w ≤ cap,  Σᵢ wᵢ = 1.

A small network makes the forecast from past prices alone. It is trained twice from the same start: *predict, then optimize*
maximizes the likelihood of the returns that came; *end to end* minimizes the volatility that its portfolio went through,
differentiating through the layer. Training, validation and test are separate years. The prices (20 stocks of the S&P 500,
1990 to 2022) come with skfolio; they are stocks that lasted, so every long-only portfolio of them, equal weight included,
looks better than anybody's did at the time.
"""

from __future__ import annotations

import copy
import importlib.util
import time
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from dataclasses import dataclass, field, replace
from pathlib import Path

import cvxpy as cp
import matplotlib as mpl
import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from cvxpylayers.torch import CvxpyLayer

HORIZON = 21  # trading days that a decision is held
YEAR = 252  # trading days
CAP = 0.25  # largest weight of one stock
COST = 0.001  # per unit traded, in the test only
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


class Forecast(torch.nn.Module):
    """Covariance of the next month: for every stock, by one small network, a volatility and an exposure to a common factor.

    The correlation is a learned mixture of that of the past and that of the factor, so the covariance is always definite.
    """

    def __init__(self, features: int, width: int = 32) -> None:
        super().__init__()
        self.net = torch.nn.Sequential(
            torch.nn.Linear(features, width),
            torch.nn.SiLU(),
            torch.nn.Linear(width, width),
            torch.nn.SiLU(),
            torch.nn.Linear(width, 2),
        )
        self.mixture = torch.nn.Parameter(torch.tensor(0.0))

    def forward(self, data: Data) -> torch.Tensor:
        """Shape (B, N, N), a year."""
        volatility, exposure = self.net(data.features).unbind(dim=-1)
        past = data.history.diagonal(dim1=1, dim2=2).rsqrt()
        past_correlation = past[:, :, None] * data.history * past[:, None, :]
        exposure = exposure.sigmoid()
        common = exposure[:, :, None] * exposure[:, None, :] + torch.diag_embed(1 - exposure.square())
        volatility = 0.3 * volatility.exp()
        return volatility[:, :, None] * torch.lerp(past_correlation, common, self.mixture.sigmoid()) * volatility[:, None, :]


def likelihood(covariance: torch.Tensor, data: Data) -> torch.Tensor:
    """Gaussian log-likelihood (B,) of the returns that came, up to a constant."""
    factor = torch.linalg.cholesky(covariance / YEAR)
    z = torch.linalg.solve_triangular(factor, data.outcome.mT, upper=False)
    return -z.square().sum(dim=1).mean(dim=-1) / 2 - factor.diagonal(dim1=1, dim2=2).log().sum(dim=-1)


def volatility(weights: torch.Tensor, data: Data) -> torch.Tensor:
    """What a decision went through (B,): the volatility of its daily returns in the month after, per cent a year."""
    daily = torch.einsum("bhn,bn->bh", data.outcome, weights)
    return 100 * (YEAR * daily.square().mean(dim=-1)).sqrt()


@dataclass
class Optimizer:
    """The portfolio layer, counting what passes through it."""

    layer: CvxpyLayer
    instances: int = 0
    failures: int = 0

    @classmethod
    def of(cls, assets: int) -> Optimizer:
        """State the problem once, in CVXPY."""
        w = cp.Variable(assets)
        sigma = cp.Parameter((assets, assets), PSD=True)
        problem = cp.Problem(cp.Minimize(cp.quad_form(w, sigma)), [cp.sum(w) == 1, w >= 0, w <= CAP])
        return cls(CvxpyLayer(problem, parameters=[sigma], variables=[w]))

    def __call__(self, sigma: torch.Tensor) -> torch.Tensor:
        """Weights (B, N) for covariances (B, N, N)."""
        (weights,), info = self.layer.solve(sigma, on_failure="warn")
        self.instances += len(sigma)
        self.failures += len(sigma) - int(info.solved.sum())
        return weights

    def hindsight(self, data: Data) -> torch.Tensor:
        """The weights (B, N) that would have been best: the covariance that came, in place of a forecast."""
        return self(YEAR / HORIZON * data.outcome.mT @ data.outcome)


@dataclass
class Trained:
    """A model with the best validation loss of its run, and how it got there."""

    model: Forecast
    seconds: float
    instances: int
    steps: list[int] = field(default_factory=list)
    regret: list[float] = field(default_factory=list)  # on the validation years, per cent a year


def train(
    name: str, start: Forecast, parts: tuple[Data, Data], optimizer: Optimizer, args: Namespace, progress: Progress
) -> Trained:
    """Minimize volatility (end to end) or maximize likelihood (predict, then optimize); keep the best model by validation."""
    model, (training, validation) = copy.deepcopy(start), parts
    loss = {
        "end to end": lambda data: volatility(optimizer(model(data)), data).mean(),
        "predict, then optimize": lambda data: -likelihood(model(data), data).mean(),
    }[name]
    floor = volatility(optimizer.hindsight(validation), validation).mean()
    adam = torch.optim.AdamW(model.parameters(), lr=args.rate, weight_decay=args.decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, args.steps)
    shuffle = torch.Generator().manual_seed(args.seed)
    task = progress.add_task(name, total=args.steps, note="")
    result, best = Trained(model, 0.0, 0), float("inf")
    for step in range(args.steps + 1):
        if step % args.every == 0:
            with torch.no_grad():
                value = float(loss(validation))
                result.steps.append(step)
                result.regret.append(float(volatility(optimizer(model(validation)), validation).mean() - floor))
            if value < best:
                best, result.model = value, copy.deepcopy(model)
        if step == args.steps:
            break
        began, before = time.perf_counter(), optimizer.instances
        batch = training[torch.randint(len(training), (args.batch,), generator=shuffle)]
        adam.zero_grad()
        loss(batch).backward()
        adam.step()
        schedule.step()
        result.seconds += time.perf_counter() - began
        result.instances += optimizer.instances - before
        rate = f"{result.instances / result.seconds:,.0f} problems/s" if result.instances else ""
        progress.update(task, advance=1, note=f"validation regret {result.regret[-1]:.2f} %  {rate}")
    return result


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
        regret=(volatility(decisions, test) - volatility(best, test)).numpy(),
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
    table.add_column("strategy")
    for heading in ("return\n% a year", "volatility\n% a year", "Sharpe", "turnover\n× a year", "regret\n% a year"):
        table.add_column(heading, justify="right")
    for t in tests:
        figures = (100 * t.annual_return, 100 * t.volatility, t.sharpe, t.turnover, t.regret.mean())
        table.add_row(t.name, *(f"{value:.{digits}f}" for value, digits in zip(figures, (1, 1, 2, 1, 2), strict=True)))
    console.print(table)
    end_to_end = tests[0]
    for other in tests[1:]:
        mean, error = difference(other.regret, end_to_end.regret)
        console.print(f"Regret against {other.name}: {-mean:+.3f} ± {error:.3f} % a year (one standard error)")


def plot(path: Path, runs: dict[str, Trained], tests: list[Backtest], dates: np.ndarray, tickers: list[str]) -> None:
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
        for name, run in runs.items():
            axes["learn"].plot(run.steps, run.regret, color=colors[name], lw=2, label=name)
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


def main() -> None:
    """Load, train twice, test, and say what happened."""
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--batch", type=int, default=2048, help="problems in each step")
    parser.add_argument("--rate", type=float, default=2e-3, help="learning rate")
    parser.add_argument("--decay", type=float, default=1e-2, help="weight decay")
    parser.add_argument("--every", type=int, default=10, help="steps between validations")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("out"))
    args = parser.parse_args()
    console = Console()
    began = time.perf_counter()

    dates, prices, tickers = load_prices()
    training, validation, test = split(build(prices), dates)
    console.print(
        f"{len(tickers)} stocks; {len(training)} training, {len(validation)} validation, {len(test)} test days, one problem each"
    )

    torch.manual_seed(args.seed)
    start, optimizer = Forecast(training.features.shape[-1]), Optimizer.of(len(tickers))
    columns = (
        TextColumn("{task.description:<22}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console) as progress:
        names = ("end to end", "predict, then optimize")
        runs = {name: train(name, start, (training, validation), optimizer, args, progress) for name in names}

    with torch.no_grad():
        best = optimizer.hindsight(test)
        forecasts = {name: run.model(test) for name, run in runs.items()} | {"history, then optimize": test.history}
        decisions = {name: optimizer(forecast) for name, forecast in forecasts.items()}
    decisions["equal weight"] = torch.full_like(best, 1 / len(tickers))
    tests = [backtest(name, weights, best, test, prices) for name, weights in decisions.items()]
    held = dates[test.days[HORIZON - 1 :] + 1]
    report(console, tests, held)

    run = runs["end to end"]
    console.print(
        f"{optimizer.instances:,} problems solved, {optimizer.failures:,} failures; training end to end ran "
        f"{run.instances / run.seconds:,.0f} problems a second, forward, backward and network together"
    )
    path = args.out / "portfolio_demo.png"
    plot(path, runs, tests, held, tickers)
    console.print(f"Curves in {path}; {time.perf_counter() - began:.0f} s in all")


if __name__ == "__main__":
    main()
