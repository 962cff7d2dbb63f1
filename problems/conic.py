"""Random conic programs whose primal-dual solutions are known, as ``CompiledProblem``s without CVXPY.

As in ``problems.programs``, the oracle is the construction: draw P = LLᵀ, A, a point x and complementary s ∈ K, z ∈ K*; then
q = -(Px + Aᵀz) and b = Ax + s make (x, s, z) optimal, exactly. In each cone a pair is drawn in one of three ways: s inside
(z = 0), both on the boundary (positive semidefinite: any split of the spectrum), s = 0 (z inside). With F(s), F(z) the smallest
faces of s and z, all pairs are strictly complementary, so that

    z is unique  ⇔  Aᵀ is injective on span F(z),
    x is unique  ⇔  [P; the projection of A onto (span F(s))^⊥] is injective;

draws are repeated until both hold well (smallest singular value above ``WELL``), unless ``unique`` is False.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cvxpylayers._program import Batch, Cones
from problems.pairs import Pair, blocks, pair
from problems.programs import Array, Draw, Rng, compiled

WELL = 0.05


@dataclass(frozen=True)
class Instance:
    """One program with dense data."""

    P: Array
    q: Array
    A: Array
    b: Array
    x: Array
    z: Array
    s: Array


def _pairs(rng: Rng, cones: Cones, n: int) -> list[Pair]:
    """One pair per block (equality rows are one block), the tight dimensions of z together at most n."""
    chain, chosen = list(blocks(cones)), {}
    budget = n - cones.zero
    for i in rng.permutation(len(chain)):
        chosen[i] = pair(rng, chain[i], budget)
        budget -= chosen[i].face_z.shape[1]
    e = cones.zero
    first = Pair(np.zeros(e), rng.normal(size=e), np.zeros((e, 0)), np.eye(e))
    return [first, *(chosen[i] for i in range(len(chain)))]


def _well_determined(P: Array, A: Array, pairs: list[Pair]) -> bool:
    tight, fixed, row = [], [P], 0
    for p in pairs:
        rows = A[row : row + len(p.s)]
        tight.append(p.face_z.T @ rows)
        fixed.append(rows - p.face_s @ (p.face_s.T @ rows))
        row += len(p.s)
    active, lock = np.vstack(tight), np.vstack(fixed)
    injective = not len(active) or (len(active) <= len(P) and np.linalg.svd(active, compute_uv=False)[-1] > WELL)
    return bool(injective and np.linalg.svd(lock, compute_uv=False)[-1] > WELL)


def _instance(rng: Rng, cones: Cones, masks: tuple[Array, Array], unique: bool) -> Instance:
    n = len(masks[0])
    for _ in range(2000):
        L, A = (mask * rng.normal(size=mask.shape) for mask in masks)
        P = L @ L.T + 0.1 * np.eye(n) * (L.shape[1] >= n)
        pairs = _pairs(rng, cones, n)
        if not unique or _well_determined(P, A, pairs):
            x, s, z = rng.normal(size=n), np.concatenate([p.s for p in pairs]), np.concatenate([p.z for p in pairs])
            return Instance(P, -(P @ x + A.T @ z), A, A @ x + s, x, z, s)
    raise ValueError(f"found no well-determined program with n = {n}, rank {masks[0].shape[1]} and {cones}")


def _masks(rng: Rng, n: int, rank: int, m: int, density: float) -> tuple[Array, Array]:
    L, A = rng.random((n, rank)) < density, rng.random((m, n)) < density
    if m:
        A[np.arange(m), rng.integers(n, size=m)] = True
        A[rng.integers(m, size=n), np.arange(n)] = True
    return L, A


def random_conic(
    rng: Rng, n: int, cones: Cones, batch: int, *, rank: int | None = None, density: float = 1.0, unique: bool = True
) -> Draw:
    """``batch`` solvable programs of one pattern; P has rank ``rank`` (n where None, 0: no quadratic part).

    Needs ``cones.zero`` ≤ n. With a singular P and ``unique`` the cones must leave enough room to pin x down: ValueError if not.
    """
    masks = _masks(rng, n, n if rank is None else rank, cones.rows, density)
    return _stack(cones, [_instance(rng, cones, masks, unique) for _ in range(batch)])


def primal_infeasible(rng: Rng, n: int, cones: Cones, batch: int, *, rank: int | None = None, margin: float = 1.0) -> Draw:
    """As ``random_conic``, then A and b get a certificate y (in the place of z): Aᵀy = 0, y ∈ int K*, bᵀy = -margin."""
    found = []
    for p in _programs(rng, n, cones, batch, n if rank is None else rank):
        y = np.concatenate([rng.normal(size=cones.zero), *(c.dual_inside(rng) for c in blocks(cones))])
        A = p.A - np.outer(y, y @ p.A) / (y @ y)
        b = p.b - y * (y @ p.b + margin) / (y @ y)
        found.append(Instance(p.P, p.q, A, b, p.x, y, p.s))
    return _stack(cones, found)


def dual_infeasible(rng: Rng, n: int, cones: Cones, batch: int, *, rank: int | None = None, margin: float = 1.0) -> Draw:
    """As ``random_conic`` (P singular), then A and q get a ray d (in the place of x): Pd = 0, -Ad ∈ int K, qᵀd = -margin."""
    rank = max(n - 1 if rank is None else rank, 0)
    found = []
    for p in _programs(rng, n, cones, batch, rank):
        null = np.linalg.svd(p.P)[2][rank:]
        d = null.T @ rng.normal(size=len(null))
        d /= np.linalg.norm(d)
        ray = np.concatenate([np.zeros(cones.zero), *(c.inside(rng) for c in blocks(cones))])
        A = p.A - np.outer(ray + p.A @ d, d)
        q = p.q - d * (p.q @ d + margin)
        found.append(Instance(p.P, q, A, A @ p.x + p.s, d, p.z, ray))
    return _stack(cones, found)


def _programs(rng: Rng, n: int, cones: Cones, batch: int, rank: int) -> list[Instance]:
    masks = _masks(rng, n, rank, cones.rows, 1.0)
    return [_instance(rng, cones, masks, unique=False) for _ in range(batch)]


def _stack(cones: Cones, instances: list[Instance]) -> Draw:
    P, A = (np.any([getattr(p, name) != 0 for p in instances], axis=0) for name in ("P", "A"))
    problem = compiled(P, A, cones)
    st = problem.structure
    rows = [(p.P[st.P.rows, st.P.indices], p.q, p.A[st.A.rows, st.A.indices], p.b, np.zeros(1)) for p in instances]
    arrays = tuple(np.ascontiguousarray(np.stack(column), dtype=np.float64) for column in zip(*rows, strict=True))
    known = (np.stack([getattr(p, name) for p in instances]) for name in ("x", "z", "s"))
    return Draw(problem, Batch(arrays, (len(instances),)), *known)


def rescaled(rng: Rng, d: Draw, decades: float) -> Draw:
    """Every variable, every cone (each equality and inequality row by itself) and the objective times 10^u, |u| ≤ ``decades``."""
    cones, st = d.compiled.structure.cones, d.compiled.structure
    widths = [1] * (cones.zero + cones.nonneg) + [*cones.soc, *(k * (k + 1) // 2 for k in cones.psd)]
    widths += [3] * (cones.exp + len(cones.power))
    B = d.batch.size
    r = np.repeat(10.0 ** rng.uniform(-decades, decades, (B, len(widths))), widths, axis=1)
    c, f = 10.0 ** rng.uniform(-decades, decades, (B, st.n)), 10.0 ** rng.uniform(-decades, decades, (B, 1))
    P, q, A, b, t = d.batch.arrays
    arrays = f * P * c[:, st.P.rows] * c[:, st.P.indices], f * q * c, r[:, st.A.rows] * A * c[:, st.A.indices], r * b, f * t
    return Draw(d.compiled, Batch(arrays, d.batch.shape), d.x / c, f * d.z / r, r * d.s)
