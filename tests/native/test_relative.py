"""What "relative" means: data with wide ranges end right or unresolved, never wrong, and no verdict stands without a proof.

Oracles are closed forms that do not depend on the scale.
"""

from __future__ import annotations

import warnings
from math import comb
from typing import Any

import cvxpy as cp
import numpy as np
import pytest
import scipy.optimize
import scipy.sparse as sp

from cvxpylayers import Status
from cvxpylayers._engines.judge.certificate import proves
from cvxpylayers._engines.judge.quality import measure
from cvxpylayers._program import Cones
from cvxpylayers.engines import Claim, ConeProgram, settle
from cvxpylayers.numpy import CvxpyLayer

Array = np.ndarray[Any, Any]
ENGINES = ["NATIVE", "CLARABEL", "OSQP", "SCS", "PIQP", "DAQP", "HIGHS"]
CONIC = ("NATIVE", "CLARABEL", "SCS")


def simplex(posed: str, solver: str = "NATIVE") -> CvxpyLayer:
    """The projection of z on the simplex by a square, multiplied out or not, or by a distance, whose slope varies little."""
    x, z = cp.Variable(3), cp.Parameter(3)
    objective = {
        "square": cp.sum_squares(x - z), "linear": cp.sum_squares(x) - 2 * z @ x,
        "norm": cp.norm(x - z), "order 3": cp.pnorm(x - z, 3, approx=False), "largest": cp.max(z - x),
    }[posed]  # fmt: skip
    return CvxpyLayer(cp.Problem(cp.Minimize(objective), [cp.sum(x) == 1, x >= 0]), [z], [x], solver=solver, on_failure="nan")


@pytest.mark.isa
@pytest.mark.parametrize("posed", ["square", "linear", "norm", "order 3", "largest"])
@pytest.mark.parametrize("shift", [0.0, 1e4, 1e5, 1e6, 1e7])
def test_a_shift_changes_neither_projection_nor_gradient(posed: str, shift: float) -> None:
    layer, z = simplex(posed), shift + np.array([1.0, 0.5, 0.1])
    x, pull = layer.vjp(z)
    np.testing.assert_allclose(x[0], [0.75, 0.25, 0.0], atol=1e-15 * shift + 1e-9)
    (gradient,) = pull(np.array([1.0, 0.0, 0.0]))
    np.testing.assert_allclose(gradient, [0.5, -0.5, 0.0], atol=1e-9)


@pytest.mark.parametrize("shift", [1e4, 1e5, 1e6])
@pytest.mark.parametrize(("posed", "solver"), [*(("square", e) for e in ENGINES), *(("norm", e) for e in ENGINES if e in CONIC)])
def test_no_engine_is_solved_and_wrong_far_from_the_origin(posed: str, solver: str, shift: float) -> None:
    pytest.importorskip({"HIGHS": "highspy"}.get(solver, solver.lower()) if solver != "NATIVE" else "numpy")
    (x,), info = simplex(posed, solver).solve(shift + np.array([1.0, 0.5, 0.1]))
    if info.status == Status.SOLVED:
        np.testing.assert_allclose(x, [0.75, 0.25, 0.0], atol=1e-6)


def shifted(kind: str, shift: float) -> tuple[CvxpyLayer, tuple[Array, ...], Array]:
    """A layer, its arguments and what it returns, for data that all lie at ``shift``."""
    x, a, b = cp.Variable(3), cp.Parameter(3), cp.Parameter()
    ones, d = np.full(3, shift), np.array([2.0, 1.0, 0.0])
    e, cost = np.array([1.0, 0.0, 0.0]), np.array([1.0, 1.5, 2.0])
    off, inside = np.array([1.5, 0.5, -0.1]), np.array([1.0, 0.5, 0.0])
    X, K = cp.Variable((2, 2), symmetric=True), cp.Parameter((2, 2), symmetric=True)
    problems: dict[str, tuple[Any, Any, list[Any], tuple[Any, ...], Array]] = {
        "lp, b": (x @ [1.0, 2.0, 3.0], [cp.sum(x) == b, x >= a], [a, b], (ones, 3 * shift + 1), ones + e),
        "lp, q": (a @ x, [cp.sum(x) == 1, x >= 0], [a], (ones + cost,), np.array([1.0, 0.0, 0.0])),
        "qp, q": (
            a @ x + 0.5 * cp.sum_squares(x), [cp.sum(x) == 1, x >= 0], [a], (ones + cost,), np.array([0.75, 0.25, 0.0])
        ),
        "box": (
            cp.sum_squares(x - a), [x >= b, x <= b + 1], [a, b], (ones + off, shift), ones + inside
        ),
        "ball": (cp.sum_squares(x - a - d), [cp.norm(x - a) <= 1], [a], (ones,), ones + d / np.sqrt(5.0)),
        "psd": (
            cp.sum_squares(X - K), [X >> 0, cp.trace(X) == 1], [K], (shift * np.eye(2) + [[1.0, 0.0], [0.0, 0.5]],),
            np.diag([0.75, 0.25]),
        ),
    }  # fmt: skip
    objective, constraints, parameters, values, answer = problems[kind]
    problem = cp.Problem(cp.Minimize(objective), constraints)
    return CvxpyLayer(problem, parameters, [X if kind == "psd" else x]), tuple(np.asarray(v, float) for v in values), answer


