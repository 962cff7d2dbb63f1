"""What decides the derivative at one solution: the rows that hold it, the directions they leave open, the curvature along those.

With D = Π'(s - z), diagonal in the frames of the cones with entries d, the derivative is that of the equality constrained program

    minimize ½ dxᵀ(P + Σ (1 - d)/d aᵢaᵢᵀ) dx + …   subject to   aᵢᵀdx = …   for every row with d = 0,

its sum over rows with 0 < d < 1; a row with d = 1 says nothing. Rank is decided as the native engine decides it in doubt
(``cpp/src/adjoint/elimination.hpp``): a row depends on others where less than 1e-12 of its terms is left of it after elimination,
and a direction is flat where its curvature is less than 1e-13 of its terms.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import scipy.linalg as la

from cvxpylayers._engines.judge.program import ConeProgram
from cvxpylayers._engines.judge.projections import maps
from cvxpylayers._program.cones import CURVED
from cvxpylayers._typing import Bool, Float64, NDArray, Shaped

_DEPENDENT: Final = 1e-12
_FLAT: Final = 1e-13
_HELD: Final = 1e-9  # d of a row of a curved cone that counts as 0, and 1 - d that counts as 0
_SEEN: Final = 1e-9  # of a direction of length 1: what of it must be seen
_PIVOT: Final = 0.5  # of the largest entry of a row: what may be its pivot


@dataclass(frozen=True, eq=False)
class Geometry:
    """``active`` marks the rows (m) that hold the solution, of a cone its rows if any combination of them does; ``rank`` is
    the number of independent rows with d = 0, ``dependent`` of those that follow from others.

    ``free`` is the number of directions left, ``flat`` that of those without curvature, ``seen`` and ``seen_flat`` how many of each
    move what is looked at. ``curvature`` is the least of the others, inf where there is none; ``angle`` the least singular value
    of the independent rows, each of length 1, 1 where there is none; ``spread`` the largest norm of a row of [P Aᵀ; A 0] by the
    least.
    """

    active: Shaped[Bool, " m"]
    rank: int
    dependent: int
    free: int
    flat: int
    seen: int
    seen_flat: int
    curvature: float
    angle: float
    spread: float

    @staticmethod
    def at(program: ConeProgram, s: Shaped[Float64, " m"], z: Shaped[Float64, " m"], looks: Shaped[Float64, "k n"]) -> Geometry:
        """That of a solution with slacks s and multipliers z, of which ``looks`` x is looked at."""
        P, A = program.P.toarray(), program.A.toarray()
        active, G, curved = _held_rows(program, A, s, z)
        pivots, columns = independent(G, np.diag(P))
        others = np.setdiff1d(np.arange(A.shape[1]), columns)
        Z = np.zeros((A.shape[1], len(others)))
        Z[others, np.arange(len(others))] = 1.0
        if len(pivots):
            Z[columns] = -np.linalg.solve(G[pivots][:, columns], G[pivots][:, others])
        roots = curved @ Z
        H = Z.T @ P @ Z + roots.T @ roots
        terms = (np.abs(Z) * (np.abs(P) @ np.abs(Z))).sum(axis=0) + (roots**2).sum(axis=0)
        flat = _flat_directions(H, terms)
        return Geometry(
            active,
            rank=len(pivots),
            dependent=len(G) - len(pivots),
            free=len(others),
            flat=flat.shape[1],
            seen=_dimensions(looks, Z),
            seen_flat=_dimensions(looks, Z @ flat),
            curvature=_least_curvature(H, Z, flat.shape[1]),
            angle=_angle(G[pivots]),
            spread=_spread(np.abs(P), np.abs(A)),
        )


def _held_rows(program: ConeProgram, A: Float64, s: Float64, z: Float64) -> tuple[Bool, Float64, Float64]:
    """Which rows are active, the rows with d = 0 and, times √((1 - d)/d), those with 0 < d < 1, both in the frames."""
    cones = program.cones
    active = np.zeros(len(s), dtype=np.bool_)
    active[: cones.zero] = True
    active[cones.orthant] = s[cones.orthant] < z[cones.orthant]
    held, curved = [A[active]], [np.zeros((0, A.shape[1]))]
    for block in cones.blocks(*CURVED):
        D = maps(block).derivative(s[block.rows] - z[block.rows])
        d, T = np.linalg.eigh(0.5 * (D + D.T))
        rows = T.T @ A[block.rows]
        firm, soft = d < _HELD, (d >= _HELD) & (d <= 1.0 - _HELD)
        held.append(rows[firm])
        curved.append(np.sqrt((1.0 - d[soft]) / d[soft])[:, None] * rows[soft])
        active[block.rows] = (firm | soft).any()
    return active, np.concatenate(held), np.concatenate(curved)


def independent(rows: Shaped[Float64, "k n"], curvature: Shaped[Float64, " n"]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows that do not depend on each other, and the column of the pivot of each; short rows come first.

    A pivot is within half of its row's largest entry, in the column of least ``curvature``, so that penalties stay apart.
    """
    order = np.argsort((rows != 0.0).sum(axis=1), kind="stable")
    left, size = rows[order].copy(), np.abs(rows[order]).max(axis=1, initial=0.0)
    chosen, columns = [], []
    for k in range(len(left)):
        largest = np.abs(left[k]).max(initial=0.0)
        if largest <= _DEPENDENT * size[k]:
            continue
        fit = np.flatnonzero(np.abs(left[k]) >= _PIVOT * largest)
        column = fit[np.lexsort((-np.abs(left[k, fit]), curvature[fit]))[0]]
        chosen.append(k)
        columns.append(column)
        below = k + 1 + np.flatnonzero(left[k + 1 :, column])
        terms = np.outer(left[below, column] / left[k, column], left[k])
        size[below] = np.maximum(size[below], np.abs(terms).max(axis=1, initial=0.0))
        left[below] -= terms
        left[below, column] = 0.0
    return order[np.array(chosen, dtype=np.intp)], np.array(columns, dtype=np.intp)


