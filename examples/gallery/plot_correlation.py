"""
Nearest correlation matrix
==========================

Correlations that are estimated pair by pair, each from the days on which both prices are known,
need not form a correlation matrix: there may be negative eigenvalues. The nearest correlation
matrix solves a semidefinite program. Here entries have weights, since some are known better
than others, and how a weight should grow with the number of common days is learned on real
prices, with NumPy alone.
"""

# %%
from importlib.util import find_spec
from pathlib import Path

import cvxpy as cp
import matplotlib.pyplot as plt
import numpy as np

from cvxpylayers.numpy import CvxpyLayer

# %%
# Daily returns of 12 large companies, from the files of skfolio. In 60 stretches of half a year,
# most prices are hidden at random, of some companies more than of others.
file = Path(find_spec("skfolio").origin).parent / "datasets/data/sp500_dataset.csv.gz"
prices = np.genfromtxt(file, delimiter=",", skip_header=1, usecols=range(1, 13))
n, count, length = 12, 60, 126
returns = np.diff(np.log(prices), axis=0)[: count * length].reshape(count, length, n)
rng = np.random.default_rng(0)
known = rng.random(returns.shape) < rng.uniform(0.1, 0.9, (count, 1, n))


def correlations(known: np.ndarray) -> np.ndarray:
    """Correlations (count, n, n) pair by pair, from the days on which both are known."""
    x = np.where(known, returns, 0)
    scale = np.sqrt(np.einsum("bti,bti,btj->bij", x, x, known.astype(float)))
    return np.einsum("bti,btj->bij", x, x) / np.maximum(scale * scale.transpose(0, 2, 1), 1e-12)


full, rough = correlations(np.ones_like(known)), correlations(known)
common = np.einsum("bti,btj->bij", known, known, dtype=float)
negative = 100 * np.mean(np.linalg.eigvalsh(rough)[:, 0] < 0)
print(f"{negative:.0f} % of the matrices have a negative eigenvalue")

# %%
# The problem, once: nearest in a weighted norm, unit diagonal, positive semidefinite. Weight
# times correlation is one parameter of its own, as a product of two parameters is not affine in
# them.
X = cp.Variable((n, n), PSD=True)
root, product = cp.Parameter((n, n), nonneg=True), cp.Parameter((n, n))
nearest = cp.Problem(cp.Minimize(cp.sum_squares(cp.multiply(root, X) - product)), [cp.diag(X) == 1])
layer = CvxpyLayer(nearest, [root, product], [X])


def error(exponent: float) -> tuple[float, float, np.ndarray]:
    """Error, its derivative, and the matrices, for weights (common days) ** exponent."""
    roots = (np.maximum(common, 0.5) / length) ** (exponent / 2)
    (repaired,), pull = layer.vjp(roots, roots * rough)
    slope_roots, slope_products = pull(2 * (repaired - full) / repaired.size)
    spread = np.log(np.maximum(common, 0.5) / length) / 2
    slope = (slope_roots + slope_products * rough) * roots * spread
    return np.mean((repaired - full) ** 2), slope.sum(), repaired


# %%
# The derivative agrees with a difference of errors, and gradient steps find the exponent.
difference = (error(0.501)[0] - error(0.499)[0]) / 0.002
print(f"slope at exponent 0.5: {error(0.5)[1]:.6f} by the layer, {difference:.6f} by differences")
assert abs(difference / error(0.5)[1] - 1) < 1e-3
exponent, path = 0.0, []
for _ in range(16):
    value, slope, repaired = error(exponent)
    path.append((exponent, value))
    exponent -= 150 * slope
raw = np.mean((rough - full) ** 2)
print(f"mean squared error: {raw:.4f} estimated, {path[0][1]:.4f} nearest, {value:.4f} weighted")
assert path[-1][1] < 0.95 * path[0][1] < 0.75 * raw

# %%
# One of the matrices: what was estimated pair by pair has impossible patterns, which the nearest
# correlation matrix cannot have.
plt.style.use("petroff10")
figure, (curve, *axes) = plt.subplots(
    1, 4, figsize=(12, 3), layout="constrained", width_ratios=[1.4, 1, 1, 1]
)
grid = np.linspace(0, 4, 13)
curve.plot(grid, [error(g)[0] for g in grid], lw=2.5)
curve.plot(*np.transpose(path), "o", color="C1", label="steps of learning")
curve.set(xlabel="weights: common days to the power of", ylabel="mean squared error")
curve.legend(frameon=False)
one = np.linalg.eigvalsh(rough)[:, 0].argmin()
shown = {"all days": full, "pair by pair": rough, "repaired": repaired}
for axis, (name, matrix) in zip(axes, shown.items(), strict=True):
    image = axis.imshow(matrix[one], cmap="PuOr", vmin=-1, vmax=1)
    least = np.linalg.eigvalsh(matrix[one])[0]
    axis.set(title=f"{name}\nleast eigenvalue {least.round(2) + 0:.2f}", xticks=[], yticks=[])
figure.colorbar(image, ax=axes)
plt.show()
