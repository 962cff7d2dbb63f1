"""Tensors on a device are solved and differentiated there: by kernels that a driver without a device executes on the host."""

from __future__ import annotations

from typing import Any

import cvxpy as cp
import numpy as np
import pytest
import torch

from cvxpylayers import Status, WarmStart
from cvxpylayers.torch import CvxpyLayer
from cvxpylayers.torch._pending import Pending
from problems.families import SMALL
from tests.torch.on_a_device import BATCH, close, device, needs_driver, sample

pytestmark = needs_driver

FAMILIES = sorted(SMALL.keys() - {"sudoku_4"})  # more rows than fibers are quick with


@pytest.mark.parametrize("name", FAMILIES)
def test_values_statuses_and_gradients_are_those_of_the_host(name: str) -> None:
    layer, values = sample(name)
    wanted, host = layer.solve(*values)
    cotangents = [torch.randn_like(w) for w in wanted]
    gradients = torch.autograd.grad(wanted, values, cotangents)
    with device():
        found, info = layer.solve(*values)
        assert isinstance(info, Pending)
        close(found, wanted, 1e-9)
        close(torch.autograd.grad(found, values, cotangents), gradients, 1e-8)
        assert (info.codes == host.codes).all()
        assert not info.degenerate.any()
        np.testing.assert_allclose(info.objective, host.objective, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(info.margin, host.margin, rtol=1e-6, atol=1e-9)
        assert repr(info).startswith(f"SolveInfo({BATCH} solved")


def test_tangents_and_second_derivatives_are_those_of_the_host() -> None:
    layer, values = sample("dense_qp_5")
    plain = tuple(v.detach() for v in values)
    tangents = tuple(torch.randn_like(v) for v in plain)

    def loss(*arguments: torch.Tensor) -> torch.Tensor:
        return layer(*arguments)[0].square().sum()

    def push() -> tuple[torch.Tensor, ...]:
        return tuple(torch.func.jvp(lambda *v: layer(*v)[0], plain, tangents))

    def second() -> tuple[torch.Tensor, ...]:
        return tuple(torch.func.jvp(torch.func.grad(loss), plain, tangents))

    wanted = push(), second(), torch.func.jacrev(lambda v: layer(v, *plain[1:])[0])(plain[0])
    with device():
        close(push(), wanted[0], 1e-8)
        close(second(), wanted[1], 1e-7)
        close([torch.func.jacrev(lambda v: layer(v, *plain[1:])[0])(plain[0])], [wanted[2]], 1e-8)


@pytest.mark.parametrize("how", ["half", "single", "turned", "shared", "expanded", "axes", "negated"])
def test_any_dtype_and_strides(how: str, bounded: CvxpyLayer) -> None:
    c, lo, hi = torch.randn(4, 2, dtype=torch.float64), torch.zeros(2, dtype=torch.float64), torch.ones(2, dtype=torch.float64)
    values = {
        "half": [c.half(), lo.half(), hi.half()],
        "single": [c.float(), lo.float(), hi.float()],
        "turned": [c.t().contiguous().t(), lo, hi],
        "shared": [c[0], lo, hi],
        "expanded": [c, lo.expand(4, 2), hi],
        "axes": [c.reshape(2, 2, 2), lo.expand(2, 1, 2), hi[None] + torch.arange(2)[:, None]],
        "negated": [torch.complex(lo, c).conj().imag, lo, hi],
    }[how]
    values = [v.detach().requires_grad_() for v in values]
    wanted = bounded(*values)
    gradients = torch.autograd.grad(wanted[0].sum(), values)
    with device():
        found = bounded(*values)
        close(found, wanted, 1e-6 if how in ("single", "half") else 1e-9)
        close(torch.autograd.grad(found[0].sum(), values), gradients, 1e-6 if how in ("single", "half") else 1e-8)


def test_an_instance_has_the_same_bits_in_any_company(bounded: CvxpyLayer) -> None:
    c, lo, hi = torch.randn(7, 2, dtype=torch.float64), torch.zeros(2, dtype=torch.float64), torch.rand(7, 2, dtype=torch.float64)
    c[2], hi[4] = torch.nan, -1.0
    with device():
        (all_,), info = bounded.solve(c, lo, hi, on_failure="nan")
        for i in range(7):
            (alone,), own = bounded.solve(c[i], lo, hi[i], on_failure="nan")
            assert alone.numpy().tobytes() == all_[i].numpy().tobytes()
            assert own.status[0] == info.status[i]
    assert info.status[2] == Status.INVALID_INPUT
    assert all_[[2, 4]].isnan().all()


@pytest.mark.parametrize(
    ("parameter", "good", "bad"),
    [
        (cp.Parameter(2, nonneg=True), [0.0, 1.0], [-1.0, 1.0]),
        (cp.Parameter(2, nonpos=True), [0.0, -1.0], [1.0, 0.0]),
        (cp.Parameter(2, bounds=[-1, 2]), [0.0, 2.0], [0.0, 3.0]),
        (cp.Parameter((2, 2), symmetric=True), [[1.0, 2.0], [2.0, 1.0]], [[1.0, 2.0], [3.0, 1.0]]),
        (cp.Parameter((2, 2), PSD=True), [[1.0, 1.0], [1.0, 1.0]], [[1.0, 2.0], [2.0, 1.0]]),
        (cp.Parameter((2, 2), NSD=True), [[-1.0, 1.0], [1.0, -1.0]], [[-1.0, 2.0], [2.0, -1.0]]),
        (cp.Parameter((2, 2), diag=True), [[1.0, 0.0], [0.0, 1.0]], [[1.0, 1.0], [0.0, 1.0]]),
        (cp.Parameter(2), [1.0, 1.0], [torch.nan, 1.0]),
        (cp.Parameter(2), [1.0, 1.0], [1.0, torch.inf]),
    ],
    ids=str,
)
def test_domains_are_those_of_the_host(parameter: cp.Parameter, good: Any, bad: Any) -> None:
    x = cp.Variable(2)
    used = parameter if parameter.ndim == 1 else parameter[0] if parameter.attributes["diag"] is False else cp.diag(parameter)
    layer = CvxpyLayer(cp.Problem(cp.Minimize(cp.sum_squares(x - used))), [parameter], [x])
    values = torch.tensor([good, bad, good], dtype=torch.float64)
    for tensor in (values, values.float()):
        wanted = layer.solve(tensor, on_failure="nan")[1]
        with device():
            found = layer.solve(tensor, on_failure="nan")[1]
        assert found.codes.tolist() == wanted.codes.tolist() == [0, int(Status.INVALID_INPUT), 0]


def test_entries_that_no_value_is_made_of_are_looked_at() -> None:
    x, p = cp.Variable(2), cp.Parameter(3)
    layer = CvxpyLayer(cp.Problem(cp.Minimize(cp.sum_squares(x - p[:2]))), [p], [x])
    values = torch.tensor([[1.0, 2.0, torch.nan], [1.0, 2.0, 3.0]])
    with device():
        assert layer.solve(values, on_failure="nan")[1].codes.tolist() == [int(Status.INVALID_INPUT), 0]


@pytest.mark.parametrize("shape", [(), (1,), (3,), (2, 1)])
def test_scalars_and_several_outputs(shape: tuple[int, ...]) -> None:
    x, y, p, q = cp.Variable(name="x"), cp.Variable(2, name="y"), cp.Parameter(name="p"), cp.Parameter(2, name="q")
    objective = cp.Minimize(cp.square(x - p) + cp.sum_squares(y - q) + cp.sum(y) * 0.5)
    layer = CvxpyLayer(cp.Problem(objective, [x <= 1, y >= 0]), [p, q], [x, y])
    values = [torch.full(shape, 0.5).requires_grad_(), torch.rand(2, dtype=torch.float64, requires_grad=True)]

    def all_of_it() -> list[torch.Tensor]:
        outputs = layer(*values)
        gradients = torch.autograd.grad(outputs[0].sum() + outputs[1].square().sum(), values)
        tangents = torch.func.jvp(lambda v: layer(v, values[1])[1], (values[0].detach(),), (torch.ones(shape),))
        return [*outputs, *gradients, *tangents]

    wanted = all_of_it()
    with device():
        found = all_of_it()
    close(found, wanted, 1e-6)
    assert found[0].untyped_storage().data_ptr() != found[1].untyped_storage().data_ptr()


def test_infinite_bounds(bounded: CvxpyLayer) -> None:
    c = torch.tensor([[2.0, -3.0], [0.5, 0.5]], dtype=torch.float64, requires_grad=True)
    lo = torch.tensor([[-torch.inf, -1.0], [0.0, -1e20]], dtype=torch.float64, requires_grad=True)
    hi = torch.tensor([1e25, torch.inf], dtype=torch.float64, requires_grad=True)
    wanted = bounded(c, lo, hi)
    gradients = torch.autograd.grad(wanted[0].sum(), [c, lo, hi])
    with device():
        found = bounded(c, lo, hi)
        close(found, wanted, 1e-9)
        close(torch.autograd.grad(found[0].sum(), [c, lo, hi]), gradients, 1e-8)


def test_empty_batches_and_layers_without_gradients(bounded: CvxpyLayer) -> None:
    none, one = torch.zeros(0, 2, dtype=torch.float64, requires_grad=True), torch.ones(2, dtype=torch.float64, requires_grad=True)
    with device():
        (found,) = bounded(none, one - 1, one)
        assert found.shape == (0, 2)
        found.sum().backward()
        assert none.grad is not None
        assert none.grad.shape == (0, 2)
        with torch.no_grad():
            assert not bounded(torch.zeros(3, 2), one - 1, one)[0].requires_grad


def test_warm_starts(bounded: CvxpyLayer) -> None:
    c, lo, hi = torch.randn(5, 2, dtype=torch.float64), torch.zeros(2), torch.ones(2)
    with device():
        (cold,), info = bounded.solve(c, lo, hi, warm_start=WarmStart())
        assert info.warm_start is not None
        (warm,), again = bounded.solve(c, lo, hi, warm_start=info.warm_start)
    torch.testing.assert_close(warm, cold, rtol=1e-9, atol=1e-9)
    assert again.iterations.sum() <= info.iterations.sum()


def test_compiled_and_exported_code_goes_the_same_way(bounded: CvxpyLayer) -> None:
    c, lo, hi = torch.randn(3, 2, dtype=torch.float64, requires_grad=True), torch.zeros(2), torch.ones(2)

    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = bounded

        def forward(self, c: torch.Tensor) -> torch.Tensor:
            return 2 * self.layer(c, lo, hi)[0]

    wanted = Model()(c)
    (gradient,) = torch.autograd.grad(wanted.sum(), c)
    with device():
        for model in (torch.compile(Model(), backend="aot_eager", fullgraph=True), torch.export.export(Model(), (c,)).module()):
            found = model(c)
            close([found, *torch.autograd.grad(found.sum(), c)], [wanted, gradient], 1e-8)


def test_vmap_and_functional_gradients(bounded: CvxpyLayer) -> None:
    c, lo, hi = torch.randn(2, 3, 2, dtype=torch.float64), torch.zeros(2, dtype=torch.float64), torch.ones(2, dtype=torch.float64)

    def gradient(v: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = torch.func.grad(lambda u: bounded(u, lo, hi)[0].square().sum())(v)
        return found

    wanted = torch.func.vmap(gradient)(c)
    with device():
        torch.testing.assert_close(torch.func.vmap(gradient)(c), wanted, rtol=1e-8, atol=1e-8)
