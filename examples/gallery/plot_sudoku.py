"""
Sudoku
======

A network sees puzzles and their solutions, and nobody tells it the rules. The rules of 4 × 4
sudoku are linear equations A z = b in the 64 indicators z of "this cell holds this digit", so a
linear program can play once it knows A: it is learned by gradients through the solution (Amos
and Kolter, *OptNet*, 2017).
"""

# %%
import itertools

import cvxpy as cp
import matplotlib.pyplot as plt
import torch

from cvxpylayers.torch import CvxpyLayer

# %%
# All 288 grids, as indicators of shape (row, column, digit), and puzzles that hide some of the
# cells and have one solution
digits = torch.tensor(list(itertools.product(itertools.permutations(range(4)), repeat=4)))
cells = torch.nn.functional.one_hot(digits, 4)
columns, blocks = cells.sum(1), cells.reshape(-1, 2, 2, 2, 2, 4).sum((2, 4))
solutions = cells[(columns == 1).all((1, 2)) & (blocks == 1).all((1, 2, 3))].float()
torch.manual_seed(0)
puzzles = solutions[torch.randperm(288)].repeat_interleave(4, 0)
clues = puzzles * (torch.rand(len(puzzles), 4, 4, 1) < 0.5)
agree = clues.flatten(1) @ solutions.flatten(1).T == clues.sum((1, 2, 3))[:, None]
clues, solutions = clues[agree.sum(1) == 1], puzzles[agree.sum(1) == 1]
train, test = slice(0, 300), slice(304, None)  # from different grids
print(f"{len(clues)} puzzles, {clues[test].sum((1, 2, 3)).mean():.1f} clues of 16 cells on average")

# %%
# The problem, stated once. Clues enter the objective; the small quadratic term makes the solution
# unique and smooth in A. The right-hand side is A z₀ of a learned z₀, so that the equations
# always have a solution.
z, clue = cp.Variable(64, nonneg=True), cp.Parameter(64)
A, b = cp.Parameter((40, 64)), cp.Parameter(40)
problem = cp.Problem(cp.Minimize(0.05 * cp.sum_squares(z) - clue @ z), [A @ z == b])
layer = CvxpyLayer(problem, [clue, A, b], [z])

rules = torch.nn.Parameter(torch.rand(40, 64))
inside = torch.nn.Parameter(torch.zeros(64))


def play(clues: torch.Tensor) -> torch.Tensor:
    """Indicators (B, 4, 4, 4) of the digits that follow from clues under the learned rules."""
    (z,) = layer(clues.flatten(1), rules, rules @ inside.exp())
    return z.reshape(clues.shape)


# %%
# The learning loop: batches of 50 puzzles, squared error of the indicators.
optimizer = torch.optim.Adam([rules, inside], lr=0.04)
history = []
for _ in range(60):
    for start in range(0, 300, 50):
        part = slice(start, start + 50)
        loss = (play(clues[part]) - solutions[part]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        wrong = (play(clues[test]).argmax(-1) != solutions[test].argmax(-1)).float().mean()
    history.append(100 * wrong.item())
print(f"wrong cells: {history[0]:.1f} % after one epoch, {history[-1]:.1f} % at the end")
assert history[-1] < 2

# %%
# The puzzle with the fewest clues, never seen in training, played with the learned rules: clues
# are black, the layer's answers blue (red where wrong).
plt.style.use("petroff10")
figure, (curve, board) = plt.subplots(
    1, 2, figsize=(8.4, 3.8), layout="constrained", width_ratios=[3, 2]
)
curve.plot(range(1, 61), history, lw=2.5)
curve.set(xlabel="epoch", ylabel="wrong cells on new puzzles, %", ylim=(0, None))
hard = clues[test].sum((1, 2, 3)).argmin()
with torch.no_grad():
    digits = play(clues[test])[hard].argmax(-1)
given, right = clues[test][hard].sum(-1) > 0, digits == solutions[test][hard].argmax(-1)
for r, c in itertools.product(range(4), range(4)):
    color = "k" if given[r, c] else "tab:blue" if right[r, c] else "tab:red"
    weight = "bold" if given[r, c] else "normal"
    digit = digits[r, c].item() + 1
    board.text(c, r, digit, ha="center", va="center", fontsize=20, color=color, weight=weight)
for line in range(5):
    width = 2.5 if line % 2 == 0 else 0.8
    board.axhline(line - 0.5, color="k", lw=width)
    board.axvline(line - 0.5, color="k", lw=width)
board.set(title="clues black, answers blue", xlim=(-0.5, 3.5), ylim=(3.5, -0.5), aspect="equal")
board.axis("off")
plt.show()
