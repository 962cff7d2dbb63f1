"""What every front end promises, written once: PyTorch, JAX, NumPy and MLX, in single and double precision.

Tolerances are roundings of the front end's type; inside it is always double precision.
"""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import cvxpy as cp
import numpy as np
import pytest

from cvxpylayers import Finding, InputError, InputTypeError, OptionError, ProblemError, SolverError, Status, UnsupportedConeError
from cvxpylayers.testing._front_ends import FRONT_ENDS, Array, FrontEnd

Problem = tuple[cp.Problem, list[cp.Parameter], list[cp.Variable]]
Axes = tuple[tuple[int, ...], ...]

SHAPES = ((3, 2), (3,), ())  # the parameters of ``ridge``
AXES: list[Axes] = [
    ((), (), ()),
    ((1,), (), ()),
    ((4,), (), ()),
    ((), (4,), (1,)),
    ((2, 1), (3,), ()),
    ((), (2, 1, 2), (3, 1)),
    ((0,), (), ()),
    ((2, 0), (1, 1), (0,)),
]


@pytest.fixture(params=FRONT_ENDS.values(), ids=FRONT_ENDS)
def front(request: pytest.FixtureRequest) -> Iterator[FrontEnd]:
    with request.param.context():
        yield request.param


def ridge() -> Problem:
    """Strictly convex, with parameters A (3, 2), b (3), lam ≥ 0 and the duals of both constraints."""
    x = cp.Variable(2, name="x")
    A, b, lam = cp.Parameter((3, 2), name="A"), cp.Parameter(3, name="b"), cp.Parameter(nonneg=True, name="lam")
    budget, bounds = cp.sum(x) == 1, x >= 0.1
    objective = cp.Minimize(cp.sum_squares(A @ x - b) + (0.1 + lam) * cp.sum_squares(x))
    return cp.Problem(objective, [budget, bounds]), [A, b, lam], [x, budget.dual_variables[0], bounds.dual_variables[0]]


def interval() -> Problem:
    """min |x|² + c y over lo ≤ x ≤ hi, y ≥ 0: infeasible for lo > hi, unbounded for c < 0."""
    x, y = cp.Variable(2, name="x"), cp.Variable(name="y")
    lo, hi, c = cp.Parameter(2, name="lo"), cp.Parameter(2, name="hi"), cp.Parameter(name="c")
    return cp.Problem(cp.Minimize(cp.sum_squares(x) + c * y), [x >= lo, x <= hi, y >= 0]), [lo, hi, c], [x, y]


@cache
def layer_of(front: FrontEnd, make: Any) -> Any:
    """Layers keep nothing of a call: one serves all tests."""
    return front.layer(*make())


def draw(axes: Axes, seed: int = 0) -> list[Array]:
    rng = np.random.default_rng(seed)
    A, b, lam = (rng.normal(size=a + s) for a, s in zip(axes, SHAPES, strict=True))
    return [A, b, np.abs(lam) + 0.2]


def spread(values: list[Array], full: tuple[int, ...]) -> list[Array]:
    """Every parameter with all batch axes."""
    return [np.broadcast_to(v, full + s) for v, s in zip(values, SHAPES, strict=True)]


def gathered(gradient: Array, like: Array) -> Array:
    """``gradient`` summed over the axes along which ``like`` was broadcast."""
    gradient = gradient.sum(axis=tuple(range(gradient.ndim - like.ndim)))
    return gradient.sum(axis=tuple(i for i, n in enumerate(like.shape) if n == 1 != gradient.shape[i]), keepdims=True)


def close(found: Array, true: Array, front: FrontEnd, slack: float = 1e-8) -> None:
    """Equal to ``slack``, or to the roundings of a few operations on entries of this size."""
    size = max(1.0, float(np.abs(true).max(initial=0.0)))
    np.testing.assert_allclose(found, true, rtol=0, atol=max(slack, 32 * front.epsilon) * size)


# ---- solutions and batches ----


