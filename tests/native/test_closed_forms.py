"""Problems whose solutions are formulas: values at 1e-8, derivatives against those of the formula."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import cvxpy as cp
import numpy as np
import pytest
import scipy.sparse as sp

from cvxpylayers._layer.layer import Layer
from cvxpylayers._program import Status
from problems.oracles import OracleEngine
from problems.programs import Array, Rng
from problems.projections import soc
from tests.checks import assert_close

COUNT = 12
SOLVERS = [pytest.param(None, id="NATIVE", marks=pytest.mark.isa), pytest.param(OracleEngine, id="ORACLE")]


class Closed(NamedTuple):
    """A problem, its parameters with a draw for each, its output, and formulas for it and for the gradient of ⟨u, output⟩."""

    problem: cp.Problem
    draws: dict[cp.Parameter, Callable[[Rng], Array]]
    output: cp.Variable
    formula: Callable[..., Array]
    gradient: Callable[..., list[Array]] | None = None


def normal(*shape: int) -> Callable[[Rng], Array]:
    return lambda rng: rng.normal(size=shape)


def least_squares() -> Closed:
    x, A, b = cp.Variable(3), cp.Parameter((5, 3)), cp.Parameter(5)

    def gradient(u: Array, A: Array, b: Array) -> list[Array]:
        x, w = np.linalg.lstsq(A, b)[0], np.linalg.solve(A.T @ A, u)
        return [np.outer(b - A @ x, w) - np.outer(A @ w, x), A @ w]

    problem = cp.Problem(cp.Minimize(cp.sum_squares(A @ x - b)))
    return Closed(problem, {A: normal(5, 3), b: normal(5)}, x, lambda A, b: np.linalg.lstsq(A, b)[0], gradient)


def box() -> Closed:
    x, p, low, high = cp.Variable(4), cp.Parameter(4), cp.Parameter(4), cp.Parameter(4)
    problem = cp.Problem(cp.Minimize(cp.sum_squares(x - p)), [x >= low, x <= high])
    draws = {p: normal(4), low: lambda r: r.uniform(-1, 0, 4), high: lambda r: r.uniform(0, 1, 4)}

    def gradient(u: Array, p: Array, low: Array, high: Array) -> list[Array]:
        return [u * ((p > low) & (p < high)), u * (p < low), u * (p > high)]

    return Closed(problem, draws, x, np.clip, gradient)


def simplex() -> Closed:
    x, p = cp.Variable(5), cp.Parameter(5)

    def level(p: Array) -> float:
        ordered = np.sort(p)[::-1]
        levels = (np.cumsum(ordered) - 1) / np.arange(1, len(p) + 1)
        return float(levels[np.flatnonzero(ordered > levels)[-1]])

    def gradient(u: Array, p: Array) -> list[Array]:
        on = p > level(p)
        return [on * (u - u[on].mean())]

    problem = cp.Problem(cp.Minimize(cp.sum_squares(x - p)), [x >= 0, cp.sum(x) == 1])
    return Closed(problem, {p: normal(5)}, x, lambda p: np.maximum(p - level(p), 0.0), gradient)


def affine() -> Closed:
    x, p, A, b = cp.Variable(5), cp.Parameter(5), cp.Parameter((2, 5)), cp.Parameter(2)

    def formula(p: Array, A: Array, b: Array) -> Array:
        return np.asarray(p - A.T @ np.linalg.solve(A @ A.T, A @ p - b))

    def gradient(u: Array, p: Array, A: Array, b: Array) -> list[Array]:
        mu, nu = np.linalg.solve(A @ A.T, A @ p - b), np.linalg.solve(A @ A.T, A @ u)
        free = u - A.T @ nu
        return [free, -np.outer(mu, free) - np.outer(nu, formula(p, A, b)), nu]

    problem = cp.Problem(cp.Minimize(cp.sum_squares(x - p)), [A @ x == b])
    return Closed(problem, {p: normal(5), A: normal(2, 5), b: normal(2)}, x, formula, gradient)


def vertex() -> Closed:
    x, A, b = cp.Variable(3), cp.Parameter((3, 3)), cp.Parameter(3)

    def gradient(u: Array, A: Array, b: Array) -> list[Array]:
        y = np.linalg.solve(A.T, u)
        return [-np.outer(y, np.linalg.solve(A, b)), y]

    return Closed(cp.Problem(cp.Minimize(cp.sum(x)), [A @ x == b]), {A: normal(3, 3), b: normal(3)}, x, np.linalg.solve, gradient)


def softmax() -> Closed:
    x, c = cp.Variable(5), cp.Parameter(5)
    problem = cp.Problem(cp.Maximize(c @ x + cp.sum(cp.entr(x))), [cp.sum(x) == 1])
    return Closed(problem, {c: normal(5)}, x, lambda c: np.exp(c) / np.exp(c).sum())


def dual_of_softmax() -> Closed:
    """The price of mass: with the sign of CVXPY's duals, λ = log Σ exp c - 1."""
    x, c = cp.Variable(4), cp.Parameter(4)
    total = cp.sum(x) == 1
    problem = cp.Problem(cp.Minimize(-c @ x - cp.sum(cp.entr(x))), [total])
    return Closed(problem, {c: normal(4)}, total.dual_variables[0], lambda c: np.log(np.exp(c).sum()) - 1)