def _flat_directions(H: Shaped[Float64, "f f"], terms: Shaped[Float64, " f"]) -> Shaped[Float64, "f k"]:
    """A basis of what has no curvature, by Cholesky's factorization with the pivot that has kept most of its terms."""
    left, order, rank = H.copy(), np.arange(len(H)), 0
    while rank < len(H):
        rest = order[rank:]
        share = left[rest, rest] / np.maximum(terms[rest], 1e-300)
        best = int(share.argmax())
        if not share[best] > _FLAT:
            break
        order[[rank, rank + best]] = order[[rank + best, rank]]
        pivot, rest = order[rank], order[rank + 1 :]
        left[np.ix_(rest, rest)] -= np.outer(left[rest, pivot], left[pivot, rest]) / left[pivot, pivot]
        rank += 1
    stiff, slack = order[:rank], order[rank:]
    found = np.zeros((len(H), len(slack)))
    found[slack, np.arange(len(slack))] = 1.0
    if rank and len(slack):
        found[stiff] = -np.linalg.solve(H[np.ix_(stiff, stiff)], H[np.ix_(stiff, slack)])
    return found


def _least_curvature(H: Float64, Z: Float64, flat: int) -> float:
    """The least of dᵀHd / |Zd|² but for the ``flat`` ones, which are zero."""
    if len(H) == flat:
        return np.inf
    return float(max(la.eigh(H, Z.T @ Z, eigvals_only=True, subset_by_index=[flat, flat])[0], 0.0))


def _dimensions(looks: Float64, Z: Float64) -> int:
    """How many dimensions the image of span(Z) has."""
    if not Z.size or not looks.size:
        return 0
    return int(np.linalg.matrix_rank(looks @ np.linalg.qr(Z)[0], tol=_SEEN))


def _angle(rows: Shaped[Float64, "k n"]) -> float:
    if not len(rows):
        return 1.0
    return float(np.linalg.svd(rows / np.linalg.norm(rows, axis=1, keepdims=True), compute_uv=False)[-1])


def _spread(P: Any, A: Any) -> float:
    """Largest by least norm of the rows of [P Aᵀ; A 0], but those of zeros."""
    columns = np.maximum(P.max(axis=1, initial=0.0), A.max(axis=0, initial=0.0))
    norms = np.concatenate([columns, A.max(axis=1, initial=0.0)])
    norms = norms[norms > 0.0]
    return float(norms.max() / norms.min()) if len(norms) else 1.0
