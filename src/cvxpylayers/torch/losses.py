"""Losses on decisions: regret, SPO+ and (perturbed) Fenchel–Young, one number for every instance of a batch.

Each takes a layer whose first parameter is the cost c of its first output x, as in ``cp.Minimize(c @ x)``, beside any convex term
Ω(x) and constraints; the layer's other parameters follow as ``others``, in their order. Gradients reach ``predicted`` alone. The
derivations stand in ``cvxpylayers/_layer/linear_costs.py``, whose V, Ω and s = ±1 these are. Failed instances do what the layer's
``on_failure`` says. ``torch.func.vmap`` maps them where Ω = 0, and is refused elsewhere. They are for first derivatives: optimal
values hold x fixed, and so would second ones.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from cvxpylayers._layer.linear_costs import linear_costs
from cvxpylayers.errors import InputError
from cvxpylayers.torch._module import CvxpyLayer

__all__ = ["fenchel_young", "regret", "spo_plus"]


def regret(layer: CvxpyLayer, predicted: torch.Tensor, true: torch.Tensor, *others: torch.Tensor) -> torch.Tensor:
    """What the decision for ``predicted`` costs (*batch, *shape) costs more than the best one, at ``true`` costs: (*batch,), ≥ 0.

    The gradient by ``predicted`` is the layer's, s Jᵀ(true - predicted) with J = ∂x/∂c: zero at corners of linear programs, unless
    the layer has ``solver_args={"derivative": "smoothed"}``.

    Raises:
        ProblemError: the layer's objective is not linear in its first parameter with its first output as coefficients.
    """
    costs, true = linear_costs(layer._layer), true.detach()
    decision, value = _solve(layer, predicted, others, differentiable=True)
    _, best = _solve(layer, true, others)
    found: torch.Tensor = value + costs.inner(true - predicted, decision) - best
    return found


def spo_plus(layer: CvxpyLayer, predicted: torch.Tensor, true: torch.Tensor, *others: torch.Tensor) -> torch.Tensor:
    """The convex bound on regret of Elmachtoub and Grigas, of costs (*batch, *shape): (*batch,), ≥ regret, 0 at ``true``.

    V(c) + 2s⟨p - c, x(c)⟩ - V(2p - c); the (sub)gradient by ``predicted`` is 2s (x(c) - x(2p - c)), whatever the layer's own.

    Raises:
        ProblemError: the layer's objective is not linear in its first parameter with its first output as coefficients.
    """
    costs, true = linear_costs(layer._layer), true.detach()
    decision, best = _solve(layer, true, others)
    _, ahead = _solve(layer, 2 * predicted - true, others)
    found: torch.Tensor = best + 2 * costs.inner(predicted - true, decision) - ahead
    return found


def fenchel_young(
    layer: CvxpyLayer, predicted: torch.Tensor, target: torch.Tensor, *others: torch.Tensor, noise: torch.Tensor | None = None
) -> torch.Tensor:
    """The Fenchel–Young loss of costs against an observed decision, both (*batch, *shape), less the constant Ω(target): (*batch,).

    s⟨p, y⟩ - V(p), whose gradient by ``predicted`` is s (y - x(p)). With ``noise`` (samples, *batch, *shape) or broadcasting to
    it, V and x are means over scores -s p + noise, and the loss is the perturbed one of Berthet et al., smooth for linear programs
    too: ``sigma * torch.randn(16, *predicted.shape)``.

    Raises:
        ProblemError: the layer's objective is not linear in its first parameter with its first output as coefficients.
    """
    costs = linear_costs(layer._layer)
    _, best = _solve(layer, predicted if noise is None else predicted - costs.sign * noise, others)
    found: torch.Tensor = costs.inner(predicted, target.detach()) - (best if noise is None else best.mean(0))
    return found


def _solve(
    layer: CvxpyLayer, at: torch.Tensor, others: Sequence[torch.Tensor], differentiable: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """x(at), with the layer's derivative where that is wanted, and V(at), whose gradient is s x."""
    given = at if differentiable else at.detach()
    costs, fixed = linear_costs(layer._layer), [other.detach() for other in others]
    if costs.alone:
        decision = layer(given, *fixed)[0]
        return decision, costs.inner(at, decision.detach())
    (decision, *_), info = layer.solve(given, *fixed)
    if info.objective.shape != decision.shape[: decision.ndim - len(costs.axes)]:
        raise InputError("torch.func.vmap hides its axis from optimal values: give the loss the batch, whose axes broadcast.")
    value = costs.sign * torch.as_tensor(info.objective, dtype=decision.dtype, device=decision.device)
    return decision, value + costs.inner(at - at.detach(), decision.detach())
