"""Complementary pairs s ∈ K, z ∈ K* in every cone: both on the boundary, or one inside and the other zero."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from cvxpylayers._program import Cones
from problems.programs import Array, Rng


class Pair(NamedTuple):
    """Complementary s and z of one cone; orthonormal bases of the spans of their smallest faces, as columns."""

    s: Array
    z: Array
    face_s: Array
    face_z: Array


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
class Cone:
    """One block: its rows, points inside K and K*, and boundary pairs in order of the dimension of span F(z)."""

    rows: int
    inside: Callable[[Rng], Array]
    dual_inside: Callable[[Rng], Array]
    edges: tuple[tuple[int, Callable[[Rng], Pair]], ...] = ()  # (dimension of span F(z), draw)


def blocks(cones: Cones) -> Iterator[Cone]:
    for _ in range(cones.nonneg):
        yield Cone(1, lambda r: r.uniform(0.5, 1.5, 1), lambda r: r.uniform(0.5, 1.5, 1))
    for k in cones.soc:
        draw = lambda r, k=k: _soc_inside(r, k)
        yield Cone(k, draw, draw, ((1, lambda r, k=k: _soc_edge(r, k)),) if k > 1 else ())
    for k in cones.psd:
        draw = lambda r, k=k: _psd_inside(r, k)
        splits = tuple(
            ((k - rank) * (k - rank + 1) // 2, lambda r, k=k, rank=rank: _psd_edge(r, k, rank)) for rank in range(k - 1, 0, -1)
        )
        yield Cone(k * (k + 1) // 2, draw, draw, splits)
    for _ in range(cones.exp):
        yield Cone(3, _exp_inside, _exp_dual_inside, ((1, _exp_edge),))
    for alpha in cones.power:
        yield Cone(
            3,
            lambda r, a=alpha: _power_inside(r, a),
            lambda r, a=alpha: _power_dual_inside(r, a),
            ((1, lambda r, a=alpha: _power_edge(r, a)),),
        )


def pair(rng: Rng, cone: Cone, budget: int) -> Pair:
    """A pair whose z spans at most ``budget`` dimensions; boundaries are preferred, the extremes come one time in three."""
    k = cone.rows
    edges = [draw for width, draw in cone.edges if width <= budget]
    way = rng.random()
    if edges and way < 2 / 3:
        return edges[rng.integers(len(edges))](rng)
    if k <= budget and way < 5 / 6:
        return Pair(np.zeros(k), cone.dual_inside(rng), np.zeros((k, 0)), np.eye(k))
    return Pair(cone.inside(rng), np.zeros(k), np.eye(k), np.zeros((k, 0)))
