"""What a device leaves open or cannot tell: modes of failure, and what the host's engine settles."""

from __future__ import annotations

import cvxpy as cp
import numpy as np
import pytest
import torch

from cvxpylayers import Status
from cvxpylayers.errors import SolverError
from cvxpylayers.torch import CvxpyLayer
from problems.families import status_family
from tests.torch.on_a_device import close, device, needs_driver, sample

pytestmark = needs_driver


def test_failures(bounded: CvxpyLayer) -> None:
    c = torch.zeros(3, 2, dtype=torch.float64, requires_grad=True)
    lo, hi = torch.zeros(2, dtype=torch.float64), torch.tensor([[1.0, 1.0], [-1.0, 1.0], [1.0, 1.0]], dtype=torch.float64)
    with device():
        with pytest.raises(SolverError, match=r"1 of 3 instances have no solution:\n  primal_infeasible at index 1") as caught:
            bounded(c, lo, hi)
        assert caught.value.outputs[0].isnan().any(-1).tolist() == [False, True, False]
        assert caught.value.info.failed.tolist() == [1]
        with pytest.warns(RuntimeWarning, match="1 of 3 instances"):
            bounded(c, lo, hi, on_failure="warn")
        (found,) = bounded(c, lo, hi, on_failure="nan")
        assert found.isnan().any(-1).tolist() == [False, True, False]
        found.nan_to_num().sum().backward()
        assert c.grad is not None
        assert c.grad.isfinite().all()


def test_what_the_device_leaves_open_the_host_settles_where_the_call_may_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, values = sample("dense_qp_5")
    options = {"max_iterations": 2, "polish": False, "fallback": True}
    wanted, host = layer.solve(*values, solver_args=options, on_failure="warn")
    with device():
        found, info = layer.solve(*values, solver_args=options, on_failure="warn")
        close(found, wanted, 1e-7)
        assert info.codes.tolist() == host.codes.tolist()
        assert info.fallback.tolist() == host.fallback.tolist()
        close(torch.autograd.grad(found[0].sum(), values), torch.autograd.grad(wanted[0].sum(), values), 1e-6)
        left = layer.solve(*values, solver_args=options, on_failure="nan")[1]
        assert set(left.status) == {Status.MAX_ITERATIONS}
        assert not left.fallback.any()


def test_derivatives_in_doubt_are_the_host_s_where_the_call_may_wait(cost: CvxpyLayer) -> None:
    values = torch.tensor([[1.0, 2.0, 3.0], [1.0, 1.0, 3.0]], dtype=torch.float64, requires_grad=True)
    weights = torch.randn(2, 3, dtype=torch.float64)
    wanted, host = cost.solve(values)
    (gradient,) = torch.autograd.grad((wanted[0] * weights).sum(), values)
    with device():
        found, info = cost.solve(values)
        (own,) = torch.autograd.grad((found[0] * weights).sum(), values)
        assert info.degenerate.tolist() == host.degenerate.tolist() == [False, True]
        torch.testing.assert_close(own, gradient, rtol=1e-8, atol=1e-8)
        pushed = torch.func.jvp(lambda v: cost(v)[0], (values.detach(),), (weights,))[1]
        found, info = cost.solve(values, on_failure="nan")
        (own,) = torch.autograd.grad((found[0] * weights).sum(), values)
        assert info.degenerate.tolist() == [False, True]
        assert own[1].tolist() == [0.0] * 3
    torch.testing.assert_close(
        pushed, torch.func.jvp(lambda v: cost(v)[0], (values.detach(),), (weights,))[1], rtol=1e-8, atol=1e-8
    )


def test_mode_nan_waits_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits for a device asks it for numbers, or sends it some that the host made."""
    x, p, d = cp.Variable(2), cp.Parameter(2, bounds=[-9, 9]), cp.Parameter((2, 2), diag=True)
    hi = cp.Parameter(2)
    layer = CvxpyLayer(cp.Problem(cp.Minimize(cp.sum_squares(x - p - d @ np.ones(2))), [x >= 0, x <= hi]), [p, d, hi], [x])
    values = [torch.zeros(3, 2, requires_grad=True), torch.eye(2), torch.ones(2)]
    with device():
        layer(*values)  # constants are sent once
    waits = []
    for owner, names in (
        (torch.Tensor, ("item", "numpy", "tolist", "cpu", "__bool__", "__int__", "nonzero", "new_tensor")),
        (torch, ("tensor", "as_tensor", "from_numpy")),
    ):
        for name in names:
            real = getattr(owner, name)
            monkeypatch.setattr(owner, name, lambda *a, n=name, r=real, **k: (waits.append(n), r(*a, **k))[1])
    with device():
        (found,), info = layer.solve(*values, on_failure="nan")
        found.sum().backward()
        assert waits == []
        assert info.solved.all()
        waits.clear()
        layer(*values)
        assert waits == ["__int__"]


def test_verdicts_need_no_host() -> None:
    """The homogeneous loop on the device proves what the quadratic one leaves open."""
    family = status_family()
    arrays, status = family.draw(np.random.default_rng(4), 12)
    layer = CvxpyLayer(*family.make())
    with device():
        info = layer.solve(*map(torch.from_numpy, arrays), on_failure="nan")[1]
    assert info.codes.tolist() == status.tolist()
    assert len(set(status)) > 1
