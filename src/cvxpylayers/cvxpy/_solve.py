"""A problem and values of its parameters → its solutions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import cvxpy as cp
import numpy as np
from numpy.typing import ArrayLike

from cvxpylayers._engines.registry import Solver
from cvxpylayers._layer.layer import Layer, OnFailure
from cvxpylayers._typing import NDArray
from cvxpylayers.cvxpy._solution import BatchSolution
from cvxpylayers.errors import InputError, InputTypeError


def solve_batch(
    problem: cp.Problem,
    parameters: Mapping[cp.Parameter, ArrayLike],
    *,
    gp: bool = False,
    solver: Solver = None,
    solver_args: Mapping[str, Any] | None = None,
    on_failure: OnFailure = "nan",
) -> BatchSolution:
    """Solve ``problem`` for every instance of a batch of parameter values, (*batch_i, *shape) each; ``problem`` stays as it is.

        solution = solve_batch(problem, {price: prices, budget: 1.0})
        solution[x], solution.value, solution.duals[constraint]

    Batch axes lead and broadcast against each other as in NumPy. A parameter that is not listed has the value that CVXPY knows,
    ``parameter.value``. The problem is compiled once; later calls with the same problem find it compiled.

    Args:
        problem: a DPP problem (DGP with ``gp=True``) of real, continuous variables.
        parameters: parameter → values.
        gp: whether the problem is a geometric program.
        solver: None for the native engine, or the name of another one, an ``Engine`` class or instance.
        solver_args: options of the engine, for example ``{"tolerance": 1e-10}``.
        on_failure: as of a layer; with "nan" failed instances have NaN for variables and duals, and their status tells.

    Raises:
        ProblemError: the problem cannot be compiled. OptionError: an option is not understood.
        InputError, InputTypeError: a key is no parameter of the problem, or a value is missing or of the wrong shape or type.
        SolverError: an instance has no solution and ``on_failure`` is "raise".
    """
    own = problem.parameters()
    values = _values(own, parameters)
    variables = problem.variables()
    duals = [dual for constraint in problem.constraints for dual in constraint.dual_variables]
    layer = Layer(problem, own, [*variables, *duals], solver=solver, gp=gp, solver_args=solver_args, on_failure=on_failure)
    return BatchSolution(layer, layer.solve(values, tape=True), own, variables, problem.constraints)


def _values(own: Sequence[cp.Parameter], given: Mapping[cp.Parameter, ArrayLike]) -> list[NDArray[Any]]:
    """One array for each of the problem's ``own`` parameters."""
    if not isinstance(given, Mapping):
        raise InputTypeError(f"parameters must be a dict from parameters to values, {{A: A_batch}}; got {type(given).__name__}.")
    ids = {parameter.id for parameter in own}
    for key in given:
        if not isinstance(key, cp.Parameter):
            raise InputTypeError(f"Keys must be the problem's cp.Parameter objects; got {key!s} ({type(key).__name__}).")
        if key.id not in ids:
            known = ", ".join(parameter.name() for parameter in own) or "none"
            raise InputError(f"The problem does not depend on {key.name()!r}; its parameters are: {known}.")
    found = []
    for parameter in own:
        value = given.get(parameter)
        if value is None and (value := parameter.value) is None:
            name = parameter.name()
            raise InputError(f"Parameter {name!r} has no value: list it, {{{name}: ...}}, or set {name}.value.")
        found.append(np.asarray(value))
    return found
