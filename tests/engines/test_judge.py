"""No engine is believed: what it returns is measured, refined where it is near, and failed where it is wrong or missing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cvxpylayers import SolverError, Status
from cvxpylayers.engines import Claim, ConeProgram
from cvxpylayers.numpy import CvxpyLayer
from cvxpylayers.testing._cases import CASES, Case, linear, quadratic, second_order
from cvxpylayers.testing._contract import compiled, truth

Array = np.ndarray[Any, Any]


def layer(case: Case, solver: Any, **options: Any) -> CvxpyLayer:
    return CvxpyLayer(case.problem, case.parameters, case.outputs, solver=solver, solver_args={"threads": 1, **options})


def exact(program: ConeProgram) -> tuple[Array, Array]:
    """x and z of Clarabel, through the interface that a user's function sees."""
    import clarabel

    from cvxpylayers._engines.judge.clarabel import _cones

    settings = clarabel.DefaultSettings()
    settings.verbose = False
    data = program.P_upper, program.q, program.A, program.b, _cones(program.cones)
    found = clarabel.DefaultSolver(*data, settings).solve()
    return np.array(found.x), np.array(found.z)


def rough(program: ConeProgram, size: float = 1e-4) -> tuple[Array, Array]:
    """A point that is wrong by about ``size``, as a first-order solver leaves it."""
    noise = np.random.default_rng(0)
    return tuple(v + size * noise.uniform(-1, 1, size=v.shape) for v in exact(program))


