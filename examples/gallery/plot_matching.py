"""
Matching with smoothed gradients
================================

Which star of one picture is which star of another? Matching is a linear program over doubly
stochastic matrices, whose solution is a permutation. It jumps from one permutation to the next,
and its derivative is zero between the jumps: nothing to learn from. With
``derivative="smoothed"`` the layer still returns the exact permutation, but differentiates a
point inside.
"""

# %%
import cvxpy as cp
import matplotlib.pyplot as plt
import torch

from cvxpylayers.torch import CvxpyLayer

# %%
# The problem, once, and two layers of it that differ in the derivative alone
n = 10
match, distance = cp.Variable((n, n), nonneg=True), cp.Parameter((n, n))
permutation = [cp.sum(match, axis=0) == 1, cp.sum(match, axis=1) == 1]
problem = cp.Problem(cp.Minimize(cp.sum(cp.multiply(distance, match))), permutation)
smooth = {"derivative": "smoothed", "smoothing": 0.1}
layers = {
    "exact derivative": CvxpyLayer(problem, [distance], [match]),
    "smoothed derivative": CvxpyLayer(problem, [distance], [match], solver_args=smooth),
}

# %%
# Pairs of pictures. A star is a position and eight readings; from one picture to the next both
# change, most readings beyond recognition.
noise = torch.tensor([0.5, 0.5, 0.2, 0.2, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0])


def pictures(count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Stars of two pictures (count, n, 10), and the permutation between them (count, n, n)."""
    first = torch.randn(count, n, len(noise))
    order = torch.stack([torch.randperm(n) for _ in range(count)])
    moved = (first + noise * torch.randn(first.shape)).gather(1, order[..., None].expand_as(first))
    return first, moved, torch.nn.functional.one_hot(order, n).mT.float()


torch.manual_seed(0)
train, test = pictures(256), pictures(256)

# %%
# The distance of two stars is a weighted sum of squared differences. The weights are learned from
# the share of right pairs.


def matched(layer: CvxpyLayer, log_weights: torch.Tensor, data: tuple[torch.Tensor, ...]) -> tuple:
    """Permutation matrices (B, n, n) that the layer finds, and the share of right pairs."""
    first, second, truth = data
    difference = first[:, :, None] - second[:, None]
    (found,) = layer((difference.square() * log_weights.exp()).sum(-1))
    return found, (found * truth).sum() / truth.sum()


accuracy, learned = {}, {}
for name, layer in layers.items():
    log_weights = torch.full((len(noise),), -2.0, requires_grad=True)
    optimizer, accuracy[name] = torch.optim.Adam([log_weights], lr=0.05), []
    for _ in range(12):
        for rows in torch.arange(256).split(32):
            _, right = matched(layer, log_weights, [part[rows] for part in train])
            optimizer.zero_grad()
            (1 - right).backward()
            optimizer.step()
        with torch.no_grad():
            accuracy[name].append(100 * matched(layer, log_weights, test)[1].item())
    learned[name] = log_weights.detach()
    print(f"{name}: {accuracy[name][-1]:.0f} % of the stars of new pictures found")
assert accuracy["smoothed derivative"][-1] > accuracy["exact derivative"][-1] + 20

# %%
# Two new pictures side by side, matched with the weights of the start and with the learned ones:
# wrong pairs are dashed.
plt.style.use("petroff10")
figure, axes = plt.subplots(1, 3, figsize=(11, 3.6), layout="constrained")
for name, history in accuracy.items():
    axes[0].plot(range(1, 13), history, lw=2.5, label=name)
axes[0].set(xlabel="epoch", ylabel="stars found in new pictures, %", ylim=(0, 100))
axes[0].legend(frameon=False)
a, b, truth = (part[0] for part in test)
shown = {
    "equal weights": torch.full((10,), -2.0),
    "learned weights": learned["smoothed derivative"],
}
for axis, (title, log_weights) in zip(axes[1:], shown.items(), strict=True):
    pairs = matched(layers["exact derivative"], log_weights, [part[:1] for part in test])[0][0]
    axis.scatter(a[:, 0], a[:, 1], color="C0", zorder=2)
    axis.scatter(b[:, 0] + 7, b[:, 1], color="C1", zorder=2)
    for i, j in pairs.round().nonzero():
        line = {"color": "0.3"} if truth[i, j] else {"color": "C2", "ls": "--"}
        axis.plot([a[i, 0], b[j, 0] + 7], [a[i, 1], b[j, 1]], lw=1.2, **line)
    axis.set_title(f"{title}: {(pairs * truth).sum():.0f} of {n} right")
    axis.axis("off")
plt.show()
