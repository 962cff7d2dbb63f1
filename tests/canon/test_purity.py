"""Compiling leaves the problem alone, depends on nothing but the problem, and keeps what a parameter can reach."""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable

import cvxpy as cp
import numpy as np
import pytest
import scipy.sparse as sp

from cvxpylayers._canon import compile_problem
from cvxpylayers._program import CompiledProblem
from cvxpylayers.errors import ProblemError
from problems.models import CASES, Case
from tests.canon.agreement import agrees_with_cvxpy

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore::UserWarning")
every_case = pytest.mark.parametrize("build", CASES.values(), ids=CASES)


def same(one: CompiledProblem, two: CompiledProblem) -> None:
    assert one.structure.cones == two.structure.cones
    assert (one.parameters, one.outputs) == (two.parameters, two.outputs)
    # CVXPY numbers the parts that it makes of complex leaves anew each time.
    first, second = ([re.sub(r"(var|param)\d+", r"\1", source) for source in made.row_sources] for made in (one, two))
    assert first == second
    for a, b in ((one.structure.P, two.structure.P), (one.structure.A, two.structure.A), (one.M, two.M), (one.R, two.R)):
        assert np.array_equal(a.indptr, b.indptr)
        assert np.array_equal(a.indices, b.indices)
    assert one.M.data.tobytes() == two.M.data.tobytes()
    assert one.R.data.tobytes() == two.R.data.tobytes()


def compiled(made: Case) -> CompiledProblem:
    return compile_problem(made.problem, made.parameters, made.outputs)


@every_case
def test_is_deterministic_blind_to_values_and_picklable(build: Callable[[], Case]) -> None:
    made = build()
    first = compiled(made)
    same(first, compiled(made))
    for parameter, value in zip(made.parameters, made.draw(0), strict=True):
        parameter.value = value
    made.problem.solve(solver=cp.CLARABEL)
    same(first, compiled(made))
    for parameter in made.parameters:
        parameter.value = np.zeros(parameter.shape)
    same(first, compiled(made))
    same(first, pickle.loads(pickle.dumps(first)))


def two_views() -> tuple[cp.Problem, Callable[[], CompiledProblem], Callable[[], CompiledProblem]]:
    x, A, b = cp.Variable(3), cp.Parameter((4, 3)), cp.Parameter(4)
    problem = cp.Problem(cp.Minimize(cp.sum_squares(A @ x - b)), [x >= 0, cp.sum(x) == 1])
    dual = problem.constraints[1].dual_variables[0]
    return problem, lambda: compile_problem(problem, [A, b], [x]), lambda: compile_problem(problem, [b, A], [dual, x])


def test_two_layers_of_one_problem_in_either_order() -> None:
    _, one, two = two_views()
    first, second = one(), two()
    same(second, two())
    same(first, one())
    assert [spec.shape for spec in second.parameters] == [(4,), (4, 3)]
    assert [spec.shape for spec in second.outputs] == [(), (3,)]
    # [A, b] and [b, A] differ by a permutation of θ alone.
    swap = np.r_[12:16, 0:12, 16]
    assert (first.M[:, swap] != second.M).nnz == 0


def test_the_problem_and_its_caches_stay_as_they_are() -> None:
    problem, one, two = two_views()
    for parameter in problem.parameters():
        parameter.value = np.random.default_rng(0).standard_normal(parameter.shape)
    before = problem.solve(solver=cp.CLARABEL)
    program, key = problem._cache.param_prog, problem._cache.key
    tensor = program.A.copy()
    values = [variable.value.copy() for variable in problem.variables()]
    one(), two()
    assert problem._cache.param_prog is program
    assert problem._cache.key == key
    assert (tensor != program.A).nnz == 0
    assert all(np.array_equal(v.value, old) for v, old in zip(problem.variables(), values, strict=True))
    assert problem.solve(solver=cp.CLARABEL, warm_start=False) == before


def test_an_uncompiled_problem_is_not_cached_into() -> None:
    problem, one, _ = two_views()
    one()
    assert problem._cache.param_prog is None
    assert problem._cache.key is None
    assert all(parameter.value is None for parameter in problem.parameters())


def test_entries_that_parameters_reach_are_kept_and_only_those() -> None:
    x, A, G = cp.Variable(3), cp.Parameter((2, 3)), np.array([[1.0, 0, 0], [0, 0, 2.0]])
    problem = cp.Problem(cp.Minimize(cp.sum_squares(x)), [A @ x <= 1, G @ x == np.ones(2)])
    result = compile_problem(problem, [A], [x])
    pattern, (_, _, values, b, _) = result.structure.A, result.structure.split(result.M @ np.r_[np.zeros(6), 1.0])
    matrix = sp.csr_array((values, pattern.indices, pattern.indptr), shape=(4, 3))
    assert pattern.nnz == 2 + 6, "two constants of G, six entries of A although all are zero"
    assert np.array_equal(abs(matrix.toarray()), np.vstack([G, np.zeros((2, 3))]))
    assert np.array_equal(abs(b), np.ones(4))


