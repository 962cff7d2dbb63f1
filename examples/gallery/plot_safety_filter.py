"""
Safety filter in reinforcement learning
=======================================

A policy learns by trying, and what it tries may end in a crash. A *control barrier function*
h(x) ≥ 0 describes where it is safe, and a small quadratic program changes an action as little
as possible so that h does not fall too quickly. As a layer, the filter sits inside the policy:
nothing ever crashes, not even in the first episode, and gradients tell the policy what the
filter does to its actions.
"""

# %%
import cvxpy as cp
import matplotlib.pyplot as plt
import torch

from cvxpylayers.torch import CvxpyLayer

# %%
# A point in the plane moves with velocity u towards the origin, past discs. Of disc k with centre
# c and radius r, hₖ(x) = ‖x - c‖² - r², and the safe velocities are those with ∇hₖ(x)ᵀ u + α
# hₖ(x) ≥ 0: one linear inequality each.
centres = torch.tensor([[-1.6, 0.3], [0.0, -1.5], [1.5, 0.8], [-0.4, 1.9]])
radii = torch.tensor([0.8, 0.7, 0.7, 0.6])
u, wish = cp.Variable(2), cp.Parameter(2)
slopes, margins = cp.Parameter((4, 2)), cp.Parameter(4)
safe = [slopes @ u + margins >= 0, cp.abs(u) <= 1.5]
problem = cp.Problem(cp.Minimize(cp.sum_squares(u - wish)), safe)
layer = CvxpyLayer(problem, [wish, slopes, margins], [u])


def barriers(x: torch.Tensor) -> torch.Tensor:
    """h (B, 4) at positions (B, 2); negative inside a disc."""
    return (x[:, None] - centres).square().sum(-1) - radii**2


def episode(
    policy: torch.nn.Module, x: torch.Tensor, filtered: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Costs (B) of 40 steps from positions (B, 2), and the positions (41, B, 2)."""
    cost, path = torch.zeros(len(x)), [x]
    for _ in range(40):
        action = 1.5 * policy(x).tanh()
        if filtered:
            (action,) = layer(action, 2 * (x[:, None] - centres), 2 * barriers(x))
        x = x + 0.1 * action
        cost = cost + 0.1 * (x.square().sum(-1) + 0.1).sqrt() + 0.01 * action.square().sum(-1)
        path.append(x)
    return cost, torch.stack(path)


def starts(count: int) -> torch.Tensor:
    """Positions (count, 2) on a circle of radius 3."""
    angle = 2 * torch.pi * torch.rand(count)
    return 3 * torch.stack([angle.cos(), angle.sin()], 1)


# %%
# Two policies learn by gradients through their episodes: one is filtered, the other pays for
# being inside a disc.
histories, crashes, policies = {}, {}, {}
for name in ("punished", "filtered"):
    torch.manual_seed(0)
    policy = torch.nn.Sequential(torch.nn.Linear(2, 64), torch.nn.Tanh(), torch.nn.Linear(64, 2))
    policies[name], histories[name], crashes[name] = policy, [], [0]
    optimizer = torch.optim.Adam(policy.parameters(), lr=0.005)
    for _ in range(80):
        cost, path = episode(policy, starts(32), name == "filtered")
        depth = (-barriers(path.flatten(0, 1))).reshape(41, 32, 4).clamp(min=0)
        loss = (cost + 10 * depth.sum((0, 2))).mean() if name == "punished" else cost.mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        histories[name].append(cost.mean().item())
        crashes[name].append(crashes[name][-1] + int((depth > 1e-5).any(0).any(-1).sum()))
    cost = histories[name][-1]
    print(f"{name}: {crashes[name][-1]} crashes in 2560 episodes, cost of the last ones {cost:.2f}")
assert crashes["filtered"][-1] == 0 < crashes["punished"][-1]

# %%
# Crashes while learning, and paths of the policy that learned with the filter. The other crashes
# until the end.
plt.style.use("petroff10")
figure, (count, plane) = plt.subplots(1, 2, figsize=(9, 4.2), layout="constrained")
for name in crashes:
    count.plot(range(0, 81 * 32, 32), crashes[name], lw=2.5, label=name)
count.set(xlabel="episodes", ylabel="crashes so far")
count.legend(frameon=False)
for c, r in zip(centres, radii, strict=True):
    plane.add_patch(plt.Circle(c.tolist(), r.item(), color="0.85"))
with torch.no_grad():
    _, path = episode(policies["filtered"], starts(24), True)
plane.plot(path[..., 0], path[..., 1], color="C1", lw=1.5)
plane.plot(path[0, :, 0], path[0, :, 1], "o", color="C1", ms=4)
plane.set(xlabel="x", ylabel="y", aspect="equal")
plt.show()
