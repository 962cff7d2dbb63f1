"""Who solves tensors on a device, and what is said where it cannot be the device."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import cvxpy as cp
import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

import cvxpylayers.jax
import cvxpylayers.numpy
from cvxpylayers._engines.native import device as native_device
from cvxpylayers.errors import DeviceError, InputError, InputTypeError, OptionError
from cvxpylayers.torch import CvxpyLayer, _addresses, _on_device, _ops, _recorders
from cvxpylayers.torch._pending import Pending
from problems.families import SMALL
from tests.torch.on_a_device import DRIVER, device, needs_driver

pytestmark = needs_driver


@pytest.mark.parametrize("made", ["layer", "call"])
def test_the_user_has_the_last_word(made: str) -> None:
    x, c = cp.Variable(2), cp.Parameter(2)
    of_layer, of_call = ({"device": "cpu"}, None) if made == "layer" else (None, {"device": "cpu"})
    problem = cp.Problem(cp.Minimize(cp.sum_squares(x - c)))
    layer = CvxpyLayer(problem, [c], [x], solver_args=of_layer)
    with device():
        _, info = layer.solve(torch.ones(2), solver_args=of_call)
        assert not isinstance(info, Pending)
        assert isinstance(layer.solve(torch.ones(2), solver_args={"device": "cuda"})[1], Pending)
    with pytest.raises(InputError, match=r"value\.cuda\(\)"):
        layer(torch.ones(2), solver_args={"device": "cuda"})
    for other in (cvxpylayers.jax.CvxpyLayer, cvxpylayers.numpy.CvxpyLayer):
        with pytest.raises(InputError, match=r"is for tensors of PyTorch"):
            other(problem, [c], [x], solver_args={"device": "cuda"})(np.ones(2))
        (found,) = other(problem, [c], [x], solver_args={"device": "cpu"})(np.ones(2))
        np.testing.assert_allclose(found, 1.0, rtol=1e-6)
    with pytest.raises(OptionError, match="'auto', 'cpu', 'cuda'"):
        layer(torch.ones(2), solver_args={"device": "tpu"})


def obstacles() -> Iterator[Any]:
    """Layers that the host solves, and a word of the reason."""
    x, c = cp.Variable(2), cp.Parameter(2)
    quadratic = cp.Problem(cp.Minimize(cp.sum_squares(x - c)), [x >= 0])
    yield pytest.param((quadratic, {"solver": "CLARABEL"}), "the engine CLARABEL", id="engine")
    yield pytest.param((quadratic, {"solver_args": {"derivative": "smoothed"}}), "smoothed", id="smoothed")
    yield pytest.param((cp.Problem(cp.Minimize(cp.norm(x - c)), [x >= 1]), {}), "soc", id="cones")


@pytest.mark.parametrize(("case", "word"), [*obstacles()])
def test_the_host_solves_what_devices_do_not(case: Any, word: str) -> None:
    problem, arguments = case
    layer = CvxpyLayer(problem, problem.parameters(), problem.variables(), **arguments)
    value = torch.full((3, 2), 0.5, dtype=torch.float64, requires_grad=True)
    with device():
        (found,), info = layer.solve(value)
        found.sum().backward()
        assert not isinstance(info, Pending)
        if "solver" not in arguments:
            with pytest.raises(DeviceError, match=word):
                layer(value, solver_args={"device": "cuda"})
        assert word in native_device.execution(layer._layer.engine, None, 0).why
        assert word in layer.explain()["tensors on a device"]


@pytest.mark.parametrize(
    ("number", "driver", "message"),
    [
        (0, "libno_such_driver.so", "there is no NVIDIA driver"),
        (0, "libm.so.6", "the NVIDIA driver is too old"),
        (3, str(DRIVER), "knows 1 device"),
    ],
)
def test_without_a_driver_for_the_device_the_host_solves(number: int, driver: str, message: str, bounded: CvxpyLayer) -> None:
    zero, one = torch.zeros(2), torch.ones(2)
    with device(number, driver):
        assert not isinstance(bounded.solve(zero, zero, one)[1], Pending)
        with pytest.raises(DeviceError, match=message):
            bounded(zero, zero, one, solver_args={"device": "cuda"})


def test_memory_that_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a block cannot share is in global memory; fewer teams work, with the same bits; what not even one finds is said."""
    roomy = CvxpyLayer(*SMALL["mpc_5"].make())
    layer = CvxpyLayer(*SMALL["mpc_5"].make(), solver_args={"lane_width": 2})  # has an engine of its own
    values = [torch.from_numpy(np.asarray(a)) for a in SMALL["mpc_5"].sample(9, 0)]
    asked, most = list[int](), [1 << 40]
    real = torch.Tensor.new_empty

    def new_empty(self: torch.Tensor, size: Any, **how: Any) -> torch.Tensor:
        if how.get("dtype") is torch.uint8:
            asked.append(size)
            if size > most[0]:
                raise torch.cuda.OutOfMemoryError
        return real(self, size, **how)

    monkeypatch.setattr(torch.Tensor, "new_empty", new_empty)
    with device():
        (wanted, *_) = roomy(*values)
        monkeypatch.setenv("FAKE_CUDA_SHARED", "2048")
        assert torch.equal(layer(*values)[0], wanted)
        largest, most[0] = max(asked), max(asked) - 1
        asked.clear()
        assert torch.equal(layer(*values)[0], wanted)
        assert asked[asked.index(largest) + 1] <= largest // 2
        most[0] = 16
        with pytest.raises(DeviceError, match=r"the device has too little memory left: \d+ bytes"):
            layer(*values)


