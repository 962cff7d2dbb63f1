"""The PyTorch module."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn

import cvxpy as cp
import numpy as np
import torch

from cvxpylayers._engines.registry import Solver
from cvxpylayers._file import Filed
from cvxpylayers._layer.info import SolveInfo, WarmStart
from cvxpylayers._layer.inspection import Inspected
from cvxpylayers._layer.layer import Layer, OnFailure
from cvxpylayers._typing import NDArray
from cvxpylayers.errors import ProblemError
from cvxpylayers.torch._call import call, solve
from cvxpylayers.torch._handles import register
from cvxpylayers.torch._many import Chunk, chunks
from cvxpylayers.torch._ops import traced_solve
from cvxpylayers.torch._recorders import require_numbers, watched
from cvxpylayers.torch._tensors import array


class CvxpyLayer(Filed, Inspected, torch.nn.Module):
    """A convex optimization problem as a differentiable function of its parameters.

        layer = CvxpyLayer(problem, parameters=[A, b], variables=[x])
        (x_star,) = layer(A_batch, b_shared)

    Args:
        problem: a DPP problem (DGP with ``gp=True``).
        parameters: exactly the problem's parameters, in the order in which calls pass them.
        variables: the outputs: variables of the problem, or dual variables of its constraints (``con.dual_variables[0]``).
        solver: None for the native engine, or the name of another one, an ``Engine`` class or instance.
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
        layer = Layer(
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
        self._assume(layer)

    def _assume(self, layer: Layer) -> None:
        torch.nn.Module.__init__(self)
        super()._assume(layer)
        self._ticket = register(layer)
        self._latest = WarmStart()  # all that a module keeps of a call, and only of one with warm_start=True

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_latest": WarmStart()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._ticket = register(self._layer)

    def __prepare_scriptable__(self) -> NoReturn:
        raise ProblemError("torch.jit.script cannot read a layer: use torch.export or torch.jit.trace, which see an operator.")

    def forward(
        self,
        *params: torch.Tensor,
        solver_args: Mapping[str, Any] | None = None,
        warm_start: bool | WarmStart = False,
        on_failure: OnFailure | None = None,
    ) -> tuple[torch.Tensor, ...]:
        """Solve for one tensor per parameter, of shape (*batch_i, *parameter shape); batch axes broadcast as in NumPy.

        ``warm_start=True`` starts instance i from the solution that the latest such call of this module found for its instance i;
        ``layer.solve(..., warm_start=WarmStart())`` does the same by hand. The answers are those of a cold start to the tolerance.
        Code that is compiled, exported or traced starts cold.

        Returns one tensor (*batch, *shape) per output, in the promoted floating type of the parameters and on their device.
        Gradients reach every parameter and are summed over the axes along which it was broadcast.

        Raises:
            InputError, InputTypeError: a parameter has the wrong number, shape, type or device.
            SolverError: an instance has no solution and ``on_failure`` is "raise".
        """
        if watched(params):
            return traced_solve(self._ticket, params, solver_args, on_failure)
        if warm_start is False:
            return call(self._layer, params, solver_args, warm_start, on_failure)[0]
        return self.solve(*params, solver_args=solver_args, warm_start=warm_start, on_failure=on_failure)[0]

    def solve(
        self,
        *params: torch.Tensor,
        solver_args: Mapping[str, Any] | None = None,
        warm_start: bool | WarmStart = False,
        on_failure: OnFailure | None = None,
    ) -> tuple[tuple[torch.Tensor, ...], SolveInfo]:
        """As a call, and the outcome of every instance with it."""
        require_numbers(self._layer, params)
        if warm_start is not True:
            return solve(self._layer, params, solver_args, warm_start, on_failure)
        outputs, info = solve(self._layer, params, solver_args, self._latest, on_failure)
        assert info.warm_start is not None
        self._latest = info.warm_start
        return outputs, info

    def solve_many(
        self,
        *params: torch.Tensor,
        chunk_size: int = 4096,
        start: int = 0,
        progress: bool = True,
        solver_args: Mapping[str, Any] | None = None,
        on_failure: OnFailure | None = None,
    ) -> Iterator[Chunk]:
        """Solve a large batch ``chunk_size`` instances at a time along its leading axis.

        Yields ``Chunk(rows, outputs, info)`` when asked for the next, so that memory is bounded by what the caller keeps; after an
        interruption ``start=rows.stop`` of the last chunk goes on. Results are those of one call, bit by bit. ``progress`` shows a
        bar where the package rich is installed.

        Raises:
            InputError: there is no batch axis, or as in a call. SolverError: as in a call, when its chunk is reached.
        """

        def solve(*chunk: torch.Tensor) -> tuple[tuple[torch.Tensor, ...], SolveInfo]:
            return self.solve(*chunk, solver_args=solver_args, on_failure=on_failure)

        return chunks(self._layer, solve, params, chunk_size, start, progress)

    def _numbers(self, values: Sequence[Any]) -> list[NDArray[Any]]:
        require_numbers(self._layer, values)
        return [array(value) if isinstance(value, torch.Tensor) else np.asarray(value) for value in values]

    def extra_repr(self) -> str:
        """Variables, parameters, cones, sizes and engine."""
        return self._layer.describe()
