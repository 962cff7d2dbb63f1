"""Failure is per instance: statuses, the three modes, and neighbours that do not notice."""

from __future__ import annotations

import pickle

import cvxpy as cp
import numpy as np
import pytest
import torch

from cvxpylayers import SolveInfo, SolverError, Status
from cvxpylayers._info import Statuses
from cvxpylayers.torch import CvxpyLayer

F64 = torch.float64
# index:                      0 solved    1 lo > hi   2 NaN               3 unbounded  4 solved
LO = torch.tensor([[0.3, 0.1], [2.0, 0.0], [0.0, float("nan")], [0.0, 0.0], [-1.0, 0.2]], dtype=F64)
HI = torch.ones(2, dtype=F64)
C = torch.tensor([1.0, 1.0, 1.0, -1.0, 1.0], dtype=F64)
EXPECTED = [Status.SOLVED, Status.PRIMAL_INFEASIBLE, Status.INVALID_INPUT, Status.DUAL_INFEASIBLE, Status.SOLVED]
GOOD, BAD = [0, 4], [1, 2, 3]


def test_every_instance_has_its_own_status(interval: CvxpyLayer) -> None:
    (x, y), info = interval.solve(LO, HI, C, on_failure="nan")
    assert list(info.status) == EXPECTED
    assert info.solved.tolist() == [True, False, False, False, True]
    assert x[BAD].isnan().all()
    assert y[BAD].isnan().all()
    torch.testing.assert_close(x[GOOD], LO[GOOD].clamp(min=0), atol=1e-7, rtol=0)
    for array in (info.iterations, info.primal_residual, info.dual_residual, info.gap, info.objective, info.fallback):
        assert array.shape == (5,)
    np.testing.assert_allclose(info.objective[GOOD], (LO[GOOD].clamp(min=0) ** 2).sum(-1), atol=1e-7)
    assert (info.primal_residual[GOOD] <= 1e-8).all()
    assert (info.dual_residual[GOOD] <= 1e-8).all()
    assert (info.gap[GOOD] <= 1e-8).all()


def test_raise_names_instances_and_statuses_and_carries_what_was_solved(interval: CvxpyLayer) -> None:
    with pytest.raises(SolverError) as caught:
        interval(LO, HI, C)
    text = str(caught.value)
    for words in ("3 of 5 instances", "primal_infeasible at index 1", "dual_infeasible at index 3", Status.PRIMAL_INFEASIBLE.help):
        assert words in text
    assert "invalid_input at index 2 (parameter 'lo' holds NaN or inf)" in text
    assert list(caught.value.info.status) == EXPECTED
    x, y = caught.value.outputs
    expected_x, expected_y = interval(LO, HI, C, on_failure="nan")
    assert torch.equal(x.nan_to_num(-9), expected_x.nan_to_num(-9))
    assert torch.equal(y.nan_to_num(-9), expected_y.nan_to_num(-9))


def test_warn_returns_the_best_iterate_with_one_warning(interval: CvxpyLayer) -> None:
    with pytest.warns(RuntimeWarning, match="3 of 5 instances") as caught:
        x, _ = interval(LO, HI, C, on_failure="warn")
    assert len(caught) == 1
    assert torch.equal(x[GOOD], interval(LO, HI, C, on_failure="nan")[0][GOOD])


@pytest.mark.parametrize("mode", ["nan", "warn"])
@pytest.mark.filterwarnings("ignore:3 of 5")
def test_failed_instances_have_zero_gradients_even_into_shared_parameters(interval: CvxpyLayer, mode: str) -> None:
    def gradients(rows: list[int]) -> tuple[torch.Tensor, ...]:
        data = [LO[rows].clone(), HI.clone(), C[rows].clone()]
        for tensor in data:
            tensor.requires_grad_()
        x, y = interval(*data, on_failure=mode)
        ((x**2).sum() + y.sum()).backward()  # NaN in, NaN cotangents out
        return tuple(t.grad for t in data)

    lo, hi, c = gradients([0, 1, 2, 3, 4])
    lo_good, hi_good, c_good = gradients(GOOD)
    assert (lo[BAD] == 0).all()
    assert (c[BAD] == 0).all()
    assert torch.equal(lo[GOOD], lo_good)
    assert torch.equal(c[GOOD], c_good)
    torch.testing.assert_close(hi, hi_good, atol=1e-13, rtol=0)