def test_a_symmetric_parameter_reaches_both_triangles_alike() -> None:
    x, P = cp.Variable(3), cp.Parameter((3, 3), PSD=True)
    result = compile_problem(cp.Problem(cp.Minimize(cp.quad_form(x, P))), [P], [x])
    gradient = (result.M.T @ np.random.default_rng(0).standard_normal(result.structure.values))[:-1].reshape(3, 3)
    assert np.array_equal(gradient, gradient.T)
    assert result.structure.P.nnz == 6
    values = np.arange(9.0).reshape(3, 3)
    values = values + values.T
    assert np.array_equal(result.M[:6] @ np.r_[values.ravel(), 1.0], 2 * values[np.tril_indices(3)])


def test_parameter_domains_are_recorded() -> None:
    x = cp.Variable((2, 2))
    attributes = [{}, {"nonneg": True}, {"pos": True}, {"nonpos": True}, {"neg": True}, {"PSD": True}, {"NSD": True}]
    parameters = [cp.Parameter((2, 2), name=f"p{i}", **a) for i, a in enumerate([*attributes, {"symmetric": True}])]
    result = compile_problem(cp.Problem(cp.Minimize(cp.sum_squares(x - sum(parameters)))), parameters, [x])
    assert [spec.name for spec in result.parameters] == [f"p{i}" for i in range(8)]
    assert [spec.sign for spec in result.parameters] == [0, 1, 1, -1, -1, 0, 0, 0]
    assert [spec.psd for spec in result.parameters] == [0, 0, 0, 0, 0, 1, -1, 0]
    assert [spec.symmetric for spec in result.parameters] == [False] * 5 + [True] * 3
    assert not any(spec.quadratic for spec in result.parameters)


def test_structure_and_bounds_of_parameters_are_recorded() -> None:
    X, v = cp.Variable((2, 3)), cp.Variable(2)
    sparse = cp.Parameter((2, 3), sparsity=[(0, 1), (2, 0)], name="sparse")
    bounded = cp.Parameter((2, 3), bounds=[-1, np.arange(6.0).reshape(2, 3)], name="bounded")
    half = cp.Parameter(2, bounds=[0, None], name="half")
    diagonal, P = cp.Parameter((2, 2), diag=True, name="diagonal"), cp.Parameter((2, 2), PSD=True, name="P")
    objective = cp.sum_squares(X - sparse - bounded) + cp.sum_squares(diagonal @ v - half) + cp.quad_form(v, P)
    wanted = [sparse, bounded, half, diagonal, P]
    found = compile_problem(cp.Problem(cp.Minimize(objective)), wanted, [X]).parameters
    assert [spec.support for spec in found] == [(2, 3), None, None, (0, 3), None]
    assert [spec.bounds for spec in found] == [None, ((-1.0,), (0.0, 1.0, 2.0, 3.0, 4.0, 5.0)), ((0.0,), (np.inf,)), None, None]
    assert [spec.quadratic for spec in found] == [False, False, False, False, True]


def test_rows_know_the_constraint_or_atom_they_came_from() -> None:
    x, V, p = cp.Variable(3, name="x"), cp.Variable((2, 2), PSD=True, name="V"), cp.Parameter(3, name="p")
    constraints = [cp.norm(x, 2) <= 5, cp.sum(x) == 1, cp.log(x[0]) >= -1, V[0, 0] <= 1]
    result = compile_problem(cp.Problem(cp.Minimize(p @ x + cp.trace(V)), constraints), [p], [x])
    cones, sources = result.structure.cones, result.row_sources
    assert (cones.zero, cones.soc, cones.psd, cones.exp) == (3, (4,), (2,), 1)  # norm and log are at their limits without loss
    conic = iter(sources[cones.zero + cones.nonneg :])
    assert sources[0] == str(constraints[1])
    assert {next(conic) for _ in range(4)} == {"Pnorm(x, 2)"}
    assert {next(conic) for _ in range(3)} == {"attributes of variable V"}
    assert {next(conic) for _ in range(3)} == {"log(x[0])"}


def test_large_sparse_constants_are_named_by_their_shape() -> None:
    x, A = cp.Variable(500, name="x"), cp.Constant(sp.eye_array(1, 500, format="csr"))
    result = compile_problem(cp.Problem(cp.Minimize(cp.sum_squares(x)), [A @ x == 1]), [], [x])
    assert result.row_sources[0] == "sparse[1, 500] @ x == 1.0"
    assert A.name() != "sparse[1, 500]"  # it was a name for the while


def test_bounds_that_never_bind_have_no_rows() -> None:
    x, p, upper = cp.Variable((2, 2)), cp.Parameter((2, 2)), np.array([[0.1, np.inf], [0.2, 0.3]])
    problem = cp.Problem(cp.Minimize(cp.sum_squares(x - p)), [x <= upper, x >= -np.inf, x[0] + p[0] <= upper[1]])
    made = Case(problem, {p: lambda rng: rng.standard_normal((2, 2))})
    assert compiled(made).structure.cones.nonneg == 5
    agrees_with_cvxpy(made, 0)


@pytest.mark.parametrize("wrong", [np.nan, -np.inf])
def test_other_constants_must_be_finite(wrong: float) -> None:
    x = cp.Variable(2)
    with pytest.raises(ProblemError, match="NaN or infinite"):
        compile_problem(cp.Problem(cp.Minimize(cp.sum_squares(x)), [x <= np.array([1.0, wrong])]), [], [x])
