"""One small problem in CVXPY for every form of objective, constraint, variable and parameter that is canonicalized."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import cvxpy as cp
import numpy as np

Sampler = Callable[[np.random.Generator], Any]


class Case(NamedTuple):
    """A problem and how to draw each of its parameters."""

    problem: cp.Problem
    samples: dict[cp.Parameter, Sampler]

    @property
    def parameters(self) -> list[cp.Parameter]:
        return list(self.samples)

    @property
    def outputs(self) -> list[cp.Variable]:
        real = [constraint for constraint in self.problem.constraints if not constraint.is_complex()]
        duals = [dual for constraint in real for dual in constraint.dual_variables]
        return [*(variable for variable in self.problem.variables() if not variable.is_complex()), *duals]

    def draw(self, seed: int) -> list[np.ndarray]:
        rng = np.random.default_rng(seed)
        return [np.asarray(sample(rng), dtype=np.float64) for sample in self.samples.values()]


def normal(*shape: int) -> Sampler:
    return lambda rng: rng.standard_normal(shape)


def positive(*shape: int) -> Sampler:
    return lambda rng: rng.uniform(0.5, 1.5, shape)


def symmetric(k: int) -> Sampler:
    return lambda rng: (a := rng.standard_normal((k, k))) + a.T


def definite(k: int) -> Sampler:
    return lambda rng: (a := rng.standard_normal((k, k))) @ a.T + np.eye(k)


CASES: dict[str, Callable[[], Case]] = {}


def case(build: Callable[[], Case]) -> Callable[[], Case]:
    CASES[build.__name__] = build
    return build


@case
def linear_program() -> Case:
    x, c = cp.Variable(4), cp.Parameter(4)
    return Case(cp.Problem(cp.Minimize(c @ x), [cp.sum(x) == 1, x >= 0]), {c: normal(4)})


@case
def nonnegative_least_squares() -> Case:
    x, A, b = cp.Variable(4), cp.Parameter((6, 4)), cp.Parameter(6)
    return Case(cp.Problem(cp.Minimize(cp.sum_squares(A @ x - b)), [x >= 0]), {A: normal(6, 4), b: normal(6)})


@case
def quadratic_with_parameter_matrix() -> Case:
    x, P, q, g = cp.Variable(4), cp.Parameter((4, 4), PSD=True), cp.Parameter(4), cp.Parameter(nonneg=True)
    objective = cp.quad_form(x, 2 * P + np.eye(4)) + q @ x + g * cp.norm1(x)
    return Case(cp.Problem(cp.Minimize(objective), [cp.sum(x) == 1]), {q: normal(4), P: definite(4), g: positive()})


@case
def portfolio() -> Case:
    x, mu, gamma = cp.Variable(4), cp.Parameter(4), cp.Parameter(nonneg=True)
    covariance = definite(4)(np.random.default_rng(5))
    objective = cp.Maximize(mu @ x - gamma * cp.quad_form(x, covariance) + 3)
    return Case(cp.Problem(objective, [cp.sum(x) == 1, x >= 0, x <= 0.6]), {mu: normal(4), gamma: positive()})


@case
def matrix_projection() -> Case:
    X, C = cp.Variable((3, 4)), cp.Parameter((3, 4))
    constraints = [X >= 0, cp.sum(X, axis=0) == np.ones(4), X.T <= 0.7]
    return Case(cp.Problem(cp.Minimize(cp.sum_squares(X - C)), constraints), {C: normal(3, 4)})


@case
def matrix_maximization() -> Case:
    X, C = cp.Variable((3, 4)), cp.Parameter((3, 4))
    objective = cp.Maximize(cp.sum(cp.multiply(C, X)) - cp.sum_squares(X))
    return Case(cp.Problem(objective, [X >= -0.5, cp.sum(X, axis=1) == np.ones(3)]), {C: normal(3, 4)})


@case
def reshapes_of_both_orders() -> Case:
    X, C, D = cp.Variable((2, 6)), cp.Parameter((3, 4)), cp.Parameter((4, 3))
    objective = cp.sum_squares(cp.reshape(X, (3, 4), order="C") - C) + cp.sum_squares(cp.reshape(X, (4, 3), order="F") - D)
    return Case(cp.Problem(cp.Minimize(objective), [X <= 0.3]), {D: normal(4, 3), C: normal(3, 4)})


@case
def equalities_only() -> Case:
    x, A, b, c = cp.Variable(4), cp.Parameter((2, 4)), cp.Parameter(2), cp.Parameter(4)
    return Case(cp.Problem(cp.Minimize(cp.sum_squares(x - c)), [A @ x == b]), {A: normal(2, 4), b: normal(2), c: normal(4)})


@case
def no_constraints() -> Case:
    x, c = cp.Variable(3), cp.Parameter(3)
    return Case(cp.Problem(cp.Minimize(cp.sum_squares(x - c))), {c: normal(3)})


@case
def no_parameters() -> Case:
    x = cp.Variable((2, 2))
    return Case(cp.Problem(cp.Minimize(cp.sum_squares(x - np.arange(4.0).reshape(2, 2))), [cp.sum(x) <= 1]), {})


@case
def scalars_and_a_parametric_constant() -> Case:
    x, p = cp.Variable(), cp.Parameter()
    return Case(cp.Problem(cp.Minimize((x - p) ** 2 + 3 * p + 2), [x >= p + 1]), {p: normal()})


@case
def parameter_times_affine() -> Case:
    x, p, q = cp.Variable(3), cp.Parameter(), cp.Parameter(3)
    constraints = [cp.multiply(q, x) + p * (x[0] + 2) <= 1, p * cp.sum(x) + q[0] >= -2]
    return Case(cp.Problem(cp.Minimize(cp.sum_squares(x - 2 * q + p)), constraints), {p: normal(), q: normal(3)})


@case
def functions_of_parameters_alone() -> Case:
    x, p, g = cp.Variable(3), cp.Parameter(3), cp.Parameter(nonneg=True)
    problem = cp.Problem(cp.Minimize(cp.sum_squares(x - p) + cp.sum_squares(p) + cp.abs(g)), [g >= -1, x >= g])
    return Case(problem, {p: normal(3), g: positive()})


@case
def piecewise() -> Case:
    x, c, g = cp.Variable(4), cp.Parameter(4), cp.Parameter(nonneg=True)
    objective = cp.sum(cp.huber(x - c)) + cp.max(x) + cp.norm_inf(cp.multiply(g, x)) + cp.sum_squares(x)
    return Case(cp.Problem(cp.Minimize(objective), [x >= 0.1 * g]), {c: normal(4), g: positive()})


@case
def bounds() -> Case:
    upper = np.array([[1, 2, np.inf], [0.3, 0.2, 0.1]])
    X, D, low = cp.Variable((2, 3), bounds=[-0.5, upper]), cp.Parameter((2, 3)), cp.Parameter((2, 3))
    Y = cp.Variable((2, 3), bounds=[low, None])
    return Case(cp.Problem(cp.Minimize(cp.sum_squares(X - D) + cp.sum_squares(Y - X))), {D: normal(2, 3), low: normal(2, 3)})


@case
def structured_variables() -> Case:
    S, D, E = cp.Variable((3, 3), symmetric=True), cp.Variable((3, 3), diag=True), cp.Parameter((3, 3))
    Z, v = cp.Variable((3, 3), sparsity=[(0, 1, 2), (1, 2, 0)]), cp.Variable(3, nonneg=True)
    objective = cp.sum_squares(S - E) + cp.sum_squares(D - E) + cp.sum_squares(Z - E) + cp.sum_squares(v - E[0])
    constraints = [S <= 0.4, cp.trace(D) == 1, cp.sum(Z) == 1, v[0] + S[0, 1] <= 0.2]
    return Case(cp.Problem(cp.Minimize(objective), constraints), {E: normal(3, 3)})


@case
def structured_parameters() -> Case:
    X, S, D = cp.Variable((3, 3)), cp.Parameter((3, 3), symmetric=True), cp.Parameter((3, 3), diag=True)
    mask = np.array([[0, 1, 0], [0, 0, 1], [1, 0, 0]])
    Z, N = cp.Parameter((3, 3), sparsity=np.nonzero(mask)), cp.Parameter(3, nonpos=True)
    problem = cp.Problem(cp.Minimize(cp.sum_squares(X - S - 2 * D + Z)), [X @ np.arange(3.0) == S @ np.ones(3), X[0] <= 1 - N])
    samples: dict[cp.Parameter, Sampler] = {
        N: lambda rng: -rng.uniform(0.5, 1, 3),
        Z: lambda rng: mask * rng.standard_normal((3, 3)),
        S: symmetric(3),
        D: lambda rng: np.diag(rng.standard_normal(3)),
    }
    return Case(problem, samples)


@case
def explicit_cone_constraints() -> Case:
    x, N = cp.Variable(3), cp.Parameter(3)
    return Case(cp.Problem(cp.Minimize(cp.sum_squares(x - N)), [cp.NonNeg(x + 3), cp.Zero(x[0] + 2)]), {N: normal(3)})


@case
def idle_and_empty_variables() -> Case:
    x, idle, empty, c = cp.Variable(3), cp.Variable(), cp.Variable(0), cp.Parameter(3)
    objective = cp.sum_squares(x - c) + 0 * idle + cp.sum(empty)
    return Case(cp.Problem(cp.Minimize(objective), [empty >= 0, x >= 0]), {c: normal(3)})


@case
def second_order() -> Case:
    x, c, g = cp.Variable(4), cp.Parameter(4), cp.Parameter(nonneg=True)
    square = cp.reshape(x, (2, 2), order="F")
    constraints = [
        cp.norm(x) <= g,
        cp.SOC(2 * g, x + 0.1),
        cp.SOC(g * np.ones(2) + cp.sum(x[:2]) + 1, square, axis=0),
        cp.SOC(g * np.ones(2) - 0.2, square - 1, axis=1),
    ]
    return Case(cp.Problem(cp.Minimize(c @ x), constraints), {c: normal(4), g: lambda rng: rng.uniform(2, 3)})


@case
def semidefinite() -> Case:
    S, X, V = cp.Variable((3, 3), symmetric=True), cp.Variable((3, 3)), cp.Variable((3, 3), PSD=True)
    E = cp.Parameter((3, 3))
    constraints = [S >> np.eye(3), S << 3 * np.eye(3), X >> 0, cp.trace(X) <= 2, cp.trace(V) == 1]
    objective = cp.sum_squares(S - E) + cp.sum_squares(X - E) + cp.sum_squares(V - E)
    return Case(cp.Problem(cp.Minimize(objective), constraints), {E: normal(3, 3)})


@case
def semidefinite_stack() -> Case:
    X, E = cp.Variable((2, 3, 3)), cp.Parameter((2, 3, 3))
    return Case(cp.Problem(cp.Minimize(cp.sum_squares(X - E)), [X >> 0]), {E: normal(2, 3, 3)})


@case
def entropy() -> Case:
    x, c = cp.Variable(4), cp.Parameter(4)
    return Case(cp.Problem(cp.Maximize(cp.sum(cp.entr(x)) + c @ x), [cp.sum(x) == 1]), {c: normal(4)})


@case
def exponential() -> Case:
    X, Y, W, E = cp.Variable((2, 2)), cp.Variable((2, 2)), cp.Variable((2, 2)), cp.Parameter((2, 2))
    return Case(cp.Problem(cp.Minimize(cp.sum(W) + cp.sum_squares(X - E)), [cp.ExpCone(X, Y, W), Y >= 1]), {E: normal(2, 2)})


@case
def power() -> Case:
    X, Y, W, E = cp.Variable((2, 2)), cp.Variable((2, 2)), cp.Variable((2, 2)), cp.Parameter((2, 2))
    objective = cp.Maximize(cp.sum(W) - cp.sum_squares(X - E) - cp.sum_squares(Y - 1))
    return Case(cp.Problem(objective, [cp.PowCone3D(X, Y, W, np.array([[0.3, 0.4], [0.5, 0.6]]))]), {E: positive(2, 2)})


@case
def complex_and_hermitian_variables() -> Case:
    """Read in their real and imaginary parts."""
    z, H = cp.Variable(2, complex=True), cp.Variable((2, 2), hermitian=True)
    u, v, A, B = cp.Variable(2), cp.Variable(2), cp.Variable((2, 2)), cp.Variable((2, 2))
    c, E = cp.Parameter(2), cp.Parameter((2, 2))
    constraints = [u == cp.real(z), v == cp.imag(z), cp.real(H) == A, cp.imag(H) == B]
    cones = [cp.norm(z) <= 1, H >> 0, cp.real(cp.trace(H)) == 1]
    objective = cp.sum_squares(z - c - 1j * E[0]) + cp.sum_squares(H - E)
    return Case(cp.Problem(cp.Minimize(objective), [*constraints, *cones]), {c: normal(2), E: normal(2, 2)})


@case
def every_cone_at_once() -> Case:
    """Every kind of constraint in one problem, out of the engine's order, and each dual an output."""
    X, x, t, E, c = cp.Variable((2, 2), symmetric=True), cp.Variable(3), cp.Variable(2), cp.Parameter((2, 2)), cp.Parameter(3)
    constraints = [
        cp.PowCone3D(x[0], x[1], t[0], 0.4),
        X >> 0.1 * np.eye(2),
        cp.ExpCone(x[2], x[0], t[1]),
        x[1] + X[0, 1] == 1,
        cp.SOC(2 + x[0], x[1:] - c[:2]),
        cp.trace(X) <= 3,
        X << 2 * np.eye(2),
        cp.ExpCone(t[0] - 1, x[1] + 1, 5 + t[1]),
        x >= -2,
        cp.log_det(X) >= -3,
    ]
    objective = cp.sum_squares(X - E) + cp.sum_squares(x - c) + t[1] - t[0]
    return Case(cp.Problem(cp.Minimize(objective), constraints), {c: normal(3), E: normal(2, 2)})


