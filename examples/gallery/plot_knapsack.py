"""
Knapsack with smoothed gradients
================================

A budget is spent on the items of best value, and values are predicted. The best choice jumps
when predictions change, so exact gradients are zero nearly everywhere. Smoothed ones see the
jumps from some distance, which is the option ``smoothing``: too little, and nothing is seen;
too much, and everything looks alike. This example trains one model for each amount.
"""

# %%
import cvxpy as cp
import matplotlib.pyplot as plt
import torch

from cvxpylayers.torch import CvxpyLayer

# %%
# The problem, once: a knapsack whose items can be taken in part
items, features = 15, 5
torch.manual_seed(0)
sizes = 0.5 + torch.rand(items, dtype=torch.float64)
take, values = cp.Variable(items), cp.Parameter(items)
problem = cp.Problem(cp.Maximize(values @ take), [sizes.numpy() @ take <= 4, take >= 0, take <= 1])
layer = CvxpyLayer(problem, [values], [take], solver_args={"derivative": "smoothed"})

# %%
# Values depend on the features in a way that a linear model cannot represent.
influence = (torch.rand(features, items) < 0.5).double()


def draw(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Features (count, 5) and values (count, items)."""
    z = torch.randn(count, features, dtype=torch.float64)
    luck = 0.75 + 0.5 * torch.rand(count, items)
    return z, ((z @ influence / features**0.5 + 3) / 3) ** 6 * luck


train, test = draw(300), draw(1000)
attainable = (layer(test[1])[0] * test[1]).sum(-1).mean()


def trained(smoothing: float | None) -> float:
    """Value lost on new data, %, after training with that smoothing, or for small errors."""
    torch.manual_seed(1)
    model = torch.nn.Linear(features, items).double()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(30):
        for z, true in zip(train[0].split(50), train[1].split(50), strict=True):
            if smoothing is None:
                loss = (model(z) - true).square().mean()
            else:
                (taken,) = layer(model(z), solver_args={"smoothing": smoothing})
                loss = -(taken * true).sum(-1).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        return 100 * (1 - (layer(model(test[0]))[0] * test[1]).sum(-1).mean() / attainable).item()


# %%
# What each loses. There is a wide valley of good choices, below what is reached by training for
# small errors.
amounts = [10.0**k for k in (-5, -4, -3, -2, -1, 0, 1)]
regrets, errors = [trained(s) for s in amounts], trained(None)
best = min(regrets)
print(f"trained for small errors: {errors:.1f} % of the value lost")
print(f"trained for decisions: {best:.1f} %, with smoothing {amounts[regrets.index(best)]:g}")
assert best < 0.7 * errors

plt.style.use("petroff10")
figure, axes = plt.subplots(figsize=(6.4, 3.8), layout="constrained")
axes.semilogx(amounts, regrets, "o-", lw=2.5, label="trained for decisions")
axes.axhline(errors, color="C1", lw=2.5, label="trained for small errors")
axes.set(xlabel="smoothing", ylabel="value lost on new data, %", ylim=(0, None))
axes.legend(frameon=False)
plt.show()
