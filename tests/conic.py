"""Random conic programs whose primal-dual solutions are known, as ``CompiledProblem``s without CVXPY.

As in ``tests.programs``, the oracle is the construction: draw P = LLᵀ, A, a point x and complementary s ∈ K, z ∈ K*; then
q = -(Px + Aᵀz) and b = Ax + s make (x, s, z) optimal, exactly. In each cone a pair is drawn in one of three ways: s inside
(z = 0), both on the boundary (positive semidefinite: any split of the spectrum), s = 0 (z inside). With F(s), F(z) the smallest
faces of s and z, all pairs are strictly complementary, so that

    z is unique  ⇔  Aᵀ is injective on span F(z),
    x is unique  ⇔  [P; the projection of A onto (span F(s))^⊥] is injective;

draws are repeated until both hold well (smallest singular value above ``WELL``), unless ``unique`` is False.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from cvxpylayers._program import Batch, CompiledProblem, Cones
from tests.programs import Array, Rng, compiled

WELL = 0.05


class Pair(NamedTuple):
    """Complementary s and z of one cone; orthonormal bases of the spans of their smallest faces, as columns."""

    s: Array
    z: Array
    face_s: Array
    face_z: Array


class Draw(NamedTuple):
    """A compiled problem, a batch of its instances, and x, z, s with one row per instance."""

    compiled: CompiledProblem
    batch: Batch
    x: Array
    z: Array
    s: Array


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


# ---- cones: interior points, and pairs on the boundary ------------------------------------------------------------------------


def _span(*vectors: Array) -> Array:
    return np.linalg.qr(np.stack(vectors, axis=1))[0] if vectors else np.zeros((0, 0))


def svec(S: Array) -> Array:
    """Upper triangle by columns, off-diagonal entries times √2."""
    column, row = np.tril_indices(len(S))
    return S[row, column] * np.where(row == column, 1.0, np.sqrt(2.0))


def _soc_inside(rng: Rng, k: int) -> Array:
    u = rng.normal(size=k - 1)
    return np.append(np.linalg.norm(u) + rng.uniform(0.3, 1.5), u)


def _soc_edge(rng: Rng, k: int) -> Pair:
    u = rng.normal(size=k - 1)
    u *= rng.uniform(0.5, 1.5) / np.linalg.norm(u)
    s, z = np.append(np.linalg.norm(u), u), rng.uniform(0.5, 1.5) * np.append(np.linalg.norm(u), -u)
    return Pair(s, z, _span(s), _span(z))


def _psd_inside(rng: Rng, k: int) -> Array:
    L = rng.normal(size=(k, k))
    return svec(L @ L.T / k + 0.3 * np.eye(k))


def _psd_edge(rng: Rng, k: int, rank: int) -> Pair:
    """s of rank ``rank``, z of rank k - rank; orders up to 1 have no proper split."""
    Q = np.linalg.qr(rng.normal(size=(k, k)))[0]
    U, V = Q[:, :rank], Q[:, rank:]

    def face(B: Array) -> Array:
        r = B.shape[1]
        basis = [svec(B[:, [i]] @ B[:, [j]].T + B[:, [j]] @ B[:, [i]].T) for i in range(r) for j in range(i + 1)]
        return _span(*basis)

    s, z = (svec((B * rng.uniform(0.5, 2.0, B.shape[1])) @ B.T) for B in (U, V))
    return Pair(s, z, face(U), face(V))


def _exp_inside(rng: Rng) -> Array:
    x, y = rng.normal(), rng.uniform(0.5, 1.5)
    return np.array([x, y, y * np.exp(x / y) + rng.uniform(0.3, 1.5)])


def _exp_dual_inside(rng: Rng) -> Array:
    u, v = -rng.uniform(0.5, 1.5), rng.normal()
    return np.array([u, v, -u * np.exp(v / u - 1) + rng.uniform(0.3, 1.5)])


def _exp_edge(rng: Rng) -> Pair:
    """The surface y exp(x/y) = w, and its inward normal."""
    x, y = rng.normal(), rng.uniform(0.5, 1.5)
    e = np.exp(x / y)
    s, z = np.array([x, y, y * e]), rng.uniform(0.5, 1.5) * np.array([-e, -e * (1 - x / y), 1.0]) / np.hypot(1, e)
    return Pair(s, z, _span(s), _span(z))


def _power_inside(rng: Rng, alpha: float) -> Array:
    x, y = rng.uniform(0.5, 2.0, 2)
    return np.array([x, y, rng.uniform(-0.8, 0.8) * x**alpha * y ** (1 - alpha)])


def _power_dual_inside(rng: Rng, alpha: float) -> Array:
    return _power_inside(rng, alpha) * [alpha, 1 - alpha, 1.0]  # (u/α)^α (v/(1-α))^(1-α) ≥ |w|


def _power_edge(rng: Rng, alpha: float) -> Pair:
    x, y = rng.uniform(0.5, 2.0, 2)
    w, sign = x**alpha * y ** (1 - alpha), rng.choice([-1.0, 1.0])
    s, z = np.array([x, y, sign * w]), rng.uniform(0.5, 1.5) * np.array([alpha * w / x, (1 - alpha) * w / y, -sign])
    return Pair(s, z, _span(s), _span(z))


@dataclass(frozen=True)
class _Cone:
    """One block: its rows, points inside K and K*, and boundary pairs in order of the dimension of span F(z)."""

    rows: int
    inside: Callable[[Rng], Array]
    dual_inside: Callable[[Rng], Array]
    edges: tuple[tuple[int, Callable[[Rng], Pair]], ...] = ()  # (dimension of span F(z), draw)


def _blocks(cones: Cones) -> Iterator[_Cone]:
    for _ in range(cones.nonneg):
        yield _Cone(1, lambda r: r.uniform(0.5, 1.5, 1), lambda r: r.uniform(0.5, 1.5, 1))
    for k in cones.soc:
        draw = lambda r, k=k: _soc_inside(r, k)
        yield _Cone(k, draw, draw, ((1, lambda r, k=k: _soc_edge(r, k)),) if k > 1 else ())
    for k in cones.psd:
        draw = lambda r, k=k: _psd_inside(r, k)
        splits = tuple(
            ((k - rank) * (k - rank + 1) // 2, lambda r, k=k, rank=rank: _psd_edge(r, k, rank)) for rank in range(k - 1, 0, -1)
        )
        yield _Cone(k * (k + 1) // 2, draw, draw, splits)
    for _ in range(cones.exp):
        yield _Cone(3, _exp_inside, _exp_dual_inside, ((1, _exp_edge),))
    for alpha in cones.power:
        yield _Cone(
            3,
            lambda r, a=alpha: _power_inside(r, a),
            lambda r, a=alpha: _power_dual_inside(r, a),
            ((1, lambda r, a=alpha: _power_edge(r, a)),),
        )


def _pair(rng: Rng, cone: _Cone, budget: int) -> Pair:
    """A pair whose z spans at most ``budget`` dimensions; boundaries are preferred, the extremes come one time in three."""
    k = cone.rows
    edges = [draw for width, draw in cone.edges if width <= budget]
    way = rng.random()
    if edges and way < 2 / 3:
        return edges[rng.integers(len(edges))](rng)
    if k <= budget and way < 5 / 6:
        return Pair(np.zeros(k), cone.dual_inside(rng), np.zeros((k, 0)), np.eye(k))
    return Pair(cone.inside(rng), np.zeros(k), np.eye(k), np.zeros((k, 0)))


# ---- programs -----------------------------------------------------------------------------------------------------------------


def _pairs(rng: Rng, cones: Cones, n: int) -> list[Pair]:
    """One pair per block (equality rows are one block), the tight dimensions of z together at most n."""
    blocks, chosen = list(_blocks(cones)), {}
    budget = n - cones.zero
    for i in rng.permutation(len(blocks)):
        chosen[i] = _pair(rng, blocks[i], budget)
        budget -= chosen[i].face_z.shape[1]
    e = cones.zero
    first = Pair(np.zeros(e), rng.normal(size=e), np.zeros((e, 0)), np.eye(e))
    return [first, *(chosen[i] for i in range(len(blocks)))]


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
        y = np.concatenate([rng.normal(size=cones.zero), *(c.dual_inside(rng) for c in _blocks(cones))])
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
        ray = np.concatenate([np.zeros(cones.zero), *(c.inside(rng) for c in _blocks(cones))])
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


KINDS = ("zero", "nonneg", "soc", "psd", "exp", "power")


def random_cones(rng: Rng, rows: int = 30, kinds: Collection[str] | None = None) -> Cones:
    """About ``rows`` rows of these ``kinds``; where None, of each with probability one half."""
    if kinds is None:
        kinds = [kind for kind in KINDS if rng.random() < 0.5]
    share = max(1, rows // max(1, len(kinds)))
    draws: dict[str, Callable[[], Any]] = {
        "zero": lambda: int(rng.integers(1, min(share, 6) + 1)),
        "nonneg": lambda: int(rng.integers(1, share + 1)),
        "soc": lambda: tuple(rng.integers(1, share + 2, size=rng.integers(1, 4)).tolist()),
        "psd": lambda: tuple(rng.integers(1, max(3, int(np.sqrt(2 * share)) + 1), size=rng.integers(1, 3)).tolist()),
        "exp": lambda: int(rng.integers(1, max(2, share // 3 + 1))),
        "power": lambda: tuple(rng.uniform(0.1, 0.9, size=rng.integers(1, max(2, share // 3 + 1))).tolist()),
    }
    return Cones(**{kind: draws[kind]() for kind in KINDS if kind in kinds})


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


MIXES: dict[str, Cones] = {
    "soc": Cones(soc=(3, 4, 2, 5)),
    "soc_one": Cones(soc=(1, 6, 1)),
    "soc_large": Cones(soc=(25,)),
    "psd": Cones(psd=(3, 2)),
    "psd_large": Cones(psd=(7,)),
    "exp": Cones(exp=4),
    "power": Cones(power=(0.5, 0.3, 0.9)),
    "zero_soc": Cones(zero=2, soc=(3, 4)),
    "nonneg_soc": Cones(nonneg=4, soc=(3, 4)),
    "nonneg_exp": Cones(nonneg=4, exp=3),
    "soc_psd": Cones(soc=(3,), psd=(3,)),
    "psd_exp": Cones(psd=(3,), exp=2),
    "exp_power": Cones(exp=2, power=(0.4, 0.7)),
    "ones": Cones(zero=2, soc=(1, 1), psd=(1,), nonneg=1),
    "psd_power": Cones(psd=(2, 2), power=(0.25,)),
    "soc_exp": Cones(soc=(4,), exp=2),
    "soc_power": Cones(soc=(4,), power=(0.5, 0.8)),
    "nonneg_psd": Cones(nonneg=3, psd=(3,)),
    "nonneg_power": Cones(nonneg=3, power=(0.2, 0.5)),
    "all": Cones(zero=2, nonneg=3, soc=(3, 4), psd=(3, 2), exp=2, power=(0.3, 0.6)),
}
