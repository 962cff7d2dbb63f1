"""
Shortest paths with the SPO+ loss
=================================

The time that each street takes has to be predicted from features such as the weather and the
hour; then the shortest path is taken. A model that is too simple to predict well can be trained
for small errors, or for good paths. The second is *decision-focused*: the SPO+ loss of
Elmachtoub and Grigas (2022) is a convex bound on how much longer the chosen path is than the
best one.
"""

# %%
import cvxpy as cp
import matplotlib.pyplot as plt
import numpy as np
import torch

from cvxpylayers.torch import CvxpyLayer

# %%
# A grid of 6 × 6 crossings, from the north-west corner to the south-east one, streets going east
# and south
side = 6
nodes = np.arange(side * side).reshape(side, side)
east, south = np.stack([nodes[:, :-1], nodes[:, 1:]], -1), np.stack([nodes[:-1], nodes[1:]], -1)
streets = np.concatenate([east.reshape(-1, 2), south.reshape(-1, 2)])
incidence = np.zeros((side * side, len(streets)))
incidence[streets.T, np.arange(len(streets))] = [[-1], [1]]
demand = np.zeros(side * side)
demand[[0, -1]] = -1, 1

# %%
# The problem, once. Its linear program has a path as solution.
path, costs = cp.Variable(len(streets)), cp.Parameter(len(streets))
flow = [path >= 0, incidence[1:] @ path == demand[1:]]
layer = CvxpyLayer(cp.Problem(cp.Minimize(costs @ path), flow), [costs], [path])


def length(predicted: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
    """What the paths that are shortest under ``predicted`` (B, streets) really cost (B)."""
    return (layer(predicted)[0] * true).sum(-1)


def spo_plus(predicted: torch.Tensor, true: torch.Tensor, best: torch.Tensor) -> torch.Tensor:
    """The SPO+ loss (B). By Danskin's theorem both paths count as constants."""
    turned = 2 * predicted - true
    with torch.no_grad():
        (tempted,) = layer(turned)
    return (turned * (best - tempted)).sum(-1)


# %%
# Costs depend on five features through a polynomial, which the linear model below cannot
# represent.
features, degree = 5, 6
torch.manual_seed(0)
influence = (torch.rand(features, len(streets)) < 0.5).double()


def days(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Features (count, 5) and true costs (count, streets)."""
    z = torch.randn(count, features, dtype=torch.float64)
    luck = 0.75 + 0.5 * torch.rand(count, len(streets))
    return z, ((z @ influence / features**0.5 + 3) / 3) ** degree * luck


train, test = days(400), days(1000)

# %%
# Two models are trained alike, but for the loss. What is compared is *regret*: the extra time of
# the paths taken on new days.
best, best_new = layer(train[1])[0], length(test[1], test[1]).mean()
models, regret = {}, {}
for name in ("small errors", "good paths"):
    torch.manual_seed(0)
    models[name] = model = torch.nn.Linear(features, len(streets)).double()
    optimizer, regret[name] = torch.optim.Adam(model.parameters(), lr=0.03), []
    for _ in range(40):
        for rows in torch.randperm(400).split(50):
            z, true = train[0][rows], train[1][rows]
            if name == "small errors":
                loss = (model(z) - true).square().mean()
            else:
                loss = spo_plus(model(z), true, best[rows]).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            taken = length(model(test[0]), test[1]).mean()
        regret[name].append(100 * (taken / best_new - 1).item())
    print(f"trained for {name}: paths are {regret[name][-1]:.1f} % longer than the shortest")
assert regret["good paths"][-1] < 0.8 * regret["small errors"][-1]

# %%
# A new day on which the two disagree most: dark streets are slow.
with torch.no_grad():
    times = {name: length(model(test[0]), test[1]) for name, model in models.items()}
    day = (times["small errors"] - times["good paths"]).argmax()
    paths = {name: layer(model(test[0][day]))[0] for name, model in models.items()}
plt.style.use("petroff10")
figure, (curve, town) = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
ends = np.stack(np.divmod(streets, side), -1)[..., ::-1] * [1, -1]  # two coordinates of both ends
shade = (test[1][day] / test[1][day].max()) ** 0.5
for street, darkness in zip(ends, shade, strict=True):
    color = str(0.9 - 0.8 * darkness.item())
    town.plot(*street.T, color=color, lw=5, solid_capstyle="round", zorder=0)
for k, (name, history) in enumerate(regret.items()):
    curve.plot(range(1, 41), history, lw=2.5, label=f"trained for {name}")
    for street in ends[paths[name].numpy() > 0.5] + 0.06 * (2 * k - 1):
        town.plot(*street.T, color=f"C{k}", lw=3)
curve.set(xlabel="epoch", ylabel="longer than the shortest path, %", ylim=(0, 20))
curve.legend(frameon=False)
blue, orange, least = (t[day] for t in (*times.values(), length(test[1], test[1])))
town.set_title(f"blue {blue:.0f} min, orange {orange:.0f} min, shortest {least:.0f} min")
town.set_aspect("equal")
town.axis("off")
plt.show()
