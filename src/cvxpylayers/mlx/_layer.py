"""The layer as a function of MLX arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import cvxpy as cp
import mlx.core as mx

from cvxpylayers._engines.registry import Solver
from cvxpylayers._file import Filed
from cvxpylayers._layer.info import SolveInfo, WarmStart
from cvxpylayers._layer.inspection import Inspected
from cvxpylayers._layer.layer import Layer, OnFailure
from cvxpylayers._typing import NDArray
from cvxpylayers.mlx._function import numbers, solve


class CvxpyLayer(Filed, Inspected):
    """A convex optimization problem as a differentiable function of its parameters.

        layer = CvxpyLayer(problem, parameters=[A, b], variables=[x])
        (x_star,) = layer(A_batch, b_shared)
        mx.grad(lambda b: layer(A_batch, b)[0].sum())(b_shared)

    The solve runs on the CPU in double precision, whatever the device and type of the arrays. ``mx.grad``, ``mx.vjp``, ``mx.jvp``
    and gradients of gradients work; MLX cannot call a solver from ``mx.compile`` or ``mx.vmap`` (give the batch to the call).

    Args:
        problem: a DPP problem (DGP with ``gp=True``).
        parameters: exactly the problem's parameters, in the order in which calls pass them.
        variables: the outputs: variables of the problem, or dual variables of its constraints (``con.dual_variables[0]``).
        solver: None for the default, or the name of an engine, an ``Engine`` class or instance, or a function.
        gp: whether the problem is a geometric program.
        verbose: print one line for each call.
        canon_backend: passed to CVXPY.
        solver_args: options of the engine, for example ``{"tolerance": 1e-10}``; calls can override them.
        on_failure: what happens when an instance has no solution. "raise": ``SolverError``; "nan": its outputs are NaN;
            "warn": its best iterate is returned, with a warning. In the last two its gradients are zero.

    Raises:
        ProblemError: the problem, parameters or variables cannot make a layer.
        OptionError: an option is not understood.
    """

    def __init__(
        self,
        problem: cp.Problem,
        parameters: Sequence[cp.Parameter],
        variables: Sequence[cp.Variable],
        solver: Solver = None,
        gp: bool = False,
        verbose: bool = False,
        canon_backend: str | None = None,
        solver_args: Mapping[str, Any] | None = None,
        on_failure: OnFailure = "raise",
    ) -> None:
        self._layer = Layer(
            problem,
            parameters,
            variables,
            solver=solver,
            gp=gp,
            verbose=verbose,
            canon_backend=canon_backend,
            solver_args=solver_args,
            on_failure=on_failure,
        )

    def __call__(
        self,
        *params: mx.array,
        solver_args: Mapping[str, Any] | None = None,
        warm_start: bool | WarmStart = False,
        on_failure: OnFailure | None = None,
    ) -> tuple[mx.array, ...]:
        """Solve for one array per parameter, of shape (*batch_i, *parameter shape); batch axes broadcast as in NumPy.

        Returns one array (*batch, *shape) per output, in the promoted floating type of the parameters.

        Raises:
            InputError, InputTypeError: a parameter has the wrong number, shape or type, or no value (inside mx.compile, mx.vmap).
            SolverError: an instance has no solution and ``on_failure`` is "raise".
        """
        return solve(self._layer, params, solver_args=solver_args, warm_start=warm_start, on_failure=on_failure)[0]

    forward = __call__  # as version 1.x has it

    def solve(
        self,
        *params: mx.array,
        solver_args: Mapping[str, Any] | None = None,
        warm_start: bool | WarmStart = False,
        on_failure: OnFailure | None = None,
    ) -> tuple[tuple[mx.array, ...], SolveInfo]:
        """As a call, and the outcome of every instance with it."""
        return solve(self._layer, params, solver_args=solver_args, warm_start=warm_start, on_failure=on_failure)

    def _numbers(self, values: Sequence[Any]) -> list[NDArray[Any]]:
        return [numbers(value) for value in values]

    def __repr__(self) -> str:
        return f"CvxpyLayer({self._layer.describe()})"
