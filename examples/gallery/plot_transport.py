"""
Trips between districts: entropy-regularized transport
======================================================

How many people travel from each district to each other one? The classical answer, the gravity model, is a
transport problem with an entropy: trips are cheap on average and otherwise as random as possible. Here the
cost of a trip is unknown and learned, as a function of distance and of a river, from counts of trips.
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
# The problem, once. Its solution has a known form, diag(u) exp(-cost) diag(v), which Sinkhorn's algorithm
# finds; the layer is compared with it.
n = 8
trips, cost = cp.Variable((n, n)), cp.Parameter((n, n), name="cost")
leaving, arriving = cp.Parameter(n, name="leaving"), cp.Parameter(n, name="arriving")
objective = cp.sum(cp.multiply(cost, trips)) - cp.sum(cp.entr(trips))
constraints = [cp.sum(trips, axis=1) == leaving, cp.sum(trips, axis=0) == arriving]
layer = CvxpyLayer(cp.Problem(cp.Minimize(objective), constraints), [cost, leaving, arriving], [trips])

# %%
# Six cities of eight districts each, with a river in the middle. A minute's walk costs more than a minute's
# ride, so the true cost bends.
rng = np.random.default_rng(0)
places = rng.uniform(-1, 1, (6, n, 2))
distance = np.linalg.norm(places[:, :, None] - places[:, None], axis=-1)
river = (places[:, :, None, 0] > 0) != (places[:, None, :, 0] > 0)
knots = np.linspace(0, 2.5, 6)
true_curve, true_toll = 3 * np.sqrt(knots), 1.5
people = rng.dirichlet(np.full(n, 3.0), (2, 6))


def costs(curve: jax.Array, toll: jax.Array) -> jax.Array:
    """Costs (6, n, n) of trips: linear between the knots of a curve over distance, and a toll on the bridge."""
    return jnp.interp(distance, knots, curve) + toll * river


def sinkhorn(cost: np.ndarray, leaving: np.ndarray, arriving: np.ndarray) -> np.ndarray:
    """The same trips (n, n) by scaling rows and columns in turn."""
    plan = np.exp(-cost)
    for _ in range(500):
        plan *= (leaving / plan.sum(1))[:, None]
        plan *= arriving / plan.sum(0)
    return plan


(expected,) = layer(costs(true_curve, true_toll), *people)
error = max(
    np.abs(expected[k] - sinkhorn(np.asarray(costs(true_curve, true_toll))[k], *people[:, k])).max()
    for k in range(6)
)
print(f"largest difference from Sinkhorn's algorithm: {error:.0e}")
assert error < 1e-5

# %%
# What is seen are counts of 20 000 trips in each city. The curve and the toll are learned by maximum
# likelihood.
counts = np.stack(
    [rng.multinomial(20_000, np.ravel(plan) / plan.sum()).reshape(n, n) for plan in np.asarray(expected, float)]
)


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
# A constant in the curve changes no trip, since as many people leave and arrive anyhow; it is chosen so that
# the curve begins at 0.
curve, toll = unknown["curve"] - unknown["curve"][0], unknown["toll"]
off = jnp.abs(curve - true_curve)[:5].max()
print(f"toll {toll:.2f}, true {true_toll}; largest error of the curve up to distance 2: {off:.2f}")
assert abs(toll - true_toll) < 0.1
assert off < 0.2

# %%
# The learned cost, and one of the cities: lines are as wide as the trips between two districts are many.
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
    town.plot(
        *places[city, [i, j]].T,
        color="C1" if river[city, i, j] else "C0",
        lw=many / 150,
        solid_capstyle="round",
        alpha=0.7,
    )
town.scatter(*places[city].T, s=60 + 1500 * people[0, city], color="0.2", zorder=3)
town.set(aspect="equal", title="blue: on one bank, orange: across the river")
town.axis("off")
plt.show()
