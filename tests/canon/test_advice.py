"""Every advice about CVXPY's rules is followed to the letter: the problem that results makes a layer and has the same optimum."""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import cvxpy as cp
import numpy as np
import pytest

from cvxpylayers._canon import advice, compile_problem
from cvxpylayers.errors import ProblemError

Pair = tuple[cp.Problem, cp.Problem]
GRAM = np.array([[2.0, 0.5, 0.0], [0.5, 1.0, 0.3], [0.0, 0.3, 1.5]])
VECTOR, SQUARE = np.array([1.0, -0.5, 2.0]), np.array([[1.0, 0.2, -0.3], [0.1, 1.5, 0.4], [0.0, -0.2, 0.8]])


CREATED: list[cp.Parameter] = []  # in the row that is being made


def given(value: Any, **attributes: Any) -> cp.Parameter:
    """A parameter named p1, p2, … in the order of creation within a row."""
    CREATED.append(cp.Parameter(np.shape(value), name=f"p{len(CREATED) + 1}", value=value, **attributes))
    return CREATED[-1]


def minimize(expression: Any, *constraints: Any) -> cp.Problem:
    return cp.Problem(cp.Minimize(expression), list(constraints))


def x3() -> cp.Variable:
    return cp.Variable(3, name="x")


def positive() -> cp.Variable:
    return cp.Variable(name="x", pos=True)


def scaled_twice() -> Pair:
    x, k = x3(), given(1.5, nonneg=True)
    objective, kk = cp.sum_squares(x - 1), given(2.25, nonneg=True)
    return minimize(k * objective * k + cp.sum(x)), minimize(kk * objective + cp.sum(x))


def nested_scales() -> Pair:
    x, r = x3(), given([1.0, 2.0, 0.5], nonneg=True)
    rr = given(r.value**2, nonneg=True)
    return minimize(cp.sum(cp.multiply(r, cp.multiply(r, cp.square(x)))) - cp.sum(x)), minimize(
        cp.sum(cp.multiply(rr, cp.square(x))) - cp.sum(x)
    )


def scaled_quotient() -> Pair:
    x, k, j = x3(), given(1.5, nonneg=True), given(0.5, nonneg=True)
    q = given(3.0, nonneg=True)
    return minimize(k * cp.sum_squares(x) / j - cp.sum(x)), minimize(q * cp.sum_squares(x) - cp.sum(x))


def scale_of_opposite_sign() -> Pair:
    y, k, j = cp.Variable(name="x"), given(1.5, nonneg=True), given(-2.0, nonpos=True)
    kj = given(-3.0, nonpos=True)
    return minimize(k * (j * cp.log(y)) + y), minimize(kj * cp.log(y) + y)


def quotient() -> Pair:
    x, k = x3(), given(1.5, nonneg=True)
    inverse = given(1 / 1.5, nonneg=True)
    return minimize(cp.sum_squares(x - 1) / k + cp.sum(x)), minimize(inverse * cp.sum_squares(x - 1) + cp.sum(x))


def product_of_affine() -> Pair:
    x, y, Q, k = x3(), cp.Variable(3), given(SQUARE), given(2.0)
    return minimize(cp.sum_squares(k * (Q @ x) - 1)), minimize(cp.sum_squares(k * y - 1), y == Q @ x)


def affine_inside() -> Pair:
    x, y, k, p = x3(), cp.Variable(3), given(2.0, nonneg=True), given(VECTOR)
    return minimize(k * cp.sum_squares(k * x - p) + cp.sum(x)), minimize(k * cp.sum_squares(y) + cp.sum(x), y == k * x - p)


def convex_inside() -> Pair:
    x, y, k, j = x3(), cp.Variable(nonneg=True), given(2.0, nonneg=True), given(0.5, nonneg=True)
    f = cp.sum_squares(x) + j * cp.norm(x - 1)
    return minimize(k * f + cp.sum(x)), minimize(k * y + cp.sum(x), y >= f)


def concave_inside() -> Pair:
    x, y, k, j = cp.Variable(name="x"), cp.Variable(nonneg=True), given(2.0, nonneg=True), given(0.5, nonneg=True)
    f = cp.minimum(j * cp.sqrt(x), 1)
    return minimize(x - k * f), minimize(x - k * y, y <= f)


def scaled_form() -> Pair:
    x, k, P = x3(), given(2.0, nonneg=True), given(GRAM, PSD=True)
    kP = given(2 * GRAM, PSD=True)
    return cp.Problem(cp.Maximize(cp.sum(x) - k * cp.quad_form(x, P))), cp.Problem(cp.Maximize(cp.sum(x) - cp.quad_form(x, kP)))