@pytest.mark.parametrize("shift", [1.0, 1e3, 1e5, 1e7])
@pytest.mark.parametrize("kind", ["lp, b", "lp, q", "qp, q", "box", "ball", "psd"])
def test_shifts_of_every_part(kind: str, shift: float) -> None:
    layer, values, answer = shifted(kind, shift)
    (x,) = layer(*values)
    np.testing.assert_allclose(x, answer, rtol=1e-15, atol=1e-15 * shift + 1e-9)


@pytest.mark.isa
@pytest.mark.parametrize("exponent", [4, 8, 12, 15, 18, 20, 24, 30])
def test_huge_bounds_are_as_good_as_none(exponent: int) -> None:
    x, q, b = cp.Variable(2), cp.Parameter(2), cp.Parameter(2)
    layer = CvxpyLayer(cp.Problem(cp.Minimize(0.5 * cp.sum_squares(x) + q @ x), [x <= b]), [q, b], [x])
    (found,), info = layer.solve(np.array([1.0, -2.0]), np.array([0.5, 10.0**exponent]), solver_args={"fallback": False})
    np.testing.assert_allclose(found, [-1.0, 2.0], atol=1e-9)
    assert info.iterations <= 10


@pytest.mark.parametrize("exponent", [1, 6, 10, 15, 19])
def test_huge_bounds_that_are_active(exponent: int) -> None:
    x, q, b = cp.Variable(3), cp.Parameter(3), cp.Parameter(3)
    layer = CvxpyLayer(cp.Problem(cp.Minimize(q @ x), [x <= b, x >= -1]), [q, b], [x])
    (found,) = layer(np.array([1.0, -4.0, -1.0]), np.array([0.1, 2.0, 10.0**exponent]))
    np.testing.assert_allclose(found, [-1.0, 2.0, 10.0**exponent], rtol=1e-9)


@pytest.mark.parametrize("exponent", [6, 9, 12, 15, 18])
@pytest.mark.parametrize("cone", [False, True], ids=["qp", "soc"])
def test_huge_two_sided_bounds(exponent: int, cone: bool) -> None:
    """Random programs where half of the bounds are huge: those of the same program with bounds that are merely large."""
    rng, n, m, count = np.random.default_rng(exponent), 8, 12, 40
    x, q, low, high = cp.Variable(n), cp.Parameter(n), cp.Parameter(m), cp.Parameter(m)
    G, F = rng.normal(size=(m, n)), rng.normal(size=(n, n))
    constraints = [G @ x <= high, G @ x >= low, *([cp.norm(x) <= 2] if cone else [])]
    problem = cp.Problem(cp.Minimize(0.5 * cp.sum_squares(F @ x) + q @ x), constraints)
    layer = CvxpyLayer(problem, [q, low, high], [x], solver_args={"fallback": False})
    off, near = rng.random((2, count, m)) < 0.5, rng.uniform(0.1, 1.0, (2, count, m))
    costs = 3 * rng.normal(size=(count, n))
    found, expected = (
        layer(costs, np.where(off[0], -huge, -near[0]), np.where(off[1], huge, near[1]))[0] for huge in (10.0**exponent, 1e3)
    )
    np.testing.assert_allclose(found, expected, atol=1e-7)


@pytest.mark.parametrize("entry", [-1e30, 1e30, 1e15, -1e12])
@pytest.mark.parametrize("posed", ["square", "linear", "norm"])
def test_one_huge_entry_is_right_or_unresolved(posed: str, entry: float) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (x,), info = simplex(posed).solve(np.array([1.0, 0.5, entry]))
    if info.solved:
        np.testing.assert_allclose(x, [0.75, 0.25, 0.0] if entry < 0 else [0.0, 0.0, 1.0], atol=1e-6)
    else:
        assert info.status not in (Status.PRIMAL_INFEASIBLE, Status.DUAL_INFEASIBLE)  # it is neither


