"""``solve_batch``: what CVXPY finds one by one, and derivatives of what it found."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cvxpy as cp
import numpy as np
import pytest

from cvxpylayers import InputError, InputTypeError, ProblemError, SolverError, Status
from cvxpylayers.cvxpy import BatchSolution, solve_batch
from problems.models import CASES, Case

Array = np.ndarray[Any, Any]
TIGHT = {"tol_gap_abs": 1e-10, "tol_gap_rel": 1e-10, "tol_feas": 1e-10}


def real(case: Case) -> bool:
    return not any(leaf.is_complex() for leaf in (*case.problem.variables(), *case.problem.constraints))


REAL = {name: make for name, make in CASES.items() if real(make())}
CHOICES = {"piecewise"}  # of multipliers
LINE = {name: make for name, make in REAL.items() if make().parameters}


def batch(made: Case, seeds: range) -> dict[cp.Parameter, Array]:
    draws = [made.draw(seed) for seed in seeds]
    return {parameter: np.stack(values) for parameter, values in zip(made.parameters, zip(*draws, strict=True), strict=True)}


def dense(value: Any) -> Array:
    return value.toarray() if hasattr(value, "toarray") else np.asarray(value)


@pytest.mark.filterwarnings("ignore:.*sparse CVXPY expression", "ignore:.*dimension greater than 2")
@pytest.mark.parametrize("name", REAL)
def test_a_batch_is_what_cvxpy_solves_one_by_one(name: str) -> None:
    made = REAL[name]()
    given = batch(made, range(2))
    found = solve_batch(made.problem, given)
    assert found.info.solved.all()
    for i in range(2 if given else 1):
        for parameter, values in given.items():
            parameter.value = values[i]
        made.problem.solve(solver=cp.CLARABEL, **TIGHT)
        at = (i,) if given else ()
        assert found.value[at] == pytest.approx(made.problem.value, abs=1e-6)
        for variable in made.problem.variables():
            np.testing.assert_allclose(found[variable][at], dense(variable.value), atol=2e-5, err_msg=variable.name())
        for constraint in made.problem.constraints if name not in CHOICES else ():
            duals, known = found.duals[constraint], [dual.value for dual in constraint.dual_variables]
            for mine, theirs in zip([duals] if len(known) == 1 else duals, known, strict=True):
                np.testing.assert_allclose(mine[at], dense(theirs).reshape(mine[at].shape), atol=2e-5, err_msg=str(constraint))


def line(made: Case, at: Array) -> dict[cp.Parameter, Array]:
    """Parameters between two draws, which their domains hold."""
    first, second = made.draw(0), made.draw(1)
    pairs = zip(made.parameters, first, second, strict=True)
    return {parameter: np.multiply.outer(1 - at, a) + np.multiply.outer(at, b) for parameter, a, b in pairs}


@pytest.mark.parametrize("make", LINE.values(), ids=LINE)
def test_value_gradients_are_differences_of_values(make: Callable[[], Case]) -> None:
    made, h = make(), 1e-5
    value = solve_batch(made.problem, line(made, np.array([0.5 - h, 0.5 + h])), solver_args={"tolerance": 1e-10}).value
    found = solve_batch(made.problem, line(made, np.array(0.5)), solver_args={"tolerance": 1e-10}).value_gradient()
    along = {parameter: ends[1] - ends[0] for parameter, ends in line(made, np.array([0.0, 1.0])).items()}
    slope = sum(float((found[parameter] * tangent).sum()) for parameter, tangent in along.items())
    assert slope == pytest.approx((value[1] - value[0]) / (2 * h), rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("make", LINE.values(), ids=LINE)
def test_both_modes_are_adjoint(make: Callable[[], Case]) -> None:
    made, rng = make(), np.random.default_rng(0)
    found = solve_batch(made.problem, line(made, np.array([0.3, 0.5, 0.8])))
    cotangents = {variable: rng.normal(size=found[variable].shape) for variable in made.problem.variables()}
    tangents = {parameter: values - values[::-1] for parameter, values in line(made, np.array([0.2, 0.5, 0.9])).items()}
    pushed, pulled = found.derivative(tangents), found.backward(cotangents)
    left = sum(float((pushed[variable] * c).sum()) for variable, c in cotangents.items())
    right = sum(float((pulled[parameter] * t).sum()) for parameter, t in tangents.items())
    assert left == pytest.approx(right, rel=1e-9, abs=1e-9)
    assert all(pulled[p].shape == (3, *p.shape) for p in tangents)


def interval() -> tuple[cp.Problem, dict[str, Any]]:
    """min |x|² + c y over lo ≤ x ≤ hi, y ≥ 0."""
    x, y = cp.Variable(2, name="x"), cp.Variable(name="y")
    lo, hi, c = cp.Parameter(2, name="lo"), cp.Parameter(2, name="hi"), cp.Parameter(name="c")
    bounds = [x >= lo, x <= hi, y >= 0]
    leaves = {"x": x, "y": y, "lo": lo, "hi": hi, "c": c, "low": bounds[0]}
    return cp.Problem(cp.Minimize(cp.sum_squares(x) + c * y), bounds), leaves


def test_shared_parameters_broadcast_and_receive_sums() -> None:
    problem, at = interval()
    lows, his = np.array([[0.5, -1.0], [0.25, 0.5]]), np.ones(2)
    found = solve_batch(problem, {at["lo"]: lows, at["hi"]: his, at["c"]: 1.0})
    np.testing.assert_allclose(found["x"], np.maximum(lows, 0), atol=1e-9)
    np.testing.assert_allclose(found[at["x"]], found["x"])
    np.testing.assert_allclose(found.duals[at["low"]], 2 * np.maximum(lows, 0), atol=1e-8)
    assert found.value_gradient()[at["hi"]].shape == (2, 2)  # one for each instance's value
    gradient = found.backward({at["x"]: 1.0})
    np.testing.assert_allclose(gradient[at["lo"]], lows > 0, atol=1e-9)
    assert gradient[at["hi"]].shape == (2,)
    assert gradient[at["c"]].shape == ()
    by_dual = found.backward({at["low"].dual_variables[0]: 1.0})
    np.testing.assert_allclose(by_dual[at["lo"]], 2.0 * (lows > 0), atol=1e-8)


def test_what_is_not_listed_has_the_value_that_cvxpy_knows() -> None:
    problem, at = interval()
    at["hi"].value, at["c"].value = [1.0, 1.0], 1.0
    found = solve_batch(problem, {at["lo"]: [[0.5, 0.0], [0.25, 0.0]]})
    assert found["x"].shape == (2, 2)
    assert problem.status is None
    assert at["x"].value is None
    assert at["hi"].value.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("sense", [cp.Minimize, cp.Maximize])
@pytest.mark.parametrize("gp", [False, True])
def test_values_without_a_solution_are_those_of_cvxpy(sense: Any, gp: bool) -> None:
    """Infeasible, unbounded, solved: x between lo and 1, pulled down or up by a power that may vanish."""
    x, lo, c = cp.Variable(pos=gp, name="x"), cp.Parameter(pos=gp, name="lo"), cp.Parameter(name="c")
    down = sense is cp.Minimize
    free = cp.Variable(pos=gp, name="free")
    objective = x * free if gp else x + c * free
    bound = [free * x >= 0.5] if gp and down else [free * x <= 0.5] if gp else [free >= 0 if down else free <= 0]
    problem = cp.Problem(sense(objective), [x >= lo, x <= 1, *bound])
    given = {lo: np.array([2.0, 0.5])} if gp else {lo: np.array([2.0, 0.5, 0.5]), c: np.array([1.0, -1.0, 1.0])}
    found = solve_batch(problem, given, gp=gp)
    for i, value in enumerate(found.value):
        for parameter, values in given.items():
            parameter.value = values[i]
        problem.solve(solver=cp.CLARABEL, gp=gp)
        assert value == pytest.approx(problem.value, abs=1e-6)
    assert found.status[0] is Status.PRIMAL_INFEASIBLE
    assert np.isnan(found["x"][0])


def test_failures_as_layers_have_them() -> None:
    problem, at = interval()
    given = {at["lo"]: [[2.0, 0.0], [0.5, 0.5]], at["hi"]: np.ones(2), at["c"]: 1.0}
    found = solve_batch(problem, given)
    assert found.info.solved.tolist() == [False, True]
    assert found.value.tolist() == [np.inf, pytest.approx(0.5)]
    assert not found.value_gradient()[at["lo"]][0].any()
    assert not found.backward({at["x"]: 1.0})[at["lo"]][0].any()
    with pytest.raises(SolverError, match="1 of 2 instances"):
        solve_batch(problem, given, on_failure="raise")
    bad = solve_batch(problem, {**given, at["lo"]: [np.nan, 0.0]})
    assert np.isnan(bad.value)
    assert bad.status[0] is Status.INVALID_INPUT


def test_geometric_programs() -> None:
    """min x / a + a / x = 2 at x = a where a ≥ lo: the value's gradient at the bound, by hand."""
    x, a, lo = cp.Variable(pos=True, name="x"), cp.Parameter(pos=True, name="a"), cp.Parameter(pos=True, name="lo")
    found = solve_batch(cp.Problem(cp.Minimize(x / a + a / x), [x >= lo]), {a: [2.0, 2.0], lo: [1.0, 4.0]}, gp=True)
    np.testing.assert_allclose(found.value, [2.0, 2.5], atol=1e-8)
    np.testing.assert_allclose(found.value_gradient()[lo], [0.0, 1 / 2 - 2 / 16], atol=1e-7)
    np.testing.assert_allclose(found.value_gradient()[a], [0.0, -1.0 + 0.25], atol=1e-7)
    np.testing.assert_allclose(found.backward({x: 1.0})[a], [1.0, 0.0], atol=1e-7)


