"""
Model predictive control
========================

A model predictive controller plans a few steps ahead, applies the first input and plans again.
The fewer steps, the faster, and the more depends on the *terminal cost* that stands for all
that comes after. Here a controller that looks two steps ahead learns its terminal cost by
gradients through the loop that it closes, and does as well as one that looks twenty steps
ahead.
"""

# %%
import cvxpy as cp
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import optax

from cvxpylayers.jax import CvxpyLayer

# %%
# A mass on a rail: position and velocity, a bounded force, a speed limit. The problem, once for
# each horizon: a linear quadratic regulator with constraints. ‖root · x‖² is the terminal cost;
# slack makes the speed limit soft, so that there is always a solution.
A, B = jnp.array([[1.0, 0.2], [0.0, 1.0]]), jnp.array([0.02, 0.2])


def controller(horizon: int) -> CvxpyLayer:
    """State (2) and root of the terminal cost (2, 2) → the first input."""
    x, u = cp.Variable((horizon + 1, 2)), cp.Variable(horizon)
    slack = cp.Variable(horizon, nonneg=True)
    state, root = cp.Parameter(2, name="state"), cp.Parameter((2, 2), name="root")
    stages = cp.sum_squares(x[:-1, 0]) + 0.1 * cp.sum_squares(u) + 100 * cp.sum_squares(slack)
    dynamics = [x[0] == state] + [x[k + 1] == A @ x[k] + B * u[k] for k in range(horizon)]
    limits = [cp.abs(u) <= 1, cp.abs(x[1:, 1]) <= 0.6 + slack]
    problem = cp.Problem(cp.Minimize(stages + cp.sum_squares(root @ x[-1])), dynamics + limits)
    return CvxpyLayer(problem, [state, root], [u])


# %%
# The loop closed over 50 steps, for whatever batch of states it starts from: a ``scan``, compiled
# as a whole.
def drive(layer: CvxpyLayer, root: jax.Array, starts: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Costs (B) of the loop, and states (51, B, 2)."""

    def step(x: jax.Array, _: None) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        u = layer(state=x, root=root)[0][:, 0]
        over = jnp.maximum(jnp.abs(x[:, 1]) - 0.6, 0)
        return x @ A.T + u[:, None] * B, (x[:, 0] ** 2 + 0.1 * u**2 + 100 * over**2, x)

    end, (costs, states) = jax.lax.scan(step, starts, length=50)
    return costs.sum(0), jnp.concatenate([states, end[None]])


near, far = controller(2), controller(20)
starts = jax.random.uniform(jax.random.key(0), (48, 2), minval=-1, maxval=1) * jnp.array([2, 0.5])
train, test = starts[:24], starts[24:]

# %%
# Learning the terminal cost, with Adam
root, optimizer = jnp.eye(2), optax.adam(0.1)
memory = optimizer.init(root)
objective = jax.jit(jax.value_and_grad(lambda root: drive(near, root, train)[0].mean()))
for _ in range(60):
    value, gradient = objective(root)
    change, memory = optimizer.update(gradient, memory)
    root = optax.apply_updates(root, change)

# %%
# New starting points. What is printed is the mean cost of the loop.
runs = {
    "2 steps ahead, terminal cost ‖x‖²": drive(near, jnp.eye(2), test),
    "2 steps ahead, learned terminal cost": drive(near, root, test),
    "20 steps ahead": drive(far, jnp.eye(2), test),
}
means = [float(costs.mean()) for costs, _ in runs.values()]
for name, mean in zip(runs, means, strict=True):
    print(f"{name}: {mean:.2f}")
assert means[1] < 1.05 * means[2] < means[0]

# %%
# The loops in the plane of position and velocity, from dots to the origin; dotted lines are the
# speed limit. The short-sighted controller is timid and never drives as fast as it may; the
# learned terminal cost, whose level sets are grey, makes it as bold as the far-sighted one.
plt.style.use("petroff10")
figure, axes = plt.subplots(1, 3, figsize=(11, 3.6), layout="constrained", sharex=True, sharey=True)
grid = jnp.stack(jnp.meshgrid(jnp.linspace(-2.2, 2.2, 80), jnp.linspace(-1, 1, 80)))
level = (jnp.einsum("ij,jkl->ikl", root, grid) ** 2).sum(0)
axes[1].contour(*grid, level, levels=8, colors="0.75", linewidths=0.8)
for k, (axis, (name, (costs, states))) in enumerate(zip(axes, runs.items(), strict=True)):
    axis.plot(states[:, :12, 0], states[:, :12, 1], color=f"C{k}", lw=1.5)
    axis.plot(states[0, :12, 0], states[0, :12, 1], "o", color=f"C{k}", ms=4)
    axis.axhline(0.6, color="k", lw=0.8, ls=":")
    axis.axhline(-0.6, color="k", lw=0.8, ls=":")
    axis.set_title(f"{name}\nmean cost {costs.mean():.2f}", fontsize=11)
    axis.set(xlabel="position")
axes[0].set(ylabel="velocity", xlim=(-2.2, 2.2), ylim=(-1, 1))
plt.show()
