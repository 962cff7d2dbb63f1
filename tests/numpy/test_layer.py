"""What is NumPy's own: linearizations and Jacobians; `tests/laws/test_front_ends.py` has what all libraries share."""

from __future__ import annotations

from itertools import product
from typing import Any

import cvxpy as cp
import numpy as np
import pytest

from cvxpylayers import InputError, InputTypeError, SolverError, Status
from cvxpylayers.numpy import CvxpyLayer

Array = np.ndarray[Any, Any]
RNG = np.random.default_rng(0)


@pytest.fixture
def qp(solver: str | None) -> CvxpyLayer:
    """Parameters A (3, 2), b (3) and a scalar; outputs x (2), the dual of the budget and that of the bounds (2)."""
    x = cp.Variable(2, name="x")
    A, b, lam = cp.Parameter((3, 2), name="A"), cp.Parameter(3, name="b"), cp.Parameter(nonneg=True, name="lam")
    budget, bounds = cp.sum(x) == 1, x >= 0.1
    problem = cp.Problem(cp.Minimize(cp.sum_squares(A @ x - b) + (0.1 + lam) * cp.sum_squares(x)), [budget, bounds])
    return CvxpyLayer(problem, [A, b, lam], [x, budget.dual_variables[0], bounds.dual_variables[0]], solver=solver)


@pytest.fixture
def interval(solver: str | None) -> CvxpyLayer:
    """x in [lo, 1], infeasible for lo > 1."""
    x, lo = cp.Variable(2, name="x"), cp.Parameter(2, name="lo")
    return CvxpyLayer(cp.Problem(cp.Minimize(cp.sum_squares(x)), [x >= lo, x <= 1]), [lo], [x], solver=solver)


def data(*batch: int) -> tuple[Array, Array, Array]:
    rng = np.random.default_rng(1)
    return rng.normal(size=(*batch, 3, 2)), rng.normal(size=3), rng.uniform(0.5, 1.0, size=batch)


def test_lists_and_numbers_are_arrays(qp: CvxpyLayer) -> None:
    A, b, _ = data()
    np.testing.assert_array_equal(qp(A.tolist(), list(b), 1)[0], qp(A, b, np.float64(1.0))[0])


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_outputs_and_gradients_have_the_type_of_the_arrays(qp: CvxpyLayer, dtype: type) -> None:
    A, b, _ = (v.astype(dtype) for v in data(3))
    point = qp.linearize(A, b, 1.0)
    assert {o.dtype for o in point.outputs} == {np.dtype(dtype)}
    assert [g.dtype for g in point.vjp(point.outputs[0], None, None)] == [dtype, dtype, np.float64]
    assert point.jvp(A, None, 1.0)[0].dtype == dtype
    assert point.jacobian()[0][1].dtype == dtype


