"""What can be wrong with the arguments of a layer; every message says what to type instead."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import cvxpy as cp
from cvxpy.constraints.power import PowConeND

from cvxpylayers._canon.advice import dcp_remedy, dgp_dpp_remedy, dgp_remedy, dpp_remedy, root
from cvxpylayers._canon.cvxpy_bridge import BACKENDS, bounds, brief, dpp_rules, is_dpp, owner
from cvxpylayers._canon.reducible import buried_form
from cvxpylayers.errors import InputTypeError, ProblemError


def validate(problem: Any, parameters: Any, variables: Any, *, gp: bool = False, canon_backend: str | None = None) -> None:
    """Raise ``ProblemError`` or ``InputTypeError`` unless the arguments can make a layer."""
    _check_types(problem, parameters, variables)
    if canon_backend not in (None, *BACKENDS):
        raise ProblemError(f"canon_backend must be None or one of {', '.join(BACKENDS)}, not {canon_backend!r}.")
    _check_parameters(problem, parameters)
    _check_variables(problem, variables)
    _check_domains(problem)
    if gp:
        _check_dgp(problem)
    else:
        _check_dcp(problem)
    _check_dpp(problem, gp)


def _check_types(problem: Any, parameters: Any, variables: Any) -> None:
    if not isinstance(problem, cp.Problem):
        raise InputTypeError(f"problem must be a cvxpy.Problem, not {_kind(problem)}.")
    for name, items, kind in (("parameters", parameters, cp.Parameter), ("variables", variables, cp.Variable)):
        if not isinstance(items, (list, tuple)):
            hint = f"; write {name}=[{items.name()}]" if isinstance(items, kind) else ""
            raise InputTypeError(f"{name} must be a list or tuple of cvxpy.{kind.__name__} objects, not {_kind(items)}{hint}.")
        for i, item in enumerate(items):
            if isinstance(item, kind):
                continue
            hint = ""
            if isinstance(item, cp.constraints.constraint.Constraint):
                hint = "; for the dual of a constraint write constraint.dual_variables[0]"
            elif isinstance(item, (cp.Parameter, cp.Variable)):
                hint = f"; {item.name()} belongs into the other list: CvxpyLayer(problem, parameters=[...], variables=[...])"
            elif isinstance(item, cp.Expression):
                hint = f"; {brief(item)} is an expression of other objects: list those"
            raise InputTypeError(f"{name}[{i}] must be a cvxpy.{kind.__name__}, not {_kind(item)}{hint}.")


def _check_parameters(problem: cp.Problem, parameters: Sequence[cp.Parameter]) -> None:
    _refuse_repeats("parameters", parameters)
    wanted, given = {p.id for p in problem.parameters()}, {p.id for p in parameters}
    if missing := [p for p in problem.parameters() if p.id not in given]:
        raise ProblemError(
            f"parameters must list every parameter of the problem; missing: {_names(missing)}. "
            "Add them, or replace those that never change by constants."
        )
    if foreign := [p for p in parameters if p.id not in wanted]:
        raise ProblemError(f"The problem does not depend on these parameters: {_names(foreign)}. Remove them from the list.")


def _check_variables(problem: cp.Problem, variables: Sequence[cp.Variable]) -> None:
    if not problem.variables():
        raise ProblemError("The problem has no variables, so there is nothing to solve for.")
    if not variables:
        example = problem.variables()[0].name()
        raise ProblemError(f"variables is empty; list the outputs you want, for instance variables=[{example}].")
    _refuse_repeats("variables", variables)
    for variable in variables:
        owned = owner(variable, problem)
        if variable.is_complex():
            name = variable.name()
            raise ProblemError(
                f"{name} is complex; make outputs of real variables u and v, u == cp.real({name}), v == cp.imag({name})."
            )
        if owned is not None and owned[0].is_complex():
            raise ProblemError(
                f"{brief(owned[0])} is complex, and its dual cannot be an output; state it in real and imaginary parts."
            )
    known = {v.id for v in problem.variables()}
    if foreign := [v for v in variables if v.id not in known and owner(v, problem) is None]:
        raise ProblemError(
            f"These entries of variables belong neither to the problem nor to the duals of its constraints: {_names(foreign)}. "
            f"The problem's variables are {_names(problem.variables())}."
        )


def _check_domains(problem: cp.Problem) -> None:
    for parameter in problem.parameters():
        if parameter.is_complex():
            name = parameter.name()
            raise ProblemError(f"{name} is complex; use two real parameters, {name}_re + 1j * {name}_im.")
    for variable in problem.variables():
        if variable.attributes["integer"] or variable.attributes["boolean"]:
            raise ProblemError(
                f"{variable.name()} is integer or boolean, and solutions of mixed-integer problems have no derivative; "
                "relax it, for instance to cp.Variable(..., bounds=[0, 1])."
            )
    for constraint in problem.constraints:
        if isinstance(constraint, PowConeND) and constraint.args[0].shape[constraint.axis] == 1:
            raise ProblemError(f"{brief(constraint)} has a single factor, which CVXPY cannot split; write it as cp.abs(z) <= W.")
    if finite := [constraint for constraint in problem.constraints if isinstance(constraint, cp.FiniteSet)]:
        raise ProblemError(
            f"{brief(finite[0])} makes the problem mixed-integer, and solutions of those have no derivative; relax it to bounds."
        )


def _check_dcp(problem: cp.Problem) -> None:
    if problem.is_dcp():
        return
    culprit, _ = _offender(problem, _dcp)
    advice = "It is geometric: pass gp=True." if problem.is_dgp() else dcp_remedy(culprit)
    raise ProblemError(
        f"The problem is not convex by CVXPY's rules (DCP); the offending part is {brief(culprit, 200)}"
        f"{_curvature(culprit)}. {advice}"
    )


def _check_dgp(problem: cp.Problem) -> None:
    for leaf in (*problem.variables(), *problem.parameters()):
        if leaf.is_pos() and any(leaf.attributes[name] for name in ("diag", "sparsity", "PSD", "NSD")):
            raise ProblemError(
                f"{leaf.name()} has an attribute that CVXPY does not know in geometric programs; leave it at pos=True."
            )
    if problem.is_dgp():
        return
    culprit, _ = _offender(problem, _dgp)
    raise ProblemError(
        f"The problem is not geometric by CVXPY's rules (DGP); the offending part is {brief(culprit, 200)}. "
        f"{dgp_remedy(culprit, problem.is_dcp())}"
    )


def _check_dpp(problem: cp.Problem, gp: bool) -> None:
    if is_dpp(problem, gp):
        if (form := None if gp else buried_form(problem.objective)) is not None:
            raise ProblemError(f"{brief(form, 200)} is inside of another function. {root(form)}")
        return
    culprit, objective = _offender(problem, _dgp_parametrized if gp else _dcp_parametrized)
    names = {leaf.name() for leaf in (*problem.variables(), *problem.parameters())}
    data = (
        "logarithms of the data are not affine in its exponents and the logarithms of its other"
        if gp
        else "data are not affine in its"
    )
    raise ProblemError(
        f"The problem is not DPP, that is, its {data} parameters; the offending part is {_words(culprit)}. "
        f"{dgp_dpp_remedy(culprit, names) if gp else dpp_remedy(culprit, objective, names)}"
    )


def _dcp(part: Any, objective: bool) -> bool:
    return bool(part.is_dcp())


def _dgp(part: Any, objective: bool) -> bool:
    return bool(part.is_dgp())


def _dcp_parametrized(part: Any, objective: bool) -> bool:
    with dpp_rules(objective=objective):
        return bool(part.is_dcp(dpp=isinstance(part, cp.Variable)))  # which alone asks its bounds, by that


def _dgp_parametrized(part: Any, objective: bool) -> bool:
    return bool(part.is_dgp(dpp=True))


def _offender(problem: cp.Problem, obeys: Callable[[Any, bool], bool]) -> tuple[Any, bool]:
    """The smallest part of the problem that breaks the rules although its own parts obey them, and whether the objective has it;
    a variable, where its bounds break them.
    """
    for part in (problem.objective, *problem.constraints):
        objective = part is problem.objective
        if not obeys(part, objective):
            return _descend(part, obeys, objective), objective
    return next((variable for variable in problem.variables() if not obeys(variable, False)), problem), False


def _descend(part: Any, obeys: Callable[[Any, bool], bool], objective: bool) -> Any:
    for argument in part.args:
        if not obeys(argument, objective):
            return _descend(argument, obeys, objective)
    return part


def _words(culprit: Any) -> str:
    if isinstance(culprit, cp.Variable):
        return f"a bound of {culprit.name()}, {' or '.join(brief(bound) for bound in bounds(culprit))}"
    return brief(culprit, 200)


def _curvature(culprit: Any) -> str:
    if isinstance(culprit, (cp.Minimize, cp.Maximize)):
        wanted = "convex" if isinstance(culprit, cp.Minimize) else "concave"
        return f" (its expression is {culprit.expr.curvature.lower()}, {wanted} is needed)"
    return ""


def _refuse_repeats(name: str, items: Sequence[Any]) -> None:
    counts = Counter(item.id for item in items)
    if repeated := [item for item in items if counts[item.id] > 1]:
        raise ProblemError(f"{name} lists these more than once: {_names(repeated)}. List each once.")


def _names(items: Sequence[Any]) -> str:
    return ", ".join(dict.fromkeys(item.name() for item in items))


def _kind(item: Any) -> str:
    if item is None:
        return "None"
    package = type(item).__module__.partition(".")[0]
    name = type(item).__name__ if package == "builtins" else f"{package}.{type(item).__name__}"
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"
