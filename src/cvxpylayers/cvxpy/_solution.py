"""The solutions of a batch of problems, by CVXPY's own objects, and their derivatives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import cvxpy as cp
import numpy as np
from numpy.typing import ArrayLike

from cvxpylayers._layer.info import SolveInfo, Statuses
from cvxpylayers._layer.layer import Call, Layer
from cvxpylayers._layer.value import value_gradients
from cvxpylayers._program import Status
from cvxpylayers._typing import Float64
from cvxpylayers.errors import InputError

Constraint = cp.constraints.constraint.Constraint


class BatchSolution:
    """What ``solve_batch`` found; arrays are float64 and have the batch axes in front of CVXPY's own.

    ``solution[x]`` is the value of a variable, ``solution.duals[constraint]`` that of ``constraint.dual_value``. No object of CVXPY
    is changed.
    """

    def __init__(
        self,
        layer: Layer,
        call: Call,
        parameters: Sequence[cp.Parameter],
        variables: Sequence[cp.Variable],
        constraints: Sequence[Constraint],
    ) -> None:
        self._layer, self._call, self._parameters = layer, call, tuple(parameters)
        self._leaves = (*variables, *(dual for constraint in constraints for dual in constraint.dual_variables))
        found = dict(zip((leaf.id for leaf in self._leaves), call.outputs, strict=True))
        self.values: Mapping[cp.Variable, Float64] = {variable: found[variable.id] for variable in variables}
        pieces = ((constraint, [found[dual.id] for dual in constraint.dual_variables]) for constraint in constraints)
        self.duals: Mapping[Constraint, Any] = {constraint: p[0] if len(p) == 1 else p for constraint, p in pieces}

    def __getitem__(self, variable: cp.Variable | str) -> Float64:
        """The values (*batch, *shape) of a variable, or of the one of that name; NaN where there is no solution."""
        for known, values in self.values.items():
            if variable is known or (isinstance(variable, str) and variable == known.name()):
                return values
        raise KeyError(f"{variable!s} is no variable of the problem; it has {', '.join(v.name() for v in self.values)}.")

    @property
    def info(self) -> SolveInfo:
        """Status, residuals, iterations and the like of every instance."""
        return self._call.info

    @property
    def status(self) -> Statuses:
        """``status[i]`` is a ``Status``: ``str`` gives its word, ``help`` what to do."""
        return self.info.status

    @cached_property
    def value(self) -> Float64:
        """The optimal values (*batch), as ``problem.value``: infinite where infeasible or unbounded, NaN where unresolved."""
        sign, codes = float(self._layer.compiled.objective_sign), self.info.codes
        log = self._layer.compiled.log_space
        unsolved = np.full(codes.shape, np.nan)
        unsolved[codes == Status.PRIMAL_INFEASIBLE] = 0.0 if log and sign < 0 else sign * np.inf
        unsolved[codes == Status.DUAL_INFEASIBLE] = 0.0 if log and sign > 0 else -sign * np.inf
        return np.where(self.info.solved, self.info.objective, unsolved)

    def value_gradient(self) -> dict[cp.Parameter, Float64]:
        """The gradient (*batch, *shape) of each instance's optimal value by every parameter; 0 where there is no solution.

        By the multipliers; where these are not unique it is one of the subgradients. No system is solved. With
        ``solver_args={"derivative": "smoothed"}`` it is that at the point of the central path.
        """
        return dict(zip(self._parameters, value_gradients(self._layer, self._call), strict=True))

    def backward(self, cotangents: Mapping[cp.Variable, ArrayLike]) -> dict[cp.Parameter, Float64]:
        """The gradient of Σ ⟨cotangent, values⟩ by every parameter, of the shape in which its values came, as ``problem.backward``.

        Keys are variables or entries of ``constraint.dual_variables``; a cotangent broadcasts to (*batch, *shape), so that
        ``{x: 1.0}`` is that of the sum. Parameters that instances share receive the sum. Points where the solution is not
        differentiable are marked in ``info.degenerate``.

        Raises:
            InputError: a key is neither, or a shape does not fit.
        """
        given = self._arranged(cotangents, self._leaves, self._call.batch.shape)
        gradients = self._layer.vjp(self._call.point, given, [True] * len(self._parameters))
        pairs = zip(self._parameters, gradients, strict=True)
        return {parameter: g.reshape(g.shape[:-1] + parameter.shape) for parameter, g in pairs if g is not None}

    def derivative(self, tangents: Mapping[cp.Parameter, ArrayLike]) -> dict[cp.Variable, Float64]:
        """The change (*batch, *shape) of every variable along a change of parameters, as ``problem.derivative``.

        A tangent broadcasts to (*batch, *shape); parameters that are not listed stay.

        Raises:
            InputError: a key is no parameter of the problem, or a shape does not fit.
        """
        given = self._arranged(tangents, self._parameters, self._call.batch.shape)
        pushed = self._layer.jvp(self._call.point, given)
        return dict(zip(self.values, pushed, strict=False))

    def _arranged(self, given: Mapping[Any, ArrayLike], leaves: Sequence[Any], batch: tuple[int, ...]) -> list[Float64 | None]:
        """One array for each leaf, None where there is none."""
        named = {key.id if hasattr(key, "id") else key: value for key, value in given.items()}
        if strangers := named.keys() - {leaf.id for leaf in leaves}:
            names = [str(key) for key in given if getattr(key, "id", key) in strangers]
            raise InputError(f"{', '.join(names)}: keys must be among {', '.join(leaf.name() for leaf in leaves)}.")
        found: list[Float64 | None] = []
        for leaf in leaves:
            if leaf.id not in named:
                found.append(None)
                continue
            value, shape = np.asarray(named[leaf.id], dtype=np.float64), (*batch, *leaf.shape)
            try:
                found.append(np.broadcast_to(value, shape))
            except ValueError:
                raise InputError(f"What is given for {leaf.name()!r} must have shape {shape}; got {value.shape}.") from None
        return found

    def __repr__(self) -> str:
        return f"BatchSolution(batch {self._call.batch.shape}; {self.info!r})"

    def _repr_html_(self) -> str:
        return self.info._repr_html_()