def test_outputs_are_the_solution_and_its_multipliers(front: FrontEnd) -> None:
    values = draw(((4,), (), (4,)))
    x, budget, bounds = front.call(layer_of(front, ridge), values)
    assert (x.shape, budget.shape, bounds.shape) == ((4, 2), (4,), (4, 2))
    A, b, lam = spread(values, (4,))
    gradient = 2 * np.einsum("bij,bi->bj", A, np.einsum("bij,bj->bi", A, x) - b) + 2 * (0.1 + lam)[:, None] * x
    close(x.sum(-1), np.ones(4), front)
    close(gradient + budget[:, None] - bounds, np.zeros((4, 2)), front, slack=1e-7)
    assert (bounds >= 0).all()


@pytest.mark.parametrize("axes", AXES, ids=str)
def test_a_batch_is_its_instances(front: FrontEnd, axes: Axes) -> None:
    layer, values, full = layer_of(front, ridge), draw(axes), np.broadcast_shapes(*axes)
    outputs, info = front.solve(layer, values)
    assert [o.shape for o in outputs] == [(*full, 2), full, (*full, 2)]
    assert info.solved.shape == info.objective.shape == info.status.shape == full
    assert info.solved.all()
    whole = spread(values, full)
    for index in np.ndindex(full):
        for batched, alone in zip(outputs, front.call(layer, [v[index] for v in whole]), strict=True):
            np.testing.assert_array_equal(batched[index], alone)


@pytest.mark.parametrize("axes", AXES, ids=str)
def test_gradients_have_the_shapes_of_the_inputs_and_sum_over_those_who_share(front: FrontEnd, axes: Axes) -> None:
    layer, values, full = layer_of(front, ridge), draw(axes), np.broadcast_shapes(*axes)
    cotangents = [np.random.default_rng(1).normal(size=full + s) for s in ((2,), (), (2,))]
    outputs, gradients = front.vjp(layer, values, cotangents)
    _, apart = front.vjp(layer, spread(values, full), cotangents)
    assert [g.shape for g in gradients] == [v.shape for v in values]
    assert {a.dtype for a in (*outputs, *gradients)} == {np.dtype(front.dtype)}
    for gradient, each, value in zip(gradients, apart, values, strict=True):
        close(gradient, gathered(each.astype(np.float64), value), front, slack=1e-11)


def test_values_and_derivatives_are_those_of_double_precision_rounded(front: FrontEnd) -> None:
    values = [front.rounded(v) for v in draw(((5,), (), (5,)))]
    double, cotangents = layer_of(FRONT_ENDS["numpy"], ridge), [np.ones((5, 2)), np.ones(5), np.ones((5, 2))]
    point, tangents = double.linearize(*values), [np.ones_like(v) for v in values]
    outputs, gradients = front.vjp(layer_of(front, ridge), values, cotangents)
    pushed = front.jvp(layer_of(front, ridge), values, tangents)
    exact = (*point.outputs, *point.vjp(*cotangents), *point.jvp(*tangents))
    for found, true in zip((*outputs, *gradients, *pushed), exact, strict=True):
        np.testing.assert_allclose(found, true, rtol=2 * front.epsilon, atol=1e-9)


def test_derivatives_agree_with_central_differences(front: FrontEnd) -> None:
    axes, h, rng = ((3,), (), (3,)), 1e-5, np.random.default_rng(2)
    values = [front.rounded(v) for v in draw(axes)]
    directions = [front.rounded(rng.normal(size=v.shape)) for v in values]
    double, layer = FRONT_ENDS["numpy"], layer_of(FRONT_ENDS["numpy"], ridge)
    ends = [double.call(layer, [v + s * h * d for v, d in zip(values, directions, strict=True)]) for s in (1, -1)]
    slopes = [(a - b) / (2 * h) for a, b in zip(*ends, strict=True)]
    cotangents = [front.rounded(rng.normal(size=s.shape)) for s in slopes]
    _, gradients = front.vjp(layer_of(front, ridge), values, cotangents)
    for pushed, slope in zip(front.jvp(layer_of(front, ridge), values, directions), slopes, strict=True):
        close(pushed, slope, front, slack=1e-6)
    backward = sum((g * d).sum() for g, d in zip(gradients, directions, strict=True))
    forward = sum((c * s).sum() for c, s in zip(cotangents, slopes, strict=True))
    close(np.asarray(backward), np.asarray(forward), front, slack=1e-6)


