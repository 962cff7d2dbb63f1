"""CVXPY's reductions that behave otherwise here: where they end, what they remember, and what they extract apart."""

from __future__ import annotations

from copy import copy
from typing import Any, Final, TypeAlias

import cvxpy as cp
import numpy as np
import scipy.sparse as sp
from cvxpy.constraints.exponential import ExpCone
from cvxpy.constraints.nonpos import NonNeg
from cvxpy.constraints.power import PowCone3D
from cvxpy.constraints.psd import PSD
from cvxpy.constraints.second_order import SOC
from cvxpy.constraints.zero import Zero
from cvxpy.cvxcore.python.canonInterface import get_problem_matrix
from cvxpy.lin_ops.lin_op import NO_OP, LinOp
from cvxpy.reductions.dcp2cone.cone_matrix_stuffing import ConeMatrixStuffing
from cvxpy.reductions.dcp2cone.dcp2cone import Dcp2Cone
from cvxpy.reductions.inverse_data import InverseData
from cvxpy.reductions.solvers.conic_solvers.conic_solver import ConicSolver
from cvxpy.utilities.replace_quad_forms import replace_quad_forms, restore_quad_forms

_Entries: TypeAlias = tuple[Any, Any, Any]
_INNER: Final = "CLARABEL"  # whose cones CVXPY looks up for problems inside of atoms, such as perspective


class Target(ConicSolver):
    """A solver that solves nothing: it declares the cones we lay out and hands back the unevaluated tensors."""

    BOUNDED_VARIABLES = False

    def __init__(self) -> None:
        super().__init__()
        supported: list[Any] = [Zero, NonNeg, SOC, PSD, ExpCone, PowCone3D]
        self.SUPPORTED_CONSTRAINTS = supported

    def name(self) -> str:
        return "CVXPYLAYERS"

    def import_solver(self) -> None:
        pass

    def supports_quad_obj(self) -> bool:
        return True

    def apply(self, problem: Any) -> tuple[Any, dict[str, Any]]:
        return problem, {}

    def cite(self, data: Any) -> str:
        return ""

    def solve_via_data(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError("this target only canonicalizes")


class NamedDcp2Cone(Dcp2Cone):
    """Remembers which atom produced each constraint."""

    def __init__(self, original: Dcp2Cone) -> None:
        context: Any = copy(original.solver_context)
        context.solver_name = _INNER
        super().__init__(quad_obj=original.quad_obj, solver_context=context)
        self.origins: dict[int, Any] = {}

    def canonicalize_expr(self, expr: Any, args: Any, affine_above: bool = False) -> Any:
        canonical, constraints = super().canonicalize_expr(expr, args, affine_above)
        self.origins.update((constraint.id, expr) for constraint in constraints)
        return canonical, constraints


class SparseStuffing(ConeMatrixStuffing):
    """Extracts a quadratic objective without dense arrays. CVXPY keeps the coefficients of all variables, by all parameters, in
    one: 800 MB for 10 000 variables whose costs are parameters.
    """

    def stuffed_objective(self, problem: Any, extractor: Any) -> Any:
        if not self.quad_obj:
            return super().stuffed_objective(problem, extractor)  # type: ignore[no-untyped-call]  # CVXPY's has no types
        root: Any = LinOp(NO_OP, (), [problem.objective.expr.copy()], [])
        # Each quadratic form by a variable: what is left is affine.
        forms = replace_quad_forms(root, {})  # type: ignore[no-untyped-call]  # CVXPY's has no types
        head, n, starts = root.args[0], extractor.x_length, extractor.id_map
        places, offsets, length, _ = InverseData.get_var_offsets(head.variables())  # type: ignore[no-untyped-call]  # nor has this
        row, column, value = _entries(_tensor(extractor, head, length, offsets))
        restore_quad_forms(head, forms)
        constant = row == length
        linear = [(row[constant] - length + n, column[constant], value[constant])]
        curved = [(row[:0], column[:0], value[:0])]
        for key, (start, size) in places.items():
            own = (row >= start) & (row < start + size)
            terms = row[own] - start, column[own], value[own]
            if key not in forms:
                linear.append((starts[key] + terms[0], *terms[1:]))
                continue
            form = forms[key][2]
            first = starts[form.args[0].id]
            i, j, parameter, coefficient = _curvature(extractor, form, *terms)
            curved.append((first + i + n * (first + j), parameter, 2 * coefficient))  # of ½ x'P x
        width = sum(extractor.param_to_size.values())
        return _stacked(curved, (n * n, width)), _stacked(linear, (n + 1, width)), cp.Variable(n)


def _tensor(extractor: Any, expression: Any, length: int, offsets: dict[int, int]) -> sp.csc_array:
    """The coefficients of an affine expression: of entry i of it and j of the variables, the last one the constant, at row
    i + size j; columns are parameters.
    """
    sizes, starts = extractor.param_to_size, extractor.param_id_map
    operators = [expression.canonical_form[0]]
    found: sp.csc_array = get_problem_matrix(operators, length, offsets, sizes, starts, expression.size, extractor.canon_backend)
    return found


def _entries(tensor: sp.csc_array) -> _Entries:
    """Row, column and value of what is not zero."""
    kept = tensor.data != 0
    column = np.repeat(np.arange(tensor.shape[1]), np.diff(tensor.indptr))
    return tensor.indices[kept].astype(np.int64), column[kept], tensor.data[kept]


def _curvature(extractor: Any, form: Any, which: Any, parameter: Any, value: Any) -> tuple[Any, Any, Any, Any]:
    """Entries (i, j, parameter, value) of Σ c_k P_k for the coefficients c of quadratic forms: ``which`` k, parameter, value."""
    if form.P.parameters():  # of one form, whose coefficient is a constant
        cell, parameter, factor = _entries(_tensor(extractor, form.P, 0, {}))
        return cell % form.P.shape[0], cell // form.P.shape[0], parameter, factor * value.sum()
    P = sp.coo_array(form.P.value)
    if form.size > 1 and form.block_indices is None:  # squares of each entry
        kept = P.diagonal()[which] != 0
        return which[kept], which[kept], parameter[kept], value[kept]
    owner = np.zeros(P.shape[0], dtype=np.int64)  # of a variable: the form that it is in
    for k, block in enumerate(form.block_indices or ()):
        owner[block] = k
    entry, term = np.nonzero((owner[P.row] == owner[P.col])[:, None] & (owner[P.row][:, None] == which))
    return P.row[entry], P.col[entry], parameter[term], P.data[entry] * value[term]


def _stacked(parts: list[_Entries], shape: tuple[int, int]) -> sp.csc_array:
    row, column, value = (np.concatenate(part) for part in zip(*parts, strict=True))
    return sp.csc_array((value, (row, column)), shape=shape)