def form_in_a_constraint() -> Pair:
    x, P, S = x3(), given(GRAM, PSD=True), given(np.linalg.cholesky(GRAM).T)
    return minimize(cp.sum(x), cp.quad_form(x, P) <= 1), minimize(cp.sum(x), cp.sum_squares(S @ x) <= 1)


def shifted_form_scaled() -> Pair:
    x, y, k, P = x3(), cp.Variable(3), given(2.0, nonneg=True), given(GRAM, PSD=True)
    S = given(np.linalg.cholesky(GRAM).T)
    g = cp.norm(x - 1)  # a second advice is that of `affine_inside`
    return minimize(k * (cp.quad_form(x, P) + g)), minimize(k * (cp.sum_squares(y) + g), y == S @ x)


def form_in_a_function() -> Pair:
    x, P, S = x3(), given(GRAM, PSD=True), given(np.linalg.cholesky(GRAM).T)
    return minimize(cp.square(cp.quad_form(x - 1, P)) + cp.sum(x)), minimize(cp.square(cp.sum_squares(S @ (x - 1))) + cp.sum(x))


def form_in_a_maximum() -> Pair:
    x, P, S = x3(), given(GRAM, PSD=True), given(np.linalg.cholesky(GRAM).T)
    form, norms = cp.quad_form(x, P), cp.sum_squares(S @ x)
    return minimize(form + 2 * cp.maximum(form / 2, 1) + cp.sum(x)), minimize(norms + 2 * cp.maximum(norms / 2, 1) + cp.sum(x))


def concave_form_in_a_function() -> Pair:
    x, N, S = x3(), given(-GRAM, NSD=True), given(np.linalg.cholesky(GRAM).T)
    return cp.Problem(cp.Maximize(cp.sqrt(5 + cp.quad_form(x, N)) - cp.sum(x) / 9)), cp.Problem(
        cp.Maximize(cp.sqrt(5 - cp.sum_squares(S @ x)) - cp.sum(x) / 9)
    )


def bound_of_a_variable() -> Pair:
    k, p, kp = given(2.0), given(VECTOR), given(2 * VECTOR)
    x, y = (cp.Variable(3, name="x", bounds=[bound, None]) for bound in (k * p, kp))
    return minimize(cp.sum_squares(x)), minimize(cp.sum_squares(y))


def perspective_of_a_product() -> Pair:
    x, t, k = cp.Variable(name="x"), cp.Variable(nonneg=True, name="t"), given(2.0, nonneg=True)
    rows = t <= 2, x >= 1
    return minimize(cp.perspective(k * cp.square(x), t) + t, *rows), minimize(k * cp.perspective(cp.square(x), t) + t, *rows)


def matrix_of_a_spectral_function() -> Pair:
    X, Y = (cp.Variable((2, 2), symmetric=True, name=name) for name in "XY")
    P, rows = given(np.diag([0.2, 0.9]), PSD=True), [cp.trace(X) == 1]
    return minimize(cp.quantum_rel_entr(X, P), *rows), minimize(cp.quantum_rel_entr(X, Y), *rows, Y == P)


def real_part_of_a_real_expression() -> Pair:
    x, p = x3(), given(VECTOR)
    return minimize(cp.sum_squares(x), cp.real(x + p) >= 1), minimize(cp.sum_squares(x), x + p >= 1)


def form_of_affine() -> Pair:
    x, y, Q, P = x3(), cp.Variable(3), given(SQUARE), given(GRAM, PSD=True)
    return minimize(cp.quad_form(Q @ x, P) + cp.sum(x)), minimize(cp.quad_form(y, P) + cp.sum(x), y == Q @ x)


def product_of_parameters() -> Pair:
    x, k, p, kp = x3(), given(2.0), given(VECTOR), given(2 * VECTOR)
    return minimize(cp.sum_squares(x), x >= k * p), minimize(cp.sum_squares(x), x >= kp)


def function_of_a_parameter() -> Pair:
    x, a, e = x3(), given(0.5), given(np.exp(0.5), nonneg=True)
    return minimize(cp.exp(a) * cp.sum_squares(x - 1) + cp.sum(x)), minimize(e * cp.sum_squares(x - 1) + cp.sum(x))


def function_on_the_wrong_side() -> Pair:
    x, p, size = x3(), given(VECTOR), given(np.linalg.norm(VECTOR), nonneg=True)
    return minimize(cp.sum(x), cp.norm(x) <= cp.norm(p)), minimize(cp.sum(x), cp.norm(x) <= size)