def log_barrier() -> Closed:
    x, c, t = cp.Variable(4), cp.Parameter(4, pos=True), cp.Parameter(pos=True)
    problem = cp.Problem(cp.Minimize(c @ x - t * cp.sum(cp.log(x))))
    draws = {c: lambda r: r.uniform(0.5, 2, 4), t: lambda r: np.asarray(r.uniform(0.1, 1))}
    return Closed(problem, draws, x, lambda c, t: t / c)


def water_filling() -> Closed:
    """x = max(0, ν - a), the level ν such that Σ x = 1."""
    x, a = cp.Variable(5), cp.Parameter(5, pos=True)
    problem = cp.Problem(cp.Maximize(cp.sum(cp.log(a + x))), [cp.sum(x) == 1, x >= 0])

    def fill(a: Array) -> Array:
        order = np.sort(a)
        levels = (1 + np.cumsum(order)) / np.arange(1, 6)
        return np.maximum(0.0, levels[np.flatnonzero(levels > order)[-1]] - a)

    return Closed(problem, {a: lambda r: r.uniform(0.1, 1.2, 5)}, x, fill)


def ball() -> Closed:
    x, c, r = cp.Variable(4), cp.Parameter(4), cp.Parameter(nonneg=True)
    problem = cp.Problem(cp.Maximize(c @ x), [cp.norm(x) <= r])
    draws = {c: normal(4), r: lambda g: np.asarray(g.uniform(0.5, 2))}
    return Closed(problem, draws, x, lambda c, r: r * c / np.linalg.norm(c))


def second_order_projection() -> Closed:
    x, p = cp.Variable(5), cp.Parameter(5)
    problem = cp.Problem(cp.Minimize(cp.sum_squares(x - p)), [cp.SOC(x[0], x[1:])])
    return Closed(problem, {p: normal(5)}, x, lambda p: soc(p)[0])


def semidefinite_projection() -> Closed:
    X, S = cp.Variable((4, 4), symmetric=True), cp.Parameter((4, 4), symmetric=True)
    problem = cp.Problem(cp.Minimize(cp.sum_squares(X - S)), [X >> 0])

    def formula(S: Array) -> Array:
        values, Q = np.linalg.eigh(S)
        return (Q * np.maximum(values, 0)) @ Q.T

    return Closed(problem, {S: lambda r: (g := r.normal(size=(4, 4))) + g.T}, X, formula)


def dual_of_semidefinite_projection() -> Closed:
    """The gradient of |X - S|² at the projection: 2 (X - S), the negative part of S twice."""
    made = semidefinite_projection()
    X = made.formula
    return made._replace(output=made.problem.constraints[0].dual_variables[0], formula=lambda S: 2 * (X(S) - S))


def largest_ellipsoid() -> Closed:
    """Semidefinite and exponential cones together: argmax log det X - tr CX is C⁻¹."""
    X, C = cp.Variable((3, 3), symmetric=True), cp.Parameter((3, 3), PSD=True)
    problem = cp.Problem(cp.Maximize(cp.log_det(X) - cp.trace(C @ X)))
    return Closed(problem, {C: lambda r: (g := r.normal(size=(3, 3))) @ g.T + np.eye(3)}, X, np.linalg.inv)