def test_the_examples_of_the_page_on_batches(front: FrontEnd) -> None:
    """Single, batched and mixed parameters; chunks; gradients shaped like the inputs; a portfolio with a shared scalar."""
    x, A, b = cp.Variable(2), cp.Parameter((3, 2)), cp.Parameter(3)
    layer = front.layer(cp.Problem(cp.Minimize(cp.sum_squares(A @ x - b)), [x >= 0]), parameters=[A, b], variables=[x])
    rng = np.random.default_rng(3)
    A_batch, b_batch, b_shared = rng.normal(size=(10, 3, 2)), rng.normal(size=(10, 3)), rng.normal(size=3)
    assert front.call(layer, [A_batch[0], b_shared])[0].shape == (2,)
    assert front.call(layer, [A_batch, b_batch])[0].shape == (10, 2)
    (mixed,) = front.call(layer, [A_batch, b_shared])
    chunks = [front.call(layer, [A_batch[i : i + 4], b_shared])[0] for i in range(0, 10, 4)]
    np.testing.assert_array_equal(np.concatenate(chunks), mixed)
    _, gradients = front.vjp(layer, [A_batch, b_batch], [np.ones((10, 2))])
    assert [g.shape for g in gradients] == [(10, 3, 2), (10, 3)]

    weights, returns, risk = cp.Variable(10), cp.Parameter(10), cp.Parameter(nonneg=True)
    objective = cp.Maximize(returns @ weights - risk * cp.sum_squares(weights))
    portfolio = front.layer(cp.Problem(objective, [cp.sum(weights) == 1, weights >= 0]), [returns, risk], [weights])
    (optimal,) = front.call(portfolio, [rng.normal(size=(50, 10)), 0.5])
    assert optimal.shape == (50, 10)
    close(optimal.sum(-1), np.ones(50), front)


def test_scalar_and_matrix_outputs_in_the_order_asked_for(front: FrontEnd) -> None:
    X, t, B = cp.Variable((2, 3)), cp.Variable(), cp.Parameter((2, 3))
    layer = front.layer(cp.Problem(cp.Minimize(cp.sum_squares(X - B) + cp.square(t - cp.sum(B)))), [B], [t, X])
    values = front.rounded(np.random.default_rng(4).normal(size=(5, 2, 3)))
    (total, matrix), (gradient,) = front.vjp(layer, [values], [np.ones(5), np.zeros((5, 2, 3))])
    close(total, values.sum((1, 2)), front)
    close(matrix, values, front)
    close(gradient, np.ones((5, 2, 3)), front)


def test_a_problem_without_parameters(front: FrontEnd) -> None:
    x = cp.Variable(2)
    layer = front.layer(cp.Problem(cp.Minimize(cp.sum_squares(x - 1)), [x <= 0.5]), [], [x])
    close(front.call(layer, [])[0], np.full(2, 0.5), front)


def test_symmetric_matrices_and_their_duals(front: FrontEnd) -> None:
    """The nearest definite matrix: eigenvalues below 0 become 0 there, and their negatives in the dual."""
    X, C = cp.Variable((3, 3), symmetric=True), cp.Parameter((3, 3), symmetric=True)
    definite = X >> 0
    layer = front.layer(cp.Problem(cp.Minimize(0.5 * cp.sum_squares(X - C)), [definite]), [C], [X, definite.dual_variables[0]])
    root = np.random.default_rng(5).normal(size=(2, 3, 3))
    values = front.rounded(root + root.swapaxes(1, 2))
    eigenvalues, vectors = np.linalg.eigh(values)
    nearest = np.einsum("bij,bj,bkj->bik", vectors, np.maximum(eigenvalues, 0), vectors)
    found, dual = front.call(layer, [values])
    close(found, nearest, front)
    close(dual, nearest - values, front)


