"""
Total variation denoising
=========================

Total variation denoising looks for the picture nearest to the noisy one whose neighbouring
pixels differ little. How little, a weight decides. First one weight for all pairs of neighbours
is learned by gradients through the solution; then a small network reads the noisy picture and
gives every pair a weight of its own, low where it sees detail.
"""

# %%
import cvxpy as cp
import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib import cbook

from cvxpylayers.torch import CvxpyLayer

# %%
# A magnetic resonance image of a head, which ships with matplotlib. The left half trains, the
# right half tests.
raw = np.frombuffer(cbook.get_sample_data("s1045.ima.gz").read(), np.uint16).reshape(256, 256)
clean = torch.tensor(raw / raw.max()).float().sqrt().reshape(128, 2, 128, 2).mean((1, 3))[:, 8:120]
torch.manual_seed(0)
noisy = clean + 0.1 * torch.randn(clean.shape)
left, right = slice(0, 56), slice(56, 112)

# %%
# The problem, once, for patches of 8 × 8 pixels. Its parameters are the patch and the weights of
# its pairs of neighbours.
x, patch = cp.Variable((8, 8)), cp.Parameter((8, 8))
below, beside = cp.Parameter((7, 8), nonneg=True), cp.Parameter((8, 7), nonneg=True)
down = cp.multiply(below, cp.abs(cp.diff(x, axis=0)))
across = cp.multiply(beside, cp.abs(cp.diff(x, axis=1)))
problem = cp.Problem(cp.Minimize(0.5 * cp.sum_squares(x - patch) + cp.sum(down) + cp.sum(across)))
layer = CvxpyLayer(problem, [patch, below, beside], [x])


def patches(picture: torch.Tensor) -> torch.Tensor:
    """All patches whose corners are multiples of 4 pixels, (B, 8, 8)."""
    return picture.unfold(0, 8, 4).unfold(1, 8, 4).reshape(-1, 8, 8)


class Denoiser(torch.nn.Module):
    """Patches (B, 8, 8) → denoised ones, with one weight or with those of a small network."""

    def __init__(self, adaptive: bool) -> None:
        super().__init__()
        self.log_weight = torch.nn.Parameter(torch.tensor(-3.0))
        layers = []
        for channels in ((1, 12), (12, 12), (12, 2)):
            layers.append(torch.nn.Conv2d(*channels, 3, padding=1, padding_mode="replicate"))
            layers.append(torch.nn.ReLU())
        self.network = torch.nn.Sequential(*layers[:-1]) if adaptive else None

    def weights(self, noisy: torch.Tensor) -> torch.Tensor:
        change = self.network(noisy[:, None]) if self.network else torch.zeros(len(noisy), 2, 8, 8)
        return (self.log_weight + change).exp()

    def forward(self, noisy: torch.Tensor) -> torch.Tensor:
        weights = self.weights(noisy)
        return layer(noisy, weights[:, 0, :-1], weights[:, 1, :, :-1])[0]


# %%
# Both are trained alike; overlapping patches are averaged to a picture.
def assembled(pieces: torch.Tensor) -> torch.Tensor:
    """The picture (128, 56) whose patches (B, 8, 8) are these, in the mean where they overlap."""
    fold = torch.nn.Fold((128, 56), 8, stride=4)
    return (fold(pieces.flatten(1).T) / fold(torch.ones_like(pieces).flatten(1).T))[0]


pictures = {"clean": clean[:, right], "noisy": noisy[:, right]}
for name in ("one weight", "weights of a network"):
    model = Denoiser(adaptive="network" in name)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.02, total_steps=400)
    for _ in range(400):
        truth = patches(clean[:, left])[torch.randint(403, (16,))]
        loss = (model(truth + 0.1 * torch.randn(truth.shape)) - truth).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        pictures[name] = assembled(model(patches(noisy[:, right])))

quality = {}
for name in ("noisy", "one weight", "weights of a network"):
    quality[name] = -10 * (pictures[name] - clean[:, right]).square().mean().log10().item()
    print(f"{name}: {quality[name]:.1f} dB")
assert quality["weights of a network"] > quality["one weight"] + 0.1 > quality["noisy"] + 3

# %%
# The right half of the picture, which neither of them has seen. Decibels are the peak
# signal-to-noise ratio: higher is better.
with torch.no_grad():
    pictures["where it smooths"] = assembled(model.weights(patches(noisy[:, right])).mean(1)).log()
figure, axes = plt.subplots(1, 5, figsize=(10, 4.6), layout="constrained")
for axis, (name, picture) in zip(axes, pictures.items(), strict=True):
    if "smooths" in name:
        axis.imshow(picture, cmap="cividis")
    else:
        axis.imshow(picture, cmap="gray", vmin=0, vmax=1)
    note = f"{quality[name]:.1f} dB" if name in quality else ""
    axis.set_title(f"{name}\n{note}", fontsize=11)
    axis.axis("off")
plt.show()
