"""Dispatch of a call: eager tensors go through NumPy (``_direct``); fake, meta and traced ones through operators (``_ops``)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from cvxpylayers._layer.info import SolveInfo, WarmStart
from cvxpylayers._layer.layer import Layer, OnFailure
from cvxpylayers.torch._direct import Direct
from cvxpylayers.torch._function import Solve, apply, recording


def solve(
    layer: Layer,
    parameters: Sequence[torch.Tensor],
    solver_args: Mapping[str, Any] | None,
    warm_start: bool | WarmStart,
    on_failure: OnFailure | None,
) -> tuple[tuple[torch.Tensor, ...], SolveInfo]:
    """The outputs, attached to the graph where a parameter is, and the outcome of every instance."""
    if torch.compiler.is_compiling():  # what happened to an instance is no graph: leave the tracer, and come back with the outputs
        eager: Callable[..., tuple[tuple[torch.Tensor, ...], SolveInfo]] = torch.compiler.disable(solve)
        return eager(layer, parameters, solver_args, warm_start, on_failure)
    outputs, made = call(layer, parameters, solver_args, warm_start, on_failure)
    return outputs, made.info


def call(
    layer: Layer,
    parameters: Sequence[torch.Tensor],
    solver_args: Mapping[str, Any] | None,
    warm_start: bool | WarmStart,
    on_failure: OnFailure | None,
) -> tuple[tuple[torch.Tensor, ...], Direct]:
    """As ``solve``, of eager tensors; the outcome is there to be asked for."""
    site = Direct(layer, solver_args, warm_start, on_failure)
    found = apply(Solve, site, *parameters)[:-1] if recording(parameters) else site.solve(parameters, tape=False)
    return found, site
