"""What to type instead of the part of a problem that breaks CVXPY's rules; tests follow every advice and solve what results.

A *coefficient* is an expression of parameters alone. Three remedies cover most of what breaks DPP:

* a coefficient that is not affine in the parameters becomes a parameter itself;
* in c · f(x, θ) with f affine, a new variable y == f leaves c · y; of other f, the affine parts that hold parameters get names;
* with f convex, y ≥ f leaves c · y: where the product is convex at all it grows with f, so that y sinks to f (f concave: y ≤ f).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import cvxpy as cp

from cvxpylayers._canon.atoms import exponents, is_convolution, is_division, is_kronecker, is_negation, is_product, is_quad_form
from cvxpylayers._canon.cvxpy_bridge import bounds, brief, dpp_rules

_LAST: Final = "Rewrite it until problem.is_dpp() is True: a term may hold one parameter, as a factor."


def dcp_remedy(culprit: Any) -> str:
    """For the smallest part of a problem that is not convex."""
    if exponents(culprit):
        return "Only geometric programs, those with gp=True, may have a parameter as an exponent; write a number."
    if is_quad_form(culprit) and (matrix := culprit.args[1]).parameters():
        name, how = brief(matrix), f"cp.Parameter({matrix.shape}, PSD=True)"
        if isinstance(matrix, cp.Parameter):
            return f"Declare that {name} is positive semidefinite: {how}."
        return f"Use one new parameter for {name}: {how}."
    if isinstance(culprit, cp.Expression) and len(culprit.args) == 2:
        for factor in culprit.args:
            if factor.parameters() and not factor.variables() and _with(culprit, [factor], _nonnegative).is_dcp():
                words = "declare it" if isinstance(factor, cp.Parameter) else "use one new parameter for it"
                return f"If {brief(factor)} cannot be negative, {words}: cp.Parameter(..., nonneg=True)."
    return "Rewrite it with atoms of known curvature, until problem.is_dcp() is True."


def dgp_remedy(culprit: Any, convex: bool) -> str:
    """For the smallest part of a problem that is not log-log convex; ``convex``: the problem is convex as it stands."""
    powers = exponents(culprit)
    unsigned = [leaf for leaf in (*culprit.variables(), *culprit.parameters()) if not leaf.is_pos()]
    if unsigned := [leaf for leaf in unsigned if leaf.id not in {p.id for p in powers}]:
        names = ", ".join(dict.fromkeys(leaf.name() for leaf in unsigned))
        return f"Declare that {names} is positive, with pos=True; only parameters in exponents may have any sign."
    if convex:
        return "It is convex as it stands: pass gp=False."
    if coefficients := _coefficients(culprit, lambda c: bool(c.is_log_log_affine())):
        return _replaced(coefficients, "pos=True")
    if unsigned := [p for p in powers if not p.is_pos()]:
        return f"If {unsigned[0].name()} cannot be negative, declare it: cp.Parameter(pos=True)."
    return "Rewrite it with atoms of known log-log curvature, until problem.is_dgp() is True."


def dgp_dpp_remedy(culprit: Any, names: set[str]) -> str:
    """For the smallest part of a geometric program that is not DPP; ``names`` are taken."""
    with dpp_rules(objective=False):
        coefficients = _coefficients(culprit, lambda c: bool(c.is_log_log_affine()))
    if coefficients:
        return _replaced(coefficients, "pos=True")
    if exponents(culprit):
        (base,) = culprit.args
        return named([base], names, "==" if base.is_log_log_affine() else ">=", "pos=True")
    return _LAST


def dpp_remedy(culprit: Any, objective: bool, names: set[str]) -> str:
    """For the smallest part of a problem, of its ``objective`` or not, that is not DPP; ``names`` are taken."""
    with dpp_rules(objective=objective):
        if coefficients := _coefficients(culprit, lambda c: bool(c.is_affine())):
            return _replaced(coefficients)
        if is_quad_form(culprit):
            return named(culprit.args[:1], names) if objective and culprit.args[0].parameters() else root(culprit)
        if is_product(culprit) or is_division(culprit):
            return _factor_remedy(culprit, names)
        if is_convolution(culprit):
            return _convolution(culprit)
        if is_kronecker(culprit):
            (m, n), (a, b) = culprit.args[0].shape, map(brief, culprit.args)
            return f"Write it block by block: cp.bmat([[({a})[i, j] * ({b}) for j in range({n})] for i in range({m})])."
        for arguments in holding(culprit):
            if all(a.is_affine() for a in arguments) and renamed(culprit, arguments).is_dcp():
                return named(arguments, names)
    return _LAST


def _factor_remedy(culprit: Any, names: set[str]) -> str:
    """For c · f or f / c, with c affine in the parameters, under the rules of DPP."""
    constant, moving = sorted(culprit.args, key=lambda factor: len(factor.variables()))
    if moving.is_affine() and not is_division(culprit):
        return named([moving], names)
    factors, core = _factored(culprit)
    if not core.parameters() and len(factors) > 1:
        return _joined(factors)
    if is_division(culprit):
        return f"Multiply by a new parameter in place of {brief(constant)}, and pass the value of its inverse."
    if is_quad_form(moving):
        return _joined([constant, moving.args[1]], "PSD=True")
    if parts := _affine_parts(moving):
        return named(parts, names)
    if form := _form(moving):
        return root(form)
    return named([moving], names, ">=" if moving.is_convex() else "<=")


def _coefficients(part: Any, allowed: Callable[[Any], bool]) -> list[Any]:
    """The largest expressions of parameters alone in ``part``, or in the bounds of a variable, that are not ``allowed``."""
    if isinstance(part, cp.Expression) and not part.variables():
        return [part] if part.parameters() and not allowed(part) else []
    parts = bounds(part) if isinstance(part, cp.Variable) else part.args
    return [found for argument in parts for found in _coefficients(argument, allowed)]


def _factored(expression: Any) -> tuple[list[Any], Any]:
    """``expression`` as a product: its factors without variables, reciprocals of divisors, and what they multiply."""
    if is_product(expression) or is_division(expression):
        constants = [a for a in expression.args if not a.variables()]
        if len(constants) == 1:
            factors, core = _factored(next(a for a in expression.args if a.variables()))
            return [*factors, 1 / constants[0] if is_division(expression) else constants[0]], core
    return [], expression


def _affine_parts(expression: Any) -> list[Any] | None:
    """The largest affine parts of ``expression`` that hold parameters; None where some parameter is a factor of another part."""
    if not expression.parameters():
        return []
    if expression.is_affine():
        return [expression]
    scaled = is_product(expression) or is_division(expression) or is_quad_form(expression)
    if scaled and any(a.parameters() and not a.variables() for a in expression.args):
        return None
    parts = [_affine_parts(argument) for argument in expression.args]
    return None if any(p is None for p in parts) else [part for p in parts for part in p or []]


def _form(expression: Any) -> Any | None:
    """The first quad_form(x, P) with a parameter P in ``expression``."""
    if is_quad_form(expression) and expression.args[1].parameters():
        return expression
    return next(filter(None, map(_form, expression.args)), None)


def root(form: Any) -> str:
    """For quad_form(x, P) with a parameter P, where it is no term of the objective."""
    x, P = map(brief, form.args)
    minus = "-" if form.args[1].is_nsd() else ""
    return (
        f"A parameter matrix is possible in a term of the objective only; elsewhere write {minus}cp.sum_squares(S @ ({x})) "
        f"with a new parameter S, and pass a value with {minus}S.T @ S == {P}."
    )


def holding(culprit: Any) -> Iterator[list[Any]]:
    """Arguments that hold parameters: first those without variables, then all."""
    if isinstance(culprit, cp.Expression):
        arguments = [a for a in culprit.args if isinstance(a, cp.Expression) and a.parameters()]
        yield from filter(None, ([a for a in arguments if not a.variables()], arguments))


def renamed(culprit: Any, arguments: Sequence[Any]) -> Any:
    """``culprit`` with variables in place of some of its arguments."""
    return _with(culprit, arguments, lambda a: cp.Variable(a.shape, symmetric=_symmetric(a)))


def _with(culprit: Any, arguments: Sequence[Any], leaf: Callable[[Any], Any]) -> Any:
    return culprit.copy([leaf(a) if any(a is b for b in arguments) else a for a in culprit.args])


def _nonnegative(expression: Any) -> cp.Parameter:
    return cp.Parameter(expression.shape, nonneg=True)


def _symmetric(expression: Any) -> bool:
    return bool(expression.ndim == 2 and expression.size > 1 and expression.is_symmetric())


def _sign(expression: Any) -> str:
    return "nonneg=True" if expression.is_nonneg() else "nonpos=True" if expression.is_nonpos() else ""


def _replaced(coefficients: Sequence[Any], attribute: str = "") -> str:
    words = [f"{brief(c)} by one new parameter{_such(attribute or _sign(c))}" for c in coefficients]
    return f"Replace {' and '.join(dict.fromkeys(words))}, and pass its value."


def _joined(factors: Sequence[Any], attribute: str = "") -> str:
    plain = [f.args[0] if is_negation(f) else f for f in factors]
    signs = [1 if f.is_nonneg() else -1 if f.is_nonpos() else 0 for f in plain]
    known = {1: "nonneg=True", -1: "nonpos=True", 0: ""}[math.prod(signs)]
    words = " and ".join(map(brief, plain))
    return f"Use one new parameter{_such(attribute or known)} for the product of {words}, and pass its value."


def _such(attribute: str) -> str:
    return f", cp.Parameter(..., {attribute})" if attribute else ""


def named(parts: Sequence[Any], names: set[str], relation: str = "==", attribute: str = "") -> str:
    """Words for new variables, whose names are not among ``names``, in place of ``parts``."""
    fresh = (name for k in range(len(names) + 1) for name in (f"{letter}{k or ''}" for letter in "yzuvw") if name not in names)
    pairs = [(next(fresh), part) for part in parts]
    new = ", ".join(f"{name} = cp.Variable({_arguments(part, relation, attribute)})" for name, part in pairs)
    rows = ", ".join(f"{name} {relation} {brief(part)}" for name, part in pairs)
    return f"Give it a name: with {new}, add the constraint {rows} and use {', '.join(name for name, _ in pairs)} in its place."


def _arguments(part: Any, relation: str, attribute: str) -> str:
    sign = attribute or ("" if relation == "==" else _sign(part))
    return ", ".join(filter(None, [str(part.shape) if part.shape else "", sign, "symmetric=True" if _symmetric(part) else ""]))


def _convolution(culprit: Any) -> str:
    size = culprit.args[0].size
    a, x = (f"({brief(v)})" if v.ndim == 1 else f'cp.vec({brief(v)}, order="F")' for v in culprit.args)
    total = f"sum({a}[i] * cp.hstack([np.zeros(i), {x}, np.zeros({size - 1} - i)]) for i in range({size}))"
    whole = total if culprit.ndim < 2 else f'cp.reshape({total}, {culprit.shape}, order="F")'
    return f"Write it as a sum of products: {whole}."