def test_an_interrupt_is_noticed_after_the_call(bounded: CvxpyLayer) -> None:
    zero, one = torch.zeros(2), torch.ones(2)
    lend = _addresses.Lender.__call__

    def interrupted(self: _addresses.Lender, size: int) -> int:
        signal.raise_signal(signal.SIGINT)
        return lend(self, size)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a process in the background may ignore it
    with device(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(_addresses.Lender, "__call__", interrupted)
        with pytest.raises(KeyboardInterrupt):
            bounded(zero, zero, one)
    signal.signal(signal.SIGINT, before)
    with device():
        torch.testing.assert_close(bounded(zero, zero, one)[0], zero)


def test_bad_tensors_raise_before_work(bounded: CvxpyLayer) -> None:
    zero, one = torch.zeros(2), torch.ones(2)
    with device():
        with pytest.raises(InputTypeError, match="must hold real numbers"):
            bounded(zero.to(torch.complex64), zero, one)
        with pytest.raises(InputError, match="must have shape"):
            bounded(torch.zeros(3), zero, one)
        with pytest.raises(InputError, match="must be on one device"):
            bounded(zero, zero, one.to("meta"), on_failure="nan")


def test_data_are_solved_where_they_lie(bounded: CvxpyLayer) -> None:
    with device():
        assert _on_device.where(bounded._layer, {}, 0).device == 0
        assert bounded.explain()["tensors on a device"] == "solved there: data stay where they lie"


def test_a_graph_holds_what_neither_reads_nor_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    x, c = cp.Variable(2, name="own"), cp.Parameter(2)
    layer = CvxpyLayer(cp.Problem(cp.Minimize(cp.sum_squares(x - 3 * c)), [x >= 0]), [c], [x])
    value = torch.ones(2, dtype=torch.float64, requires_grad=True)
    with device(), monkeypatch.context() as patch:
        patch.setattr(_recorders, "capturing", lambda: True)
        with pytest.raises(InputError, match="Call the layer once before"):
            layer(value, on_failure="nan")
        patch.setattr(_recorders, "capturing", lambda: False)
        layer(value)
        patch.setattr(_recorders, "capturing", lambda: True)
        with pytest.raises(InputError, match="on_failure='nan'"):
            layer(value)
        (found,) = layer(value, on_failure="nan")
        (gradient,) = torch.autograd.grad(found.sum(), value)
        torch.testing.assert_close(gradient, torch.full_like(value, 3.0))
        with pytest.raises(InputError, match="solved by the host"):
            layer(value, on_failure="nan", solver_args={"device": "cpu"})


def test_several_devices(bounded: CvxpyLayer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_CUDA_DEVICES", "2")
    c, zero, one = torch.randn(3, 2, dtype=torch.float64), torch.zeros(2), torch.ones(2)
    found = []
    for number in (0, 1, 0):
        with device(number):
            outputs, info = bounded.solve(c, zero, one, solver_args={"device": "cuda"})
            assert isinstance(info, Pending)
            found.append(outputs[0])
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def test_many_threads_call_one_layer() -> None:
    layer = CvxpyLayer(*SMALL["portfolio_5"].make(), solver_args={"lane_width": 4})  # whose kernel nobody has made yet
    values = [torch.from_numpy(np.asarray(a)).requires_grad_() for a in SMALL["portfolio_5"].sample(3, 0)]

    def work(_: int) -> torch.Tensor:
        (found,) = layer(*values)
        return torch.cat([found.detach().reshape(-1), torch.autograd.grad(found.square().sum(), values[0])[0].reshape(-1)])

    with device(), ThreadPoolExecutor(4) as pool:
        first, *others = pool.map(work, range(12))
    assert all(torch.equal(first, other) for other in others)


def test_recorders_know_where_the_tape_will_lie(bounded: CvxpyLayer) -> None:
    name, on_the_host = _ops._handle(bounded._ticket), '{"solver_args": {"device": "cpu"}}'
    with device(), FakeTensorMode():
        values = [torch.empty(*shape, device="cuda:0") for shape in ((3, 2), (2,), (2,))]
        for arguments, place in (("{}", "cuda"), (on_the_host, "cpu")):
            output, tape = _ops._fake_solve(name, arguments, True, values)
            assert (output.device.type, tape.device.type) == ("cuda", place)
            structure = bounded._layer.compiled.structure
            assert tape.shape == (3, structure.n + 2 * structure.m)
