"""
Optimal power flow
==================

Power plants are scheduled a day ahead by a forecast of the demand, and what is missing is
bought when the day has come. Buying late is dear, throwing away is cheap, and lines are full in
some places and not in others, so an error of the forecast costs more here than there. A
forecast is trained for small errors, and through the market that follows it: two layers, one
after the other.
"""

# %%
import cvxpy as cp
import matplotlib.pyplot as plt
import numpy as np
import torch

from cvxpylayers.torch import CvxpyLayer

# %%
# Five buses, six lines and five plants after the network known as PJM 5-bus (Li and Bo, 2010), in
# units of 100 MW and 1000 $
lines = np.array([[0, 1], [0, 3], [0, 4], [1, 2], [2, 3], [3, 4]])
rating, reactance = np.array([4.0, 4, 4, 4, 4, 2.4]), np.array([2.81, 3.04, 0.64, 1.08, 2.97, 2.97])
plants, capacity = np.array([0, 0, 2, 3, 4]), np.array([0.4, 1.7, 5.2, 2.0, 6.0])
price = np.array([1.4, 1.5, 3.0, 4.0, 1.0])
at_bus, ends = np.eye(5)[plants].T, np.eye(5)[lines[:, 0]] - np.eye(5)[lines[:, 1]]

# %%
# The network, once, for power of the plants and a load of the buses: the laws of direct current,
# with limits. The flow on a line is the difference of its angles over its reactance; load that
# cannot be served is shed.
power, shed = cp.Variable(5, nonneg=True), cp.Variable(5, nonneg=True)
angle, flow, load = cp.Variable(5), cp.Variable(6), cp.Parameter(5)
network = [angle[0] == 0, cp.abs(flow) <= rating, power <= capacity]
network += [flow == (ends @ angle) / reactance, ends.T @ flow == at_bus @ power + shed - load]

# %%
# Two problems on it. The schedule serves the forecast at least price. On the day plants may go
# up, for five times the price, and down, for nothing; to shed load is worst. A small quadratic
# term makes the schedule move smoothly with the forecast.
day_ahead = price @ power + 0.05 * cp.sum_squares(power) + 20 * cp.sum(shed)
schedule = CvxpyLayer(cp.Problem(cp.Minimize(day_ahead), network), [load], [power])
up, planned = cp.Variable(5, nonneg=True), cp.Parameter(5)
on_the_day = 5 * price @ up + 20 * cp.sum(shed)
balancing = cp.Problem(cp.Minimize(on_the_day), [*network, power <= planned + up])
redispatch = CvxpyLayer(balancing, [planned, load], [up, shed, flow])


def bill(forecast: torch.Tensor, demand: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What days cost (B), and the flows (B, 6), for a forecast and a demand (B, 5)."""
    (planned,) = schedule(forecast)
    up, shed, flow = redispatch(planned, demand)
    return (planned + 5 * up) @ torch.tensor(price) + 20 * shed.sum(-1), flow


# %%
# Demand at three buses depends on two features, and on luck, most at the third of them.
torch.manual_seed(0)
base = torch.tensor([0, 2.6, 2.6, 2.6, 0], dtype=torch.float64)
luck = torch.tensor([0, 0.2, 0.4, 0.8, 0], dtype=torch.float64)
effect = torch.tensor([[0, 0.5, 0.2, 0.1, 0], [0, 0, 0.3, 0.4, 0]]).double()


def days(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Features (count, 2) and demands (count, 5)."""
    z = torch.randn(count, 2, dtype=torch.float64)
    return z, (base + z @ effect + luck * torch.randn(count, 5, dtype=torch.float64)).clamp(min=0)


train, test = days(400), days(1000)
models, bills = {}, {"demand known": bill(test[1], test[1])[0].mean().item()}
for name in ("small errors", "small bills"):
    torch.manual_seed(0)
    models[name] = model = torch.nn.Linear(2, 5).double()
    with torch.no_grad():
        model.bias.copy_(base)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(40):
        for rows in torch.randperm(400).split(100):
            predicted, demand = model(train[0][rows]) * (base > 0), train[1][rows]
            paid = bill(predicted, demand)[0].mean()
            loss = paid if name == "small bills" else (predicted - demand).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        bills[name] = bill(model(test[0]) * (base > 0), test[1])[0].mean().item()
for name, value in bills.items():
    print(f"{name}: {1000 * value:.0f} $ per hour")
known, errors, small = bills.values()
saved = (errors - small) / (errors - known)
print(f"of what uncertainty costs, {100 * saved:.0f} % are saved")
assert saved > 0.15

# %%
# What the forecasts add to the mean demand, and how full lines are on average: the forecast that
# is trained for small bills is generous where an error is dear.
plt.style.use("petroff10")
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
for k, (name, model) in enumerate(models.items()):
    added = (model(test[0]) - test[1]).mean(0).detach()[1:4]
    place = torch.arange(3) + 0.38 * (k - 0.5)
    left.bar(place, 100 * added, width=0.38, label=f"trained for {name}")
left.set(xticks=range(3), xticklabels=["bus B", "bus C", "bus D"])
left.set(ylabel="forecast above mean demand, MW")
left.legend(frameon=False)
with torch.no_grad():
    _, flows = bill(models["small bills"](test[0]) * (base > 0), test[1])
loading = flows.abs().mean(0) / torch.tensor(rating)
spots = np.array([[0, 1], [1, 1], [2, 1], [2, 0], [0, 0]])
for (a, b), full in zip(lines, loading, strict=True):
    right.plot(*spots[[a, b]].T, color=plt.cm.cividis_r(full.item()), lw=6, zorder=0)
    middle = spots[[a, b]].mean(0) + 0.05
    right.text(*middle, f"{100 * full:.0f} %")
right.scatter(*spots.T, s=500, color="0.2")
for letter, (x, y) in zip("ABCDE", spots, strict=True):
    right.text(x, y, letter, color="w", ha="center", va="center", fontsize=13)
right.set(title="mean loading of the lines", xlim=(-0.2, 2.2), ylim=(-0.3, 1.3))
right.axis("off")
plt.show()
