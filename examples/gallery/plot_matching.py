"""
Learning to match
=================

Which star of one picture is which star of another? Matching is a linear program over doubly stochastic
matrices, whose solution is a permutation. It jumps from one permutation to the next, and its derivative is
zero between the jumps: nothing to learn from. With ``derivative="smoothed"`` the layer still returns the
exact permutation, but differentiates a point inside.
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
problem = cp.Problem(
    cp.Minimize(cp.sum(cp.multiply(distance, match))), [cp.sum(match, axis=0) == 1, cp.sum(match, axis=1) == 1]
)
layers = {
    "exact derivative": CvxpyLayer(problem, [distance], [match]),
    "smoothed derivative": CvxpyLayer(
        problem, [distance], [match], solver_args={"derivative": "smoothed", "smoothing": 0.1}
    ),
}

# %%
# Pairs of pictures. A star is a position and eight readings; from one picture to the next both change, most
# readings beyond recognition.
noise = torch.tensor([0.5, 0.5, 0.2, 0.2, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0])


def pictures(count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Stars of two pictures (count, n, 10) and the permutation matrix (count, n, n) between them."""
    first = torch.randn(count, n, len(noise))
    order = torch.stack([torch.randperm(n) for _ in range(count)])
    moved = (first + noise * torch.randn(first.shape)).gather(1, order[..., None].expand_as(first))
    return first, moved, torch.nn.functional.one_hot(order, n).mT.float()


torch.manual_seed(0)
train, test = pictures(256), pictures(256)

# %%
# The distance of two stars is a weighted sum of squared differences. The weights are learned from the share
# of right pairs.


def matched(
    layer: CvxpyLayer, log_weights: torch.Tensor, first: torch.Tensor, second: torch.Tensor
) -> torch.Tensor:
    """Permutation matrices (B, n, n) for stars (B, n, 10) and (B, n, 10)."""
    return layer(((first[:, :, None] - second[:, None]).square() * log_weights.exp()).sum(-1))[0]


accuracy, learned = {}, {}
for name, layer in layers.items():
    log_weights = torch.full((len(noise),), -2.0, requires_grad=True)
    optimizer, accuracy[name] = torch.optim.Adam([log_weights], lr=0.05), []
    for _ in range(12):
        for rows in torch.arange(256).split(32):
            right = (matched(layer, log_weights, train[0][rows], train[1][rows]) * train[2][rows]).sum(
                (1, 2)
            ) / n
            optimizer.zero_grad()
            (1 - right.mean()).backward()
            optimizer.step()
        with torch.no_grad():
            accuracy[name].append(
                100 * (matched(layer, log_weights, *test[:2]) * test[2]).sum((1, 2)).mean().item() / n
            )
    learned[name] = log_weights.detach()
    print(f"{name}: {accuracy[name][-1]:.0f} % of the stars of new pictures found")
assert accuracy["smoothed derivative"][-1] > accuracy["exact derivative"][-1] + 20

# %%
# Two new pictures side by side, matched with the weights of the start and with the learned ones: wrong pairs
# are dashed.
plt.style.use("petroff10")
figure, axes = plt.subplots(1, 3, figsize=(11, 3.6), layout="constrained")
for name, history in accuracy.items():
    axes[0].plot(range(1, 13), history, lw=2.5, label=name)
axes[0].set(xlabel="epoch", ylabel="stars found in new pictures, %", ylim=(0, 100))
axes[0].legend(frameon=False)
for axis, title, log_weights in zip(
    axes[1:],
    ("equal weights", "learned weights"),
    (torch.full((10,), -2.0), learned["smoothed derivative"]),
    strict=True,
):
    a, b = test[0][0], test[1][0]
    pairs = matched(layers["exact derivative"], log_weights, a[None], b[None])[0].argmax(1)
    truth = test[2][0].argmax(1)
    axis.scatter(a[:, 0], a[:, 1], color="C0", zorder=2)
    axis.scatter(b[:, 0] + 7, b[:, 1], color="C1", zorder=2)
    for k in range(n):
        good = pairs[k] == truth[k]
        axis.plot(
            [a[k, 0], b[pairs[k], 0] + 7],
            [a[k, 1], b[pairs[k], 1]],
            color="0.3" if good else "C2",
            ls="-" if good else "--",
            lw=1.2,
        )
    axis.set_title(f"{title}: {int((pairs == truth).sum())} of {n} right")
    axis.axis("off")
plt.show()
