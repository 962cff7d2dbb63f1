"""
Clustering with a semidefinite relaxation
=========================================

To split points into two groups by pairwise similarities is a hard problem, and its semidefinite
relaxation is an easy one: a matrix X with entries near 1 for pairs that belong together, near
-1 for the others. Which features make points similar is learned from examples of right groups,
through the relaxation.
"""

# %%
import cvxpy as cp
import matplotlib.pyplot as plt
import torch

from cvxpylayers.torch import CvxpyLayer

# %%
# The problem, once: the relaxation of Goemans and Williamson (1995)
n = 12
X, similarity = cp.Variable((n, n), PSD=True), cp.Parameter((n, n), symmetric=True)
problem = cp.Problem(cp.Maximize(cp.sum(cp.multiply(similarity, X))), [cp.diag(X) == 1])
layer = CvxpyLayer(problem, [similarity], [X])

# %%
# Sets of twelve points with six features each. The first two tell the groups apart; the rest is
# noise, some of it loud.
signal = torch.tensor([1.5, 1.0, 0.0, 0.0, 0.0, 0.0])
loud = torch.tensor([1.0, 1.0, 4.0, 3.0, 1.0, 2.0])


def sets(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Points (count, n, 6), and groups ±1 (count, n)."""
    groups = torch.randint(0, 2, (count, n)) * 2.0 - 1
    return groups[..., None] * signal + loud * torch.randn(count, n, 6), groups


torch.manual_seed(0)
train, test = sets(128), sets(256)


def relaxed(log_weights: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """Relaxed group matrices (B, n, n) under weights of features (6)."""
    centred = (points - points.mean(1, keepdim=True)) * log_weights.exp()
    return layer(centred @ centred.mT / n)[0]


def right(X: torch.Tensor, groups: torch.Tensor) -> torch.Tensor:
    """Share of points, %, in the right group after rounding X by its first eigenvector."""
    guess = torch.linalg.eigh(X).eigenvectors[..., -1].sign()
    return 50 + 50 * (guess * groups).mean(-1).abs().mean()


log_weights = torch.zeros(6, requires_grad=True)
optimizer = torch.optim.Adam([log_weights], lr=0.1)
for _ in range(6):
    for rows in torch.arange(128).split(32):
        truth = train[1][rows, :, None] * train[1][rows, None]
        loss = (relaxed(log_weights, train[0][rows]) - truth).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
learned = log_weights.detach()
shares = [right(relaxed(weights, test[0]), test[1]) for weights in (torch.zeros(6), learned)]
before, after = shares
print(f"in the right group: {before:.0f} % with equal weights, {after:.0f} % with learned ones")
assert after > 85 > 75 > before

# %%
# What a feature counts, its weight times its size, and one new set, sorted by the true groups:
# the relaxed matrices before and after, and the truth.
plt.style.use("petroff10")
figure, axes = plt.subplots(1, 4, figsize=(11, 2.9), layout="constrained")
for k, weights in enumerate((torch.ones(6), learned.exp())):
    name = ("equal weights", "learned")[k]
    axes[0].bar(torch.arange(6) + 0.38 * (k - 0.5), weights * loud, width=0.38, label=name)
axes[0].set(xlabel="feature (0 and 1 matter)", ylabel="weight × size", ylim=(0, 6), xticks=range(6))
axes[0].legend(frameon=False)
points, groups = test[0][7:8], test[1][7]
order = groups.argsort()
pictures = {
    "equal weights": relaxed(torch.zeros(6), points)[0],
    "learned weights": relaxed(learned, points)[0],
    "truth": groups.outer(groups),
}
for axis, (name, matrix) in zip(axes[1:], pictures.items(), strict=True):
    image = axis.imshow(matrix[order][:, order], cmap="PuOr", vmin=-1, vmax=1)
    axis.set(title=name, xticks=[], yticks=[])
figure.colorbar(image, ax=axes[1:], label="X")
plt.show()
