"""
Losses on decisions
===================

Predicted costs lead to a decision, and true costs judge it. What the decision costs too much is
its *regret*: the loss that one wants to be small, and cannot learn from, because it is flat
between jumps. Two losses in its place are convex in the prediction: SPO+, which bounds regret
from above, and a perturbed Fenchel–Young loss, which needs to see decisions only, no costs.
"""

# %%
import cvxpy as cp
import matplotlib.pyplot as plt
import torch

from cvxpylayers.torch import CvxpyLayer
from cvxpylayers.torch.losses import fenchel_young, regret, spo_plus

# %%
# The problem, once: the three cheapest of ten offers
n = 10
take, cost = cp.Variable(n), cp.Parameter(n)
layer = CvxpyLayer(
    cp.Problem(cp.Minimize(cost @ take), [cp.sum(take) == 3, take >= 0, take <= 1]), [cost], [take]
)

# %%
# The losses along a line of predictions, from the true costs to others and beyond: 401
# predictions are one batch.
torch.manual_seed(0)
true, other = torch.rand(n), torch.rand(n)
along = torch.linspace(-1, 2, 401)
line = true + along[:, None] * (other - true)
(best,) = layer(true)
noise = 0.1 * torch.randn(200, 1, n)
values = {
    "regret": regret(layer, line, true),
    "SPO+": spo_plus(layer, line, true),
    "perturbed Fenchel–Young": fenchel_young(layer, line, best, noise=noise),
}
assert (values["SPO+"] >= values["regret"] - 1e-6).all()

# %%
# Learning with each of them. Costs depend on eight features, in a way that the linear model
# cannot represent.
effect = torch.randn(8, n)


def draw(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Features (count, 8) and true costs (count, n)."""
    z = torch.randn(count, 8)
    return z, (z @ effect / 8**0.5).exp() + 0.1 * torch.rand(count, n)


(z, costs), (z_new, costs_new) = draw(400), draw(1000)
(chosen,), spend = layer(costs), (layer(costs_new)[0] * costs_new).sum(-1).mean()


def perturbed(predicted: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    return fenchel_young(layer, predicted, chosen[rows], noise=0.5 * torch.randn(8, len(rows), n))


losses = {
    "squared error": lambda predicted, rows: (predicted - costs[rows]).square().sum(-1),
    "regret": lambda predicted, rows: regret(layer, predicted, costs[rows]),
    "SPO+": lambda predicted, rows: spo_plus(layer, predicted, costs[rows]),
    "perturbed Fenchel–Young": perturbed,
}
history = {}
for name, loss in losses.items():
    torch.manual_seed(0)
    model = torch.nn.Linear(8, n)
    optimizer, history[name] = torch.optim.Adam(model.parameters(), lr=0.02), []
    for _ in range(30):
        for rows in torch.randperm(400).split(50):
            optimizer.zero_grad()
            loss(model(z[rows]), rows).mean().backward()
            optimizer.step()
        with torch.no_grad():
            lost = regret(layer, model(z_new), costs_new).mean() / spend
        history[name].append(100 * lost.item())
    print(f"trained with {name}: {history[name][-1]:.1f} % too expensive on new days")
assert history["SPO+"][-1] < 0.5 * history["squared error"][-1]
assert history["regret"][-1] == history["regret"][0]

# %%
# Left, the losses along the line: 0 is the truth. Right, what models lose on new days; the one
# that is trained with regret stays where it starts, far above.
plt.style.use("petroff10")
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
for color, (name, value) in zip(("C1", "C2", "C3"), values.items(), strict=True):
    left.plot(along, value, color=color, lw=2.5, label=name)
left.set(xlabel="prediction: 0 is the truth, 1 another cost", ylabel="loss", ylim=(-0.2, 3))
for color, name in (("C0", "squared error"), ("C2", "SPO+"), ("C3", "perturbed Fenchel–Young")):
    right.plot(range(1, 31), history[name], color=color, lw=2.5, label=f"trained with {name}")
right.set(xlabel="epoch", ylabel="too expensive on new days, %", ylim=(0, 10))
left.legend(frameon=False)
right.legend(frameon=False)
plt.show()