def test_the_jacobian_holds_every_vjp_and_jvp(qp: CvxpyLayer) -> None:
    values = data(3)
    point = qp.linearize(*values)
    jacobian = point.jacobian()
    shapes = [(3, 2), (3,), ()]
    cotangents = [RNG.normal(size=o.shape) for o in point.outputs]
    gradients = point.vjp(*cotangents)
    for (i, output), (j, own) in product(enumerate(point.outputs), enumerate(shapes)):
        assert jacobian[i][j].shape == output.shape + own
    for j, own in enumerate(shapes):
        rows = [
            np.einsum("bo,boq->bq", c.reshape(3, -1), block[j].reshape(3, c.size // 3, -1))
            for c, block in zip(cotangents, jacobian, strict=True)
        ]
        total = sum(rows).reshape(3, *own)
        np.testing.assert_allclose(total if values[j].shape == total.shape else total.sum(0), gradients[j], atol=1e-10)
    tangents = [RNG.normal(size=(3, *own)) for own in shapes]
    for pushed, blocks in zip(point.jvp(*tangents), jacobian, strict=True):
        parts = [
            np.einsum("boq,bq->bo", block.reshape(3, pushed.size // 3, -1), t.reshape(3, -1))
            for block, t in zip(blocks, tangents, strict=True)
        ]
        np.testing.assert_allclose(sum(parts).reshape(pushed.shape), pushed, atol=1e-10)


def test_one_linearization_serves_the_shortcuts(qp: CvxpyLayer) -> None:
    values = data(2)
    point, (outputs, pull) = qp.linearize(*values), qp.vjp(*values)
    for a, b in zip(point.outputs, outputs, strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(point.vjp(*outputs), pull(*outputs), strict=True):
        np.testing.assert_array_equal(a, b)
    outputs, pushed = qp.jvp(values, values)
    np.testing.assert_array_equal(pushed[0], point.jvp(*values)[0])
    np.testing.assert_array_equal(qp.jacobian(*values)[0][0], point.jacobian()[0][0])


def test_failure_belongs_to_an_instance(interval: CvxpyLayer) -> None:
    lo = np.array([[0.5, 0.5], [2.0, 0.0]], dtype=np.float32)
    with pytest.raises(SolverError, match="1 of 2 instances") as caught:
        interval(lo)
    assert caught.value.outputs[0].dtype == np.float32
    np.testing.assert_allclose(caught.value.outputs[0][0], 0.5, atol=1e-6)
    point = interval.linearize(lo, on_failure="nan")
    assert point.info.status[1] is Status.PRIMAL_INFEASIBLE
    assert np.isnan(point.outputs[0][1]).all()
    np.testing.assert_allclose(point.vjp(np.ones((2, 2)))[0], [[1, 1], [0, 0]], atol=1e-6)
    np.testing.assert_allclose(point.jacobian()[0][0], np.eye(2) * np.array([1, 0])[:, None, None], atol=1e-6)
    with pytest.warns(RuntimeWarning, match="no solution"):
        interval(lo, on_failure="warn")


def test_a_table_of_instances_on_request(interval: CvxpyLayer) -> None:
    _, info = interval.solve(np.array([[0.5, 0.5], [2.0, 0.0], [0.2, 0.3]]), on_failure="nan")
    lines = info.table(most=2).splitlines()
    assert lines[0].split() == ["instance", "status", "iterations", "primal", "dual", "gap", "objective"]
    assert [line.split()[:2] for line in lines[1:3]] == [["1", "primal_infeasible"], ["0", "solved"]]
    assert lines[3] == "… 1 more"
    assert interval.solve(np.array([0.5, 0.5]))[1].table().splitlines()[1].split()[:2] == ["-", "solved"]


def test_mistakes_say_what_is_wrong(qp: CvxpyLayer) -> None:
    A, b, lam = data(3)
    with pytest.raises(InputTypeError, match=r"Argument 2 is a cvxpy.Parameter: pass its value"):
        qp(A, cp.Parameter(3), lam)
    with pytest.raises(InputTypeError, match="'b' must hold real numbers"):
        qp(A, ["a", "b", "c"], lam)
    with pytest.raises(InputError, match="takes 3 parameters"):
        qp(A, b)
    point = qp.linearize(A, b, lam)
    with pytest.raises(InputError, match=r"Cotangent 1 must have the shape of its output, \(3, 2\); got \(2,\)"):
        point.vjp(np.ones(2), None, None)
    with pytest.raises(InputError, match="One cotangent per output is needed, None for zero: 3; got 1"):
        point.vjp(np.ones((3, 2)))
    with pytest.raises(InputError, match="One tangent per parameter is needed, None for zero: 3; got 0"):
        point.jvp()


def test_a_layer_without_parameters_or_batch() -> None:
    x = cp.Variable(2)
    point = CvxpyLayer(cp.Problem(cp.Minimize(cp.sum_squares(x - 1)), [x <= 0.5]), [], [x]).linearize()
    np.testing.assert_allclose(point.outputs[0], 0.5)
    assert point.vjp(np.ones(2)) == ()
    assert point.jacobian() == ((),)
    np.testing.assert_array_equal(point.jvp()[0], np.zeros(2))
