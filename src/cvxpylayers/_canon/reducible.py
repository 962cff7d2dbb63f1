"""What obeys the rules of DPP and yet CVXPY cannot reduce to cones, and what to type instead."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cvxpy as cp

from cvxpylayers._canon.advice import holding, named, renamed
from cvxpylayers._canon.atoms import is_affine, is_quad_form
from cvxpylayers._canon.cvxpy_bridge import IrreducibleError, brief, reduced
from cvxpylayers.errors import ProblemError


def buried_form(expression: Any, *, quadratic: bool = True) -> Any | None:
    """The first ``quad_form(x, P)`` with a parameter P in the objective ``expression`` that is no term of it; None without one.

    As an argument of an atom that is not affine it would be bounded by a variable, for which P must be factored.
    """
    if is_quad_form(expression) and expression.args[1].parameters() and not quadratic:
        return expression
    quadratic = quadratic and is_affine(expression)
    arguments = [a for a in expression.args if isinstance(a, cp.Expression)]
    found = (buried_form(argument, quadratic=quadratic) for argument in arguments)
    return next((form for form in found if form is not None), None)


def irreducible(problem: cp.Problem, gp: bool, error: IrreducibleError) -> ProblemError:
    """What to raise where CVXPY failed with ``error``: it names the smallest part that fails alone and, where that helps, what
    to replace in it.
    """
    part: Any = next((p for p in (problem.objective, *problem.constraints) if not _reduces(p, gp)), None)
    if part is None:
        return ProblemError(f"CVXPY cannot reduce the problem to cones ({error}); problem.solve() may tell more.")
    while smaller := next((a for a in part.args if isinstance(a, cp.Expression) and not _reduces(a, gp)), None):
        part = smaller
    return ProblemError(f"CVXPY cannot reduce {brief(part, 200)} to cones ({error}). {_remedy(part, problem, gp)}")


def _remedy(part: Any, problem: cp.Problem, gp: bool) -> str:
    names = {leaf.name() for leaf in (*problem.variables(), *problem.parameters())}
    for arguments in holding(part):
        if all(a.is_affine() for a in arguments) and _reduces(renamed(part, arguments), gp):
            return named(arguments, names)
    return "Write it with other atoms, until problem.solve() works."


def _reduces(part: Any, gp: bool) -> bool:
    """Whether an objective, a constraint or an expression reduces alone."""
    try:
        for problem in _problems(part):
            reduced(problem, None, gp)
    except IrreducibleError:
        return False
    return True


def _problems(part: Any) -> Iterator[cp.Problem]:
    """Problems that hold no more than ``part``; none where it is complex."""
    if isinstance(part, cp.Expression):
        if part.is_complex():
            return
        total = part.sum()
        part = cp.Minimize(total) if part.is_convex() else cp.Maximize(total)
    if part.variables():
        yield cp.Problem(part) if isinstance(part, (cp.Minimize, cp.Maximize)) else cp.Problem(cp.Minimize(0), [part])
