"""
Inverse optimization
====================

Decisions are seen, the constraints behind them are not. Each of 200 visitors of a dark room
walks as close to a place of their choice as the walls allow. Knowing where they wanted to go,
and roughly where they ended up, we ask where the walls are. Gradients through the decisions,
which are projections onto the room, move the walls until decisions and observations agree.
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
# The problem, once: the nearest point behind ``n`` walls, of which each has a normal and a
# distance from the origin.
n = 6
x, wish = cp.Variable(2), cp.Parameter(2, name="wish")
normals, offsets = cp.Parameter((n, 2), name="normals"), cp.Parameter(n, name="offsets")
problem = cp.Problem(cp.Minimize(cp.sum_squares(x - wish)), [normals @ x <= offsets])
layer = CvxpyLayer(problem, [wish, normals, offsets], [x])


def decide(walls: dict[str, jax.Array], wishes: jax.Array) -> jax.Array:
    """Where visitors end up (B, 2)."""
    directions = jnp.stack([jnp.cos(walls["angle"]), jnp.sin(walls["angle"])], 1)
    return layer(wish=wishes, normals=directions, offsets=walls["offset"])[0]


# %%
# The true room, and what was seen of it: decisions with errors of 5 cm
truth = {
    "angle": jnp.array([0.1, 1.3, 2.0, 3.3, 4.4, 5.4]),
    "offset": jnp.array([1.6, 0.9, 1.1, 1.3, 0.8, 1.2]),
}
keys = jax.random.split(jax.random.key(1))
wishes = 1.6 * jax.random.normal(keys[0], (200, 2))
seen = decide(truth, wishes) + 0.05 * jax.random.normal(keys[1], wishes.shape)

# %%
# Learning the walls from a regular hexagon, with Adam; parameters have the names that they have
# in CVXPY.
start = {"angle": 2 * jnp.pi * jnp.arange(n) / n, "offset": jnp.ones(n)}
walls, optimizer = start, optax.adam(0.03)
memory = optimizer.init(walls)
objective = jax.jit(jax.value_and_grad(lambda walls: jnp.mean((decide(walls, wishes) - seen) ** 2)))
for step in range(200):
    error, gradient = objective(walls)
    if step == 0:
        print(f"root mean square error at the start {100 * error**0.5:.1f} cm")
    change, memory = optimizer.update(gradient, memory)
    walls = optax.apply_updates(walls, change)
new = 1.6 * jax.random.normal(jax.random.key(2), (1000, 2))
off = 100 * jnp.sqrt(jnp.mean((decide(walls, new) - decide(truth, new)) ** 2))
print(f"and at the end {100 * error**0.5:.1f} cm, of which 5 are errors of observation")
print(f"new visitors are predicted to {off:.1f} cm")
assert off < 1.5

# %%
# Wishes are where the thin lines begin, and dots the decisions that were seen.
plt.style.use("petroff10")
figure, axes = plt.subplots(figsize=(5.4, 4.8), layout="constrained")
for (x0, y0), (x1, y1) in zip(wishes[:70], seen[:70], strict=True):
    axes.plot([x0, x1], [y0, y1], color="0.85", lw=0.8, zorder=0)
axes.plot(seen[:, 0], seen[:, 1], ".", color="0.5", ms=5, label="decisions seen")
turn = jnp.linspace(0, 2 * jnp.pi, 1500)
around = 100 * jnp.stack([jnp.cos(turn), jnp.sin(turn)], 1)
rooms = {"first guess": (start, "C1:"), "learned": (walls, "C0-"), "truth": (truth, "k--")}
for name, (room, style) in rooms.items():
    border = np.asarray(decide(room, around))
    axes.plot(border[:, 0], border[:, 1], style, lw=2, label=name)
axes.set(xlabel="x, metres", ylabel="y, metres", xlim=(-2.6, 2.6), ylim=(-2.2, 2.2), aspect="equal")
axes.legend(loc="upper right")
plt.show()
