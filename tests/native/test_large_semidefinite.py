"""Semidefinite cones that are eliminated as a whole: what others are, by other means; closed forms of large ones."""

from __future__ import annotations

from collections.abc import Callable

import cvxpy as cp
import numpy as np
import pytest

from cvxpylayers._canon import compile_problem
from cvxpylayers._engines.judge.resort import takes_minutes
from cvxpylayers._engines.native import engine as native_engine
from cvxpylayers._engines.native import kernel as native
from cvxpylayers._engines.native.costs import Costs
from cvxpylayers._engines.native.whole import WholeCone, whole_cones
from cvxpylayers._program import Batch, CompiledProblem, Status, Structure
from cvxpylayers.numpy import CvxpyLayer
from problems.programs import Array
from tests.checks import assert_rows, engine, tape_of

Made = tuple[cp.Problem, list[cp.Parameter], list[cp.Variable]]
COUNT = 11


def symmetric(k: int) -> cp.Parameter:
    return cp.Parameter((k, k), symmetric=True)


def inequality() -> Made:
    """A sparse matrix inequality, with bounds and an equality."""
    rng, k, n = np.random.default_rng(0), 7, 9
    F = rng.normal(size=(k, k, n)) * (rng.random((k, k, n)) < 0.3)
    rows = (F + F.swapaxes(0, 1)).reshape(k * k, n)
    c, x = cp.Parameter(n), cp.Variable(n)
    matrix = cp.reshape(rows @ x + k * np.eye(k).ravel(), (k, k), order="F")
    return cp.Problem(cp.Minimize(c @ x), [matrix >> 0, cp.norm(x, "inf") <= 2, cp.sum(x[:2]) == 0.1]), [c], [x]


def cut() -> Made:
    C, X = symmetric(6), cp.Variable((6, 6), PSD=True)
    return cp.Problem(cp.Minimize(cp.trace(C @ X)), [cp.diag(X) == 1]), [C], [X]


def mixed() -> Made:
    """A variable that is a matrix, in equalities, inequalities and a norm."""
    C, X, t = symmetric(5), cp.Variable((5, 5), PSD=True), cp.Variable()
    rows = [cp.diag(X) == 1, cp.sum(X[0]) >= 0.1, cp.norm(cp.hstack([X[0, 1], X[1, 2], 1])) <= t, X[0, 2] + t >= 0.3]
    return cp.Problem(cp.Minimize(cp.trace(C @ X) + t), rows), [C], [X, t]


def two() -> Made:
    """Two matrices that share a row, and a third in whose inequality a scalar is."""
    C, X, Y, t = symmetric(4), cp.Variable((4, 4), PSD=True), cp.Variable((3, 3), PSD=True), cp.Variable()
    rows = [cp.diag(X) == 1, cp.trace(Y) == 1 + 0.1 * X[0, 1], cp.bmat([[t, 0.5], [0.5, t + 1]]) >> 0, t >= Y[0, 1]]
    return cp.Problem(cp.Minimize(cp.trace(C @ X) + cp.trace(C[:3, :3] @ Y) + t), rows), [C], [X, Y, t]


def projection() -> Made:
    C, X = symmetric(4), cp.Variable((4, 4), symmetric=True)
    return cp.Problem(cp.Minimize(cp.sum_squares(X - C)), [X >> 0]), [C], [X]


def full() -> Made:
    """A matrix inequality in which two variables are in every entry and three in few, and another where all are in every one."""
    rng, k, n = np.random.default_rng(2), 5, 5
    F = rng.normal(size=(k, k, n))
    F[:, :, 2:] *= rng.random((k, k, 3)) < 0.4
    F += F.swapaxes(0, 1)
    G = rng.normal(size=(3, 3, n))
    G += G.swapaxes(0, 1)
    c, x = cp.Parameter(n), cp.Variable(n)
    matrices = [cp.reshape(M.reshape(-1, n) @ x + len(M) * np.eye(len(M)).ravel(), M.shape[:2], order="F") for M in (F, G)]
    return cp.Problem(cp.Minimize(c @ x), [*(M >> 0 for M in matrices), cp.norm(x) <= 2]), [c], [x]


MAKERS: list[Callable[[], Made]] = [inequality, cut, mixed, two, projection, full]


def batch_of(parameters: list[cp.Parameter]) -> Batch:
    rng, arrays = np.random.default_rng(3), []
    for p in parameters:
        value = rng.normal(size=(COUNT, *p.shape))
        arrays.append((value + value.swapaxes(1, 2) if p.ndim == 2 else value).reshape(COUNT, -1))
    return Batch(tuple(arrays), (COUNT,))


