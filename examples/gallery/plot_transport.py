"""
Entropy-regularized transport
=============================

How many people travel from each district to each other one? The classical answer, the gravity
model, is a transport problem with an entropy: trips are cheap on average and otherwise as
random as possible. Here the cost of a trip is unknown and learned, as a function of distance
and of a river, from counts of trips.
"""

# %%
import cvxpy as cp
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax

from cvxpylayers.jax import CvxpyLayer

# %%
# The problem, once. Its solution has a known form, diag(u) exp(-cost) diag(v), which Sinkhorn's
# algorithm finds; the layer is compared with it.
n = 8
trips, cost = cp.Variable((n, n)), cp.Parameter((n, n), name="cost")
leaving, arriving = cp.Parameter(n, name="leaving"), cp.Parameter(n, name="arriving")
objective = cp.sum(cp.multiply(cost, trips)) - cp.sum(cp.entr(trips))
constraints = [cp.sum(trips, axis=1) == leaving, cp.sum(trips, axis=0) == arriving]
problem = cp.Problem(cp.Minimize(objective), constraints)
layer = CvxpyLayer(problem, [cost, leaving, arriving], [trips])

# %%
# Six cities of eight districts each, with a river in the middle. The first kilometre costs most,
# so the true cost bends.
rng = np.random.default_rng(0)
places = rng.uniform(-1, 1, (6, n, 2))
distance = np.linalg.norm(places[:, :, None] - places[:, None], axis=-1)
river = (places[:, :, None, 0] > 0) != (places[:, None, :, 0] > 0)
knots = np.linspace(0, 2.5, 6)
true_curve, true_toll = 3 * np.sqrt(knots), 1.5
people = rng.dirichlet(np.full(n, 3.0), (2, 6))


def costs(curve: jax.Array, toll: jax.Array) -> jax.Array:
    """Costs (6, n, n) of trips: a curve over distance, given at knots, and a toll on the bridge."""
    return jnp.interp(distance, knots, curve) + toll * river


def sinkhorn(cost: np.ndarray, leaving: np.ndarray, arriving: np.ndarray) -> np.ndarray:
    """The same trips (n, n) by scaling rows and columns in turn."""
    plan = np.exp(-cost)
    for _ in range(500):
        plan *= (leaving / plan.sum(1))[:, None]
        plan *= arriving / plan.sum(0)
    return plan


true_costs = costs(true_curve, true_toll)
expected = np.asarray(layer(true_costs, *people)[0], float)
scaled = np.stack([sinkhorn(*instance) for instance in zip(true_costs, *people, strict=True)])
error = np.abs(expected - scaled).max()
print(f"largest difference from Sinkhorn's algorithm: {error:.0e}")
assert error < 1e-5

# %%
# What is seen are counts of 20 000 trips in each city. The curve and the toll are learned by
# maximum likelihood.
shares = expected.reshape(6, -1) / expected.sum((1, 2))[:, None]
counts = np.stack([rng.multinomial(20_000, share).reshape(n, n) for share in shares])


def deviance(unknown: dict[str, jax.Array]) -> jax.Array:
    (plan,) = layer(costs(unknown["curve"], unknown["toll"]), *people)
    return -jnp.mean(counts * jnp.log(plan)) / 100


unknown = {"curve": jnp.zeros(6), "toll": jnp.zeros(())}
optimizer = optax.adam(0.1)
memory, objective = optimizer.init(unknown), jax.jit(jax.value_and_grad(deviance))
for _ in range(400):
    value, gradient = objective(unknown)
    change, memory = optimizer.update(gradient, memory)
    unknown = optax.apply_updates(unknown, change)

# %%
# A constant in the curve changes no trip, since as many people leave and arrive anyhow; it is
# chosen so that the curve begins at 0.
curve, toll = unknown["curve"] - unknown["curve"][0], unknown["toll"]
off = jnp.abs(curve - true_curve)[:5].max()
print(f"toll {toll:.2f}, true {true_toll}; largest error of the curve up to distance 2: {off:.2f}")
assert abs(toll - true_toll) < 0.1
assert off < 0.2

# %%
# The learned cost, and one of the cities: lines are as wide as the trips between two districts
# are many.
plt.style.use("petroff10")
figure, (left, town) = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
left.plot(knots, true_curve, "k--", lw=1.5, label="truth")
left.plot(knots, curve, "o-", lw=2.5, label="learned from counts")
left.plot(knots, curve + toll, "o-", lw=2.5, label="the same, across the river")
left.plot(knots, true_curve + true_toll, "k--", lw=1.5)
left.set(xlabel="distance", ylabel="cost of a trip")
left.legend(frameon=False)
city = 4
town.axvspan(-0.06, 0.06, color="0.85")
for i, j in zip(*np.triu_indices(n, 1), strict=True):
    many = counts[city, i, j] + counts[city, j, i]
    color = "C1" if river[city, i, j] else "C0"
    town.plot(*places[city, [i, j]].T, color=color, lw=many / 150, alpha=0.7)
town.scatter(*places[city].T, s=60 + 1500 * people[0, city], color="0.2", zorder=3)
town.set(aspect="equal", title="blue: on one bank, orange: across the river")
town.axis("off")
plt.show()
