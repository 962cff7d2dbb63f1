"""
Support vector machine with wrong labels
========================================

Some labels of a training set are wrong, and nobody knows which. Every example gets a weight in
the training of a support vector machine, and a few examples that are known to be right judge
the result. The gradient of their loss with respect to the weights, through the solution of the
training problem, turns the wrong examples off.
"""

# %%
import cvxpy as cp
import matplotlib.pyplot as plt
import torch

from cvxpylayers.torch import CvxpyLayer

# %%
# The problem, once. Examples and labels are parameters too, so that twenty data sets of sixty
# examples are one batch. Slacks are squared: otherwise three examples on the margin would hold
# the machine, and most weights had no gradient.
n = 60
w, bias, slack = cp.Variable(2), cp.Variable(), cp.Variable(n, nonneg=True)
signed, label, weight = cp.Parameter((n, 2)), cp.Parameter(n), cp.Parameter(n, nonneg=True)
separate = [signed @ w + cp.multiply(label, bias) >= 1 - slack]
training = cp.Problem(cp.Minimize(0.5 * cp.sum_squares(w) + weight @ cp.square(slack)), separate)
layer = CvxpyLayer(training, [signed, label, weight], [w, bias])

# %%
# Two clouds each. Every other label on one side is wrong, which pulls the machine over.
torch.manual_seed(0)


def draw(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Examples (20, count, 2), and their labels ±1 (20, count)."""
    labels = torch.tensor([1.0, -1.0]).repeat(20, count // 2)
    centre = torch.tensor([1.2, 0.8])
    return labels[..., None] * centre + torch.randn(20, count, 2), labels


(x, right), (x_known, known), (x_new, new) = draw(n), draw(20), draw(500)
wrong = (torch.rand(20, n) < 0.5) & (right > 0)
labels = torch.where(wrong, -right, right)


def scores(weights: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """What machines that are trained with weights (20, n) say of points (20, count, 2)."""
    w, bias = layer(labels[..., None] * x, labels, weights)
    return (points @ w[..., None])[..., 0] + bias[:, None]


# %%
# Learning the weights by the hinge loss of twenty known examples for each data set
logits = torch.zeros(20, n, requires_grad=True)
optimizer = torch.optim.Adam([logits], lr=0.2)
for _ in range(60):
    loss = (1 - known * scores(logits.sigmoid(), x_known)).clamp(min=0).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
learned = logits.sigmoid().detach()
trained = {"equal": torch.full((20, n), 0.5), "learned": learned, "true": (~wrong).float()}
found = {}
for name, weights in trained.items():
    found[name] = 100 * (scores(weights, x_new).sign() == new).float().mean()
    print(f"{name} weights: {found[name]:.1f} % of new examples right")
means = learned[wrong].mean(), learned[~wrong].mean()
print(f"mean weight of wrong labels {means[0]:.2f}, of right ones {means[1]:.2f}")
assert found["learned"] > found["true"] - 2 > found["equal"] + 10

# %%
# One of the data sets, examples as large as their learned weights, wrong labels ringed; and the
# weights of all.
plt.style.use("petroff10")
figure, (plane, bars) = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
for sign, color in ((1, "C0"), (-1, "C1")):
    rows = labels[0] == sign
    plane.scatter(*x[0, rows].T, s=80 * learned[0, rows] + 6, color=color, label=f"label {sign:+}")
plane.scatter(*x[0, wrong[0]].T, s=120, facecolors="none", edgecolors="k", label="wrong")
reach = torch.linspace(-4, 4, 60)
grid = (
    torch.stack(torch.meshgrid(reach, reach, indexing="xy"), -1).reshape(1, -1, 2).expand(20, -1, 2)
)
for name, style in (("equal", "--"), ("learned", "-")):
    level = scores(trained[name], grid)[0].reshape(60, 60)
    plane.contour(reach, reach, level, levels=[0], colors="k", linestyles=style)
plane.set(title="boundary: dashed before, solid after", xlim=(-4, 4), ylim=(-4, 4))
plane.legend(loc="lower right")
parts = {"right labels": learned[~wrong], "wrong labels": learned[wrong]}
bars.hist(parts.values(), bins=20, label=list(parts), color=["C2", "0.2"])
bars.set(xlabel="learned weight", ylabel="examples of all twenty data sets")
bars.legend(frameon=False)
plt.show()