def test_geometric_programs(front: FrontEnd) -> None:
    """min a x + b / x: x = √(b / a)."""
    x, a, b = cp.Variable(pos=True), cp.Parameter(pos=True), cp.Parameter(pos=True)
    layer = front.layer(cp.Problem(cp.Minimize(a * x + b / x)), [a, b], [x], gp=True)
    values = np.array([0.25, 4.0])
    (found,), (by_a, by_b) = front.vjp(layer, [values, 2.0], [np.ones(2)])
    close(found, np.sqrt(2 / values), front, slack=1e-7)
    close(by_a, -0.5 * np.sqrt(2 / values**3), front, slack=1e-6)
    close(by_b, np.sum(0.5 / np.sqrt(2 * values)), front, slack=1e-6)


# ---- failures ----

# index:          0 solved    1 lo > hi   2 NaN            3 unbounded  4 solved
LO = np.array([[0.25, 0.125], [2.0, 0.0], [0.0, np.nan], [0.0, 0.0], [-1.0, 0.25]])
HI, C = np.ones(2), np.array([1.0, 1.0, 1.0, -1.0, 1.0])
EXPECTED = [Status.SOLVED, Status.PRIMAL_INFEASIBLE, Status.INVALID_INPUT, Status.DUAL_INFEASIBLE, Status.SOLVED]
GOOD, BAD = [0, 4], [1, 2, 3]


def test_every_instance_has_its_own_outcome(front: FrontEnd) -> None:
    (x, y), info = front.solve(layer_of(front, interval), [LO, HI, C], on_failure="nan")
    assert list(info.status) == EXPECTED
    assert [str(status) for status in info.status] == [status.name.lower() for status in EXPECTED]
    assert info.solved.tolist() == [True, False, False, False, True]
    assert np.isnan(x[BAD]).all()
    assert np.isnan(y[BAD]).all()
    close(x[GOOD], np.maximum(LO[GOOD], 0), front, slack=1e-7)
    for array in (info.iterations, info.primal_residual, info.dual_residual, info.gap, info.objective, info.fallback):
        assert array.shape == (5,)
    close(info.objective[GOOD], (np.maximum(LO[GOOD], 0) ** 2).sum(-1), front, slack=1e-7)
    assert max(r[GOOD].max() for r in (info.primal_residual, info.dual_residual, info.gap)) <= 1.0001e-8
    assert repr(info).startswith("SolveInfo(2 solved, 1 primal_infeasible, 1 dual_infeasible, 1 invalid_input; iterations median")
    assert info.table(most=3).splitlines()[-1] == "… 2 more"


def test_a_diagnosis_takes_the_parameters_of_a_call(front: FrontEnd) -> None:
    found = layer_of(front, interval).diagnose(*map(front.tensor, (LO, HI, C)), cotangents=[front.tensor(np.ones(2)), None])
    assert list(found.info.status) == EXPECTED
    assert found.findings[Finding.UNSOLVED].tolist() == [False, True, True, True, False]
    close(found.gradient["lo"][GOOD], np.sqrt((LO[GOOD] > 0).sum(-1)), front, slack=1e-7)
    assert found.zero("hi").all()
    assert "primal_infeasible" in found._repr_html_()


def test_raise_names_instances_and_statuses_and_carries_what_was_solved(front: FrontEnd) -> None:
    layer = layer_of(front, interval)
    with pytest.raises(SolverError) as caught:
        front.call(layer, [LO, HI, C])
    text = str(caught.value)
    for words in ("3 of 5 instances", "primal_infeasible at index 1", "dual_infeasible at index 3", Status.PRIMAL_INFEASIBLE.help):
        assert words in text
    assert "invalid_input at index 2 (parameter 'lo' holds NaN or inf)" in text
    assert list(caught.value.info.status) == EXPECTED
    for carried, let_through in zip(caught.value.outputs, front.call(layer, [LO, HI, C], on_failure="nan"), strict=True):
        assert isinstance(carried, type(front.tensor(0.0)))
        np.testing.assert_array_equal(front.numbers(carried), let_through)
    with pytest.raises(SolverError, match=r"The instance was not solved:\n  primal_infeasible\. No .*\n.* goes on without it"):
        front.call(layer, [LO[1], HI, C[1]])