def every(structure: Structure) -> dict[int, WholeCone]:
    return {block.rows.start: WholeCone(1, 0, 1.0) for block in structure.cones.blocks("psd")}


@pytest.fixture
def whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every semidefinite cone is eliminated as a whole, however small."""
    monkeypatch.setattr(native, "whole_cones", every)


def results(compiled: CompiledProblem, batch: Batch, **options: object) -> dict[str, Array]:
    """All that a solve, and both derivatives and the second one at its tape, return."""
    made = engine(compiled, **options)
    solution = made.solve(batch, {}, tape=True)
    assert (solution.status == Status.SOLVED).all()
    seeds = [np.random.default_rng(int(1e6 * abs(row[0]))) for row in batch.arrays[0]]
    cotangent = np.array([rng.normal(size=solution.outputs.shape[1]) for rng in seeds])
    tangents = [np.array([rng.normal(size=a.shape[1]) for rng in seeds]) for a in batch.arrays]
    tape, wanted = tape_of(solution), [True] * len(batch.arrays)
    (gradient,), flags = made.vjp(batch, tape, cotangent, wanted)
    pushed, _ = made.jvp(batch, tape, tangents)
    (curved,), _ = made.hvp(batch, tape, cotangent, tangents, wanted)
    assert gradient is not None
    assert curved is not None
    assert not flags.any()
    here, there = (pushed * cotangent).sum(), (gradient * tangents[0]).sum()
    assert abs(here - there) <= 1e-12 * max(1.0, np.abs(pushed * cotangent).sum())
    return {"outputs": solution.outputs, "gradient": gradient, "pushed": pushed, "curved": curved}


@pytest.mark.parametrize("options", [{}, {"derivative": "smoothed", "smoothing": 1e-2}], ids=str)
@pytest.mark.parametrize("make", MAKERS)
def test_they_are_what_others_are(make: Callable[[], Made], options: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    problem, parameters, variables = make()
    compiled, batch = compile_problem(problem, parameters, variables), batch_of(parameters)
    expected = results(compiled, batch, **options)
    monkeypatch.setattr(native, "whole_cones", every)
    for name, found in results(compiled, batch, **options).items():
        np.testing.assert_allclose(found, expected[name], atol=1e-9 * max(1.0, np.abs(expected[name]).max()), err_msg=name)


@pytest.mark.usefixtures("whole")
@pytest.mark.parametrize("make", MAKERS)
def test_residuals_shrink_to_rounding_without_a_polish(make: Callable[[], Made]) -> None:
    problem, parameters, variables = make()
    solution = engine(compile_problem(problem, parameters, variables), polish=False).solve(batch_of(parameters), {}, tape=False)
    assert (solution.status == Status.SOLVED).all()
    assert max(solution.primal_residual.max(), solution.dual_residual.max()) <= 1e-10


@pytest.mark.usefixtures("whole")
@pytest.mark.parametrize("width", [4, 8])
@pytest.mark.parametrize("make", MAKERS)
def test_an_instance_does_not_see_its_company(make: Callable[[], Made], width: int) -> None:
    problem, parameters, variables = make()
    compiled, batch = compile_problem(problem, parameters, variables), batch_of(parameters)
    expected = results(compiled, batch, lane_width=width)
    order = np.random.default_rng(1).permutation(COUNT)
    moved = Batch(tuple(a[order] for a in batch.arrays), (COUNT,))
    assert_rows(results(compiled, moved, lane_width=width), expected, of=order)
    for i in (0, COUNT - 1):
        alone = Batch(tuple(a[i : i + 1] for a in batch.arrays), (1,))
        assert_rows(results(compiled, alone, lane_width=width), expected, of=slice(i, i + 1))


def largest_eigenvalue(k: int) -> Made:
    C, t = symmetric(k), cp.Variable()
    return cp.Problem(cp.Minimize(t), [t * np.eye(k) - C >> 0]), [C], [t]


def least_eigenvector(k: int) -> Made:
    C, X = symmetric(k), cp.Variable((k, k), PSD=True)
    return cp.Problem(cp.Minimize(cp.trace(C @ X)), [cp.trace(X) == 1]), [C], [X]


def drawn(k: int) -> tuple[Array, Array, Array]:
    """Symmetric matrices, with their eigenvalues, ascending, and eigenvectors."""
    C = np.random.default_rng(k).normal(size=(2, k, k))
    C = C + C.swapaxes(1, 2)
    return C, *np.linalg.eigh(C)


def test_the_largest_eigenvalue_of_a_large_matrix() -> None:
    made = largest_eigenvalue(60)
    assert whole_cones(compile_problem(*made).structure)
    C, values, vectors = drawn(60)
    at = CvxpyLayer(*made).linearize(C)
    np.testing.assert_allclose(at.outputs[0], values[:, -1], rtol=1e-10)
    v = vectors[:, :, -1]
    np.testing.assert_allclose(at.vjp(np.ones(2))[0], v[:, :, None] * v[:, None, :], atol=1e-9)


def test_the_least_eigenvector_of_a_large_matrix() -> None:
    """X = vvᵀ, dv = -(C - λ)⁺ dC v."""
    made = least_eigenvector(60)
    assert whole_cones(compile_problem(*made).structure)
    C, values, vectors = drawn(60)
    at = CvxpyLayer(*made).linearize(C)
    assert not at.info.fallback.any()
    move = np.random.default_rng(4).normal(size=C.shape)
    move = move + move.swapaxes(1, 2)
    (pushed,) = at.jvp(move)
    for i in range(2):
        v, others = vectors[i, :, 0], vectors[i, :, 1:]
        dv = -others @ ((others.T @ move[i] @ v) / (values[i, 1:] - values[i, 0]))
        np.testing.assert_allclose(at.outputs[0][i], np.outer(v, v), atol=1e-9)
        np.testing.assert_allclose(pushed[i], np.outer(dv, v) + np.outer(v, dv), atol=1e-7 * np.abs(pushed[i]).max())


@pytest.mark.parametrize("k", [30, 60, 100])
def test_matrices_of_any_order_stay_with_the_native_engine(k: int) -> None:
    C, X = cp.Parameter((k, k), symmetric=True), cp.Variable((k, k), PSD=True)
    structure = compile_problem(cp.Problem(cp.Minimize(cp.trace(C @ X)), [cp.diag(X) == 1]), [C], [X]).structure
    assert whole_cones(structure)
    assert Costs.of(structure).better is None


@pytest.mark.parametrize("k", [3, 12])
def test_small_matrices_are_eliminated_by_rows(k: int) -> None:
    for make in (largest_eigenvalue, least_eigenvector):
        assert not whole_cones(compile_problem(*make(k)).structure)


def test_the_value_of_an_infimum_that_is_not_attained(monkeypatch: pytest.MonkeyPatch) -> None:
    """The dual of a bisection of a graph, costs a parameter: the multiplier y of 11' grows without bound.

    What is left of its column in K is far smaller than of others. Without digits of its own the gap ends at 9e-8. Clarabel, which
    would take minutes, is not asked.
    """
    monkeypatch.setattr(native_engine, "last_resort", lambda *_: pytest.fail("asked"))
    k = 100
    edges = np.triu(np.random.default_rng(0).random((k, k)) < 0.054, 1).astype(float)
    C = edges + edges.T - np.diag((edges + edges.T).sum(axis=0))
    q, x, y, X = cp.Parameter(k + 1), cp.Variable(k), cp.Variable(), cp.Variable((k, k), PSD=True)
    dual = cp.Problem(cp.Minimize(q @ cp.hstack([x, y])), [cp.diag(x) + y * np.ones((k, k)) >> C])
    compiled, costs = compile_problem(dual, [q], [x, y]), np.append(np.ones(k), 0.0)
    assert whole_cones(compiled.structure)
    found = engine(compiled, fallback=True).solve(Batch((costs[None],), (1,)), {}, tape=True)
    assert set(found.status) <= {Status.SOLVED, Status.ALMOST_SOLVED}
    assert not found.fallback.any()
    assert max(found.gap.max(), found.primal_residual.max(), found.dual_residual.max()) <= 2e-8
    primal = cp.Problem(cp.Maximize(cp.trace(C @ X)), [cp.diag(X) == 1, cp.sum(X) == 0])
    _, info = CvxpyLayer(primal, [], [X]).solve()
    np.testing.assert_allclose(found.objective, info.objective, rtol=1e-7)


@pytest.mark.parametrize("k", [20, 90])
def test_a_last_resort_takes_minutes_where_variables_meet_all_of_a_large_matrix(k: int) -> None:
    C, x, X = symmetric(k), cp.Variable(k), cp.Variable((k, k), symmetric=True)
    dense = cp.Problem(cp.Minimize(cp.sum_squares(X - C)), [X >> 0]), [C], [X]
    sparse = cp.Problem(cp.Minimize(cp.sum(x)), [cp.diag(x) >> C]), [C], [x]
    assert takes_minutes(compile_problem(*dense).structure) == (k == 90)
    assert not takes_minutes(compile_problem(*sparse).structure)