@case
def cones_without_rows_and_of_one_row() -> Case:
    x, t, e, E, c = cp.Variable(3), cp.Variable(), cp.Variable(0), cp.Variable((0, 3)), cp.Parameter(3)
    constraints = [cp.SOC(t, e), cp.SOC(x, E, axis=0), cp.ExpCone(e, e, e), cp.PowCone3D(e, e, e, np.zeros(0))]
    constraints += [cp.reshape(t - 0.5, (1, 1), order="F") >> 0, cp.SOC(x[:1] + 1, cp.reshape(x[1:], (2, 1), order="F"), axis=0)]
    return Case(cp.Problem(cp.Minimize(cp.sum_squares(x - c) + cp.square(t)), constraints), {c: normal(3)})


def power_of_many() -> Case:
    W, V, z, y, E, F = (
        cp.Variable((3, 2)),
        cp.Variable((2, 3)),
        cp.Variable(2),
        cp.Variable(2),
        cp.Parameter((3, 2)),
        cp.Parameter((2, 3)),
    )
    A, B = np.array([[0.2, 0.3], [0.3, 0.3], [0.5, 0.4]]), np.array([[0.1, 0.2, 0.7], [0.25, 0.25, 0.5]])
    cones = [cp.constraints.PowConeND(W, z, A), cp.constraints.PowConeND(V, y, B, axis=1)]
    objective = cp.Maximize(cp.sum(z) + cp.sum(y) - cp.sum_squares(W - E) - cp.sum_squares(V - F))
    return Case(cp.Problem(objective, cones), {E: positive(3, 2), F: positive(2, 3)})


def power_of_two() -> Case:
    U, t, E = cp.Variable(2), cp.Variable(), cp.Parameter(2)
    cone = cp.constraints.PowConeND(U, t, np.array([0.3, 0.7]))
    return Case(cp.Problem(cp.Maximize(t - cp.sum_squares(U - E)), [cone]), {E: positive(2)})
