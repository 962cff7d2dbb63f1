"""Random linear and quadratic programs whose solutions are known, as ``CompiledProblem``s without CVXPY.

The oracle is the construction: draw P = LLᵀ, A, a point x and complementary s, z ≥ 0; then q = -(Px + Aᵀz) and b = Ax + s make
(x, s, z) optimal, exactly, whatever the ranks and scales. A twist changes the draw before q and b are formed, or breaks them
along a certificate. M and R are identities: the five parameters are the parts P, q, A, b, d of the value vector and the outputs
are x and z, so that a batch may share or batch each part. ``problems.kinds`` holds the table of cases.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from cvxpylayers._canon import compile_problem
from cvxpylayers._engines.native.engine import NativeEngine
from cvxpylayers._program import (
    Batch,
    CompiledProblem,
    Cones,
    OutputSpec,
    ParameterSpec,
    Pattern,
    Status,
    Structure,
)
from problems.families import Family

Array = np.ndarray[Any, Any]
Rng = np.random.Generator
PARTS = ("P", "q", "A", "b", "d")


@dataclass(frozen=True)
class Program:
    """One instance with its solution; ``dq`` and ``db`` move it off, along a certificate. ``zero`` rows come first."""

    P: Array
    A: Array
    x: Array
    s: Array
    z: Array
    zero: int
    dq: Array | float = 0.0
    db: Array | float = 0.0
    status: Status = Status.SOLVED

    @property
    def q(self) -> Array:
        return -(self.P @ self.x + self.A.T @ self.z) + self.dq

    @property
    def b(self) -> Array:
        return self.A @ self.x + self.s + self.db

    @property
    def objective(self) -> float:
        return float(0.5 * self.x @ self.P @ self.x + self.q @ self.x)


Twist = Callable[[Rng, Program], Program]


@dataclass(frozen=True)
class Kind:
    """How to draw: sizes, rank of P (its factor n × rank has ``density``, as A has), rows active at the solution, twists.

    ``unique`` says whether x is the only solution, ``regular`` whether (x, z) is and strictly complementary, so that derivatives
    exist. ``stored`` keeps the full triangle in the pattern of P, whatever its values.
    """

    n: int = 6
    zero: int = 2
    nonneg: int = 8
    rank: int = 6
    active: int = 3
    density: float = 1.0
    twists: tuple[Twist, ...] = ()
    unique: bool = True
    regular: bool = True
    diagonal: bool = False
    stored: bool = False
    masks: tuple[Array, Array] | None = field(default=None, repr=False)

    def masked(self, rng: Rng) -> Kind:
        """Fix the sparsity, which all instances of a batch share; every row of A keeps an entry."""
        L = np.eye(self.n, self.rank, dtype=bool) if self.diagonal else rng.random((self.n, self.rank)) < self.density
        A = rng.random((self.zero + self.nonneg, self.n)) < self.density
        A[np.arange(len(A)), rng.integers(self.n, size=len(A))] = True
        return replace(self, masks=(L, A))

    def draw(self, rng: Rng) -> Program:
        """One instance; regular kinds are redrawn until the multipliers are well determined."""
        while True:
            program = self._draw(rng)
            active = program.A[(program.z != 0) | (np.arange(len(program.z)) < program.zero)]
            if not self.regular or not len(active) or np.linalg.svd(active, compute_uv=False)[-1] > 0.1:
                break
        for twist in self.twists:
            program = twist(rng, program)
        return program

    def _draw(self, rng: Rng) -> Program:
        assert self.masks is not None
        L, A = (mask * rng.normal(size=mask.shape) for mask in self.masks)
        m = self.zero + self.nonneg
        on = np.zeros(m, dtype=bool)
        on[self.zero + rng.permutation(self.nonneg)[: self.active]] = True
        s, z = np.where(on, 0.0, rng.uniform(0.5, 1.5, m)), np.where(on, rng.uniform(0.5, 1.5, m), 0.0)
        s[: self.zero], z[: self.zero] = 0.0, rng.normal(size=self.zero)
        P = L @ L.T + 0.1 * np.eye(self.n) * (self.rank == self.n)  # well conditioned
        return Program(P, A, rng.normal(size=self.n), s, z, self.zero)


def draw(kind: Kind, count: int, seed: int = 0) -> tuple[CompiledProblem, list[Program]]:
    """``count`` instances of one sparsity pattern, and that pattern compiled."""
    rng = np.random.default_rng(seed)
    kind = kind.masked(rng)
    programs = [kind.draw(rng) for _ in range(count)]
    P = np.any([p.P != 0 for p in programs], axis=0) | kind.stored
    A = np.any([p.A != 0 for p in programs], axis=0)
    return compiled(P, A, Cones(zero=kind.zero, nonneg=kind.nonneg)), programs


def _pattern(mask: Array) -> Pattern:
    csr = sp.csr_array(mask)
    csr.sort_indices()
    return Pattern(csr.indptr.astype(np.int32), csr.indices.astype(np.int32))


def compiled(P: Array, A: Array, cones: Cones) -> CompiledProblem:
    """The compiled problem of these patterns, its parameters the parts of the value vector."""
    m, n = A.shape
    structure = Structure(n, m, cones, _pattern(np.tril(P)), _pattern(A))
    sizes = dict(zip(PARTS, (structure.P.nnz, n, structure.A.nnz, m, 1), strict=True))
    return CompiledProblem(
        structure,
        sp.csr_array(sp.eye_array(structure.values, structure.values + 1)),
        sp.csr_array(sp.eye_array(n + m)),
        tuple(ParameterSpec(name, (size,)) for name, size in sizes.items()),
        (OutputSpec("x", (n,)), OutputSpec("z", (m,), dual=True)),
    )


def batch_of(compiled: CompiledProblem, programs: Sequence[Program], shared: str = "") -> Batch:
    """The parts of the programs stacked; those named in ``shared`` are taken from the first program, without a batch axis."""
    st = compiled.structure
    rows = [(p.P[st.P.rows, st.P.indices], p.q, p.A[st.A.rows, st.A.indices], p.b, np.zeros(1)) for p in programs]
    arrays = [np.ascontiguousarray(np.stack(column), dtype=np.float64) for column in zip(*rows, strict=True)]
    return Batch(tuple(a[0] if name in shared else a for name, a in zip(PARTS, arrays, strict=True)), (len(programs),))


class Draw(NamedTuple):
    """A compiled problem, a batch of its instances, and x, z, s with one row per instance."""

    compiled: CompiledProblem
    batch: Batch
    x: Array
    z: Array
    s: Array

    @property
    def objectives(self) -> Array:
        """½ xᵀP x + qᵀx: half of what P x + q + Aᵀz = 0 and b = A x + s make of it, xᵀP x = -qᵀx - bᵀz."""
        parts = (self.compiled.structure.split(self.compiled.M @ theta) for theta in self.batch.theta())
        return np.array([0.5 * (q @ x - b @ z) for (_, q, _, b, _), x, z in zip(parts, self.x, self.z, strict=True)])


def known(kind: Kind, count: int, seed: int = 0) -> Draw:
    """``draw`` in the form that conic programs have, too."""
    problem, programs = draw(kind, count, seed)
    return Draw(problem, batch_of(problem, programs), *(np.stack([getattr(p, name) for p in programs]) for name in "xzs"))


def pick(batch: Batch, rows: Sequence[int] | Array) -> Batch:
    """These instances of a batch with one axis, in this order."""
    index = np.asarray(rows, dtype=np.intp)
    return Batch(
        tuple(a[index] if a.ndim == 2 else a for a in batch.arrays),
        (len(index),),
        None if batch.invalid is None else batch.invalid[index],
    )


def family_batch(family: Family, count: int, seed: int) -> tuple[NativeEngine, Batch]:
    """The native engine of a family, and a batch of samples."""
    problem, parameters, variables = family.make()
    shapes = [p.shape for p in parameters]
    arrays = tuple(a.reshape(*a.shape[: a.ndim - len(s)], -1) for a, s in zip(family.sample(count, seed), shapes, strict=True))
    return NativeEngine(compile_problem(problem, parameters, variables), {}), Batch(arrays, (count,))