def cumulative_product() -> Pair:
    x, p, c = x3(), given(VECTOR), given(np.cumprod(VECTOR))
    return minimize(cp.sum_squares(cp.cumprod(p) - x)), minimize(cp.sum_squares(c - x))


def convolution() -> Pair:
    x, p = x3(), given(VECTOR)
    advised = sum((p)[i] * cp.hstack([np.zeros(i), (x), np.zeros(2 - i)]) for i in range(3))
    target = np.arange(5.0)
    return minimize(cp.sum_squares(cp.convolve(p, x) - target)), minimize(cp.sum_squares(advised - target))


def convolution_of_columns() -> Pair:
    x, p = cp.Variable((3, 1), name="x"), given(VECTOR[:, None])
    kernel, signal = cp.vec(p, order="F"), cp.vec(x, order="F")
    total = sum(kernel[i] * cp.hstack([np.zeros(i), signal, np.zeros(2 - i)]) for i in range(3))
    advised = cp.reshape(total, (5, 1), order="F")
    target = np.arange(5.0)[:, None]
    return minimize(cp.sum_squares(cp.conv(p, x) - target)), minimize(cp.sum_squares(advised - target))


def kronecker() -> Pair:
    x, Q = cp.Variable((2, 2), name="x"), given(SQUARE)
    advised = cp.bmat([[(Q)[i, j] * (x) for j in range(3)] for i in range(3)])
    return minimize(cp.sum_squares(cp.kron(Q, x) - 1)), minimize(cp.sum_squares(advised - 1))


def kronecker_from_the_right() -> Pair:
    x, Q = cp.Variable((2, 2), name="x"), given(SQUARE)
    advised = cp.bmat([[(x)[i, j] * (Q) for j in range(2)] for i in range(2)])
    return minimize(cp.sum_squares(cp.kron(x, Q) - 1)), minimize(cp.sum_squares(advised - 1))


def denominator() -> Pair:
    x, y, k, p = x3(), cp.Variable(), given(2.0, nonneg=True), given(VECTOR)
    return minimize(cp.quad_over_lin(p - x, k) + cp.sum(x)), minimize(cp.quad_over_lin(p - x, y) + cp.sum(x), y == k)


def exponent() -> Pair:
    x, k = cp.Variable(name="x"), given(2.0)
    return minimize(cp.power(x, k), x >= 2), minimize(cp.power(x, 2), x >= 2)


def undeclared_form() -> Pair:
    x, S, P = x3(), given(GRAM, symmetric=True), given(GRAM, PSD=True)
    return minimize(cp.quad_form(x, S) + cp.sum(x)), minimize(cp.quad_form(x, P) + cp.sum(x))


def undeclared_form_of_a_product() -> Pair:
    x, k, P, kP = x3(), given(2.0, nonneg=True), given(GRAM, PSD=True), given(2 * GRAM, PSD=True)
    return minimize(cp.quad_form(x, k * P) + cp.sum(x)), minimize(cp.quad_form(x, kP) + cp.sum(x))


def unknown_sign() -> Pair:
    x, k, s = x3(), given(2.0), given(2.0, nonneg=True)
    return minimize(k * cp.sum_squares(x) + cp.sum(x)), minimize(s * cp.sum_squares(x) + cp.sum(x))


def unknown_sign_of_a_product() -> Pair:
    x, p, s = x3(), given(VECTOR), given(VECTOR @ VECTOR, nonneg=True)
    return minimize(cp.sum_squares(x) * (p @ p) + cp.sum(x)), minimize(cp.sum_squares(x) * s + cp.sum(x))


def unknown_curvature() -> Pair:
    x, p = x3(), given(VECTOR)
    return minimize(cp.sqrt(cp.sum_squares(x - p)) + cp.sum(x) / 9), minimize(cp.norm(x - p) + cp.sum(x) / 9)


def power_of_a_product() -> Pair:
    x, y, p, a = positive(), cp.Variable(pos=True), given(2.0, pos=True), given(1.5)
    return minimize((p * x) ** a, x >= 2), minimize(y**a, x >= 2, y == p * x)


def power_of_a_sum() -> Pair:
    x, y, p, a = positive(), cp.Variable(pos=True), given(2.0, pos=True), given(1.5, pos=True)
    return minimize((p * x + 1) ** a, x >= 2), minimize(y**a, x >= 2, y >= p * x + 1)


def power_of_unknown_sign() -> Pair:
    x, a, b = positive(), given(1.5), given(1.5, pos=True)
    return minimize((x + 1) ** a, x >= 2), minimize((x + 1) ** b, x >= 2)