def test_neighbours_do_not_change_a_bit(interval: CvxpyLayer) -> None:
    x, _ = interval(LO, HI, C, on_failure="nan")
    for i in GOOD:
        assert torch.equal(x[i], interval(LO[i], HI, C[i])[0])


def test_the_mode_of_the_layer_holds_until_a_call_overrides_it(solver: str | None) -> None:
    x, b = cp.Variable(3), cp.Parameter(3, name="b")
    layer = CvxpyLayer(cp.Problem(cp.Minimize(cp.sum_squares(x - b))), [b], [x], solver=solver, on_failure="nan")
    bad = torch.full((3,), float("nan"))
    assert layer(bad)[0].isnan().all()
    with pytest.raises(SolverError, match=r"invalid_input \(parameter 'b' holds NaN or inf\)"):
        layer(bad, on_failure="raise")


def test_a_single_instance_is_not_called_a_batch(interval: CvxpyLayer) -> None:
    with pytest.raises(SolverError, match=r"The instance was not solved:\n  primal_infeasible\. No .*\n.* goes on without it"):
        interval(LO[1], HI, C[1])
    with pytest.raises(SolverError, match=r"\n  invalid_input \(parameter 'lo' holds NaN or inf\)\. "):
        interval(LO[2], HI, C[2])


def test_a_violated_sign_is_an_invalid_instance(ridge: CvxpyLayer) -> None:
    lam = torch.tensor([1.0, -1.0], dtype=F64)
    with pytest.raises(SolverError, match="invalid_input at index 1 \\(parameter 'lam' is negative\\)"):
        ridge(torch.ones(3, 2, dtype=F64), torch.ones(3, dtype=F64), lam, torch.ones(2, dtype=F64))


def test_many_failures_are_listed_briefly_by_their_index(interval: CvxpyLayer) -> None:
    with pytest.raises(SolverError) as caught:
        interval(LO[1].expand(4, 5, 2), HI, C[0])
    assert "index (0, 0), index (0, 1)" in str(caught.value)
    assert "… (20 in all)" in str(caught.value)
    assert len(str(caught.value)) < 600
    assert caught.value.info.status.shape == (4, 5)


def test_statuses_behave_like_an_array_of_their_shape() -> None:
    grid = Statuses(np.array([[0, 2, 7], [0, 0, 1]], dtype=np.int8))
    assert grid.shape == (2, 3)
    assert grid[0][1] is Status.PRIMAL_INFEASIBLE
    assert (grid == Status.SOLVED).tolist() == [[True, False, False], [True, True, False]]
    assert repr(grid) == "3 solved, 1 almost_solved, 1 primal_infeasible, 1 invalid_input"
    single = Statuses(np.array(4, dtype=np.int8))
    assert list(single) == [single[0]] == [Status.MAX_ITERATIONS]
    assert str(single[0]) == "max_iterations"
    assert "max_iterations" in single[0].help


def test_info_is_small_readable_and_picklable(interval: CvxpyLayer) -> None:
    _, info = interval.solve(LO, HI, C, on_failure="nan")
    assert repr(info).startswith("SolveInfo(2 solved, 1 primal_infeasible, 1 dual_infeasible, 1 invalid_input; iterations median")
    again = pickle.loads(pickle.dumps(info))
    assert isinstance(again, SolveInfo)
    assert repr(again) == repr(info)
    _, empty = interval.solve(LO[:0], HI, C[:0])
    assert repr(empty) == "SolveInfo(empty batch)"
