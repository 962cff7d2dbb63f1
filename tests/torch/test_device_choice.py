"""Who solves tensors on a device, and what is said where it cannot be the device."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

import cvxpy as cp
import pytest
import torch

from cvxpylayers._engines.native import device as native_device
from cvxpylayers.errors import DeviceError, InputError, InputTypeError, OptionError
from cvxpylayers.torch import CvxpyLayer, _addresses, _on_device
from cvxpylayers.torch._pending import Pending
from tests.torch.on_a_device import device, needs_driver

pytestmark = needs_driver


@pytest.mark.parametrize("made", ["layer", "call"])
def test_the_user_has_the_last_word(made: str) -> None:
    x, c = cp.Variable(2), cp.Parameter(2)
    of_layer, of_call = ({"device": "cpu"}, None) if made == "layer" else (None, {"device": "cpu"})
    layer = CvxpyLayer(cp.Problem(cp.Minimize(cp.sum_squares(x - c))), [c], [x], solver_args=of_layer)
    with device():
        _, info = layer.solve(torch.ones(2), solver_args=of_call)
        assert not isinstance(info, Pending)
        assert isinstance(layer.solve(torch.ones(2), solver_args={"device": "cuda"})[1], Pending)
    with pytest.raises(InputError, match=r"value\.cuda\(\)"):
        layer(torch.ones(2), solver_args={"device": "cuda"})
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


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("CVXPYLAYERS_CUDA_DRIVER", "libno_such_driver.so", "there is no NVIDIA driver"),
        ("CVXPYLAYERS_CUDA_DRIVER", "libm.so.6", "the NVIDIA driver is too old"),
    ],
)
def test_without_a_driver_the_host_solves(
    name: str, value: str, message: str, bounded: CvxpyLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    zero, one = torch.zeros(2), torch.ones(2)
    with device():
        monkeypatch.setenv(name, value)
        assert not isinstance(bounded.solve(zero, zero, one)[1], Pending)
        with pytest.raises(DeviceError, match=message):
            bounded(zero, zero, one, solver_args={"device": "cuda"})


def test_a_device_that_the_driver_does_not_know(bounded: CvxpyLayer, monkeypatch: pytest.MonkeyPatch) -> None:
    zero, one = torch.zeros(2), torch.ones(2)
    with device():
        monkeypatch.setattr(_addresses, "ordinal", lambda tensor: 3)
        with pytest.raises(DeviceError, match="knows 1 device"):
            bounded(zero, zero, one, solver_args={"device": "cuda"})


def test_memory_that_is_not_there(bounded: CvxpyLayer, monkeypatch: pytest.MonkeyPatch) -> None:
    c, zero, one = torch.randn(9, 2, dtype=torch.float64), torch.zeros(2), torch.ones(2)
    most, refused = [1 << 40], []
    real = torch.Tensor.new_empty

    def new_empty(self: torch.Tensor, size: Any, **how: Any) -> torch.Tensor:
        if how.get("dtype") is torch.uint8 and size > most[0]:
            refused.append(size)
            raise torch.cuda.OutOfMemoryError
        return real(self, size, **how)

    monkeypatch.setattr(torch.Tensor, "new_empty", new_empty)
    with device():
        (wanted,) = bounded(c, zero, one)
        most[0] = 600
        if not refused:
            most[0] = 64
        with pytest.raises(DeviceError, match="the device has too little memory left"):
            bounded(c, zero, one)
        assert refused
        most[0] = 1 << 40
        assert torch.equal(bounded(c, zero, one)[0], wanted)


def test_an_interrupt_is_noticed_after_the_call(bounded: CvxpyLayer) -> None:
    zero, one = torch.zeros(2), torch.ones(2)
    lend = _addresses.Lender.__call__

    def interrupted(self: _addresses.Lender, size: int) -> int:
        signal.raise_signal(signal.SIGINT)
        return lend(self, size)

    with device(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(_addresses.Lender, "__call__", interrupted)
        with pytest.raises(KeyboardInterrupt):
            bounded(zero, zero, one)
        patch.undo()
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
