"""
Diagnosis of a zero gradient
============================

A model is trained through a layer, and nothing moves. ``layer.diagnose`` says why: it looks at
the active constraints of every instance, and names what it finds with what to try. Here two of
its remedies are tried, and the reports of before and after compared.
"""

# %%
import cvxpy as cp
import matplotlib.pyplot as plt
import torch

from cvxpylayers.torch import CvxpyLayer

# %%
# The problem, once, with a weight of a convex term that may be zero: shares of money in eight
# funds, by predicted returns
n = 8
share, returns, convex = (
    cp.Variable(n, name="share"),
    cp.Parameter(n, name="returns"),
    cp.Parameter(nonneg=True, name="convex"),
)
gain = returns @ share - convex * cp.sum_squares(share)
problem = cp.Problem(cp.Maximize(gain), [cp.sum(share) == 1, share >= 0, share <= 0.5])
layer = CvxpyLayer(problem, [returns, convex], [share])

# %%
# Predictions of a model that is to be trained on two hundred days, and what is said of the first
# three
torch.manual_seed(0)
effect = torch.randn(5, n, dtype=torch.float64)


def days(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Features (count, 5) and returns (count, n)."""
    z = torch.randn(count, 5, dtype=torch.float64)
    return z, z @ effect + 0.5 * torch.randn(count, n, dtype=torch.float64)


(z, true), (z_new, true_new) = days(200), days(1000)
start, nothing, little = (
    0.3 * torch.randn(5, n, dtype=torch.float64),
    torch.tensor(0.0),
    torch.tensor(0.5),
)
print(layer.diagnose(z[:3] @ start, nothing))

# %%
# Every instance is at a corner. Of what is advised, a convex term and a smoothed derivative are
# tried on all two hundred.
smooth = CvxpyLayer(
    problem, [returns, convex], [share], solver_args={"derivative": "smoothed", "smoothing": 0.1}
)
remedies = {
    "as stated": (layer, nothing),
    "convex term": (layer, little),
    "smoothed derivative": (smooth, nothing),
}
zero = {}
for name, (candidate, weight) in remedies.items():
    report = candidate.diagnose(z @ start, weight)
    zero[name] = 100 * report.zero("returns").mean()
    print(f"{name}: gradient zero on {zero[name]:.0f} % of the days")
assert zero["as stated"] == 100
assert zero["convex term"] < 50
assert zero["smoothed derivative"] == 0

# %%
# Training for the true return of the shares, and what is earned on new days, as a share of what
# can be earned
possible = (layer(true_new, nothing)[0] * true_new).sum(-1).mean()
earned = {}
for name, (candidate, weight) in remedies.items():
    model = start.clone().requires_grad_()
    optimizer, earned[name] = torch.optim.Adam([model], lr=0.05), []
    for _ in range(60):
        optimizer.zero_grad()
        (-(candidate(z @ model, weight)[0] * true).sum(-1).mean()).backward()
        optimizer.step()
        with torch.no_grad():
            found = (layer(z_new @ model, nothing)[0] * true_new).sum(-1).mean()
        earned[name].append(100 * (found / possible).item())
assert (
    earned["as stated"][-1]
    == earned["as stated"][0]
    < min(earned["convex term"][-1], earned["smoothed derivative"][-1]) - 20
)

plt.style.use("petroff10")
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
left.bar(["as stated", "convex term", "smoothed"], list(zero.values()), color=["C0", "C1", "C2"])
left.set(ylabel="days on which the gradient is zero, %")
for name, history in earned.items():
    right.plot(range(1, 61), history, lw=2.5, label=name)
right.set(
    xlabel="step of training", ylabel="earned on new days, % of what is possible", ylim=(0, 100)
)
right.legend(frameon=False)
plt.show()
