"""What is said of failures: messages and `SolveInfo`; `tests/laws/test_front_ends.py` has the modes, in every library."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch

from cvxpylayers import SolveInfo, SolverError, Status
from cvxpylayers._layer.info import Statuses
from cvxpylayers.torch import CvxpyLayer

F64 = torch.float64
# index:                      0 solved    1 lo > hi   2 NaN               3 unbounded  4 solved
LO = torch.tensor([[0.3, 0.1], [2.0, 0.0], [0.0, float("nan")], [0.0, 0.0], [-1.0, 0.2]], dtype=F64)
HI = torch.ones(2, dtype=F64)
C = torch.tensor([1.0, 1.0, 1.0, -1.0, 1.0], dtype=F64)


def test_a_single_instance_has_no_index(interval: CvxpyLayer) -> None:
    with pytest.raises(SolverError, match=r"\n  invalid_input \(parameter 'lo' holds NaN or inf\)\. "):
        interval(LO[2], HI, C[2])


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
