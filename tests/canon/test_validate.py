"""Arguments that cannot make a layer are refused before anything is built, with a message that says what to type instead."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import cvxpy as cp
import numpy as np
import pytest

from cvxpylayers._canon import compile_problem
from cvxpylayers._canon.validate import validate
from cvxpylayers.errors import CvxpyLayersError, InputTypeError, ProblemError


class Pieces(NamedTuple):
    x: cp.Variable
    y: cp.Variable
    p: cp.Parameter
    q: cp.Parameter
    r: cp.Parameter
    P: cp.Parameter
    s: cp.Parameter
    S: cp.Parameter

    @property
    def good(self) -> cp.Problem:
        return cp.Problem(cp.Minimize(cp.sum_squares(self.x - self.p)), [self.x >= self.q])


def pieces() -> Pieces:
    return Pieces(
        cp.Variable(3, name="x"),
        cp.Variable(name="y"),
        cp.Parameter(3, name="p"),
        cp.Parameter(name="q"),
        cp.Parameter(name="r"),
        cp.Parameter((3, 3), PSD=True, name="P"),
        cp.Parameter(nonneg=True, name="s"),
        cp.Parameter((3, 3), symmetric=True, name="S"),
    )


def minimize(expression: Any, *constraints: Any) -> cp.Problem:
    return cp.Problem(cp.Minimize(expression), list(constraints))


WRONG_TYPES: dict[str, tuple[Callable[[Pieces], tuple[Any, Any, Any]], str]] = {
    "no problem": (lambda o: (3, [], []), "must be a cvxpy.Problem, not an int"),
    "single parameter": (lambda o: (o.good, o.p, [o.x]), r"write parameters=\[p\]"),
    "single variable": (lambda o: (o.good, [o.p, o.q], o.x), r"write variables=\[x\]"),
    "no list": (lambda o: (o.good, None, [o.x]), "list or tuple of cvxpy.Parameter objects, not None"),
    "number": (lambda o: (o.good, [o.p, 3], [o.x]), r"parameters\[1\] must be a cvxpy.Parameter, not an int"),
    "expression": (lambda o: (o.good, [o.p, o.q], [o.x[0]]), r"x\[0\] is an expression"),
    "constraint": (lambda o: (o.good, [o.p, o.q], o.good.constraints), r"constraint\.dual_variables\[0\]"),
    "parameter as variable": (lambda o: (o.good, [o.p, o.q], [o.p]), r"variables\[0\] must be .* p belongs into the other list"),
    "swapped lists": (lambda o: (o.good, [o.x], [o.p, o.q]), "not a cvxpy.Variable; x belongs into the other list"),
}

REFUSED: dict[str, tuple[Callable[[Pieces], tuple[Any, Any, Any]], str]] = {
    "missing parameter": (lambda o: (o.good, [o.p], [o.x]), "missing: q"),
    "foreign parameter": (lambda o: (o.good, [o.p, o.q, o.r], [o.x]), "does not depend on these parameters: r"),
    "repeated parameter": (lambda o: (o.good, [o.p, o.q, o.p], [o.x]), "more than once: p"),
    "foreign variable": (lambda o: (o.good, [o.p, o.q], [o.y]), "y. The problem's variables are x"),
    "foreign dual": (lambda o: (o.good, [o.p, o.q], [(o.x >= 0).dual_variables[0]]), "nor to the duals"),
    "repeated variable": (lambda o: (o.good, [o.p, o.q], [o.x, o.x]), "more than once: x"),
    "no outputs": (lambda o: (o.good, [o.p, o.q], []), r"variables=\[x\]"),
    "no variables": (lambda o: (minimize(cp.sum(o.p)), [o.p], [o.x]), "no variables"),
    "integer": (lambda o: (minimize(cp.sum_squares(i := cp.Variable(2, integer=True, name="i"))), [], [i]), "i is integer"),
    "boolean": (lambda o: (minimize(cp.sum_squares(b := cp.Variable(boolean=True, name="b"))), [], [b]), r"bounds=\[0, 1\]"),
    "complex output": (lambda o: (minimize(cp.sum_squares(z := cp.Variable(2, complex=True, name="z"))), [], [z]), "u == cp.real"),
    "complex parameter": (
        lambda o: (minimize(cp.sum_squares(o.x - (c := cp.Parameter(3, complex=True, name="c")))), [c], [o.x]),
        r"c_re \+ 1j \* c_im",
    ),
    "complex dual": (
        lambda o: (minimize(cp.sum_squares(o.x), e := (o.x + 1j * o.y == 1)), [], [e.dual_variables[0]]),
        "is complex, and its dual",
    ),
    "finite set": (lambda o: (minimize(o.y, cp.FiniteSet(o.y, [1, 2])), [], [o.y]), "mixed-integer"),
    "wrong sense": (lambda o: (cp.Problem(cp.Maximize(cp.sum_squares(o.x))), [], [o.x]), "convex, concave is needed"),
    "not convex": (
        lambda o: (minimize(o.y + cp.sqrt(cp.sum_squares(o.x))), [], [o.x]),
        r"offending part is Power\(sum_squares",
    ),
    "wrong side": (lambda o: (minimize(o.p @ o.x, cp.norm(o.x) >= 1), [o.p], [o.x]), r"offending part is 1.0 <= Pnorm\(x, 2\)"),
    "unknown sign": (lambda o: (minimize(o.q * cp.sum_squares(o.x)), [o.q], [o.x]), "If q cannot be negative, declare it"),
    "two parameters": (
        lambda o: (minimize(cp.sum(o.q * o.r * o.x)), [o.q, o.r], [o.x]),
        r"part is q \* r. Replace q \* r by one new parameter",
    ),
    "nested products": (lambda o: (minimize(o.q * (o.p @ o.x)), [o.p, o.q], [o.x]), "constraint y == p @ x"),
    "function of one": (lambda o: (minimize(o.y, cp.exp(o.q) * o.y >= 1), [o.q], [o.y]), r"\* y. Replace exp\(q\) by one new"),
    "power of one": (lambda o: (minimize(o.q**2 * cp.sum_squares(o.x)), [o.q], [o.x]), r"sum_squares\(x\). Replace Power\(q, 2"),
    "quotient": (lambda o: (minimize(cp.sum(o.x) / (o.q)), [o.q], [o.x]), "in place of q, and pass the value of its inverse"),
    "scaled quadratic": (lambda o: (minimize(o.s * cp.quad_form(o.x, o.P)), [o.s, o.P], [o.x]), "the product of s and P"),
    "scaled squares": (lambda o: (minimize(o.s * cp.sum_squares(o.p @ o.x)), [o.s, o.p], [o.x]), r"constraint y == p @ x"),
    "indefinite": (lambda o: (minimize(cp.quad_form(o.x, o.S)), [o.S], [o.x]), r"Declare that S is .*PSD=True"),
    "power of one factor": (
        lambda o: (minimize(-o.y, cp.constraints.PowConeND(o.x[:1], o.y, np.ones(1))), [], [o.y]),
        r"cp\.abs\(z\) <= W",
    ),
    "quadratic": (lambda o: (minimize(cp.sum(o.x), cp.quad_form(o.x, o.P) <= 1), [o.P], [o.x]), r"cp\.sum_squares\(S @ \(x\)\)"),
}


@pytest.mark.parametrize(("arguments", "message"), WRONG_TYPES.values(), ids=WRONG_TYPES)
def test_wrong_types(arguments: Callable[[Pieces], tuple[Any, Any, Any]], message: str) -> None:
    with pytest.raises(InputTypeError, match=message) as caught:
        validate(*arguments(pieces()))  # compile_problem's own annotations are enforced under pytest
    assert isinstance(caught.value, TypeError)


@pytest.mark.parametrize(("arguments", "message"), REFUSED.values(), ids=REFUSED)
def test_impossible_layers(arguments: Callable[[Pieces], tuple[Any, Any, Any]], message: str) -> None:
    with pytest.raises(ProblemError, match=message) as caught:
        compile_problem(*arguments(pieces()))
    assert isinstance(caught.value, ValueError)


def test_unknown_backends_are_refused() -> None:
    o = pieces()
    with pytest.raises(ProblemError, match="CPP, SCIPY, COO, not 'FAST'"):
        compile_problem(o.good, [o.p, o.q], [o.x], canon_backend="FAST")


@pytest.mark.parametrize(("arguments", "message"), REFUSED.values(), ids=REFUSED)
def test_refusals_come_before_the_work(
    arguments: Callable[[Pieces], tuple[Any, Any, Any]], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cvxpylayers._canon.compile.canonicalize", lambda *_: pytest.fail("work was done"))
    with pytest.raises(CvxpyLayersError):
        compile_problem(*arguments(pieces()))
