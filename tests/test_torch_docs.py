"""The PyTorch examples of the page on batched execution, as written there."""

from __future__ import annotations

import pytest
import torch

BASIC = """
import cvxpy as cp
import torch
from cvxpylayers.torch import CvxpyLayer

# Problem with parameters of shape (3, 2) and (3,)
x = cp.Variable(2)
A = cp.Parameter((3, 2))
b = cp.Parameter(3)
problem = cp.Problem(cp.Minimize(cp.sum_squares(A @ x - b)), [x >= 0])

layer = CvxpyLayer(problem, parameters=[A, b], variables=[x])

# Single instance: shapes (3, 2) and (3,)
A_single = torch.randn(3, 2)
b_single = torch.randn(3)
(x_single,) = layer(A_single, b_single)  # x_single shape: (2,)

# Batched: shapes (batch_size, 3, 2) and (batch_size, 3)
batch_size = 10
A_batch = torch.randn(batch_size, 3, 2)
b_batch = torch.randn(batch_size, 3)
(x_batch,) = layer(A_batch, b_batch)  # x_batch shape: (10, 2)
"""

BROADCASTING = """
batch_size = 10

# A is batched, b is shared across the batch
A_batch = torch.randn(batch_size, 3, 2)  # Different A for each instance
b_shared = torch.randn(3)                 # Same b for all instances

(x_batch,) = layer(A_batch, b_shared)    # x_batch shape: (10, 2)
"""

BATCH_SIZE = """
# Efficient: solve 100 problems at once
A_batch = torch.randn(100, m, n)
(x_batch,) = layer(A_batch, b)

# Less efficient: solve 100 problems one at a time
solutions = []
for i in range(100):
    (x,) = layer(A_batch[i], b)
    solutions.append(x)
"""

CHUNKS = """
def chunked_solve(layer, A_all, b, chunk_size=32):
    results = []
    for i in range(0, len(A_all), chunk_size):
        chunk = A_all[i:i+chunk_size]
        (x_chunk,) = layer(chunk, b)
        results.append(x_chunk)
    return torch.cat(results, dim=0)
"""

GRADIENTS = """
batch_size = 10
A_batch = torch.randn(batch_size, 3, 2, requires_grad=True)
b_batch = torch.randn(batch_size, 3, requires_grad=True)

(x_batch,) = layer(A_batch, b_batch)

# Sum over batch for scalar loss
loss = x_batch.sum()
loss.backward()

# Gradients have same shape as inputs
print(A_batch.grad.shape)  # (10, 3, 2)
print(b_batch.grad.shape)  # (10, 3)
"""

PORTFOLIO = """
import cvxpy as cp
import torch
from cvxpylayers.torch import CvxpyLayer

n_assets = 10
n_scenarios = 50

# Portfolio optimization problem
weights = cp.Variable(n_assets)
expected_returns = cp.Parameter(n_assets)
risk_aversion = cp.Parameter(nonneg=True)

# Simplified: maximize return - risk_aversion * variance
problem = cp.Problem(
    cp.Maximize(expected_returns @ weights - risk_aversion * cp.sum_squares(weights)),
    [cp.sum(weights) == 1, weights >= 0]
)

layer = CvxpyLayer(
    problem,
    parameters=[expected_returns, risk_aversion],
    variables=[weights]
)

# Different return predictions for each scenario
returns_batch = torch.randn(n_scenarios, n_assets)
risk_aversion_val = torch.tensor(0.5)  # Shared across scenarios

# Solve all scenarios at once
(optimal_weights,) = layer(returns_batch, risk_aversion_val)
print(f"Optimal weights shape: {optimal_weights.shape}")  # (50, 10)
"""


@pytest.fixture
def page() -> dict[str, object]:
    """The names that the page has defined after its first example."""
    names: dict[str, object] = {}
    exec(BASIC, names)
    return names


def test_basic(page: dict[str, object]) -> None:
    assert page["x_single"].shape == (2,)
    assert page["x_batch"].shape == (10, 2)
    assert page["x_batch"].dtype is torch.float32


def test_broadcasting(page: dict[str, object]) -> None:
    exec(BROADCASTING, page)
    layer, A, b = page["layer"], page["A_batch"], page["b_shared"]
    assert torch.equal(page["x_batch"], layer(A, b.expand(10, 3))[0])


def test_one_batch_is_a_hundred_single_calls(page: dict[str, object]) -> None:
    page |= {"m": 3, "n": 2, "b": torch.randn(3)}
    exec(BATCH_SIZE, page)
    assert torch.equal(page["x_batch"], torch.stack(page["solutions"]))


def test_chunks_are_the_batch(page: dict[str, object]) -> None:
    exec(CHUNKS, page)
    layer, A, b = page["layer"], torch.randn(70, 3, 2), torch.randn(3)
    assert torch.equal(page["chunked_solve"](layer, A, b), layer(A, b)[0])


def test_gradients(page: dict[str, object], capsys: pytest.CaptureFixture[str]) -> None:
    exec(GRADIENTS, page)
    assert capsys.readouterr().out == "torch.Size([10, 3, 2])\ntorch.Size([10, 3])\n"


def test_portfolio(page: dict[str, object], capsys: pytest.CaptureFixture[str]) -> None:
    exec(PORTFOLIO, page)
    assert capsys.readouterr().out == "Optimal weights shape: torch.Size([50, 10])\n"
    weights, returns = page["optimal_weights"], page["returns_batch"]
    # The maximizer is the projection of returns / (2 · 0.5) on the simplex: one threshold makes the positive parts sum to one.
    torch.testing.assert_close(weights.sum(-1), torch.ones(50))
    threshold = ((returns * (weights > 1e-6)).sum(-1) - 1) / (weights > 1e-6).sum(-1)
    torch.testing.assert_close(weights, (returns - threshold[:, None]).clamp(min=0), atol=1e-6, rtol=0)