@pytest.mark.parametrize("solver", ["CLARABEL", "SCS"])
def test_every_engine(solver: str) -> None:
    problem, at = interval()
    given = {at["lo"]: [[0.5, -1.0], [0.25, 0.5]], at["hi"]: np.ones(2), at["c"]: 1.0}
    native, other = solve_batch(problem, given), solve_batch(problem, given, solver=solver)
    np.testing.assert_allclose(other["x"], native["x"], atol=1e-7)
    np.testing.assert_allclose(other.value_gradient()[at["lo"]], native.value_gradient()[at["lo"]], atol=1e-7)


def test_it_shows_itself() -> None:
    problem, at = interval()
    found = solve_batch(problem, {at["lo"]: np.zeros((3, 2)), at["hi"]: np.ones(2), at["c"]: 1.0})
    assert isinstance(found, BatchSolution)
    assert repr(found).startswith("BatchSolution(batch (3,); SolveInfo(3 solved")
    assert "instance" in found._repr_html_()


def test_the_package_leaves_cvxpy_alone() -> None:
    """``cvxpylayers.cvxpy`` is no ``cvxpy``, inside the package and outside."""
    import cvxpylayers.cvxpy

    assert cvxpylayers.cvxpy._solve.cp is cp
    assert cp.__name__ == "cvxpy"


