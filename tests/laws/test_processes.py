"""The layer as a guest in a process: interrupts, forks, threads of the user, pickles that travel. Every wait has a limit."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import cvxpy as cp
import numpy as np
import pytest
import torch

from cvxpylayers.torch import CvxpyLayer

F64 = torch.float64
ASSETS = 24
LIMIT = 20.0  # seconds that any one wait may take; a loaded machine is slow, a deadlock is endless


@pytest.fixture
def layer() -> CvxpyLayer:
    """A portfolio whose covariance factor (ASSETS, ASSETS) and returns (ASSETS) are parameters, on two threads."""
    return portfolio(threads=2)


def portfolio(threads: int) -> CvxpyLayer:
    w, y = cp.Variable(ASSETS, name="w"), cp.Variable(ASSETS)
    F, r = cp.Parameter((ASSETS, ASSETS), name="F"), cp.Parameter(ASSETS, name="r")
    problem = cp.Problem(cp.Minimize(cp.sum_squares(y) - r @ w), [y == F @ w, w >= 0, cp.sum(w) == 1])
    return CvxpyLayer(problem, [F, r], [w], solver_args={"threads": threads})


def data(size: int, seed: int = 0) -> list[torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return [torch.randn(*shape, dtype=F64, generator=draw) for shape in ((ASSETS, ASSETS), (size, ASSETS))]


def everything(layer: CvxpyLayer, inputs: list[torch.Tensor]) -> list[np.ndarray]:
    """Solution and gradients."""
    inputs = [t.detach().clone().requires_grad_() for t in inputs]
    (w,) = layer(*inputs)
    return [w.detach().numpy(), *(g.numpy() for g in torch.autograd.grad(w.square().sum(), inputs))]


def same(found: list[np.ndarray], expected: list[np.ndarray]) -> bool:
    return all(np.array_equal(f, e) for f, e in zip(found, expected, strict=True))


@contextmanager
def interrupt_after(seconds: float) -> Iterator[list[float]]:
    """Send this process SIGINT once; yields a list that receives the time of sending. Nothing strays out of the block."""
    sent: list[float] = []

    def send() -> None:
        sent.append(time.perf_counter())
        os.kill(os.getpid(), signal.SIGINT)

    timer = threading.Timer(seconds, send)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        timer.start()
        yield sent
    finally:
        timer.cancel()
        timer.join(LIMIT)
        signal.signal(signal.SIGINT, before)


def long_solve(layer: CvxpyLayer) -> Callable[[], object]:
    F, r = data(1)
    many = r.expand(3_000_000, ASSETS)  # shared memory: minutes of work, and little to allocate before it
    return lambda: layer.solve(F, many)


def long_backward(layer: CvxpyLayer) -> Callable[[], object]:
    """The derivative of 20 000 solves, again and again: no single one of them is long enough."""
    F, r = (t.requires_grad_() for t in data(20_000))
    (w,) = layer(F, r)
    loss = w.square().sum()

    def repeat() -> None:
        while True:
            torch.autograd.grad(loss, [F, r], retain_graph=True)

    return repeat


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("work", [long_solve, long_backward])
def test_an_interrupt_stops_a_long_batch_and_leaves_the_layer_usable(
    work: Callable[[CvxpyLayer], Callable[[], object]], threads: int
) -> None:
    layer = portfolio(threads)
    inputs = data(40)
    expected, run = everything(layer, inputs), work(layer)
    with interrupt_after(0.3) as sent:
        with pytest.raises(KeyboardInterrupt) as caught:
            run()
        stopped = time.perf_counter()
    assert work is long_backward or caught.traceback[-1].path.name == "engine.py"  # stopped from within the kernel
    assert stopped - sent[0] < 1.0
    assert same(everything(layer, inputs), expected)


def test_a_forked_child_solves_the_same_after_a_parallel_solve(layer: CvxpyLayer) -> None:
    inputs = data(200)
    expected = everything(layer, inputs)  # the pool of threads exists now, in this process alone

    def child() -> None:
        os._exit(0 if same(everything(layer, inputs), expected) else 1)

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join(LIMIT)
    process.kill()
    process.join(LIMIT)
    assert process.exitcode == 0
    assert same(everything(layer, inputs), expected)


def test_threads_of_the_user_get_the_same_bits(layer: CvxpyLayer) -> None:
    batches = [data(30 + k, seed=k) for k in range(4)]
    expected = [everything(layer, inputs) for inputs in batches]
    start = threading.Barrier(len(batches))

    def repeat(inputs: list[torch.Tensor]) -> list[list[np.ndarray]]:
        start.wait(LIMIT)
        return [everything(layer, inputs) for _ in range(10)]

    with ThreadPoolExecutor(len(batches)) as pool:
        found = [future.result(LIMIT) for future in [pool.submit(repeat, inputs) for inputs in batches]]
    assert all(same(once, e) for rounds, e in zip(found, expected, strict=True) for once in rounds)


def _elsewhere(layer: CvxpyLayer, arrays: list[np.ndarray]) -> list[np.ndarray]:
    return everything(layer, [torch.from_numpy(a) for a in arrays])


def test_a_layer_travels_to_a_new_process(layer: CvxpyLayer) -> None:
    inputs = data(50)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        found = pool.apply_async(_elsewhere, (layer, [t.numpy() for t in inputs])).get(3 * LIMIT)  # imports everything anew
    assert same(found, everything(layer, inputs))