@pytest.mark.parametrize("solver", ["NATIVE", "CLARABEL"])
@pytest.mark.parametrize("radius", [1.0, 1.1])
def test_model_predictive_control_is_always_feasible(radius: float, solver: str) -> None:
    """Bounds on inputs alone: every initial state has a solution, however far it is."""
    rng, n, m, horizon = np.random.default_rng(1), 6, 3, 20
    A, B = rng.normal(size=(n, n)), rng.normal(size=(n, m))
    A *= radius / np.abs(np.linalg.eigvals(A)).max()
    X, U, start = cp.Variable((n, horizon + 1)), cp.Variable((m, horizon)), cp.Parameter(n)
    dynamics = [X[:, 0] == start, X[:, 1:] == A @ X[:, :-1] + B @ U, U <= 1, U >= -1]
    problem = cp.Problem(cp.Minimize(cp.sum_squares(X) + 0.1 * cp.sum_squares(U)), dynamics)
    layer = CvxpyLayer(problem, [start], [U], solver=solver, on_failure="nan")
    starts = rng.normal(size=(4, 6, n)) * 10.0 ** np.array([1, 3, 5, 6])[:, None, None]
    _, info = layer.solve(starts)
    assert not np.isin(info.status, [Status.PRIMAL_INFEASIBLE, Status.DUAL_INFEASIBLE]).any()
    assert solver != "NATIVE" or (info.status == Status.SOLVED).all()


def program(P: Any, q: Any, A: Any, b: Any, cones: Cones) -> ConeProgram:
    upper = sp.csc_matrix(np.triu(np.asarray(P, float)))
    return ConeProgram(upper, np.asarray(q, float), sp.csc_matrix(np.asarray(A, float)), np.asarray(b, float), 0.0, cones)


# x ≤ -1 and x ≥ 0, or x ≤ 1 and x ≥ 0; min -x subject to y ≤ 1; min ½x² 1e-9 - x, which is bounded; x ≤ 1e18, x ≥ 1 (feasible)
INFEASIBLE = program([[0.0]], [1.0], [[1.0], [-1.0]], [-1.0, 0.0], Cones(nonneg=2))
UNBOUNDED = program(np.zeros((2, 2)), [-1.0, 0.0], [[0.0, 1.0]], [1.0], Cones(nonneg=1))
FEASIBLE = program([[0.0]], [1.0], [[1.0], [-1.0]], [1.0, 0.0], Cones(nonneg=2))
BOUNDED = program([[1e-9]], [-1.0], np.zeros((0, 1)), [], Cones())
WIDE = program([[1.0]], [0.0], [[1.0], [-1.0]], [1e18, -1.0], Cones(nonneg=2))
CERTIFICATES = [
    (INFEASIBLE, Status.PRIMAL_INFEASIBLE, [1.0, 1.0], True),
    (INFEASIBLE, Status.PRIMAL_INFEASIBLE, [1e9, 1e9], True),
    (INFEASIBLE, Status.PRIMAL_INFEASIBLE, [1.0, 1.0 - 1e-10], True),
    (INFEASIBLE, Status.PRIMAL_INFEASIBLE, [1.0, 1.0 - 1e-6], True),  # near enough to be sharpened
    (INFEASIBLE, Status.PRIMAL_INFEASIBLE, [1.0, 0.5], False),
    (FEASIBLE, Status.PRIMAL_INFEASIBLE, [1.0, 1.0], False),
    (FEASIBLE, Status.DUAL_INFEASIBLE, [-1.0], False),
    (INFEASIBLE, Status.PRIMAL_INFEASIBLE, [-1.0, -1.0], False),
    (INFEASIBLE, Status.PRIMAL_INFEASIBLE, [np.nan, 1.0], False),
    (INFEASIBLE, Status.PRIMAL_INFEASIBLE, [1.0], False),
    (INFEASIBLE, Status.PRIMAL_INFEASIBLE, None, False),
    (UNBOUNDED, Status.DUAL_INFEASIBLE, [1.0, 0.0], True),
    (UNBOUNDED, Status.DUAL_INFEASIBLE, [1.0, -5.0], True),
    (UNBOUNDED, Status.DUAL_INFEASIBLE, [1.0, 1e-6], True),
    (UNBOUNDED, Status.DUAL_INFEASIBLE, [1.0, 0.1], False),
    (UNBOUNDED, Status.DUAL_INFEASIBLE, [0.0, -1.0], False),
    (UNBOUNDED, Status.DUAL_INFEASIBLE, [-1.0, 0.0], False),
    (BOUNDED, Status.DUAL_INFEASIBLE, [1.0], False),
    (WIDE, Status.PRIMAL_INFEASIBLE, [1e-19, 1.0], False),
]