def test_mistakes_say_what_is_wrong() -> None:
    problem, at = interval()
    rest = {at["hi"]: np.ones(2), at["c"]: 1.0}
    for given, kind, words in [
        (rest, InputError, r"Parameter 'lo' has no value: list it, \{lo: ...\}, or set lo.value"),
        ({**rest, at["x"]: 1.0}, InputTypeError, r"Keys must be the problem.s cp.Parameter objects; got x \(Variable\)"),
        ({**rest, "lo": np.ones(2)}, InputTypeError, r"got lo \(str\)"),
        ({**rest, cp.Parameter(name="other"): 1.0}, InputError, "does not depend on 'other'; its parameters are: "),
        ([np.ones(2)], InputTypeError, r"a dict from parameters to values, \{A: A_batch\}; got list"),
        ({**rest, at["lo"]: np.ones(3)}, InputError, r"Parameter 'lo' must have shape \(2,\)"),
    ]:
        with pytest.raises(kind, match=words):
            solve_batch(problem, given)
    with pytest.raises(ProblemError, match="integer or boolean"):
        solve_batch(cp.Problem(cp.Minimize(cp.sum(cp.Variable(2, boolean=True)))), {})
    found = solve_batch(problem, {**rest, at["lo"]: np.zeros(2)})
    with pytest.raises(KeyError, match="z is no variable of the problem; it has x, y"):
        found["z"]
    with pytest.raises(InputError, match=r"lo: keys must be among x, y, "):
        found.backward({at["lo"]: 1.0})
    with pytest.raises(InputError, match=r"What is given for 'x' must have shape \(2,\); got \(3,\)"):
        found.backward({at["x"]: np.ones(3)})
    with pytest.raises(InputError, match="x: keys must be among "):
        found.derivative({at["x"]: np.ones(2)})
