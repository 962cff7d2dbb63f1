"""
Path of the lasso
=================

How does a solution move when a parameter does? ``layer.plot_path`` solves a whole line of
parameters as one batch, draws the solutions, and marks where the set of active constraints
changes: there derivatives jump. For the lasso this is the well-known path on which features
leave the model one after the other, as their weight grows.
"""

# %%
import cvxpy as cp
import matplotlib.pyplot as plt
import numpy as np

from cvxpylayers.numpy import CvxpyLayer

# %%
# The problem, once: six orthogonal features, for which the solution is known in closed form
rng = np.random.default_rng(0)
A, _ = np.linalg.qr(rng.normal(size=(50, 6)))
b = A @ [3.0, -2.0, 1.5, 1.0, -0.5, 0.1] + 0.1 * rng.normal(size=50)
x, weight = cp.Variable(6, name="coefficients"), cp.Parameter(nonneg=True, name="weight")
problem = cp.Problem(cp.Minimize(0.5 * cp.sum_squares(A @ x - b) + weight * cp.norm1(x)))
layer = CvxpyLayer(problem, [weight], [x])

# %%
# A batch of weights, against the closed form: what A tells of a coefficient, pulled towards zero
# by the weight. And the derivative, which is minus the sign of a coefficient, and zero of those
# that are zero.
weights, told = np.linspace(0.013, 3.3, 400), A.T @ b
(found,) = layer(weights)
closed = np.sign(told) * np.maximum(np.abs(told) - weights[:, None], 0)
(slope,) = layer.linearize(weights).jvp(np.ones(400))
print(f"largest difference from the closed form: {np.abs(found - closed).max():.0e}")
print(f"and of the derivative: {np.abs(slope + np.sign(closed)).max():.0e}")
assert np.abs(found - closed).max() < 1e-6
assert np.abs(slope + np.sign(closed)).max() < 1e-6

# %%
# The path from no weight to a weight of 3.3, with one line.
plt.style.use("petroff10")
figure = layer.plot_path(start=[0.0], end=[3.3])
figure.axes[0].set(xlabel="weight of the penalty, as a part of 3.3")
plt.show()