@pytest.mark.parametrize("small", [0, 100], ids=["sparse", "dense"])
@pytest.mark.parametrize("make", CASES.values(), ids=CASES)
def test_a_rough_point_is_refined_to_derivative_quality(make: Any, small: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cvxpylayers._engines.judge.point._SMALL", small)
    case = make()
    outputs, info = layer(case, rough).solve(*case.values)
    assert max(info.primal_residual.max(), info.dual_residual.max(), info.gap.max()) <= 1e-11
    for found, true in zip(outputs, truth(case), strict=True):
        np.testing.assert_allclose(found, true, atol=1e-8)


def test_without_refinement_a_rough_point_is_flagged() -> None:
    case = quadratic()
    _, info = layer(case, rough, size=3e-7, polish=False).solve(*case.values)
    assert (info.status == Status.ALMOST_SOLVED).all()
    with pytest.raises(SolverError, match=r"The solver: the solver calls this solved, but its residuals are \d"):
        layer(case, rough, size=1e-2, polish=False)(*case.values)


@pytest.mark.parametrize("size", [1e30, 1e150, 1e300])
@pytest.mark.parametrize("make", CASES.values(), ids=CASES)
def test_linear_algebra_that_breaks_down_raises_nothing(make: Any, size: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an infeasible program leads a solver to, and a refinement to overflow, is a status."""
    case = make()

    def lost(program: ConeProgram) -> tuple[Array, Array]:
        m, n = program.A.shape
        return np.full(n, size), np.where(np.arange(m) % 2, size, -size)

    def breaks_down(J: Array, F: Array) -> Array:
        raise np.linalg.LinAlgError

    monkeypatch.setattr("cvxpylayers._engines.judge.point._SMALL", 100)
    monkeypatch.setattr("cvxpylayers._engines.judge.point._solves", lambda *_: False)
    monkeypatch.setattr("cvxpylayers._engines.judge.point._least_squares", breaks_down)
    _, info = layer(case, lost).solve(*case.values, on_failure="nan")
    assert not info.solved.any()


def test_far_from_a_solution_refinement_does_not_make_one_up() -> None:
    case = second_order()

    def far(program: ConeProgram) -> tuple[Array, Array]:
        return np.full(len(program.q), 1e3), np.full(len(program.b), -1e3)

    _, info = layer(case, far, polish=False).solve(*case.values, on_failure="nan")
    assert (info.status == Status.INSUFFICIENT_PROGRESS).all()
    outputs, info = layer(case, far).solve(*case.values, on_failure="nan")
    good = info.solved
    for found, true in zip(outputs, truth(case), strict=True):
        np.testing.assert_allclose(found[good], true[good], atol=1e-6)  # found honestly, or not at all


LIES = {
    "NaN": (lambda p: (np.full(len(p.q), np.nan), np.zeros(len(p.b))), "returned NaN or inf"),
    "infinite": (lambda p: (np.zeros(len(p.q)), np.full(len(p.b), np.inf)), "returned NaN or inf"),
    "x of a wrong shape": (lambda p: (np.zeros(len(p.q) + 1), np.zeros(len(p.b))), r"returned x and z of shapes \(\d+,\) and"),
    "z of a wrong shape": (lambda p: (np.zeros(len(p.q)), np.zeros((1, len(p.b)))), "returned x and z of shapes"),
    "no point": (lambda p: Claim(None, None), "returned no point"),
    "an exception": (lambda p: 1 / 0, "ZeroDivisionError: division by zero"),
    "not numbers": (lambda p: (["a"], ["b"]), "ValueError: could not convert string"),
}


@pytest.mark.parametrize(("lie", "words"), LIES.values(), ids=LIES)
def test_a_lie_on_one_instance_fails_that_instance(lie: Any, words: str) -> None:
    case = quadratic()
    calls: list[int] = []

    def second_call(program: ConeProgram) -> Any:
        calls.append(1)
        return lie(program) if len(calls) == 2 else exact(program)

    outputs, info = layer(case, second_call).solve(*case.values, on_failure="nan")
    assert info.solved.tolist() == [True, False, True]
    np.testing.assert_allclose(outputs[0][[0, 2]], truth(case)[0][[0, 2]], atol=1e-8)
    calls.clear()
    with pytest.raises(SolverError, match=words):
        layer(case, second_call)(*case.values)


def test_multipliers_are_found_from_the_active_rows() -> None:
    for case in (quadratic(), linear()):
        only_x = layer(case, lambda program: exact_x(program))
        outputs, info = only_x.solve(*case.values)
        assert info.solved.all()
        for found, true in zip(outputs, truth(case), strict=True):
            np.testing.assert_allclose(found, true, atol=1e-7)


def exact_x(program: ConeProgram) -> Array:
    """x alone, sharp: the active rows are those that hold to 1e-6."""
    from cvxpylayers._engines.judge.judge import settle

    return settle(program, Claim(*exact(program))).x


def test_other_cones_cannot_do_without_multipliers() -> None:
    case = second_order()
    with pytest.raises(SolverError, match="returned no multipliers, which only linear inequalities and equalities can do without"):
        layer(case, exact_x)(*case.values)


@pytest.mark.parametrize("verdict", [Status.PRIMAL_INFEASIBLE, Status.DUAL_INFEASIBLE])
def test_a_verdict_of_infeasibility_needs_a_proof(verdict: Status) -> None:
    """Where there is one, it is found without the solver's certificate; where a solution exists, the word alone counts nothing."""
    case = quadratic()
    solver = layer(case, lambda program: Claim(None, None, verdict, 7))
    last = case.values[-1].copy()
    last[1] = case.broken
    _, info = solver.solve(*case.values[:-1], last, on_failure="nan")
    expected = [Status.INSUFFICIENT_PROGRESS, Status.PRIMAL_INFEASIBLE, Status.INSUFFICIENT_PROGRESS]
    assert [Status(k) for k in info.status] == expected
    assert (info.iterations == 7).all()
    with pytest.raises(SolverError, match=rf"The solver: the solver calls this {verdict}, but no certificate proves that"):
        solver(*case.values)


def test_the_problem_that_a_function_sees_is_the_layers() -> None:
    case, seen = quadratic(), []

    def look(program: ConeProgram) -> tuple[Array, Array]:
        seen.append(program)
        return exact(program)

    layer(case, look)(*case.values)
    structure = compiled(case).structure
    for program in seen:
        assert program.A.shape == (structure.m, structure.n)
        assert program.cones == structure.cones
        np.testing.assert_array_equal(program.P.toarray(), program.P.toarray().T)
        A, b = program.equalities()
        G, h = program.inequalities()
        assert (A.shape[0], G.shape[0]) == (len(b), len(h)) == (structure.cones.zero, structure.cones.nonneg)
        v = np.arange(structure.n, dtype=float)
        np.testing.assert_allclose(program.product(v), program.P @ v, rtol=1e-12)