def power_of_a_parameter() -> Pair:
    x, p, a, pa = positive(), given(2.0, pos=True), given(1.5), given(2**1.5, pos=True)
    return minimize(p**a * x, x >= 2), minimize(pa * x, x >= 2)


def sum_of_parameters_above() -> Pair:
    x, p, q, pq = positive(), given(2.0, pos=True), given(1.0, pos=True), given(3.0, pos=True)
    return minimize(1 / x, x <= p + q), minimize(1 / x, x <= pq)


def unknown_sign_in_a_monomial() -> Pair:
    x, p, q = positive(), given(2.0), given(2.0, pos=True)
    return minimize(p * x, x >= 2), minimize(q * x, x >= 2)


def convex_as_it_stands() -> Pair:
    x = positive()
    return minimize(2 - x, x <= 1), minimize(2 - x, x <= 1)


def unknown_log_curvature() -> Pair:
    x, p = positive(), given(3.0, pos=True)
    return minimize(x**-1, x / (p + x) <= 0.5), minimize(x**-1, x <= p)


CONVEX: dict[Callable[[], Pair], str] = {
    scaled_twice: r"Use one new parameter, cp.Parameter\(..., nonneg=True\) for the product of p1 and p1, and",
    nested_scales: "nonneg=True.* for the product of p1 and p1",
    scaled_quotient: r"nonneg=True.* for the product of p1 and 1.0 / p2",
    scale_of_opposite_sign: "nonpos=True.* for the product of p2 and p1",
    quotient: "Multiply by a new parameter in place of p1, and pass the value of its inverse",
    product_of_affine: r"with y = cp.Variable\(\(3,\)\), add the constraint y == p1 @ x and use y",
    affine_inside: r"add the constraint y == p1 \* x \+ -p2 and use y",
    convex_inside: r"with y = cp.Variable\(nonneg=True\), add the constraint y >= sum_squares\(x\) \+ p2 \* ",
    concave_inside: r"with y = cp.Variable\(nonneg=True\), add the constraint y <= minimum",
    scaled_form: "PSD=True.* for the product of p1 and p2",
    form_in_a_constraint: r"write cp.sum_squares\(S @ \(x\)\) with a new parameter S, and pass a value with S.T @ S == p1",
    shifted_form_scaled: r"write cp.sum_squares\(S @ \(x\)\) with a new parameter S",
    form_in_a_function: r"quad_form\(.*\) is inside of another function. .* write cp.sum_squares\(S @ \(x \+ -1.0\)\)",
    form_in_a_maximum: r"inside of another function. .* write cp.sum_squares\(S @ \(x\)\)",
    concave_form_in_a_function: r"write -cp.sum_squares\(S @ \(x\)\) with a new parameter S, and .* -S.T @ S == p1",
    bound_of_a_variable: r"part is a bound of x, p1 \* p2. Replace p1 \* p2 by one new parameter",
    perspective_of_a_product: "a term may hold one parameter, as a factor",
    matrix_of_a_spectral_function: r"with y = cp.Variable\(\(2, 2\), symmetric=True\), add the constraint y == p1",
    real_part_of_a_real_expression: r"CVXPY cannot reduce real\(x \+ p1\) to cones \(NotImpl.*\). Write it with other atoms",
    form_of_affine: "add the constraint y == p1 @ x and use y",
    product_of_parameters: r"Replace p1 \* p2 by one new parameter, and",
    function_of_a_parameter: r"Replace exp\(p1\) by one new parameter, cp.Parameter\(..., nonneg=True\), and",
    function_on_the_wrong_side: r"Replace Pnorm\(p1, 2\) by one new parameter",
    cumulative_product: r"Replace cumprod\(p1, 0\) by one new parameter",
    convolution: r"sum\(\(p1\)\[i\] \* cp.hstack\(\[np.zeros\(i\), \(x\), np.zeros\(2 - i\)\]\) for i in range\(3\)\)",
    convolution_of_columns: r'cp.reshape\(sum\(cp.vec\(p1, order="F"\)\[i\] \* .*cp.vec\(x, order="F"\).*, \(5, 1\), order="F"\)\.',
    kronecker: r"cp.bmat\(\[\[\(p1\)\[i, j\] \* \(x\) for j in range\(3\)\] for i in range\(3\)\]\)",
    kronecker_from_the_right: r"cp.bmat\(\[\[\(x\)\[i, j\] \* \(p1\) for j in range\(2\)\] for i in range\(2\)\]\)",
    denominator: r"with y = cp.Variable\(\), add the constraint y == p1 and use y",
    exponent: "write a number",
    undeclared_form: r"Declare that p1 is positive semidefinite: cp.Parameter\(\(3, 3\), PSD=True\)",
    undeclared_form_of_a_product: r"Use one new parameter for p1 \* p2: cp.Parameter\(\(3, 3\), PSD=True\)",
    unknown_sign: r"If p1 cannot be negative, declare it: cp.Parameter\(..., nonneg=True\)",
    unknown_sign_of_a_product: "If p1 @ p1 cannot be negative, use one new parameter for it",
    unknown_curvature: r"until problem.is_dcp\(\) is True",
}
GEOMETRIC: dict[Callable[[], Pair], str] = {
    power_of_a_product: r"with y = cp.Variable\(pos=True\), add the constraint y == p1 \* x and use y",
    power_of_a_sum: r"with y = cp.Variable\(pos=True\), add the constraint y >= p1 \* x \+ 1.0 and use y",
    power_of_unknown_sign: r"If p1 cannot be negative, declare it: cp.Parameter\(pos=True\)",
    power_of_a_parameter: r"Replace .* by one new parameter, cp.Parameter\(..., pos=True\), and",
    sum_of_parameters_above: r"Replace p1 \+ p2 by one new parameter, cp.Parameter\(..., pos=True\), and",
    unknown_sign_in_a_monomial: "Declare that p1 is positive, with pos=True",
    convex_as_it_stands: "pass gp=False",
    unknown_log_curvature: r"until problem.is_dgp\(\) is True",
}
ROWS = [(make, gp, words) for gp, table in ((False, CONVEX), (True, GEOMETRIC)) for make, words in table.items()]


