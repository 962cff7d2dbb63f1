"""Batches of programs of one structure each whose solutions are known: what applications bring, and random patterns do not."""

from __future__ import annotations

import numpy as np

from cvxpylayers._program import Batch, CompiledProblem, Cones
from problems.programs import Program, batch_of, compiled


def flat_distances(count: int, seed: int = 104) -> tuple[CompiledProblem, Batch]:
    """Σ pᵢ ‖xᵢ - (kᵢ, eᵢ)‖, -1 ≤ x ≤ 1, k far away and p small, in (t, x - (k, e), x): residuals are tiny wherever x is."""
    rng, own, none = np.random.default_rng(seed), np.eye(4), np.zeros((4, 4))
    linear = np.hstack([np.zeros((12, 2)), np.vstack([own, none, none]), np.vstack([-own, own, -own])])
    A = np.vstack([linear, -np.eye(6, 10)[[0, 2, 3, 1, 4, 5]]])

    def one() -> Program:
        k, p, e = 10.0 ** rng.uniform(1, 5, 2), 10.0 ** rng.uniform(-3, 0, 2), rng.uniform(-1, 1, 2)
        x, far, y = np.c_[np.ones(2), e], np.c_[-k, np.zeros(2)], np.c_[p, np.zeros(2)]
        s = np.concatenate([np.zeros(4), 1 - x.ravel(), 1 + x.ravel(), np.c_[k, far].ravel()])
        z = np.concatenate([y.ravel(), y.ravel(), np.zeros(4), np.c_[p, y].ravel()])
        return Program(np.zeros((10, 10)), A, np.concatenate([k, far.ravel(), x.ravel()]), s, z, 4)

    problem = compiled(np.zeros((10, 10)), A != 0, Cones(zero=4, nonneg=8, soc=(3, 3)))
    return problem, batch_of(problem, [one() for _ in range(count)])


def patches(count: int, seed: int = 105) -> tuple[CompiledProblem, Batch]:
    """½‖x - y‖² + Σ tₑ, ±(D x)ₑ ≤ tₑ over the edges and diagonals of an 8 x 8 picture that is flat in patches: so many rows depend
    on others that the derivative keeps the eliminations of a few lanes at a time."""
    rng, cell = np.random.default_rng(seed), np.arange(64).reshape(8, 8)
    pairs = [(cell[1:], cell[:-1]), (cell[:, 1:], cell[:, :-1]), (cell[1:, 1:], cell[:-1, :-1]), (cell[1:, :-1], cell[:-1, 1:])]
    first, last = (np.concatenate([pair[k].ravel() for pair in pairs]) for k in range(2))
    edges = len(first)
    D, own = np.eye(64)[first] - np.eye(64)[last], np.eye(edges)
    P, A = np.zeros((64 + edges,) * 2), np.block([[D, -own], [-D, -own]])
    P[:64, :64] = np.eye(64)

    def one() -> Program:
        x = np.kron(rng.integers(0, 3, (4, 4)), np.ones((2, 2))).ravel()
        share = np.where(D @ x == 0, rng.uniform(0.1, 0.9, edges), D @ x > 0)
        s = np.concatenate([np.abs(D @ x) - D @ x, np.abs(D @ x) + D @ x])
        return Program(P, A, np.concatenate([x, np.abs(D @ x)]), s, np.concatenate([share, 1 - share]), 0)

    problem = compiled(P, A != 0, Cones(nonneg=2 * edges))
    return problem, batch_of(problem, [one() for _ in range(count)])
