"""
Battery behind the meter
========================

A household buys and sells by the price of the hour, and only its meter is seen. The plan of its
battery solves a small quadratic program, in which capacity, power, efficiency and wear are
unknown: they are learned from forty days of prices and meter readings. Dual variables are
outputs of the layer like any other, and say what stored energy is worth.
"""

# %%
import cvxpy as cp
import matplotlib.pyplot as plt
import torch

from cvxpylayers.torch import CvxpyLayer

# %%
# The problem, once: 24 hours, from a half-full battery to a half-full one
T = 24
price = cp.Parameter(T, name="price")
names = "capacity", "power", "wear", "gain", "drain"
capacity, power, wear, gain, drain = (cp.Parameter(nonneg=True, name=name) for name in names)
charge, discharge = cp.Variable(T, nonneg=True), cp.Variable(T, nonneg=True)
stored = cp.Variable(T + 1, nonneg=True)
balance = stored[1:] == stored[:-1] + gain * charge - drain * discharge
limits = [charge <= power, discharge <= power, stored <= capacity]
ends = [stored[0] == capacity / 2, stored[-1] == capacity / 2]
cost = price @ (charge - discharge) + wear * (cp.sum_squares(charge) + cp.sum_squares(discharge))
problem = cp.Problem(cp.Minimize(cost), [balance, *limits, *ends])
outputs = [charge, discharge, stored, balance.dual_variables[0]]
layer = CvxpyLayer(problem, [price, capacity, power, wear, gain, drain], outputs)


def operate(battery: torch.Tensor, prices: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Charge, discharge, stored energy and its value, for a battery (4) and prices (B, 24)."""
    capacity, power, wear, efficiency = battery
    return layer(prices, capacity, power, wear, efficiency, 1 / efficiency)


# %%
# What was seen: prices with a morning and an evening peak, and readings of the meter with an
# error of 0.2 kW
torch.manual_seed(0)
hours = torch.arange(T, dtype=torch.float64)
peaks = torch.exp(-((hours - 8) ** 2) / 8) + 1.5 * torch.exp(-((hours - 19) ** 2) / 10)
levels = 15 + 5 * torch.randn(40, 1).double() + 30 * torch.rand(40, 1).double() * peaks
prices = levels + 3 * torch.randn(40, T).double()
truth = torch.tensor([10.0, 3.0, 0.8, 0.92], dtype=torch.float64)
charge_seen, discharge_seen, _, _ = operate(truth, prices)
meter = charge_seen - discharge_seen + 0.2 * torch.randn(40, T).double()

# %%
# Learning the four numbers, in logarithms, from a wrong guess
logs = torch.tensor([5.0, 5.0, 0.2, 0.8], dtype=torch.float64).log().requires_grad_()
optimizer = torch.optim.Adam([logs], lr=0.03)
path = []
for _ in range(150):
    battery = logs.exp()
    path.append(battery.detach() / truth)
    charge_now, discharge_now, _, _ = operate(battery, prices)
    loss = (charge_now - discharge_now - meter).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
unknown = "capacity", "power", "wear", "efficiency"
for name, found, true in zip(unknown, logs.exp(), truth, strict=True):
    print(f"{name}: {found:.3f}, truly {true:g}")
assert (path[-1] - 1).abs().max() < 0.05

# %%
# Learning, and a day of the household. Stored energy is worth what it costs to buy, or what it
# will fetch: where the battery is neither full nor empty, its value does not change.
plt.style.use("petroff10")
figure, (learning, day) = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
for name, line in zip(unknown, torch.stack(path).T, strict=True):
    learning.plot(line, lw=2.5, label=name)
learning.axhline(1, color="k", lw=0.8, ls="--")
learning.set(xlabel="step of learning", ylabel="learned / true")
learning.legend(frameon=False)
with torch.no_grad():
    _, _, stored_now, value = operate(logs.exp(), prices[0])
day.step(hours, prices[0], where="post", color="0.5", label="price, cents per kWh")
day.step(hours, value, where="post", color="C1", lw=2.5, label="value of stored energy, the same")
day.fill_between(torch.arange(T + 1), stored_now, color="C0", alpha=0.3, label="stored, kWh")
day.set(xlabel="hour", ylim=(0, 48), xticks=range(0, 25, 4))
day.legend(frameon=False, loc="upper left")
plt.show()
