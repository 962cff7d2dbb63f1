"""The layer as a function of NumPy arrays."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from cvxpylayers._engines.registry import Solver
from cvxpylayers._file import Filed
from cvxpylayers._layer.info import SolveInfo, WarmStart
from cvxpylayers._layer.inspection import Inspected
from cvxpylayers._layer.layer import Call, Layer, OnFailure
from cvxpylayers._tables.gufunc import Gufunc
from cvxpylayers._tables.signature import Signature
from cvxpylayers._typing import NDArray
from cvxpylayers.errors import InputTypeError, SolverError
from cvxpylayers.numpy._linearization import Array, Linearization

if TYPE_CHECKING:
    import cvxpy as cp

    from cvxpylayers._tables.dataset import Report
    from cvxpylayers._tables.solver import TableSolver


class CvxpyLayer(Filed, Inspected):
    """A convex optimization problem as a differentiable function of its parameters.

        layer = CvxpyLayer(problem, parameters=[A, b], variables=[x])
        (x_star,) = layer(A_batch, b_shared)
        x_star, pull = layer.vjp(A_batch, b_shared)

    Immutable and picklable; one layer may be called from several threads.

    Args:
        problem: a DPP problem (DGP with ``gp=True``).
        parameters: exactly the problem's parameters, in the order in which calls pass them.
        variables: the outputs: variables of the problem, or dual variables of its constraints (``con.dual_variables[0]``).
        solver: None for the default, or the name of an engine, an ``Engine`` class or instance.
        gp: whether the problem is a geometric program.
        verbose: print one line for each call.
        canon_backend: passed to CVXPY.
        solver_args: options of the engine, for example ``{"tolerance": 1e-10}``; calls can override them.
        on_failure: what happens when an instance has no solution. "raise": ``SolverError``; "nan": its outputs are NaN;
            "warn": its best iterate is returned, with a warning. In the last two its derivatives are zero.

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
        *params: ArrayLike,
        solver_args: Mapping[str, Any] | None = None,
        warm_start: bool | WarmStart = False,
        on_failure: OnFailure | None = None,
    ) -> tuple[Array, ...]:
        """Solve for one array per parameter, of shape (*batch_i, *parameter shape); batch axes broadcast against each other.

        Returns one array (*batch, *shape) per output, in the promoted floating type of the arrays among the parameters (float64
        where there is none).

        Raises:
            InputError, InputTypeError: a parameter has the wrong number, shape or type.
            SolverError: an instance has no solution and ``on_failure`` is "raise".
        """
        options = {"solver_args": solver_args, "warm_start": warm_start, "on_failure": on_failure}
        return self._solve(_arrays(params), _dtype(params), **options)[1]

    def solve(
        self,
        *params: ArrayLike,
        solver_args: Mapping[str, Any] | None = None,
        warm_start: bool | WarmStart = False,
        on_failure: OnFailure | None = None,
    ) -> tuple[tuple[Array, ...], SolveInfo]:
        """As a call, and the outcome of every instance with it."""
        options = {"solver_args": solver_args, "warm_start": warm_start, "on_failure": on_failure}
        call, outputs = self._solve(_arrays(params), _dtype(params), **options)
        return outputs, call.info

    def linearize(
        self,
        *params: ArrayLike,
        solver_args: Mapping[str, Any] | None = None,
        warm_start: bool | WarmStart = False,
        on_failure: OnFailure | None = None,
    ) -> Linearization:
        """Solve, and keep what derivatives need: ``outputs``, ``info``, and ``vjp``, ``jvp`` and ``jacobian`` at this point."""
        arrays = _arrays(params)
        options = {"solver_args": solver_args, "warm_start": warm_start, "on_failure": on_failure}
        call, outputs = self._solve(arrays, _dtype(params), tape=True, **options)
        dtypes = tuple(a.dtype if a.dtype.kind == "f" else np.dtype(np.float64) for a in arrays)
        return Linearization(outputs, call.info, self._layer, call.point, dtypes)

    def vjp(self, *params: ArrayLike, **options: Any) -> tuple[tuple[Array, ...], Callable[..., tuple[Array, ...]]]:
        """Outputs, and the function that pulls one cotangent per output back to one gradient per parameter.

        ``options`` are those of a call.
        """
        point = self.linearize(*params, **options)
        return point.outputs, point.vjp

    def jvp(
        self, params: Sequence[ArrayLike], tangents: Sequence[ArrayLike | None], **options: Any
    ) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
        """Outputs, and their tangents for one tangent per parameter (None for zero); ``options`` are those of a call."""
        point = self.linearize(*params, **options)
        return point.outputs, point.jvp(*tangents)

    def jacobian(self, *params: ArrayLike, **options: Any) -> tuple[tuple[Array, ...], ...]:
        """Entry [i][j]: the derivative of output i by parameter j, (*batch, *shape of output i, *shape of parameter j).

        ``options`` are those of a call; ``linearize`` gives the outputs as well.
        """
        return self.linearize(*params, **options).jacobian()

    @property
    def signature(self) -> Signature:
        """Names and shapes of parameters and outputs."""
        return Signature.of(self._layer.compiled)

    @property
    def gufunc(self) -> Gufunc:
        """This layer as a generalized ufunc whose last result is the status, for Dask and xarray."""
        return Gufunc(self._layer)

    def on_tables(self, **settings: Any) -> TableSolver:
        """This layer as a picklable function of a ``pyarrow.Table`` or ``RecordBatch``, one instance per row.

        The result has the columns ``keep``, one for each output, ``status`` (a word), those of ``report``, and gradients.
        Parameters come as numbers, lists (also nested) or fixed-shape tensors, in C order. Needs pyarrow, the extra ``tables``.

        Args:
            outputs: names of the outputs that are wanted, or a mapping from them to column names; all by default.
            keep: columns that are passed on as they are, for example an id.
            columns: parameter → column, where the names differ.
            shared: parameter → value, for parameters that are no column.
            gradients_of: outputs whose cotangents are columns, named ``d_`` and the output or by a mapping; adds columns named
                ``d_`` and the parameter, with the gradient of each row, for every parameter, and ``degenerate``.
            report: of objective, iterations, primal_residual, dual_residual, gap, margin, fallback; the first two by default.
            lists: arrays leave as "fixed" (fixed-size lists in C order), "list" or "tensor" (fixed-shape tensors).
            solver_args: options of the engine, as in a call.

        Raises:
            InputError, InputTypeError, OptionError: a name, shape or option is not understood.
        """
        from cvxpylayers._tables.solver import TableSolver

        return TableSolver(self._layer, **settings)

    def solve_dataset(
        self,
        source: Any,
        target: str | os.PathLike[str],
        *,
        id: str | Sequence[str] = (),  # noqa: A002  (the word that tables use)
        resume: bool = True,
        progress: bool | Callable[[Any], None] = True,
        rows: int = 65_536,
        **settings: Any,
    ) -> Report:
        """Solve every row of Parquet files that need not fit into memory: one file of results for each file, in a folder.

        A file of results appears when it is whole. A run that was interrupted is continued by the same call: the
        file in work is lost, and nothing is solved twice. ``_manifest.json`` says what the folder holds, and for which problem.

        Args:
            source: a path or URI of files or of a folder, or a ``pyarrow.dataset.Dataset`` of files.
            target: a path or URI of a folder on any of Arrow's file systems.
            id: columns that are passed on.
            resume: go on with what is there; False refuses a folder that has results.
            progress: print a line for each file, or a function of the ``Report`` so far.
            rows: instances that are solved at once; memory is a few times what they hold.
            settings: as for ``on_tables``.

        Returns:
            rows, how many have each status, files, and the rate of this run.

        Raises:
            InputError, InputTypeError: a column is missing or changes between files, the target holds the source, or results of
                another problem, options or files. OSError: a file cannot be read or written. What was finished stays.
        """
        from cvxpylayers._tables.dataset import solve_dataset

        solver = self.on_tables(keep=[id] if isinstance(id, str) else id, **settings)
        return solve_dataset(solver, source, target, resume=resume, progress=progress, rows=rows)

    def _solve(self, arrays: Sequence[NDArray[Any]], dtype: np.dtype[Any], **options: Any) -> tuple[Call, tuple[Array, ...]]:
        """One solve, and its outputs in the type ``dtype``."""
        try:
            call = self._layer.solve(arrays, **options)
        except SolverError as error:
            error.outputs = _cast(error.outputs, dtype)
            raise
        return call, _cast(call.outputs, dtype)

    def _numbers(self, values: Sequence[Any]) -> list[NDArray[Any]]:
        return _arrays(values)

    def __repr__(self) -> str:
        return f"CvxpyLayer({self._layer.describe()})"


def _arrays(params: Sequence[ArrayLike]) -> list[NDArray[Any]]:
    for k, value in enumerate(params):
        if type(value).__module__.startswith("cvxpy"):
            raise InputTypeError(f"Argument {k + 1} is a cvxpy.{type(value).__name__}: pass its value, parameter.value.")
    return [np.asarray(value) for value in params]


def _dtype(params: Sequence[ArrayLike]) -> np.dtype[Any]:
    """The promoted floating type of the arrays; lists and Python numbers have no say, as in NumPy."""
    found = [p.dtype for p in params if isinstance(p, np.ndarray | np.generic) and p.dtype.kind == "f"]
    return np.result_type(*found) if found else np.dtype(np.float64)


def _cast(outputs: Sequence[Array], dtype: np.dtype[Any]) -> tuple[Array, ...]:
    return tuple(a.astype(dtype, copy=False) for a in outputs)