@pytest.mark.parametrize(("case", "verdict", "ray", "proven"), CERTIFICATES)
def test_certificates(case: ConeProgram, verdict: Status, ray: Any, proven: bool) -> None:
    primal = verdict == Status.PRIMAL_INFEASIBLE
    x, z = (None, ray) if primal else (ray, None)
    assert proves(case, verdict, x, z) == proven
    expected = verdict if proven else Status.INSUFFICIENT_PROGRESS
    assert settle(case, Claim(x, z, verdict)).status == expected


@pytest.mark.parametrize("scale", [1e-6, 1e6])
@pytest.mark.parametrize("case", [INFEASIBLE, UNBOUNDED], ids=["primal", "dual"])
def test_certificates_do_not_depend_on_units_of_rows(case: ConeProgram, scale: float) -> None:
    rows = np.geomspace(1.0, scale, len(case.b))
    scaled = program(case.P.toarray(), case.q, rows[:, None] * case.A.toarray(), rows * case.b, case.cones)
    primal = case is INFEASIBLE
    verdict = Status.PRIMAL_INFEASIBLE if primal else Status.DUAL_INFEASIBLE
    assert proves(scaled, verdict, None if primal else [1.0, 0.0], 1 / rows if primal else None)


def test_the_gap_bounds_the_error_of_the_objective() -> None:
    """min -x, 1e-6 x ≤ 1e-6: at x = 1 + h the residual is h·1e-6, but the multiplier 1e6 makes an error h of it."""
    case = program([[0.0]], [-1.0], [[1e-6]], [1e-6], Cones(nonneg=1))
    found = measure(case, np.array([1.01]), np.array([1e6]), np.zeros(1))
    assert found.primal <= 1e-7
    assert found.dual <= 1e-15
    assert found.gap == pytest.approx(0.01, rel=0.02)
    assert settle(case, Claim(np.array([1.01]), np.array([1e6])), polish=False).status == Status.INSUFFICIENT_PROGRESS


def smoothest(size: int, order: int, c: Array) -> float:
    """min ½‖x‖² - cᵀx with nonnegative differences Dx: x is a polynomial and repeated sums of Dx ≥ 0, which NNLS finds."""
    sums = np.zeros((size + order, size))
    sums[order:] = np.tril(np.ones((size, size)))
    for _ in range(order - 1):
        sums = np.cumsum(sums, axis=0)
    basis = np.linalg.qr(np.vander(np.linspace(-1, 1, size + order), order))[0]
    for _ in range(2):
        sums -= basis @ (basis.T @ sums)
    residual = scipy.optimize.nnls(sums / np.linalg.norm(sums, axis=0), c - basis @ (basis.T @ c), maxiter=10 * size)[1]
    return float(0.5 * residual**2 - 0.5 * c @ c)


@pytest.mark.parametrize("size", [100, 300, 500])
def test_what_is_almost_solved_has_almost_the_objective(size: int) -> None:
    """Chains of nearly dependent constraints have multipliers of 1e4, which a solver that stops early has not seen."""
    order, t = 4, np.arange(1, size + 5)
    c = np.sqrt((t - 1) / (size + 3)) + 0.1 * np.sin(t)
    D = sp.diags([(-1.0) ** j * comb(order, j) for j in range(order + 1)], range(order, -1, -1), shape=(size, size + order)).tocsr()
    x, q = cp.Variable(size + order), cp.Parameter(size + order)
    layer = CvxpyLayer(cp.Problem(cp.Minimize(0.5 * cp.sum_squares(x) - q @ x), [D @ x >= 0]), [q], [x], on_failure="nan")
    _, info = layer.solve(c)
    error = abs(float(info.objective) - smoothest(size, order, c)) / abs(float(info.objective))
    limit = {Status.SOLVED: 1e-8, Status.ALMOST_SOLVED: 1e-5}
    assert error <= limit.get(Status(int(info.codes)), np.inf)
    assert size > 100 or info.codes == Status.SOLVED
