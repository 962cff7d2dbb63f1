"""Training through a layer on several processes: the weights that one process would find.

A portfolio maximizes predicted returns less risk aversion times risk. A linear model predicts the returns, and the risk aversion
is learned as well: one number, shared by every instance. Each process solves its part of the batch; DistributedDataParallel
averages gradients. The loss is a mean, and the parts are equally long, so that the average over processes is the gradient over
the whole batch, also that of the shared parameter, which within a process is a sum over its instances.

Run ``python examples/distributed_training.py --workers 2``. Under Ray Train, ``train`` is the body of ``train_loop_per_worker``,
which finds rank and world size in ``ray.train.get_context()``.
"""

from __future__ import annotations

import argparse
import tempfile

import cvxpy as cp
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from cvxpylayers.torch import CvxpyLayer

FEATURES, ASSETS = 4, 6


class Portfolio(torch.nn.Module):
    """Features (batch, FEATURES) → weights (batch, ASSETS)."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.predict = torch.nn.Linear(FEATURES, ASSETS, dtype=torch.float64)
        self.log_aversion = torch.nn.Parameter(torch.zeros((), dtype=torch.float64))
        w, mu, aversion = cp.Variable(ASSETS), cp.Parameter(ASSETS), cp.Parameter(nonneg=True)
        problem = cp.Problem(cp.Maximize(mu @ w - aversion * cp.sum_squares(w)), [w >= 0, cp.sum(w) == 1])
        self.layer = CvxpyLayer(problem, [mu, aversion], [w], solver_args={"threads": 1})

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.layer(self.predict(features), self.log_aversion.exp())[0]


def train(rank: int, workers: int, store: str, steps: int) -> None:
    """Train on this process's part of every batch; the first process prints what was learned."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=workers)
    model = DistributedDataParallel(Portfolio())
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    draw = torch.Generator().manual_seed(1)
    truth = torch.randn(FEATURES, ASSETS, dtype=torch.float64, generator=draw)
    for _ in range(steps):
        features = torch.randn(64, FEATURES, dtype=torch.float64, generator=draw)
        returns = features @ truth + torch.randn(64, ASSETS, dtype=torch.float64, generator=draw)
        mine = slice(rank, None, workers)
        gain = (model(features[mine]) * returns[mine]).sum(1)
        loss = -(gain - 0.5 * gain**2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    if rank == 0:
        weights = torch.cat([p.detach().flatten() for p in model.parameters()])
        print(f"{workers} workers: risk aversion {model.module.log_aversion.exp():.12f}, |weights| {weights.norm():.12f}")
    del model, optimizer  # first: a model that frees the group holds the interpreter, which the group's thread waits for
    dist.destroy_process_group()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--steps", type=int, default=100)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(train, (given.workers, f"{folder}/store", given.steps), given.workers)
