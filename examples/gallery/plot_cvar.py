"""
Conditional value at risk
=========================

The conditional value at risk is the mean of the worst 5 % of weeks, and a portfolio that
minimizes it over the weeks of the past is a linear program with few decisive weeks. Which ones?
The derivative of the solution with respect to the weights of the weeks says it, all at once,
and solving again without each quarter confirms it.
"""

# %%
from importlib.util import find_spec
from pathlib import Path

import cvxpy as cp
import matplotlib.pyplot as plt
import numpy as np

from cvxpylayers.numpy import CvxpyLayer

# %%
# Closing prices of 20 large companies since 1990, from the files of skfolio, as weekly returns in
# per cent
file = Path(find_spec("skfolio").origin).parent / "datasets/data/sp500_dataset.csv.gz"
table = np.genfromtxt(file, delimiter=",", names=True, dtype=None, encoding="utf-8")
prices = np.stack([table[name] for name in table.dtype.names[1:]], 1)[::5]
dates, returns = table["Date"].astype("datetime64[D]")[5::5], 100 * (prices[1:] / prices[:-1] - 1)
T, n = returns.shape

# %%
# The problem, once (Rockafellar and Uryasev, 2000). Weeks have weights p that sum to one. A
# little of a quadratic term makes the portfolio unique, and a smooth function of the weights.
w, level, excess = cp.Variable(n, nonneg=True), cp.Variable(), cp.Variable(T, nonneg=True)
p = cp.Parameter(T, nonneg=True)
objective = level + 20 * (p @ excess) + 5 * cp.sum_squares(w)
problem = cp.Problem(cp.Minimize(objective), [excess >= -returns @ w - level, cp.sum(w) == 1])
layer = CvxpyLayer(problem, [p], [w])

# %%
# How much of the portfolio is in daily goods, and its derivative with respect to every week: one
# solve
goods = np.isin(table.dtype.names[1:], ["JNJ", "KO", "PEP", "PG", "WMT"]).astype(float)
equal = np.full(T, 1 / T)
(portfolio,), pull = layer.vjp(equal)
(slope,) = pull(goods)
print(f"{100 * goods @ portfolio:.1f} % of the portfolio are daily goods")

# %%
# To leave a quarter out is to set its weights to zero, and to scale the others. The derivative
# predicts what follows; a batch of all quarters is solved to compare.
quarters, which = np.unique(dates.astype("datetime64[M]").astype(int) // 3, return_inverse=True)
left_out = np.where(np.arange(len(quarters))[:, None] == which, 0, equal)
left_out /= left_out.sum(1, keepdims=True)
(without,) = layer(left_out)
actual, predicted = 100 * (goods @ portfolio - without @ goods), 100 * (equal - left_out) @ slope
correlation = np.corrcoef(actual, predicted)[0, 1]
print(f"{len(quarters)} quarters left out: correlation of prediction and truth {correlation:.3f}")
assert correlation > 0.85

# %%
# Left, what each quarter did to the share of daily goods. Few count: those in which everything
# else fell, or they did. Right, prediction by one derivative and truth by 132 solves.
plt.style.use("petroff10")
figure, (time, compare) = plt.subplots(
    1, 2, figsize=(10, 3.8), layout="constrained", width_ratios=[2, 1]
)
time.bar(1970 + quarters / 4, actual, width=0.24, color="C0")
time.text(1999.5, -3.7, "P&G loses a third\nin a day", ha="right")
time.text(2008.5, 1.4, "Lehman", ha="right")
time.text(2019.5, 1.1, "pandemic", ha="right")
time.axhline(0, color="k", lw=0.8)
time.set(xlabel="quarter", ylabel="daily goods held because of it,\n% of the portfolio")
compare.axline((0, 0), slope=1, color="0.7", lw=1)
compare.plot(predicted, actual, "o", color="C1", ms=5, alpha=0.7)
compare.set(xlabel="predicted by the derivative, %", ylabel="solved without the quarter, %")
plt.show()
