"""
Data poisoning
==============

How much can somebody who moves a few training points harm a classifier? Logistic regression is
a convex problem of its data, and as a layer it has a gradient with respect to every point: the
attacker climbs it. The same gradients tell a defender which points matter.
"""

# %%
import cvxpy as cp
import matplotlib.pyplot as plt
import torch

from cvxpylayers.torch import CvxpyLayer

# %%
# Two clouds of points: 40 to train, 1000 to test
torch.manual_seed(3)


def draw(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Points (count, 2), and labels ±1 (count)."""
    labels = torch.tensor([1.0, -1.0]).repeat(count // 2)
    return 0.9 * torch.randn(count, 2) + labels[:, None] * torch.tensor([1.0, 0.6]), labels


points, labels = draw(40)
test_points, test_labels = draw(1000)

# %%
# The problem, once: training is the layer. Its parameters are the points, its solution the
# classifier.
w, bias, X = cp.Variable(2), cp.Variable(), cp.Parameter((40, 2))
losses = cp.logistic(cp.multiply(-labels.numpy(), X @ w + bias))
training = cp.Problem(cp.Minimize(cp.sum(losses) / 40 + 0.02 * cp.sum_squares(w)))
layer = CvxpyLayer(training, [X], [w, bias])


def test_loss(points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Logistic loss and accuracy (B) on the test points after training on points (B, 40, 2)."""
    w, bias = layer(points)
    scores = test_labels * (w @ test_points.T + bias[:, None])
    return torch.nn.functional.softplus(-scores).mean(-1), 100 * (scores > 0).float().mean(-1)


# %%
# The attack: three points of 40, chosen as those with the largest gradients, may move by up to r.
# All budgets r are one batch; so are random moves of the same lengths, for comparison.
budgets = torch.linspace(0, 6, 13)
clean = points.clone().requires_grad_()
test_loss(clean[None])[0].sum().backward()
chosen = clean.grad.norm(dim=-1).topk(3).indices
moves = torch.zeros(len(budgets), 3, 2)


def poisoned(moves: torch.Tensor) -> torch.Tensor:
    """The training points (B, 40, 2) after moves (B, 3, 2) of the chosen ones."""
    return points.expand(len(moves), 40, 2).index_add(1, chosen, moves)


for _ in range(40):
    moves.requires_grad_()
    loss, _ = test_loss(poisoned(moves))
    (gradient,) = torch.autograd.grad(loss.sum(), moves)
    direction = torch.nn.functional.normalize(gradient, dim=-1)
    step = moves.detach() + 0.15 * budgets[:, None, None] * direction
    length = step.norm(dim=-1, keepdim=True).clamp(min=1e-9)
    moves = step * (budgets[:, None, None] / length).clamp(max=1)

# %%
# Random moves of the same lengths hardly matter; those along the gradient do.
directions = torch.nn.functional.normalize(torch.randn(200, 1, 3, 2), dim=-1)
with torch.no_grad():
    _, attacked = test_loss(poisoned(moves))
    _, shaken = test_loss(poisoned((directions * budgets[:, None, None]).flatten(0, 1)))
    classifiers = layer(poisoned(moves))
shaken = shaken.reshape(200, 13).mean(0)
print(f"right: {attacked[0]:.0f} %, attacked {attacked[-1]:.0f} %, at random {shaken[-1]:.0f} %")
assert attacked[-1] < shaken[-1] - 10

plt.style.use("petroff10")
figure, (curve, plane) = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
curve.plot(budgets, shaken, lw=2.5, label="three points moved at random")
curve.plot(budgets, attacked, lw=2.5, label="moved along the gradient")
curve.set(xlabel="how far they move", ylabel="right on test points, %")
curve.legend(frameon=False)
for label, marker, color in ((1, "o", "C0"), (-1, "s", "C2")):
    plane.plot(*points[labels == label].T, marker, color=color, ms=5)
for start, move in zip(points[chosen], moves[-1], strict=True):
    plane.annotate("", start + move, start, arrowprops={"arrowstyle": "->", "color": "C1", "lw": 2})
for k, style in ((0, "k-"), (-1, "k--")):
    w, bias = classifiers[0][k], classifiers[1][k]
    along = torch.linspace(-9, 9, 2)[:, None] * torch.stack([-w[1], w[0]]) / w.norm()
    label = "before" if k == 0 else "after the attack"
    plane.plot(*(along - bias * w / w.square().sum()).T, style, label=label)
plane.set(xlim=(-8, 8), ylim=(-7, 7), xlabel="first feature", ylabel="second feature")
plane.legend(frameon=False, title="decision boundary")
plt.show()
