"""
Sparsemax and other projections
===============================

A projection is the smallest layer: of all points of a set, the nearest one. Onto the
probability simplex it is *sparsemax*, softmax's relative that gives exact zeros. This example
states both as problems, checks them against closed forms, and learns with them which few of
many sensors a signal depends on.
"""

# %%
import cvxpy as cp
import matplotlib.pyplot as plt
import torch

from cvxpylayers.torch import CvxpyLayer

# %%
# One set, two objectives
# -----------------------
#
# Softmax maximizes score plus entropy, sparsemax minimizes the distance to the scores. Both
# choose from the same simplex.
n = 12
p, scores = cp.Variable(n), cp.Parameter(n)
simplex = [cp.sum(p) == 1, p >= 0]
problems = {
    "softmax": cp.Problem(cp.Maximize(scores @ p + cp.sum(cp.entr(p))), simplex),
    "sparsemax": cp.Problem(cp.Minimize(cp.sum_squares(p - scores)), simplex),
}
layers = {name: CvxpyLayer(problem, [scores], [p]) for name, problem in problems.items()}

# %%
# A batch of scores is one call. The closed form of softmax is known to everybody; sparsemax
# subtracts a threshold and cuts at zero, and the threshold is found by sorting.
torch.manual_seed(0)
batch = torch.randn(1000, n, dtype=torch.float64)
falling = batch.sort(descending=True).values
thresholds = (falling.cumsum(-1) - 1) / torch.arange(1, n + 1)
support = (falling > thresholds).sum(-1, keepdim=True)
closed_form = {
    "softmax": batch.softmax(-1),
    "sparsemax": (batch - thresholds.gather(-1, support - 1)).clamp(min=0),
}
for name, layer in layers.items():
    error = (layer(batch)[0] - closed_form[name]).abs().max().item()
    print(f"{name:>9}: largest difference from the closed form {error:.0e}")
    assert error < 1e-6

# %%
# Which sensors matter?
# ---------------------
#
# A signal is a weighted mean of four of twelve sensors, observed with noise. The weights are a
# layer's output, the scores are learned.
truth = torch.tensor([0, 0, 0.4, 0, 0, 0.3, 0, 0, 0.2, 0.1, 0, 0])
readings = torch.randn(100, n)
signal = readings @ truth + 0.3 * torch.randn(100)
learned = {}
for name, layer in layers.items():
    theta = torch.zeros(n, requires_grad=True)
    optimizer = torch.optim.Adam([theta], lr=0.05)
    for _ in range(300):
        (weights,) = layer(theta)
        loss = (readings @ weights - signal).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    learned[name] = weights.detach()
    zeros, off = (learned[name] < 1e-6).sum(), (learned[name] - truth).norm()
    print(f"{name:>9}: {zeros} exact zeros, error of the weights {off:.3f}")
assert (learned["sparsemax"] - truth).norm() < 0.15

# %%
# Softmax never lets go of a sensor altogether; sparsemax does. On the left, the probability of
# one of two scores as their difference grows.
plt.style.use("petroff10")
figure, (curve, bars) = plt.subplots(
    1, 2, figsize=(9, 3.6), layout="constrained", width_ratios=[2, 3]
)
difference = torch.linspace(-3, 3, 121, dtype=torch.float64)
two = torch.full((121, n), -8.0, dtype=torch.float64)
two[:, 0], two[:, 1] = difference, 0.0
for k, (name, layer) in enumerate(layers.items()):
    curve.plot(difference, layer(two)[0][:, 0], lw=2.5, label=name)
    bars.bar(torch.arange(n) + 0.36 * (k - 0.5), learned[name], width=0.36, label=name)
bars.hlines(truth, torch.arange(n) - 0.42, torch.arange(n) + 0.42, color="k", lw=1.5, label="truth")
curve.set(xlabel="difference of two scores", ylabel="probability of the first")
bars.set(xlabel="sensor", ylabel="learned weight", xticks=range(n))
bars.legend(frameon=False)
curve.legend(frameon=False)
plt.show()
