"""A denoiser that learns its prior: total variation as a quadratic program with trainable differences (OptNet, sec. 4.2).

    x*(y) = argmin ½‖x - y‖² + λ‖D x‖₁

D starts as the differences of neighbours, which is total variation denoising and suits steps. The signals are made of ramps: D has
to find out, and λ with it. Run ``python examples/denoising.py``; it draws denoising.png.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cvxpy as cp
import matplotlib.pyplot as plt
import torch

from cvxpylayers.torch import CvxpyLayer


def signals(count: int, n: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Piecewise linear signals, and noisy observations of them."""
    bends = torch.where(torch.rand(count, n) < 3 / n, 0.3 * torch.randn(count, n), 0.0)
    clean = (bends.cumsum(1) + 0.1 * torch.randn(count, 1)).cumsum(1)
    return clean, clean + 0.4 * torch.randn(count, n)


class Denoiser(torch.nn.Module):
    """λ‖D x‖₁ is linear in t ≥ |D x|, so that the layer solves a quadratic program."""

    def __init__(self, n: int) -> None:
        super().__init__()
        x, t = cp.Variable(n), cp.Variable(n - 1)
        y, D, weight = cp.Parameter(n), cp.Parameter((n - 1, n)), cp.Parameter(nonneg=True)
        objective = cp.Minimize(0.5 * cp.sum_squares(x - y) + weight * cp.sum(t) + 1e-3 * cp.sum_squares(t))
        self.layer = CvxpyLayer(cp.Problem(objective, [D @ x <= t, -t <= D @ x]), [y, D, weight], [x])
        self.D = torch.nn.Parameter(torch.eye(n)[1:] - torch.eye(n)[:-1])
        self.log_weight = torch.nn.Parameter(torch.tensor(-2.0))

    def forward(self, noisy: torch.Tensor) -> torch.Tensor:
        return self.layer(noisy, self.D, self.log_weight.exp())[0]


def main() -> None:
    """Train, compare with the best total variation denoiser, draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=40)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--out", type=Path, default=Path())
    options = parser.parse_args()
    torch.manual_seed(0)
    test, errors = signals(256, options.n), {}
    for name in ("total variation, λ learned", "D and λ learned"):
        model = Denoiser(options.n)
        model.D.requires_grad_(name.startswith("D"))
        optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.01)
        for _ in range(options.steps):
            clean, noisy = signals(64, options.n)
            loss = (model(noisy) - clean).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            errors.setdefault(name, []).append(loss.item())
        restored = model(test[1]).detach()
        print(f"{name}: test error {(restored - test[0]).square().mean():.4f} (noise {(test[1] - test[0]).square().mean():.4f})")

    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(12, 3.4), constrained_layout=True)
    for name, history in errors.items():
        left.plot(history, label=name)
    left.set(title="training error", xlabel="step", yscale="log")
    for line, style, label in ((test[1][0], ".", "noisy"), (test[0][0], "-", "clean"), (restored[0], "-", "restored")):
        middle.plot(line, style, label=label)
    left.legend(), middle.legend()
    right.imshow(model.D.detach(), cmap="RdBu", vmin=-1, vmax=1)
    figure.savefig(options.out / "denoising.png", dpi=120)


if __name__ == "__main__":
    main()
