"""
Portfolio with transaction costs
================================

The portfolio of least variance follows the estimated covariance. Estimates move every day, so
it trades all the time, and pays for it. A penalty on trades calms it. How strong it should be,
and how quickly the estimate should forget the past, are learned here by gradients through years
of decisions, each of which starts from the portfolio that the last one left behind.
"""

# %%
from importlib.util import find_spec
from pathlib import Path

import cvxpy as cp
import matplotlib.pyplot as plt
import numpy as np
import torch

from cvxpylayers.torch import CvxpyLayer

# %%
# Closing prices of 20 large companies since 1990, from the files of skfolio, and covariances of
# the past at three speeds of forgetting
file = Path(find_spec("skfolio").origin).parent / "datasets/data/sp500_dataset.csv.gz"
prices = np.genfromtxt(file, delimiter=",", skip_header=1, usecols=range(1, 21))
returns = torch.tensor(prices[1:] / prices[:-1] - 1)
rebalanced = range(500, len(returns) - 10, 10)  # every two weeks
estimates, covariances = [torch.cov(returns[:500].T) for _ in range(3)], []
for day in range(500, rebalanced[-1] + 1):
    if day in rebalanced:
        covariances.append(torch.stack(estimates))
    r = returns[day]
    moved = zip(estimates, (15, 60, 250), strict=True)
    estimates = [e + (r.outer(r) - e) / memory for e, memory in moved]
covariances = 252 * torch.stack(covariances)  # (periods, 3, 20, 20), per year
periods = torch.stack([returns[day : day + 10] for day in rebalanced])  # (periods, 10, 20)
half, cost = len(rebalanced) // 2, 0.002

# %%
# The problem, once: variance under a mixed estimate, and the price of trading away from the
# present holdings
n = 20
w, trade = cp.Variable(n), cp.Variable(n)
root, now, calm = cp.Parameter((n, n)), cp.Parameter(n), cp.Parameter(nonneg=True)
cost_of_plan = cp.sum_squares(root @ w) + calm * cp.norm1(trade)
problem = cp.Problem(cp.Minimize(cost_of_plan), [w == now + trade, w >= 0, cp.sum(w) == 1])
layer = CvxpyLayer(problem, [root, now, calm], [w, trade])
Pair = tuple[torch.Tensor, torch.Tensor]


def manage(start: np.ndarray, length: int, mixture: torch.Tensor, calm: torch.Tensor) -> Pair:
    """Variance and cost of trading per year (B) of portfolios with equal weights at the start."""
    now, variance, turnover = torch.full((len(start), n), 1 / n, dtype=torch.float64), 0, 0
    for period in start[None] + np.arange(length)[:, None]:
        roots = torch.linalg.cholesky((mixture[..., None, None] * covariances[period]).sum(1)).mT
        w, trade = layer(roots, now, calm)
        growth = (1 + periods[period]).cumprod(1)
        value = (growth * w[:, None]).sum(-1)
        daily = value / torch.cat([torch.ones(len(value), 1), value[:, :-1]], 1) - 1
        variance = variance + 252 * daily.square().mean(-1)
        turnover = turnover + trade.abs().sum(-1)
        now = growth[:, -1] * w / value[:, -1:]
    return variance / length, 25.2 * cost * turnover / length


# %%
# The learning loop: eight stretches of a year at random, in the first half of the years. What is
# minimized is five times the variance plus the cost, the utility of a cautious investor.
mixing = torch.zeros(3, dtype=torch.float64, requires_grad=True)
log_calm = torch.tensor(-6.0, dtype=torch.float64, requires_grad=True)
optimizer = torch.optim.Adam([mixing, log_calm], lr=0.15)
generator = np.random.default_rng(0)
for _ in range(60):
    starts = generator.integers(0, half - 25, 8)
    variance, paid = manage(starts, 25, mixing.softmax(0), log_calm.exp())
    optimizer.zero_grad()
    (5 * variance + paid).mean().backward()
    optimizer.step()
mixture, calm = mixing.softmax(0).detach(), log_calm.exp().detach()
believed = ", ".join(f"{m:.2f}" for m in mixture)
print(f"belief in memories of 15, 60, 250 days: {believed}; penalty on trades {calm:.4f}")

# %%
# The second half of the years, as one batch: each single estimate with thirteen penalties, and
# what was learned. Trading every time to the minimum of the estimated variance costs a lot; what
# was learned is at the bend of the best of the curves.
penalties = torch.cat([torch.zeros(1), torch.logspace(-4, -1, 12)]).double()
grid = torch.cartesian_prod(torch.arange(3), torch.arange(13))
tried = torch.cat([torch.eye(3, dtype=torch.float64)[grid[:, 0]], mixture[None]])
with torch.no_grad():
    calms = torch.cat([penalties[grid[:, 1]], calm[None]])
    variance, paid = manage(np.full(40, half), len(rebalanced) - half, tried, calms)
loss = 5 * variance + paid
print(f"loss over the best of 39 settings in hindsight: {loss[-1] / loss[:-1].min():.3f}")
assert loss[-1] < 1.02 * loss[:-1].min()
volatility, paid = 100 * variance.sqrt(), 100 * paid
print(f"learned: volatility {volatility[-1]:.1f} %, costs {paid[-1]:.2f} % a year")
print(f"60 days, no penalty: volatility {volatility[13]:.1f} %, costs {paid[13]:.2f} % a year")
plt.style.use("petroff10")
figure, axes = plt.subplots(figsize=(6.4, 4), layout="constrained")
for k, name in enumerate(("15 days", "60 days", "250 days")):
    rows = slice(13 * k, 13 * k + 13)
    axes.plot(paid[rows], volatility[rows], "o-", ms=4, lw=2, label=f"memory {name}")
axes.plot(paid[-1], volatility[-1], "k*", ms=16, label="learned")
axes.set(xscale="log", xlabel="cost of trading, % a year", ylabel="volatility, % a year")
axes.legend(frameon=False)
plt.show()
