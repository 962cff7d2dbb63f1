"""
Batches without leaving CVXPY
=============================

A problem is written in CVXPY, and is to be solved for ten thousand values of its parameters: no
tensors, no training. ``solve_batch`` takes the problem and the values, and gives solutions,
multipliers and gradients by CVXPY's own objects. Here it draws the price of electricity over
demand and wind.
"""

# %%
import time

import cvxpy as cp
import matplotlib.pyplot as plt
import numpy as np

from cvxpylayers.cvxpy import solve_batch

# %%
# The problem: three power plants with different costs, limits, and what the wind brings. What is
# not served is dear.
power, shed = cp.Variable(3, nonneg=True, name="power"), cp.Variable(nonneg=True, name="shed")
demand, wind = cp.Parameter(name="demand", nonneg=True), cp.Parameter(name="wind", nonneg=True)
balance = cp.sum(power) + shed == demand - wind
cost = np.array([10, 25, 60]) @ power + np.array([1, 2, 6]) @ cp.square(power) + 150 * shed
problem = cp.Problem(cp.Minimize(cost), [balance, power <= [4, 3, 2]])

# %%
# Two axes that broadcast make a map of ten thousand problems. CVXPY alone would solve them one
# after the other; ten of them are enough to see how long that takes, and that it gives the same.
demands, winds = np.linspace(3, 13, 100)[:, None], np.linspace(0, 3, 100)
solve_batch(problem, {demand: 5.0, wind: 1.0})  # compiles the problem
start = time.perf_counter()
solution = solve_batch(problem, {demand: demands, wind: winds})
batch = (time.perf_counter() - start) / 10_000
start = time.perf_counter()
for k in range(10):
    demand.value, wind.value = demands[9 * k, 0], winds[9 * k]
    problem.solve(solver=cp.CLARABEL)
    assert abs(problem.value - solution.value[9 * k, 9 * k]) < 1e-5
alone = (time.perf_counter() - start) / 10
print(f"{1e6 * batch:.0f} µs a problem in the batch, {1e6 * alone:.0f} µs by problem.solve()")

# %%
# The price of electricity is the multiplier of the balance, and the gradient of the cost by the
# demand.
price = -solution.duals[balance]
assert np.abs(price - solution.value_gradient()[demand]).max() < 1e-6
difference = np.diff(solution.value, axis=0) / np.diff(demands, axis=0)
print(f"mean price {price.mean():.1f}, mean slope of the cost {difference.mean():.1f}")
assert ((price[:-1] - 1e-5 <= difference) & (difference <= price[1:] + 1e-5)).all()

plt.style.use("petroff10")
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
image = left.contourf(winds, demands[:, 0], price, levels=20, cmap="cividis")
figure.colorbar(image, ax=left, label="price")
left.set(xlabel="wind", ylabel="demand")
calm = solution["power"][:, 0]
right.stackplot(
    demands[:, 0],
    *calm.T,
    solution["shed"][:, 0],
    labels=["cheap plant", "middle", "dear", "not served"],
    alpha=0.85,
)
right.set(xlabel="demand, without wind", ylabel="power", xlim=(3, 13), ylim=(0, 13))
right.legend(frameon=False, loc="upper left")
plt.show()
