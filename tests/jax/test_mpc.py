"""The example of a tuned controller runs, improves, and its gradient is that of the closed loop."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import jax_mpc


def test_it_runs_and_improves(tmp_path: Path) -> None:
    figure = tmp_path / "out" / "mpc.png"
    costs = jax_mpc.main(["--small", "--out", str(figure)])
    assert costs[-1] < 0.9 * costs[0]
    assert figure.stat().st_size > 10_000


def test_its_gradient_is_that_of_the_closed_loop() -> None:
    with jax.enable_x64(True):
        layer = jax_mpc.controller(4)
        starts = jnp.array([[1.0, -0.5], [-0.7, 0.2]])
        cost = jax.jit(partial(jax_mpc.price, layer, 6))
        tuned = jax_mpc.untuned()
        gradient = jax.grad(cost)(tuned, starts)
        for name, value in tuned.items():
            direction = jnp.sin(jnp.arange(value.size) + 1.0).reshape(value.shape)
            ahead, behind = (cost({**tuned, name: value + h * direction}, starts) for h in (1e-5, -1e-5))
            np.testing.assert_allclose(jnp.vdot(gradient[name], direction), (ahead - behind) / 2e-5, rtol=1e-5, atol=1e-8)
