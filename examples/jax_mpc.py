"""A model predictive controller, tuned by gradients through the loop it closes: ``python examples/jax_mpc.py``.

A cart is to be brought to rest at the origin by a weak motor. Its plant has quadratic drag and a hill, of which the controller does
not know: at every step it solves a quadratic program over a linear model and applies the first input. What is tuned is what it
believes and what it wants: the model (A, B) and the weights (q, r). The objective is what the closed loop costs on the true plant.

Every gradient goes through ``scan`` over the steps, ``vmap`` over starting points, and a QP at each of them; all of it is one
compiled program without Python inside. A figure in out/ shows the learning curve, and the loop before and after.
"""

# %%
from __future__ import annotations

import argparse
import time
from functools import partial
from pathlib import Path
from typing import Any

import cvxpy as cp
import jax
import jax.numpy as jnp
import optax

from cvxpylayers.jax import CvxpyLayer

STEP, POWER = 0.2, 1.0  # seconds; largest force
Tree = dict[str, jax.Array]

# %% The controller: a QP whose parameters are the model, the weights, and where the cart is.


def controller(horizon: int) -> CvxpyLayer:
    """Inputs (horizon) that steer the linear model x⁺ = A x + B u from ``start`` towards the origin."""
    x, u = cp.Variable((horizon + 1, 2), name="x"), cp.Variable(horizon, name="u")
    A, B = cp.Parameter((2, 2), name="A"), cp.Parameter(2, name="B")
    q, r = cp.Parameter(2, name="q", nonneg=True), cp.Parameter(name="r", nonneg=True)
    start = cp.Parameter(2, name="start")
    cost = sum(cp.sum_squares(cp.multiply(q, x[k + 1])) + cp.square(r * u[k]) for k in range(horizon))
    constraints = [x[0] == start, cp.abs(u) <= POWER]
    constraints += [x[k + 1] == A @ x[k] + B * u[k] for k in range(horizon)]
    return CvxpyLayer(cp.Problem(cp.Minimize(cost), constraints), [A, B, q, r, start], [u])


# %% The plant, and the loop closed over it.


def plant(state: jax.Array, force: jax.Array) -> jax.Array:
    """The true cart: quadratic drag, and a hill at the origin that pushes it away."""
    position, velocity = state
    acceleration = force - 0.6 * velocity * jnp.abs(velocity) + 0.5 * jnp.sin(2 * position)
    velocity = velocity + STEP * acceleration
    return jnp.stack([position + STEP * velocity, velocity])


def beliefs(tuned: Tree) -> Tree:
    """Parameters of the controller: weights are positive."""
    return {"A": tuned["A"], "B": tuned["B"], "q": jnp.exp(tuned["log_q"]), "r": jnp.exp(tuned["log_r"])}


def drive(layer: CvxpyLayer, steps: int, tuned: Tree, start: jax.Array) -> tuple[jax.Array, jax.Array]:
    """States (steps, 2) and inputs (steps) of the closed loop from ``start``."""

    def step(state: jax.Array, _: None) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        (inputs,) = layer(**beliefs(tuned), start=state)
        state = plant(state, inputs[0])
        return state, (state, inputs[0])

    _, path = jax.lax.scan(step, start, length=steps)
    return path


def price(layer: CvxpyLayer, steps: int, tuned: Tree, starts: jax.Array) -> jax.Array:
    """Mean cost of the loop over starting points: distance, speed at the end, and a little for the fuel."""
    states, inputs = jax.vmap(partial(drive, layer, steps, tuned))(starts)
    distance = jnp.sqrt(states[..., 0] ** 2 + 0.01).mean()
    return distance + jnp.abs(states[:, -1]).sum(-1).mean() + 0.02 * (inputs**2).mean()


# %% Tuning it with Adam.


def untuned() -> Tree:
    """A frictionless cart on level ground, and equal weights."""
    return {
        "A": jnp.array([[1.0, STEP], [0.0, 1.0]]),
        "B": jnp.array([STEP**2, STEP]),
        "log_q": jnp.zeros(2),
        "log_r": jnp.zeros(()),
    }


def tune(layer: CvxpyLayer, steps: int, starts: jax.Array, rounds: int) -> tuple[Tree, list[float]]:
    """Parameters after ``rounds`` steps of Adam, and the cost before each and at the end."""
    tuned, optimizer = untuned(), optax.adam(3e-2)
    state: Any = optimizer.init(tuned)

    @jax.jit
    def update(tuned: Tree, state: Any) -> tuple[Tree, Any, jax.Array]:
        cost, gradient = jax.value_and_grad(partial(price, layer, steps))(tuned, starts)
        change, state = optimizer.update(gradient, state)
        return optax.apply_updates(tuned, change), state, cost

    costs = []
    for _ in range(rounds):
        tuned, state, cost = update(tuned, state)
        costs.append(float(cost))
    return tuned, [*costs, float(price(layer, steps, tuned, starts))]


# %% What came of it.


def plot(layer: CvxpyLayer, steps: int, starts: jax.Array, tuned: Tree, costs: list[float], path: Path) -> None:
    """Learning curve, and positions and inputs of the loop before and after."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 3.4), layout="constrained")
    curve, position, force = figure.subplots(1, 3)
    curve.plot(costs, color="k")
    curve.set(title="cost of the closed loop", xlabel="round of Adam")
    for beliefs_, color, name in ((untuned(), "tab:gray", "untuned"), (tuned, "tab:blue", "tuned")):
        states, inputs = jax.vmap(partial(drive, layer, steps, beliefs_))(starts[:4])
        for k in range(len(states)):
            seconds = STEP * jnp.arange(1, steps + 1)
            position.plot(seconds, states[k, :, 0], color=color, label=name if k == 0 else None)
            force.plot(seconds, inputs[k], color=color)
    position.set(title="position", xlabel="seconds")
    position.legend(frameon=False)
    force.set(title="force", xlabel="seconds")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def main(arguments: list[str] | None = None) -> list[float]:
    """Tune, print and plot; the costs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="a minute's work in seconds")
    parser.add_argument("--out", type=Path, default=Path("out/jax_mpc.png"), help="where the figure goes (%(default)s)")
    options = parser.parse_args(arguments)
    horizon, steps, batch, rounds = (5, 10, 4, 8) if options.small else (12, 40, 32, 60)
    layer = controller(horizon)
    starts = jax.random.uniform(jax.random.key(0), (batch, 2), minval=jnp.array([-2.0, -1.0]), maxval=jnp.array([2.0, 1.0]))
    began = time.perf_counter()
    tuned, costs = tune(layer, steps, starts, rounds)
    seconds = time.perf_counter() - began
    print(f"{rounds * steps * batch:,} QPs of {horizon} steps solved and differentiated in {seconds:.1f} s")
    print(f"cost of the closed loop: {costs[0]:.3f} before, {costs[-1]:.3f} after")
    print("A", *(f"{v:.3f}" for v in tuned["A"].ravel()), " B", *(f"{v:.3f}" for v in tuned["B"]))
    plot(layer, steps, starts, tuned, costs, options.out)
    print(f"figure: {options.out}")
    return costs


if __name__ == "__main__":
    main()
