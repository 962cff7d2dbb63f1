"""
Total variation denoising
=========================

Total variation denoising looks for the picture nearest to the noisy one whose neighbouring
pixels differ little. How little, a weight decides. First one weight for all pairs of neighbours
is learned by gradients through the solution; then three numbers, by which every pair has a
weight of its own, that depends on what a blurred picture shows there.
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


def edges(noisy: torch.Tensor) -> torch.Tensor:
    """Of pairs of neighbours (B, 3, 2, 8, 8): one, change of a blurred patch, brightness."""
    blurred = torch.nn.functional.avg_pool2d(noisy[:, None], 3, 1, 1, count_include_pad=False)[:, 0]
    change = [torch.diff(blurred, dim=d, append=blurred.narrow(d, 7, 1)).abs() for d in (1, 2)]
    bright = torch.stack([blurred, blurred], 1)
    return torch.stack([torch.ones_like(bright), 10 * torch.stack(change, 1), bright], 1)


def weights(theta: torch.Tensor, noisy: torch.Tensor) -> torch.Tensor:
    """Weights (B, 2, 8, 8) of pairs below and beside, in logarithms linear in the above."""
    return torch.einsum("k,bkdij->bdij", theta, edges(noisy)).exp()


def denoise(theta: torch.Tensor, noisy: torch.Tensor) -> torch.Tensor:
    """Patches (B, 8, 8) → denoised ones."""
    below, beside = weights(theta, noisy).unbind(1)
    return layer(noisy, below[:, :-1], beside[:, :, :-1])[0]


# %%
# Both are trained alike; overlapping patches are averaged to a picture.
def assembled(pieces: torch.Tensor) -> torch.Tensor:
    """The picture (128, 56) whose patches (B, 8, 8) are these, in the mean where they overlap."""
    fold = torch.nn.Fold((128, 56), 8, stride=4)
    return (fold(pieces.flatten(1).T) / fold(torch.ones_like(pieces).flatten(1).T))[0]


pictures = {"clean": clean[:, right], "noisy": noisy[:, right]}
learned = {}
for name, free in (("one weight", [1.0, 0, 0]), ("adaptive", [1.0, 1, 1])):
    theta = torch.tensor([-3.0, 0, 0], requires_grad=True)
    optimizer = torch.optim.Adam([theta], lr=0.1)
    for _ in range(80):
        truth = patches(clean[:, left])[torch.randint(403, (16,))]
        restored = denoise(theta * torch.tensor(free), truth + 0.1 * torch.randn(truth.shape))
        loss = (restored - truth).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    learned[name] = (theta * torch.tensor(free)).detach()
    pictures[name] = assembled(denoise(learned[name], patches(noisy[:, right])))

quality = {}
for name in ("noisy", "one weight", "adaptive"):
    quality[name] = -10 * (pictures[name] - clean[:, right]).square().mean().log10().item()
    print(f"{name}: {quality[name]:.1f} dB")
assert quality["adaptive"] > quality["one weight"] + 0.2 > quality["noisy"] + 3

# %%
# The right half of the picture, which neither of them has seen. Decibels are the peak
# signal-to-noise ratio: higher is better.
with torch.no_grad():
    strength = weights(learned["adaptive"], patches(noisy[:, right])).mean(1)
pictures["where it smooths"] = assembled(strength).log()
plt.style.use("petroff10")
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
