"""The infimum of a small semidefinite program in 400 bits: ``python -m benchmarks.campaigns.collections.infimum FILE.dat-s …``.

A file's numbers are taken as they stand, in decimals. The method is that of SDPA, infeasible path following along the direction of
Helmberg, Rendl, Vanderbei, Wolkowicz, Kojima, Shindoh, Hara and Monteiro, without anything that saves time: minutes to an hour for
matrices of order 20. It prints both objectives, the largest residual and |x| as it goes. Where |x| grows and the objective falls
beyond what doubles resolve, what solvers in double precision agree on is no optimum of the file.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mpmath import mp, mpf

Matrix = Any  # a square array of mpf
BITS, PASSES, TARGET = 400, 400, mpf("1e-25")


@dataclass(frozen=True)
class Program:
    """min c·x with S = Σ xᵢ Fᵢ - F₀ ⪰ 0, and its dual, max ⟨F₀, Y⟩ with ⟨Fᵢ, Y⟩ = cᵢ, Y ⪰ 0. F₀ is first; each holds all blocks."""

    c: list[Any]
    F: list[Matrix]


def read(path: Path) -> Program:
    """An SDPA file, exactly. The blocks are put into one matrix, where a block of negative size is a diagonal."""
    lines = [line for line in path.read_text().splitlines() if line.strip() and line[0] not in '"*']
    words = [line.translate(str.maketrans(",(){}", "     ")).split() for line in lines]
    n, sizes = int(words[0][0]), [abs(int(word)) for word in words[2][: int(words[1][0])]]
    starts, order = np.cumsum([0, *sizes]), sum(sizes)
    F = [zeros(order) for _ in range(n + 1)]
    for matrix, block, i, j, value in words[4:]:
        a, b = starts[int(block) - 1] + int(i) - 1, starts[int(block) - 1] + int(j) - 1
        F[int(matrix)][a, b] = F[int(matrix)][b, a] = mpf(value)
    return Program([mpf(word) for word in words[3][:n]], F)


def zeros(order: int) -> Matrix:
    return np.full((order, order), mpf(0), dtype=object)


def cholesky(A: Matrix) -> Matrix | None:
    """L with A = L Lᵀ; None where A is not positive definite."""
    L = zeros(len(A))
    for j in range(len(A)):
        pivot = A[j, j] - L[j, :j] @ L[j, :j]
        if pivot <= 0:
            return None
        L[j, j] = mp.sqrt(pivot)
        L[j + 1 :, j] = (A[j + 1 :, j] - L[j + 1 :, :j] @ L[j, :j]) / L[j, j]
    return L


def inverse(A: Matrix) -> Matrix | None:
    """A⁻¹ of a positive definite A, or None."""
    if (L := cholesky(A)) is None:
        return None
    X = zeros(len(A))
    for i in range(len(A)):
        X[i, i] = 1 / L[i, i]
        X[i, :i] = -(L[i, :i] @ X[:i, :i]) / L[i, i]
    return X.T @ X


def longest(X: Matrix, D: Matrix) -> Any:
    """Most of a step ≤ 1 that leaves X + αD positive definite."""
    alpha = mpf(1)
    while cholesky(X + alpha * D) is None:
        alpha *= mpf("0.9")
    return alpha * mpf("0.9")


def solve(program: Program) -> None:
    """Follow the path, and print where it leads."""
    c, (F0, *F) = np.array(program.c, dtype=object), program.F
    order = len(F0)
    x = np.array([mpf(0)] * len(F), dtype=object)
    S = Y = zeros(order) + np.diag(np.array([mpf(10) ** 4] * order, dtype=object))
    for k in range(PASSES):
        mu = (S * Y).sum() / order
        primal = sum((xi * Fi for xi, Fi in zip(x, F, strict=True)), -F0) - S
        dual = np.array([ci - (Fi * Y).sum() for ci, Fi in zip(c, F, strict=True)], dtype=object)
        residual, objective = max(abs(primal).max(), abs(dual).max()), c @ x
        over = residual < TARGET and mu < TARGET * (1 + abs(objective))
        if k % 20 == 0 or over:
            values = (objective, (F0 * Y).sum(), residual, abs(x).max())
            print(k, *(mp.nstr(value, 13) for value in values), flush=True)
        if over:
            return
        T = inverse(S)
        products = [Y @ Fi @ T for Fi in F]
        M = np.array([[(Fi * product).sum() for product in products] for Fi in F], dtype=object)
        N = inverse((M + M.T) / 2)
        assert T is not None, "S left the cone"
        assert N is not None, "400 bits do not suffice"

        sigma, second = mpf(0), zeros(order)
        for corrects in (False, True):
            right = sigma * mu * T - Y - (Y @ primal + second) @ T
            dx = N @ (np.array([(Fi * right).sum() for Fi in F], dtype=object) - dual)
            step = sum((d * Fi for d, Fi in zip(dx, F, strict=True)), zeros(order))
            dS, dY = step + primal, right - Y @ step @ T
            dY = (dY + dY.T) / 2
            a, b = longest(S, dS), longest(Y, dY)
            if not corrects:  # Mehrotra's centring, and more of it where little of the step is possible
                left = ((S + a * dS) * (Y + b * dY)).sum() / order
                sigma = min(max((left / mu) ** 2, mpf("0.5" if min(a, b) < 0.2 else "0.001")), mpf("0.9"))
                second = dY @ dS
        x, S, Y = x + a * dx, S + a * dS, Y + b * dY
    print("no end in sight")


if __name__ == "__main__":
    mp.prec = BITS
    for name in sys.argv[1:]:
        print(name, "pass, c·x, ⟨F₀, Y⟩, residual, |x|")
        solve(read(Path(name)))
