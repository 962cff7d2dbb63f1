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
import time
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from dataclasses import dataclass, field
from pathlib import Path

import cvxpy as cp
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cvxpylayers.torch import CvxpyLayer
from portfolio_data import HORIZON, YEAR, Data, build, load_prices, regret, split, volatility
from portfolio_report import backtest, plot, report

CAP = 0.25  # largest weight of one stock


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
    hindsight = optimizer.hindsight(validation)
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
                result.regret.append(float(regret(optimizer(model(validation)), hindsight, validation).mean()))
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
        progress.update(task, advance=1, note=f"regret {result.regret[-1]:.2f} %  {rate}")
    return result


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

    torch.set_num_threads(1)  # the network is small; a second thread of its own would spin while the layer's threads work
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
        past = regret(optimizer(validation.history), optimizer.hindsight(validation), validation).mean()
        best = optimizer.hindsight(test)
        forecasts = {name: run.model(test) for name, run in runs.items()} | {"history, then optimize": test.history}
        decisions = {name: optimizer(forecast) for name, forecast in forecasts.items()}
    decisions["equal weight"] = torch.full_like(best, 1 / len(tickers))
    tests = [backtest(name, weights, best, test, prices) for name, weights in decisions.items()]
    held = dates[test.days[HORIZON - 1 :] + 1]
    report(console, tests, held)

    run = runs["end to end"]
    console.print(
        f"{optimizer.instances:,} problems solved, {optimizer.failures:,} failures; end to end trained on "
        f"{run.instances / run.seconds:,.0f} problems a second, network and gradients included"
    )
    path = args.out / "portfolio_demo.png"
    curves = {name: (run.steps, run.regret) for name, run in runs.items()}
    curves["history, then optimize"] = ([0, args.steps], [float(past)] * 2)
    plot(path, curves, tests, held, tickers)
    console.print(f"Curves in {path}; {time.perf_counter() - began:.0f} s in all")


if __name__ == "__main__":
    main()
