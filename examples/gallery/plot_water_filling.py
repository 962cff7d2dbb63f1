"""
Water filling
=============

A transmitter has some power for many channels. To send the most it fills them like water fills
a vessel, whose floor is high where the channel is bad: this is a convex problem with a famous
solution. Here three users share the channels, the sum of rates serves them unequally, and
weights that make them equal are learned in MLX through the water level.
"""

# %%
import cvxpy as cp
import matplotlib.pyplot as plt
import mlx.core as mx
import numpy as np

from cvxpylayers.mlx import CvxpyLayer

# %%
# The problem, once: power for twelve channels of given gains, to maximize the weighted sum of
# rates
n = 12
power, rate = cp.Variable(n, nonneg=True), cp.Variable(n)
gain, weight = cp.Parameter(n, nonneg=True), cp.Parameter(n, nonneg=True)
limits = [rate <= cp.log(1 + cp.multiply(gain, power)), cp.sum(power) == 4]
problem = cp.Problem(cp.Maximize(weight @ rate), limits)
layer = CvxpyLayer(problem, [gain, weight], [power])

# %%
# A batch of 256 states of the channels; users have four channels each and are at different
# distances.
mx.random.seed(0)
owner = np.repeat(np.arange(3), 4)
distance = mx.array([0.4, 1.0, 2.0])[mx.array(owner)]
gains = -mx.log(mx.random.uniform(1e-3, 1, (256, n))) / distance**1.5

# %%
# With equal weights the solution is water: floor 1 / gain, level μ, power (μ - 1 / gain)₊, where
# the level is found by sorting.
(powers,) = layer(gains, mx.ones(n))
floors = np.sort(1 / np.array(gains, float), axis=1)
levels = (4 + floors.cumsum(1)) / np.arange(1, n + 1)
level = levels[np.arange(256), (levels > floors).sum(1) - 1]
error = np.abs(np.maximum(level[:, None] - 1 / np.array(gains, float), 0) - np.array(powers)).max()
print(f"largest difference from the closed form: {error:.0e}")
assert error < 1e-4


# %%
# Mean rates of the users depend on weights of the users; their differences are to vanish.
def mean_rates(weights: mx.array) -> mx.array:
    (powers,) = layer(gains, weights[mx.array(owner)])
    return mx.log(1 + gains * powers).mean(0).reshape(3, 4).sum(1)


def unfairness(logs: mx.array) -> mx.array:
    return mx.var(mean_rates(mx.exp(logs)))


logs, history = mx.zeros(3), []
slope = mx.grad(unfairness)
for _ in range(25):
    history.append(np.array(mean_rates(mx.exp(logs))))
    logs = logs - 0.2 * slope(logs)
weights = mx.exp(logs - logs[0])
print("weights of the users", np.array(weights).round(2))
print("rates", history[0].round(2), "→", history[-1].round(2))
assert np.ptp(history[-1]) < 0.05

# %%
# The first state of the channels, filled with equal weights, and how the rates of the three users
# come together.
plt.style.use("petroff10")
figure, (vessel, rates) = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
floor, water = 1 / np.array(gains[0]), np.array(powers[0])
shown = np.argsort(floor)
vessel.bar(range(n), floor[shown], width=1, color="0.75", label="floor, 1 / gain")
vessel.bar(range(n), water[shown], width=1, bottom=floor[shown], color="C0", label="power")
vessel.set(xlabel="channel, from good to bad", ylabel="1 / gain + power", xticks=[])
vessel.set_ylim(0, 2.2 * level[0])
vessel.legend(frameon=False, loc="upper left")
for k, (user, line) in enumerate(zip(("near", "middle", "far"), np.array(history).T, strict=True)):
    rates.plot(line, color=f"C{k}", lw=2.5, label=f"{user} user")
rates.set(xlabel="step of learning", ylabel="mean rate", ylim=(0, None))
rates.legend(frameon=False)
plt.show()
