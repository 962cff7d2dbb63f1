"""What training scripts do: workers, processes, threads, mixed precision. Every wait has a limit."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cvxpy as cp
import pytest
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Dataset

from cvxpylayers.torch import CvxpyLayer

F64 = torch.float64
LIMIT = 60.0  # seconds that any one wait may take; processes import everything anew


def projection(n: int = 4) -> CvxpyLayer:
    """The nearest point of the simplex."""
    x, p = cp.Variable(n), cp.Parameter(n)
    return CvxpyLayer(cp.Problem(cp.Minimize(cp.sum_squares(x - p)), [x >= 0, cp.sum(x) == 1]), [p], [x])


class Model(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear, self.layer = torch.nn.Linear(3, 4, dtype=F64), projection()

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.layer(self.linear(features))[0]


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(1)
    return torch.randn(8, 3, dtype=F64, generator=draw), torch.rand(8, 4, dtype=F64, generator=draw)


def _rank(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    model = DistributedDataParallel(Model())
    features, targets = (t[rank::2] for t in batch())
    (model(features) - targets).square().mean().backward()
    if rank == 0:
        torch.save([p.grad for p in model.parameters()], f"{folder}/gradients.pt")
    del model  # first: a model that frees the group holds the interpreter, which the group's thread waits for (pytorch#56297)
    dist.destroy_process_group()


def test_two_processes_give_the_gradients_of_one(tmp_path: Path) -> None:
    context = torch.multiprocessing.get_context("spawn")
    processes = [context.Process(target=_rank, args=(rank, str(tmp_path))) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(LIMIT)
        process.kill()
    assert [process.exitcode for process in processes] == [0, 0]
    model, (features, targets) = Model(), batch()
    (model(features) - targets).square().mean().backward()
    for found, parameter in zip(torch.load(tmp_path / "gradients.pt"), model.parameters(), strict=True):
        torch.testing.assert_close(found, parameter.grad, atol=1e-12, rtol=0)


class Solved(Dataset[torch.Tensor]):
    """Solves in the worker."""

    def __init__(self) -> None:
        self.layer, self.points = projection(), torch.linspace(-1, 1, 24, dtype=F64).reshape(6, 4)

    def __len__(self) -> int:
        return len(self.points)

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.layer(self.points[index])[0]


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_workers_of_a_loader_solve(start: str) -> None:
    data = Solved()
    expected = data.layer(data.points)[0]  # the threads of the layer exist before the fork
    loader = DataLoader(data, batch_size=3, num_workers=2, multiprocessing_context=start, timeout=LIMIT)
    assert torch.equal(torch.cat(list(loader)), expected)


def test_many_threads_call_one_layer_many_times() -> None:
    layer = projection()
    points = torch.randn(8, 4, dtype=F64)
    expected = layer(points)[0]
    begin = threading.Barrier(8)

    def repeat(k: int) -> bool:
        begin.wait(LIMIT)
        return all(torch.equal(layer(points[k])[0], expected[k]) for _ in range(1000))

    with ThreadPoolExecutor(8) as pool:
        assert all(future.result(LIMIT) for future in [pool.submit(repeat, k) for k in range(8)])


def test_backward_on_another_thread() -> None:
    layer, points = projection(), torch.randn(5, 4, dtype=F64, requires_grad=True)
    expected = torch.autograd.grad(layer(points)[0].square().sum(), points)[0]
    loss = layer(points)[0].square().sum()
    with ThreadPoolExecutor(1) as pool:
        (found,) = pool.submit(torch.autograd.grad, loss, points).result(LIMIT)
    assert torch.equal(found, expected)


def test_torch_threads_do_not_matter() -> None:
    layer, points = projection(), torch.randn(50, 4, dtype=F64)
    expected, before = layer(points)[0], torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        assert torch.equal(layer(points)[0], expected)
    finally:
        torch.set_num_threads(before)


def test_shared_memory_is_read_where_it_is() -> None:
    model = Model()
    model.share_memory()
    features, _ = batch()
    assert torch.equal(model(features), Model()(features))
    points = torch.randn(5, 4, dtype=F64).share_memory_()
    assert torch.equal(model.layer(points)[0], model.layer(points.clone())[0])


def test_autocast_leaves_the_precision_of_the_solve() -> None:
    layer, features = projection(), torch.randn(6, 3)
    linear = torch.nn.Linear(3, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        points = linear(features)
        (x,) = layer(points)
    assert points.dtype is x.dtype is torch.bfloat16
    assert torch.equal(x, layer(points.double())[0].to(torch.bfloat16))
    x.float().square().sum().backward()
    assert linear.weight.grad.isfinite().all()


VIEWS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "conjugate view": lambda t: torch.complex(t, t).conj().real,
    "negative view": lambda t: torch.complex(-t, -t).conj().imag,
}


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_lazy_views_are_their_numbers(view: Callable[[torch.Tensor], torch.Tensor]) -> None:
    layer = projection()
    base = torch.randn(6, 4, dtype=F64, requires_grad=True)
    plain = view(base.detach()).clone().requires_grad_()
    (found,) = torch.autograd.grad(layer(view(base))[0].sin().sum(), base)
    (direct,) = torch.autograd.grad(layer(plain)[0].sin().sum(), plain)
    (expected,) = torch.autograd.grad(view(base), base, direct)
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)


def test_a_tensor_of_another_class_is_its_numbers() -> None:
    class Labelled(torch.Tensor):
        pass

    layer, points = projection(), torch.randn(3, 4, dtype=F64)
    assert torch.equal(torch.as_tensor(layer(points.as_subclass(Labelled))[0]), layer(points)[0])
    assert torch.equal(layer(torch.nn.Parameter(points))[0], layer(points)[0])


def test_inside_a_sequential_of_doubles() -> None:
    class First(torch.nn.Module):
        def forward(self, outputs: tuple[torch.Tensor, ...]) -> torch.Tensor:
            return outputs[0]

    model = torch.nn.Sequential(torch.nn.Linear(3, 4), projection(), First(), torch.nn.Linear(4, 1)).double()
    model(torch.randn(5, 3, dtype=F64)).sum().backward()
    assert all(p.grad is not None for p in model.parameters())
