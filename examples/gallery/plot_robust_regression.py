"""
Robust regression
=================

A regression is fitted to clean data and used on measurements with errors, of some features more
than of others. Robust least squares prepares for the worst error inside an ellipsoid, which
makes it a second-order cone program. How long the ellipsoid should be in each direction is
usually guessed. Here it is learned from many small regressions at once, by their error in the
field.
"""

# %%
import cvxpy as cp
import matplotlib.pyplot as plt
import torch

from cvxpylayers.torch import CvxpyLayer

# %%
# The problem, once. If row i may be off by any P u with ‖u‖ ≤ 1, its worst residual is ``|aᵢᵀx -
# bᵢ| + ‖Pᵀx‖``. P is diagonal here.
rows, n = 15, 6
x, A, b = cp.Variable(n), cp.Parameter((rows, n)), cp.Parameter(rows)
radii = cp.Parameter(n, nonneg=True)
worst = cp.abs(A @ x - b) + cp.norm(cp.multiply(radii, x))
layer = CvxpyLayer(cp.Problem(cp.Minimize(cp.sum_squares(worst))), [A, b, radii], [x])

# %%
# Small regressions, whose 15 rows come from a laboratory. In the field, features are measured
# with errors, very different ones.
errors = torch.tensor([0.0, 0.2, 0.4, 0.7, 1.0, 1.5], dtype=torch.float64)


def draw(count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Laboratory rows A (count, rows, n) and b (count, rows), and rows of the field."""
    truth = torch.randn(count, n, 1, dtype=torch.float64)
    A, field = torch.randn(2, count, rows, n, dtype=torch.float64)
    luck = 0.3 * torch.randn(2, count, rows, dtype=torch.float64)
    b, field_b = (torch.stack([A, field]) @ truth)[..., 0] + luck
    return A, b, field + errors * torch.randn(field.shape, dtype=torch.float64), field_b


def judged(radii: torch.Tensor, data: tuple[torch.Tensor, ...]) -> torch.Tensor:
    """Root mean square errors (B) on the rows of the field."""
    fit_A, fit_b, new_A, new_b = data
    (x,) = layer(fit_A, fit_b, radii)
    return ((new_A @ x[..., None])[..., 0] - new_b).square().mean(-1).sqrt()


torch.manual_seed(0)
train, test = draw(300), draw(1000)
log_radii = torch.full((n,), -2.0, dtype=torch.float64, requires_grad=True)
optimizer = torch.optim.Adam([log_radii], lr=0.1)
for _ in range(40):
    loss = judged(log_radii.exp(), train).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
learned = log_radii.exp().detach()
with torch.no_grad():
    grid = torch.linspace(0, 1.5, 13, dtype=torch.float64)
    balls = torch.stack([judged(r.expand(n), test).mean() for r in grid])
    ours, plain = judged(learned, test).mean(), balls[0]
print(f"least squares {plain:.2f}, best ball {balls.min():.2f}, learned ellipsoid {ours:.2f}")
assert ours < 0.95 * balls.min()

# %%
# The learned ellipsoid is long where errors are large, and better than every ball, of which the
# smallest is least squares.
plt.style.use("petroff10")
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
left.plot(errors, learned, "o", ms=9)
left.set(xlabel="error of the feature in the field", ylabel="learned half-axis of the ellipsoid")
right.plot(grid, balls, "o-", lw=2.5, label="balls")
right.axhline(ours, color="C1", lw=2.5, label="learned ellipsoid")
right.set(xlabel="radius of the ball", ylabel="root mean square error in the field", ylim=(0, None))
right.legend(frameon=False)
plt.show()
