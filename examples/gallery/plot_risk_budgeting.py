"""
Risk budgeting
==============

A risk budget says which share of a portfolio's variance each asset may cause. The weights that
keep it solve a convex problem, so that a layer turns budgets into weights, and budgets can be
learned. Here a fund keeps its budgets secret, and they are found from its daily returns, by
gradients through the portfolios of thirty years.
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
# Closing prices since 1990, from the files of skfolio; quarters, and the covariance of the two
# years before each
file = Path(find_spec("skfolio").origin).parent / "datasets/data/sp500_dataset.csv.gz"
prices = np.genfromtxt(file, delimiter=",", skip_header=1, usecols=range(1, 21))
returns = torch.tensor(prices[1:] / prices[:-1] - 1)
starts = range(500, len(returns) - 62, 63)
covariances = 252 * torch.stack([torch.cov(returns[day - 500 : day].T) for day in starts])
after = torch.stack([returns[day : day + 63] for day in starts])  # (quarters, 63, 20)
sectors = {
    "technology": [0, 1, 12],
    "finance, shops": [2, 3, 6, 8, 18],
    "industry, oil": [4, 5, 16, 19],
    "health, food": [7, 9, 10, 11, 13, 14, 15, 17],
}
membership = torch.zeros(4, 20, dtype=torch.float64)
for k, members in enumerate(sectors.values()):
    membership[k, members] = 1 / len(members)

# %%
# The problem, once: minimize ½ wᵀΣw - Σ bᵢ log wᵢ. Where the gradient vanishes, wᵢ (Σw)ᵢ = bᵢ:
# asset i causes the share bᵢ of the variance.
n = 20
w, root, budget = cp.Variable(n), cp.Parameter((n, n)), cp.Parameter(n, nonneg=True)
problem = cp.Problem(cp.Minimize(0.5 * cp.sum_squares(root @ w) - budget @ cp.log(w)))
layer = CvxpyLayer(problem, [root, budget], [w])
roots = torch.linalg.cholesky(covariances).mT


def weights(budgets: torch.Tensor) -> torch.Tensor:
    """Weights (quarters, 20) of the portfolios with these budgets of the sectors (4)."""
    (w,) = layer(roots, budgets @ membership)
    return w / w.sum(-1, keepdim=True)


def risks(w: torch.Tensor) -> torch.Tensor:
    """Share of the variance (quarters, 20) that each asset causes."""
    parts = w * torch.einsum("bij,bj->bi", covariances, w)
    return parts / parts.sum(-1, keepdim=True)


equal = torch.full((4,), 0.25, dtype=torch.float64)
off = (risks(weights(equal)) - equal @ membership).abs().max()
print(f"largest difference between a share of the risk and its budget: {off:.0e}")
assert off < 1e-6


# %%
# A fund keeps secret budgets; what is known of it are its returns of each day, with an error.
# Quarter by quarter its weights change with the covariance, but the budgets do not, so that they
# can be learned.
secret = torch.tensor([0.1, 0.4, 0.2, 0.3], dtype=torch.float64)
torch.manual_seed(0)
fund = torch.einsum("btn,bn->bt", after, weights(secret)) + 0.002 * torch.randn(after.shape[:2])
logits = torch.zeros(4, dtype=torch.float64, requires_grad=True)
optimizer = torch.optim.Adam([logits], lr=0.05)
path_of_budgets = []
for _ in range(100):
    budgets = logits.softmax(0)
    path_of_budgets.append(budgets.detach())
    loss = 1e4 * (torch.einsum("btn,bn->bt", after, weights(budgets)) - fund).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
for name, true, found in zip(sectors, secret, budgets, strict=True):
    print(f"{name}: {100 * found:.1f} % of the risk, truly {100 * true:.0f} %")
assert (budgets - secret).abs().max() < 0.02

# %%
# Budgets while they are learned, and what the fund holds over the years to keep them.
plt.style.use("petroff10")
figure, (left, right) = plt.subplots(
    1, 2, figsize=(9, 3.8), layout="constrained", width_ratios=[2, 3]
)
for k, (true, line) in enumerate(zip(secret, torch.stack(path_of_budgets).T, strict=True)):
    left.plot(100 * line, color=f"C{k}", lw=2.5)
    left.axhline(100 * true, color=f"C{k}", lw=1, ls="--")
left.set(xlabel="step of learning", ylabel="share of the risk, %", ylim=(0, 50))
held = 100 * weights(budgets.detach()) @ (membership > 0).double().T
years, colors = 1990 + np.array(starts) / 252, [f"C{k}" for k in range(4)]
right.stackplot(years, held.T, labels=sectors, colors=colors, alpha=0.85)
right.set(xlabel="year", ylabel="share of the wealth, %", xlim=(1992, 2022.5), ylim=(0, 100))
right.legend(loc="lower left")
plt.show()
