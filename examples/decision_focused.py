"""Decision-focused learning against predict-then-optimize, on knapsacks whose values must be predicted.

Values depend on features through a polynomial that a linear model cannot represent. Trained for small errors, the model is wrong
where it matters; trained through the layer for good decisions, it is wrong where it does not. The layer solves the relaxed knapsack

    maximize vᵀx - ½γ‖x‖²   subject to   wᵀx ≤ capacity, 0 ≤ x ≤ 1,

whose quadratic term makes decisions move with v. Run ``python examples/decision_focused.py``; it draws decision_focused.png.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cvxpy as cp
import matplotlib.pyplot as plt
import torch

from cvxpylayers.torch import CvxpyLayer

FEATURES, ITEMS, DEGREE = 5, 12, 6


def knapsack(weights: torch.Tensor, smoothing: float) -> CvxpyLayer:
    """Values (ITEMS) → decision (ITEMS)."""
    x, v = cp.Variable(ITEMS), cp.Parameter(ITEMS)
    objective = cp.Maximize(v @ x - 0.5 * smoothing * cp.sum_squares(x))
    return CvxpyLayer(cp.Problem(objective, [weights.numpy() @ x <= 0.3 * float(weights.sum()), x >= 0, x <= 1]), [v], [x])


def main() -> None:
    """Train both ways on the same data, compare regrets on new data, draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--samples", type=int, default=400)
    parser.add_argument("--out", type=Path, default=Path())
    options = parser.parse_args()
    torch.manual_seed(0)
    truth, weights = (torch.rand(ITEMS, FEATURES) < 0.5).float(), torch.rand(ITEMS) + 0.5
    soft, exact = knapsack(weights, smoothing=1.0), knapsack(weights, smoothing=1e-3)

    def draw(count: int) -> tuple[torch.Tensor, torch.Tensor]:
        features = torch.randn(count, FEATURES)
        values = ((features @ truth.T / FEATURES**0.5 + 3) ** DEGREE / 3**DEGREE) * (0.75 + 0.5 * torch.rand(count, ITEMS))
        return features, values

    train, test = draw(options.samples), draw(1000)
    best = (test[1] * exact(test[1])[0]).sum(1).mean()
    regrets: dict[str, list[float]] = {"predict, then optimize": [], "decision-focused": []}
    for name, history in regrets.items():
        torch.manual_seed(1)
        model = torch.nn.Linear(FEATURES, ITEMS)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
        for _ in range(options.epochs):
            for features, values in zip(*(t.split(50) for t in train), strict=True):
                predicted = model(features)
                focused = -(values * soft(predicted)[0]).sum(1).mean()  # what the decisions are worth
                loss = focused if name == "decision-focused" else (predicted - values).square().mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            with torch.no_grad():
                history.append(float(1 - (test[1] * exact(model(test[0]))[0]).sum(1).mean() / best))
        print(f"{name}: test regret {100 * history[-1]:.2f} %")

    figure, axes = plt.subplots(figsize=(6, 3.6), constrained_layout=True)
    for name, history in regrets.items():
        axes.plot([100 * r for r in history], label=name)
    axes.set(xlabel="epoch", ylabel="regret on new data, %", ylim=(0, None))
    axes.legend()
    figure.savefig(options.out / "decision_focused.png", dpi=120)


if __name__ == "__main__":
    main()