def test_warn_returns_the_best_iterate_with_one_warning(front: FrontEnd) -> None:
    layer = layer_of(front, interval)
    with pytest.warns(RuntimeWarning, match="3 of 5 instances") as caught:
        x, _ = front.call(layer, [LO, HI, C], on_failure="warn")
    assert len(caught) == 1
    np.testing.assert_array_equal(x[GOOD], front.call(layer, [LO, HI, C], on_failure="nan")[0][GOOD])


@pytest.mark.parametrize("mode", ["nan", "warn"])
@pytest.mark.filterwarnings("ignore:3 of 5")
def test_failed_instances_have_zero_gradients_even_into_shared_parameters(front: FrontEnd, mode: str) -> None:
    def gradients(rows: list[int]) -> list[Array]:
        cotangents = [2 * np.ones((len(rows), 2)), np.full(len(rows), np.nan if len(rows) > 2 else 1.0)]
        cotangents[1][[i for i, row in enumerate(rows) if row in GOOD]] = 1.0  # NaN where a loss has seen NaN
        return front.vjp(layer_of(front, interval), [LO[rows], HI, C[rows]], cotangents, on_failure=mode)[1]

    (lo, hi, c), (lo_good, hi_good, c_good) = gradients([0, 1, 2, 3, 4]), gradients(GOOD)
    assert (lo[BAD] == 0).all()
    assert (c[BAD] == 0).all()
    np.testing.assert_array_equal(lo[GOOD], lo_good)
    np.testing.assert_array_equal(c[GOOD], c_good)
    close(hi, hi_good, front, slack=1e-13)


def test_neighbours_do_not_change_a_bit(front: FrontEnd) -> None:
    layer = layer_of(front, interval)
    x, _ = front.call(layer, [LO, HI, C], on_failure="nan")
    for i in GOOD:
        np.testing.assert_array_equal(x[i], front.call(layer, [LO[i], HI, C[i]])[0])


def test_the_mode_of_the_layer_holds_until_a_call_overrides_it(front: FrontEnd) -> None:
    layer = front.layer(*interval(), on_failure="nan")
    assert np.isnan(front.call(layer, [LO[2], HI, 1.0])[0]).all()
    with pytest.raises(SolverError, match=r"invalid_input \(parameter 'lo' holds NaN or inf\)"):
        front.call(layer, [LO[2], HI, 1.0], on_failure="raise")
    with pytest.raises(OptionError, match="'raise', 'nan', 'warn'; got 'ignore'"):
        front.call(layer, [LO[0], HI, 1.0], on_failure="ignore")


def test_a_violated_sign_is_an_invalid_instance(front: FrontEnd) -> None:
    with pytest.raises(SolverError, match="invalid_input at index 1 \\(parameter 'lam' is negative\\)"):
        front.call(layer_of(front, ridge), [np.ones((3, 2)), np.ones(3), np.array([1.0, -1.0])])


# ---- mistakes, options, layers as values ----


def test_mistakes_of_a_call_name_the_parameter(front: FrontEnd) -> None:
    layer, (A, b, lam) = layer_of(front, ridge), map(front.tensor, draw(((4,), (), (4,))))
    with pytest.raises(InputError, match=r"takes 3 parameters \(A: \(3, 2\), b: \(3,\), lam: \(\)\); got 2"):
        layer(A, b)
    with pytest.raises(InputError, match=r"'A' must have shape \(3, 2\) or \(\*batch, 3, 2\); got \(4, 2, 3\)"):
        layer(A.swapaxes(1, 2), b, lam)
    with pytest.raises(InputError, match=r"broadcast"):
        layer(A, b, lam[:3])
    with pytest.raises(InputTypeError, match="Parameter"):
        layer(A, cp.Parameter(3), lam)
    with pytest.raises(OptionError, match="did you mean 'max_iterations'"):
        layer(A, b, lam, solver_args={"max_iteration": 3})


