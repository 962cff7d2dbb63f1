"""CVXPY's reductions that behave otherwise here: where they end, what they remember, and what they extract apart."""

from __future__ import annotations

from copy import copy
from typing import Any, Final

import cvxpy as cp
from cvxpy.atoms.affine.add_expr import AddExpression
from cvxpy.atoms.affine.unary_operators import NegExpression
from cvxpy.constraints.exponential import ExpCone
from cvxpy.constraints.nonpos import NonNeg
from cvxpy.constraints.power import PowCone3D
from cvxpy.constraints.psd import PSD
from cvxpy.constraints.second_order import SOC
from cvxpy.constraints.zero import Zero
from cvxpy.reductions.dcp2cone.cone_matrix_stuffing import ConeMatrixStuffing
from cvxpy.reductions.dcp2cone.dcp2cone import Dcp2Cone
from cvxpy.reductions.solvers.conic_solvers.conic_solver import ConicSolver

_INNER: Final = "CLARABEL"  # whose cones CVXPY looks up for problems inside of atoms, such as perspective
_FEW: Final = 1_000_000  # cells of a dense array, for which a second extraction does not pay


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


class ApartStuffing(ConeMatrixStuffing):
    """Extracts the affine terms of a quadratic objective apart from the others. Together, CVXPY keeps the coefficients of all
    variables, by all parameters, in one dense array: 800 MB for 10 000 variables whose costs are parameters."""

    def stuffed_objective(self, problem: Any, extractor: Any) -> Any:
        curved, affine = list[Any](), list[Any]()
        cells = extractor.x_length * (sum(extractor.param_to_size.values()) - 1)  # of which one belongs to the constants
        if self.quad_obj and cells > _FEW:
            for term in _terms(problem.objective.expr):
                (affine if term.is_affine() else curved).append(term)
        extract: Any = super().stuffed_objective
        if not affine:
            return extract(problem, extractor)
        P, q, x = extract(cp.Problem(cp.Minimize(sum(curved)), problem.constraints), extractor)
        return P, q + extractor.affine(sum(affine)), x


def _terms(expression: Any) -> list[Any]:
    """Summands of an expression."""
    match expression:
        case AddExpression():
            return [term for part in expression.args for term in _terms(part)]
        case NegExpression():
            return [-term for term in _terms(expression.args[0])]
    return [expression]
