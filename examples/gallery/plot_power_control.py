"""
Geometric program: power control
================================

Transmitters share a frequency and disturb each other. The powers with which the worst receiver
hears best solve a geometric program. As a layer it says how well that goes for any places of
transmitters and receivers, and its gradient moves the transmitters.
"""

# %%
import cvxpy as cp
import matplotlib.pyplot as plt
import torch

from cvxpylayers.torch import CvxpyLayer

# %%
# The problem, once, with ``gp=True``: gains multiply powers, and everything is positive. At most
# 1 of power, noise of 0.01.
n = 4
power, ratio, gain = cp.Variable(n, pos=True), cp.Variable(pos=True), cp.Parameter((n, n), pos=True)
disturbance = [0.01 + sum(gain[i, j] * power[j] for j in range(n) if j != i) for i in range(n)]
heard = [ratio * disturbance[i] <= gain[i, i] * power[i] for i in range(n)]
problem = cp.Problem(cp.Maximize(ratio), [*heard, power <= 1])
layer = CvxpyLayer(problem, [gain], [ratio, power], gp=True)


def worst_ratio(places: torch.Tensor, receivers: torch.Tensor) -> torch.Tensor:
    """Signal over noise and disturbance, in decibels (B), of the worst of receivers (B, n, 2)."""
    distance2 = (receivers[:, :, None] - places).square().sum(-1) + 0.01
    return 10 * layer(1 / distance2**1.5)[0].log10()


# %%
# Receivers scatter about four centres, anew every time; transmitters start near the middle.
centres = torch.tensor([[-1.0, -0.8], [1.2, -0.6], [-0.7, 1.0], [0.8, 0.7]])
spread = torch.tensor([0.5, 0.2, 0.3, 0.4])[:, None]
torch.manual_seed(0)
new = centres + spread * torch.randn(1000, n, 2)
start = 0.5 * centres
places = start.clone().requires_grad_()
optimizer = torch.optim.Adam([places], lr=0.03)
path = [start]
for _ in range(80):
    loss = -worst_ratio(places, centres + spread * torch.randn(64, n, 2)).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    path.append(places.detach().clone())

# %%
# A thousand new sets of receivers. The centres, of which the layer was not told, are what to
# compare with.
with torch.no_grad():
    found = {
        name: worst_ratio(p, new)
        for name, p in (("start", start), ("in the centres", centres), ("learned", path[-1]))
    }
for name, ratios in found.items():
    print(f"{name}: the worst receiver hears {ratios.mean():.2f} dB on average")
assert found["learned"].mean() > found["in the centres"].mean()

# %%
# The ways of the transmitters, from the middle to the stars, among the receivers, and how the
# worst receiver hears.
plt.style.use("petroff10")
figure, (plane, bars) = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
ways = torch.stack(path)
for k in range(n):
    plane.plot(*new[:150, k].T, ".", color=f"C{k}", ms=3, alpha=0.5)
    plane.plot(*ways[:, k].T, color="k", lw=1.5)
    plane.plot(*ways[-1, k], "*", color=f"C{k}", mec="k", ms=16)
plane.set(xlabel="x", ylabel="y", aspect="equal")
for k, name in enumerate(("start", "learned")):
    color = ("0.5", "C0")[k]
    bars.hist(found[name], bins=range(-20, 31), alpha=0.7, color=color, label=name)
bars.set(xlabel="signal over noise of the worst receiver, dB", ylabel="sets of receivers")
bars.legend(frameon=False)
plt.show()