def split() -> Closed:
    """argmax x^α y^(1-α) with x + y = p is (α p, (1-α) p)."""
    v, w, p = cp.Variable(2), cp.Variable(), cp.Parameter(pos=True)
    problem = cp.Problem(cp.Maximize(w), [cp.PowCone3D(v[0], v[1], w, 0.3), cp.sum(v) == p])
    return Closed(problem, {p: lambda r: np.asarray(r.uniform(0.5, 2))}, v, lambda p: np.array([0.3, 0.7]) * p)


def norm_three() -> Closed:
    """argmax c·x over the unit ball of the 3-norm: x = sign(c) |c|^(q-1) / |c|_q^(q-1), q = 3/2."""
    x, c = cp.Variable(4), cp.Parameter(4)
    problem = cp.Problem(cp.Maximize(c @ x), [cp.pnorm(x, 3) <= 1])

    def formula(c: Array) -> Array:
        return np.sign(c) * np.sqrt(np.abs(c)) / np.sum(np.abs(c) ** 1.5) ** (1 / 3)

    return Closed(problem, {c: normal(4)}, x, formula)


CLOSED = [
    least_squares, box, simplex, affine, vertex, softmax, dual_of_softmax, log_barrier, water_filling, ball,
    second_order_projection, semidefinite_projection, dual_of_semidefinite_projection, largest_ellipsoid, split, norm_three,
]  # fmt: skip


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("make", CLOSED)
def test_values_and_derivatives(make: Callable[[], Closed], solver: type[OracleEngine] | None) -> None:
    problem, draws, output, formula, gradient = make()
    layer = Layer(problem, list(draws), [output], solver=solver)
    rng, h = np.random.default_rng(0), 1e-6
    values, steps = ([np.stack([draw(rng) for _ in range(COUNT)]) for draw in draws.values()] for _ in range(2))
    call = layer.solve(values, tape=True)
    assert not call.info.fallback.any()
    np.testing.assert_allclose(call.outputs[0], [formula(*row) for row in zip(*values, strict=True)], atol=1e-8)

    ends = [
        [formula(*row) for row in zip(*(v + sign * h * t for v, t in zip(values, steps, strict=True)), strict=True)]
        for sign in (1, -1)
    ]
    slopes = (np.array(ends[0]) - np.array(ends[1])) / (2 * h)
    np.testing.assert_allclose(layer.jvp(call.point, steps)[0], slopes, atol=1e-7, rtol=1e-7)
    u = rng.normal(size=call.outputs[0].shape)
    gradients = [g.reshape(t.shape) for g, t in zip(layer.vjp(call.point, [u], [True] * len(values)), steps, strict=True)]
    inner = sum((g * t).reshape(COUNT, -1).sum(1) for g, t in zip(gradients, steps, strict=True))
    np.testing.assert_allclose(inner, (u * slopes).reshape(COUNT, -1).sum(1), atol=1e-7, rtol=1e-7)
    assert not call.info.degenerate.any()
    for i in range(COUNT if gradient else 0):
        for found, true in zip(gradients, gradient(u[i], *(v[i] for v in values)), strict=True):
            assert_close(found[i], true, 1e-8)


@pytest.mark.isa
def test_large_fronts_take_instances_one_by_one() -> None:
    """A dense program in 700 variables: x is -P⁻¹q where it is not zero, and so is its derivative."""
    n, rng = 700, np.random.default_rng(0)
    G = rng.normal(size=(n, n))
    P, costs, u = G @ G.T / n + np.eye(n), rng.normal(size=(3, n)), rng.normal(size=(3, n))
    x, q = cp.Variable(n), cp.Parameter(n)
    layer = Layer(cp.Problem(cp.Minimize(0.5 * cp.quad_form(x, cp.psd_wrap(P)) + q @ x), [x >= 0]), [q], [x])
    assert layer.engine.describe()["lane_width"] == 1
    call = layer.solve([costs], tape=True)
    gradient = layer.vjp(call.point, [u], [True])[0]
    for i, solution in enumerate(call.outputs[0]):
        free = solution > 1e-6
        assert (P @ solution + costs[i])[~free].min() > 0
        for found, right in ((solution, costs[i]), (gradient[i], u[i])):
            expected = np.zeros(n)
            expected[free] = -np.linalg.solve(P[np.ix_(free, free)], right[free])
            assert_close(found, expected, 1e-9)


