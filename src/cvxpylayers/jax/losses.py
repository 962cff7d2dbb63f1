"""Losses on decisions: regret, SPO+ and (perturbed) Fenchel–Young, one number for every instance of a batch.

Each takes a layer whose first parameter is the cost c of its first output x, as in ``cp.Minimize(c @ x)``, beside any convex term
Ω(x) and constraints; the layer's other parameters follow as ``others``, in their order. Gradients reach ``predicted`` alone. The
derivations stand in ``cvxpylayers/_layer/linear_costs.py``, whose V, Ω and s = ±1 these are. Failed instances do what the layer's
``on_failure`` says. They are for first derivatives: optimal values hold x fixed, and so would second ones.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
from jax.lax import stop_gradient

from cvxpylayers._layer.linear_costs import linear_costs
from cvxpylayers.jax._layer import CvxpyLayer

__all__ = ["fenchel_young", "regret", "spo_plus"]


def regret(layer: CvxpyLayer, predicted: jax.Array, true: jax.Array, *others: jax.Array) -> jax.Array:
    """What the decision for ``predicted`` costs (*batch, *shape) costs more than the best one, at ``true`` costs: (*batch,), ≥ 0.

    The gradient by ``predicted`` is the layer's, s Jᵀ(true - predicted) with J = ∂x/∂c: zero at corners of linear programs, unless
    the layer has ``solver_args={"derivative": "smoothed"}``.

    Raises:
        ProblemError: the layer's objective is not linear in its first parameter with its first output as coefficients.
    """
    costs, true = linear_costs(layer._layer), stop_gradient(true)
    decision, value = _solve(layer, predicted, others, differentiable=True)
    _, best = _solve(layer, true, others)
    found: jax.Array = value + costs.inner(true - predicted, decision) - best
    return found


def spo_plus(layer: CvxpyLayer, predicted: jax.Array, true: jax.Array, *others: jax.Array) -> jax.Array:
    """The convex bound on regret of Elmachtoub and Grigas, of costs (*batch, *shape): (*batch,), ≥ regret, 0 at ``true``.

    V(c) + 2s⟨p - c, x(c)⟩ - V(2p - c); the (sub)gradient by ``predicted`` is 2s (x(c) - x(2p - c)), whatever the layer's own.

    Raises:
        ProblemError: the layer's objective is not linear in its first parameter with its first output as coefficients.
    """
    costs, true = linear_costs(layer._layer), stop_gradient(true)
    decision, best = _solve(layer, true, others)
    _, ahead = _solve(layer, 2 * predicted - true, others)
    found: jax.Array = best + 2 * costs.inner(predicted - true, decision) - ahead
    return found


def fenchel_young(
    layer: CvxpyLayer, predicted: jax.Array, target: jax.Array, *others: jax.Array, noise: jax.Array | None = None
) -> jax.Array:
    """The Fenchel–Young loss of costs against an observed decision, both (*batch, *shape), less the constant Ω(target): (*batch,).

    s⟨p, y⟩ - V(p), whose gradient by ``predicted`` is s (y - x(p)). With ``noise`` (samples, *batch, *shape) or broadcasting to
    it, V and x are means over scores -s p + noise, and the loss is the perturbed one of Berthet et al., smooth for linear programs
    too: ``sigma * jax.random.normal(key, (16, *predicted.shape))``.

    Raises:
        ProblemError: the layer's objective is not linear in its first parameter with its first output as coefficients.
    """
    costs = linear_costs(layer._layer)
    _, best = _solve(layer, predicted if noise is None else predicted - costs.sign * noise, others)
    found: jax.Array = costs.inner(predicted, stop_gradient(target)) - (best if noise is None else best.mean(0))
    return found


def _solve(
    layer: CvxpyLayer, at: jax.Array, others: Sequence[jax.Array], differentiable: bool = False
) -> tuple[jax.Array, jax.Array]:
    """x(at), with the layer's derivative where that is wanted, and V(at), whose gradient is s x."""
    given = at if differentiable else stop_gradient(at)
    costs, fixed = linear_costs(layer._layer), stop_gradient(tuple(others))
    if costs.alone:
        decision = layer(given, *fixed)[0]
        return decision, costs.inner(at, stop_gradient(decision))
    (decision, *_), info = layer.solve(given, *fixed)
    value = costs.sign * info.objective.astype(decision.dtype)
    return decision, value + costs.inner(at - stop_gradient(at), stop_gradient(decision))
