"""Small quadratic programs in rational arithmetic: the solution, and its derivative where there is one.

At a solution x with active rows I, every perturbation along t has, for small steps, a solution that keeps some S ⊆ I active, with
independent rows, multipliers ≥ 0 and the other rows of I slack: x' is linear in t as long as S serves. The derivative exists if all
S that serve some direction give the same linear map. All of this is decided with fractions, without a tolerance.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, combinations
from typing import NamedTuple

import numpy as np

from problems.families import Array, Rng

STEP = Fraction(1, 2**240)  # of differences of data that are polynomials in the parameters
SAMPLES = 8  # random directions, besides ± each parameter, in which linearity is checked


class Program(NamedTuple):
    """min ½xᵀPx + qᵀx, A x ≤ b, the first ``zero`` rows with equality; arrays of fractions."""

    P: Array
    q: Array
    A: Array
    b: Array
    zero: int = 0


class Answer(NamedTuple):
    """x (n), dx/dθ (n, p), NaN in rows where it does not exist, and multipliers z (m), one choice where rows are dependent."""

    x: Array
    jacobian: Array
    z: Array


rational = np.vectorize(Fraction, otypes=[object])


def eliminate(K: Array, R: Array) -> Array | None:
    """K⁻¹ R, or None where K is singular."""
    n, T = len(K), np.hstack([K, R])
    for j in range(n):
        pivot = next((i for i in range(j, n) if T[i, j]), None)
        if pivot is None:
            return None
        T[[j, pivot]] = T[[pivot, j]]
        T[j, j:] = T[j, j:] / T[j, j]
        for i in range(n):
            if i != j and T[i, j]:
                T[i, j:] = T[i, j:] - T[i, j] * T[j, j:]
    return T[:, n:]


@dataclass(frozen=True)
class Face:
    """The point where the rows ``rows`` hold with equality, its multipliers (m), slacks (m), and the inverse of its KKT matrix."""

    program: Program
    rows: list[int]
    x: Array
    z: Array
    s: Array
    inverse: Array

    @classmethod
    def at(cls, program: Program, rows: Sequence[int]) -> Face | None:
        """None where the rows do not determine x and z."""
        P, q, A, b, _ = program
        n, k, S = len(q), len(rows), list(rows)
        K = np.block([[P, A[S].T], [A[S], rational(np.zeros((k, k), int))]])
        inverse = eliminate(K, rational(np.eye(n + k, dtype=int)))
        if inverse is None:
            return None
        y = inverse @ np.concatenate([-q, b[S]])
        z = rational(np.zeros(len(b), int))
        z[S] = y[n:]
        return cls(program, S, y[:n], z, b - A @ y[:n], inverse)

    @property
    def optimal(self) -> bool:
        e = self.program.zero
        return all(s >= 0 for s in self.s[e:]) and all(z >= 0 for z in self.z[e:])

    def moves(self, tangents: Sequence[Program]) -> tuple[Array, Array, Array]:
        """Derivatives of x (n, p), z (m, p) and s (m, p) along tangents of the data, as long as these rows are the active ones."""
        _, q, A, b, _ = self.program
        n, S = len(q), self.rows
        sides = [np.concatenate([-(t.q + t.P @ self.x + t.A.T @ self.z), (t.b - t.A @ self.x)[S]]) for t in tangents]
        y = self.inverse @ np.stack(sides, axis=1)
        z = rational(np.zeros((len(b), len(tangents)), int))
        z[S] = y[n:]
        s = np.stack([t.b - t.A @ self.x for t in tangents], axis=1) - A @ y[:n]
        return y[:n], z, s


def subsets(rows: Sequence[int], most: int) -> Iterator[tuple[int, ...]]:
    return chain.from_iterable(combinations(rows, k) for k in range(min(most, len(rows)) + 1))


def _ranked(programs: Sequence[Program]) -> tuple[list[list[int]], Array]:
    """Every set of rows that could be active, and for each program (row) their order by violation in floating point."""
    P, q, A, b = (np.array([p[k] for p in programs], dtype=float) for k in range(4))
    zero, (B, m, n) = programs[0].zero, A.shape
    sets = [[*range(zero), *S] for S in subsets(range(zero, m), n - min(zero, n))] or [[*range(zero)]]
    scores = np.full((len(sets), B), np.inf)
    for i, S in enumerate(sets):
        with np.errstate(all="ignore"):
            wrong = _violation(P, q, A, b, S, zero)
        scores[i] = np.where(np.isfinite(wrong), wrong, np.inf)
    return sets, np.argsort(scores, axis=0, kind="stable").T


def _violation(P: Array, q: Array, A: Array, b: Array, S: list[int], zero: int) -> Array:
    """By how much (B,) slacks and multipliers are negative where the rows ``S`` are active, relative to their terms."""
    (B, m, n), k = A.shape, len(S)
    K = np.block([[P, A[:, S].swapaxes(1, 2)], [A[:, S], np.zeros((B, k, k))]])
    side = np.concatenate([-q, b[:, S]], axis=1)[..., None]
    size = np.abs(K).max(axis=2, keepdims=True) + 1e-300
    try:
        y = np.linalg.solve(K / size, side / size)[..., 0]
    except np.linalg.LinAlgError:
        y = (np.linalg.pinv(K / size) @ (side / size))[..., 0]
    x, z = y[:, :n], np.zeros((B, m))
    z[:, S] = y[:, n:]
    s = b - (A @ x[..., None])[..., 0]
    sizes = np.abs(b) + (np.abs(A) @ np.abs(x)[..., None])[..., 0] + 1e-30
    pull = np.abs(q) + (np.abs(P) @ np.abs(x)[..., None])[..., 0]
    weight = np.abs(A).max(axis=2) / (pull.max(axis=1, keepdims=True) + 1e-30)
    negative = np.maximum(-s / sizes, 0) + np.maximum(-z * weight, 0)
    return np.asarray(negative[:, zero:].max(axis=1, initial=0))


def answer(program: Program, tangents: Sequence[Program], sets: Sequence[Sequence[int]], rng: Rng) -> Answer:
    """The solution of one program and its derivative along ``tangents``; ``sets`` is the order in which active sets are tried."""
    face = next(f for S in sets if (f := Face.at(program, S)) is not None and f.optimal)
    free = range(program.zero, len(program.b))
    active = [i for i in free if face.s[i] == 0]
    if all(face.z[i] > 0 for i in active) and set(active) <= set(face.rows):
        return Answer(face.x.astype(float), face.moves(tangents)[0].astype(float), face.z.astype(float))
    base, n = list(range(program.zero)), len(program.q)
    faces = [Face.at(program, [*base, *S]) for S in subsets(active, n - program.zero)]
    serving = [(f, *f.moves(tangents)) for f in faces if f is not None and f.optimal]
    p = len(tangents)
    signs = np.concatenate([np.eye(p, dtype=int), -np.eye(p, dtype=int), rng.integers(-99, 100, (SAMPLES, p))])

    def along(t: Array) -> Array | None:
        for f, x, z, s in serving:
            moved = [(z @ t)[i] for i in active if f.z[i] == 0] + [(s @ t)[i] for i in active]
            if all(v >= 0 for v in moved):
                return np.asarray(x @ t)
        return None

    moves = [along(t) for t in signs]
    found = np.full((n, p), np.nan)
    moved = [x for x in moves if x is not None]
    if len(moved) == len(moves):
        jacobian = np.stack(moved[:p], axis=1)
        linear = np.all([jacobian @ t == x for t, x in zip(signs, moved, strict=True)], axis=0)
        found[linear] = jacobian[linear].astype(float)
    return Answer(face.x.astype(float), found, face.z.astype(float))


def answers(program: Callable[..., Program], values: Sequence[Array], seed: int = 0) -> list[Answer]:
    """One answer per instance; ``values`` holds one array (B, ...) per parameter, ``program`` takes the parameters' fractions."""
    rng, B = np.random.default_rng(seed), len(values[0])
    points = [[rational(v[i]) for v in values] for i in range(B)]
    programs = [program(*point) for point in points]
    sets, order = _ranked(programs)
    found = []
    for point, base, ranks in zip(points, programs, order, strict=True):
        tangents = []
        for k, value in enumerate(point):
            for index in np.ndindex(value.shape):
                moved = value.copy()
                moved[index] = moved[index] + STEP
                other = program(*point[:k], moved, *point[k + 1 :])
                tangents.append(Program(*((a - b) / STEP for a, b in zip(other[:4], base[:4], strict=True))))
        found.append(answer(base, tangents, [sets[j] for j in ranks], rng))
    return found