def made(make: Callable[[], Pair]) -> Pair:
    CREATED.clear()
    return make()


def refusal(problem: cp.Problem, gp: bool) -> str:
    for parameter in problem.parameters():  # as users have it
        parameter.value = None
    with pytest.raises(ProblemError) as caught:
        compile_problem(problem, problem.parameters(), problem.variables(), gp=gp)
    return str(caught.value)


def constant(problem: cp.Problem) -> cp.Problem:
    """The problem with numbers in place of its parameters: CVXPY's rules for those do not hold there, and signs are known."""
    fixed = {id(p): cp.Constant(p.value) for p in problem.parameters()}
    return cp.Problem(problem.objective.tree_copy(fixed), [c.tree_copy(fixed) for c in problem.constraints])


@pytest.mark.parametrize(("make", "gp", "words"), ROWS, ids=[make.__name__ for make, *_ in ROWS])
def test_advice_helps(make: Callable[[], Pair], gp: bool, words: str) -> None:
    problem, advised = made(make)
    assert re.search(words, refusal(problem, gp))
    gp = gp and words != "pass gp=False"
    compile_problem(advised, advised.parameters(), advised.variables(), gp=gp)


# Not convex by the rules, or not for CVXPY to solve, whatever their parameters' values; equal by algebra.
BY_HAND = [
    unknown_curvature,
    unknown_log_curvature,
    unknown_sign_of_a_product,
    exponent,
    power_of_unknown_sign,
    bound_of_a_variable,
    perspective_of_a_product,
    real_part_of_a_real_expression,
]


@pytest.mark.parametrize(
    ("make", "gp", "words"),
    [pytest.param(*row, id=row[0].__name__) for row in ROWS if row[0] not in BY_HAND],
)
def test_advice_keeps_the_optimum(make: Callable[[], Pair], gp: bool, words: str) -> None:
    problem, advised = made(make)
    gp = gp and words != "pass gp=False"
    expected, found = (constant(p).solve(solver="CLARABEL", gp=gp, ignore_dpp=True) for p in (problem, advised))
    assert abs(found - expected) <= 1e-5 * max(1, abs(expected))


def test_every_advice_has_a_row() -> None:
    source = ast.parse(inspect.getsource(advice))
    remedies = [node for node in source.body if isinstance(node, ast.FunctionDef) and node.name.endswith("remedy")]
    returns = {node.lineno for remedy in remedies for node in ast.walk(remedy) if isinstance(node, ast.Return)}
    last = {n.lineno for r in remedies for n in r.body[-1:] if isinstance(n, ast.Return) and isinstance(n.value, ast.Name)}
    taken = set()

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        if frame.f_code.co_filename == advice.__file__ and event == "line":
            taken.add(frame.f_lineno)
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        for make, gp, _ in ROWS:
            refusal(made(make)[0], gp)
    finally:
        sys.settrace(before)
    assert returns - last <= taken