def test_mistakes_of_construction_are_found_there(front: FrontEnd) -> None:
    problem, (A, b, lam), outputs = ridge()
    for wrong in ((problem, [A, b], outputs), (problem, [A, b, lam], [cp.Variable(2)]), (problem, [A, b, lam, A], outputs)):
        with pytest.raises(ProblemError):
            front.kind(*wrong)
    with pytest.raises(UnsupportedConeError, match="Engine 'OSQP' cannot solve this problem, which has second-order cones"):
        front.kind(cp.Problem(cp.Minimize(cp.norm(outputs[0] - b[:2]))), [b], outputs[:1], solver="OSQP")
    with pytest.raises(OptionError, match="Did you mean 'CLARABEL'"):
        front.kind(problem, [A, b, lam], outputs, solver="clarable")


def test_options_hold_until_a_call_overrides_them(front: FrontEnd) -> None:
    values, few = draw(((3,), (), ())), {"max_iterations": 1, "polish": False}
    layer = front.layer(*ridge(), solver_args=few, solver="CLARABEL", on_failure="nan")
    assert [str(s) for s in front.solve(layer, values)[1].status] == ["max_iterations"] * 3
    assert front.solve(layer, values, solver_args={"max_iterations": 100})[1].solved.all()
    for one in ("OSQP", "NATIVE"):  # another engine for one call
        (x, *_), info = front.solve(layer, values, solver_args={"solver": one, "max_iterations": 1000})
        assert info.solved.all()
        close(x, front.call(layer_of(front, ridge), values)[0], front)


def test_points_to_start_from_come_and_go(front: FrontEnd) -> None:
    layer, values = layer_of(front, ridge), [front.tensor(v) for v in draw(((5,), (), ()))]
    cold, info = layer.solve(*values, warm_start=front.cold(layer, (5,)))
    warm, again = layer.solve(*values, warm_start=info.warm_start)
    for a, b in zip(warm, cold, strict=True):
        close(front.numbers(a), front.numbers(b), front)
    assert np.asarray(again.iterations).sum() <= np.asarray(info.iterations).sum()


def test_verbose_prints_one_line_per_call(front: FrontEnd, capsys: pytest.CaptureFixture[str]) -> None:
    front.call(front.layer(*ridge(), verbose=True), draw(((5,), (), ())))
    printed = capsys.readouterr().out
    assert printed.startswith("SolveInfo(5 solved; iterations median")
    assert printed.count("\n") == 1


def test_clones_and_threads_give_the_same_bits(front: FrontEnd) -> None:
    layer, values, cotangents = layer_of(front, ridge), draw(((5,), (), ())), [np.ones((5, 2)), np.ones(5), np.ones((5, 2))]

    def bits(layer: Any) -> list[Array]:
        with front.context():
            outputs, gradients = front.vjp(layer, values, cotangents)
            return [*outputs, *gradients]

    expected = bits(layer)
    with ThreadPoolExecutor(3) as pool:
        results = [bits(copy.deepcopy(layer)), bits(pickle.loads(pickle.dumps(layer))), *pool.map(bits, [layer] * 6)]
    for found in results:
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_array_equal(a, b)


def test_layers_describe_themselves(front: FrontEnd) -> None:
    layer = layer_of(front, ridge)
    for words in ("CvxpyLayer(", "(A[3, 2], b[3], lam) → (x[2], ", f"engine: {front.solver or 'NATIVE'}", "on_failure='raise'"):
        assert words in repr(layer)
    assert layer.explain()["engine"] == (front.solver or "NATIVE")