@pytest.mark.parametrize(("order", "n"), [(2, 4000), (3, 500), (3, 1000)])
def test_rows_that_all_but_depend_on_each_other(order: int, n: int) -> None:
    """The fit to -tᵏ whose k-th differences are not negative is the polynomial of least squares; D Dᵀ has condition (n/π)²ᵏ."""
    D = sp.eye_array(n, format="csr")
    for _ in range(order):
        D = sp.csr_array(D[1:] - D[:-1])
    x, c, t = cp.Variable(n), cp.Parameter(n), np.linspace(-1, 1, n)
    problem = cp.Problem(cp.Minimize(0.5 * cp.sum_squares(x) - c @ x), [D @ x >= 0])
    call = Layer(problem, [c], [x], solver_args={"fallback": False}).solve([-(t**order)], tape=False)
    assert call.info.codes == Status.SOLVED
    fit = np.polynomial.Legendre.fit(t, -(t**order), order - 1)(t)
    np.testing.assert_allclose(call.outputs[0], fit, atol=1e-8)


@pytest.mark.parametrize("order", [3, 5])
def test_programs_without_strictly_feasible_points(order: int) -> None:
    """X ⪰ 0 with 1'X1 = 0 has the form V Y V' with V'1 = 0: the objective is that of the program in Y, which has an interior."""
    V = np.linalg.svd(np.ones((1, order)))[2][1:].T
    costs = np.random.default_rng(0).normal(size=(COUNT, order, order))
    costs += costs.swapaxes(1, 2)
    C, X, Y = (
        cp.Parameter((order, order), symmetric=True),
        cp.Variable((order, order), PSD=True),
        cp.Variable((order - 1,) * 2, PSD=True),
    )
    objectives = []
    for full, rows in ((X, [cp.sum(X) == 0]), (V @ Y @ V.T, [])):
        problem = cp.Problem(cp.Minimize(cp.trace(C @ full)), [cp.diag(full) == 1, *rows])
        call = Layer(problem, [C], problem.variables(), solver_args={"fallback": False}).solve([costs], tape=False)
        assert call.info.solved.all()
        objectives.append(call.info.objective)
    np.testing.assert_allclose(*objectives, rtol=1e-6, atol=1e-6)


def test_small_terms_beside_large_ones_are_known() -> None:
    """Σ pᵢ ‖xᵢ - zᵢ‖ over boxes: a gap of 1e-11 of the term with weight 1e2 says nothing of that with 1e-3; one of 1e-22 does."""
    z = [
        [[2.81599555e5, 2.00390625], [-4.80870367e6, 0.372070312]], [[3.50065371e4, -1.734375], [1.56672081e6, 0.780273438]],
        [[-1.59744044e6, 0.353515625], [7.58783256e5, 0.815429688]], [[-2.38796803e6, 1.18164062], [8.67329822e5, 1.55859375]],
        [[-3.46457324e3, -1.140625], [2.10124925e6, 0.6171875]], [[4.15283203, -0.650390625], [-5.51934238e5, -2.08203125]],
    ]  # fmt: skip
    p = [[220.5, 3.12e-3], [780.0, 1.47e-3], [219.75, 2.83e-3], [1.44e-3, 307.5], [803.0, 1.0e-3], [381.5, 1.16e-3]]
    x, far, points, weights = cp.Variable((2, 2)), cp.Variable((2, 2)), cp.Parameter((2, 2)), cp.Parameter(2, nonneg=True)
    cost = cp.sum(cp.multiply(weights, cp.norm(far, axis=1)))
    problem = cp.Problem(cp.Minimize(cost), [far == x - points, x >= -1, x <= 1])
    layer = Layer(problem, [points, weights], [x], solver_args={"fallback": False})
    call = layer.solve([np.array(z), np.array(p)], tape=False, on_failure="nan")
    assert (call.info.codes == Status.SOLVED).all()
    np.testing.assert_allclose(call.outputs[0], np.clip(z, -1, 1), atol=1e-9)
