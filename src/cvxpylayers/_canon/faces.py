"""Matrices that constant equalities keep on the boundary of their cone, which get a smaller cone.

Where ⟨A, X⟩ = 0 with A ⪰ 0, as in sum(X) == 0 with A = 11', no feasible X ⪰ 0 has an interior, multipliers need not exist, and
methods lose half of the digits. For any A = W D W' with D > 0, X ⪰ 0, such an equality says XW = 0, which is linear (Borwein and
Wolkowicz 1981). Let P be as many places as W has columns, chosen such that W_P is invertible, best I, and N the others. Then

    X ⪰ 0 and ⟨A, X⟩ = 0   ⟺   X W = 0 and X_NN ⪰ 0,

since X W = 0 makes X = V X_NN V' with V_N = I, V_P = -W_N'. So X remains what it is, equalities replace others, and the cone
loses rows and columns. Of X W = 0, in which W_P = I, the entry (p_b, a) says what (p_a, b) says, given the others: one goes.

Equalities are constant: of those that a parameter reaches another value would mean another face.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

import numpy as np
import scipy.linalg
import scipy.sparse as sp

from cvxpylayers._canon.cvxpy_bridge import ConeForm
from cvxpylayers._canon.layout import Block
from cvxpylayers._typing import Float64, NDArray
from cvxpylayers._typing import Int32 as Index

_ROUNDING: Final = 1e-13  # of the largest eigenvalue: none
_CLEAR: Final = 1e-8  # of it: what is more is one; a matrix with eigenvalues between is left alone
_LARGE: Final = 1e7  # entries of all matrices of a cone beyond which they are not combined


class Entries(NamedTuple):
    """Of a tensor of rows G: (row, column, source, value), the last column h, the last source constants."""

    row: Index
    column: Index
    source: Index
    value: Float64

    def of(self, kept: NDArray[np.bool_]) -> Entries:
        """Some of them."""
        return Entries(self.row[kept], self.column[kept], self.source[kept], self.value[kept])


class _Cone(NamedTuple):
    """A matrix of single variables: its block, the block's first row, ``variable`` (k, k), a number or -1."""

    number: int
    start: int
    variable: NDArray[np.int64]


class Face(NamedTuple):
    """X W = 0, W (k, r) the identity in the places ``pivots``, which others ``kept`` determine."""

    W: Float64
    pivots: NDArray[np.int64]
    kept: NDArray[np.int64]


def on_faces(form: ConeForm, entries: Entries) -> ConeForm:
    """The form with smaller cones, and other equalities, where constant equalities keep a matrix on the boundary of its cone.

    Nothing changes where a dual variable of the cone or of such an equality is an output: there may be none.
    """
    starts = np.cumsum([0, *(block.rows for block in form.blocks)])
    asked = np.zeros(starts[-1] + 1, dtype=np.bool_)  # the last one for -1
    for dual, where in form.outputs:
        asked[where] |= dual
    for cone in _cones(form, entries, starts):
        if asked[cone.start : cone.start + cone.variable.size].any():
            continue
        rows = {row: A for row, A in _rows(form, entries, cone).items() if not asked[row]}
        equal = [form.blocks[_block_of(row, starts)].kind == "zero" for row in rows]
        face = find_face(list(rows.values()), equal) if rows else None
        if face is not None:
            return on_faces(*_with_face(form, entries, starts, cone, face, _implied(face, rows)))
    return form


def _block_of(row: int, starts: NDArray[np.int64]) -> int:
    return int(np.searchsorted(starts, row, side="right")) - 1


def _cones(form: ConeForm, entries: Entries, starts: NDArray[np.int64]) -> Iterator[_Cone]:
    """The semidefinite cones whose entries are single variables, each in one place and its mirror image."""
    constant = form.parameters.shape[0] - 1
    for number, block in enumerate(form.blocks):
        if block.kind != "psd" or block.count > 1 or block.dim < 2:
            continue
        k, start = block.dim, int(starts[number])
        inside = (entries.row >= start) & (entries.row < start + block.rows)
        row, column, source, value = entries.of(inside)
        if len(row) != k * k or len(np.unique(row)) < k * k or (source < constant).any() or (value != 1.0).any():
            continue
        variable = np.zeros((k, k), dtype=np.int64)
        variable.flat[row - start] = column
        upper = variable[np.triu_indices(k)]
        if (variable == variable.T).all() and len(np.unique(upper)) == len(upper) and upper.max() < form.n:
            yield _Cone(number, start, variable)


def _rows(form: ConeForm, entries: Entries, cone: _Cone) -> dict[int, Float64]:
    """Rows ⟨A, X⟩ = 0 or ≤ 0 with constant A of the cone's X alone, and A; none if no A has a trace."""
    kinds = np.repeat([block.kind for block in form.blocks], [block.rows for block in form.blocks])
    k = len(cone.variable)
    place = np.full(form.n + 1, -1)
    i, j = np.triu_indices(k)
    place[cone.variable[i, j]] = i * k + j
    possible = np.isin(kinds, ("zero", "nonneg"))
    possible[entries.row[(place[entries.column] < 0) | (entries.source < form.parameters.shape[0] - 1)]] = False
    row, column, _, value = entries.of(possible[entries.row])
    if not (place[column] % (k + 1) == 0).any():
        return {}
    order = np.argsort(row, kind="stable")
    found: dict[int, Float64] = {}
    for part in np.split(order, np.flatnonzero(np.diff(row[order])) + 1):
        A = np.zeros(k * k)
        A[place[column[part]]] = value[part]
        r = int(row[part[0]])
        found[r] = (A.reshape(k, k) + A.reshape(k, k).T) / (2 if kinds[r] == "zero" else -2)
    return found


def find_face(matrices: Sequence[Float64], equalities: Sequence[bool]) -> Face | None:
    """The smallest face that ⟨A, X⟩ = 0, or ≤ 0, of these (k, k) matrices, one by one or combined, is seen to keep X ⪰ 0 on.

    One by one: A is semidefinite on what is left. Combined: (w e' + e w')/2 is in the span of the equalities for every e.
    """
    k = len(matrices[0])
    V = np.eye(k)
    while V.shape[1]:
        left: Float64 | None = None
        rest = []
        for A, equality in zip(matrices, equalities, strict=True):
            B = V.T @ A @ V
            if np.abs(B).max() <= k * _ROUNDING * np.abs(A).max():
                continue  # it holds on this face
            left = _null_space(-B if equality and np.trace(B) < 0 else B)
            if left is not None:
                break
            rest += [B] if equality else []
        else:
            left = _common_null_space(rest)
        if left is None:
            break
        V = V @ left
    return None if V.shape[1] == k else _face(V)


def _null_space(B: Float64) -> Float64 | None:
    """Of a matrix that is positive semidefinite beyond doubt; None of any other."""
    if np.diag(B).min() < 0:
        return None
    values, vectors = np.linalg.eigh(B)
    zero = values <= len(B) * _ROUNDING * values[-1]
    doubtful = (np.abs(values) > len(B) * _ROUNDING * values[-1]) & (values < _CLEAR * values[-1])
    return None if doubtful.any() else vectors[:, zero]


def _common_null_space(matrices: Sequence[Float64]) -> Float64 | None:
    """What is orthogonal to all w with (w e' + e w')/2 in the span of the (d, d) matrices for every e; None if w = 0 alone.

    Let Bᵣ be an orthonormal basis of the span. The projection of that is Σᵣ (Bᵣw)'e Bᵣ, and what it leaves of the squares adds up
    to w'(½(d + 1) I - Σ Bᵣ²) w over coordinate vectors e.
    """
    d = len(matrices[0]) if matrices else 0
    if not 0 < d <= len(matrices) <= _LARGE / d**2 or not any(np.trace(A) for A in matrices):
        return None
    _, sizes, basis = np.linalg.svd([A.ravel() / np.linalg.norm(A) for A in matrices], full_matrices=False)
    B = basis[sizes > _CLEAR * sizes[0]].reshape(-1, d, d)
    values, vectors = np.linalg.eigh(0.5 * (d + 1) * np.eye(d) - np.einsum("rij,rjk->ik", B, B))
    found = values <= d * _ROUNDING * d
    w = vectors[:, found]
    left = np.einsum("rjw,rab->wjab", B @ w, B)
    for c in range(w.shape[1]):
        outer = np.einsum("ja,b->jab", np.eye(d), w[:, c])
        left[c] -= 0.5 * (outer + outer.swapaxes(1, 2))
    return vectors[:, ~found] if found.any() and np.abs(left).max() <= d * _ROUNDING else None


def _face(V: Float64) -> Face:
    """X = V Y V' as X W = 0."""
    k = len(V)
    W = scipy.linalg.null_space(V.T) if V.shape[1] else np.eye(k)
    _, _, order = scipy.linalg.qr(W.T, pivoting=True)
    pivots = np.sort(order[: W.shape[1]])
    W = np.linalg.solve(W[pivots].T, W.T).T
    W[np.abs(W) <= k * _ROUNDING * np.abs(W).max()] = 0.0
    W[pivots] = np.eye(len(pivots))
    return Face(W, pivots, np.setdiff1d(np.arange(k), pivots))


def _implied(face: Face, rows: dict[int, Float64]) -> list[int]:
    """The rows that hold on the face."""
    k, r = face.W.shape
    V = np.zeros((k, k - r))
    V[face.kept], V[face.pivots] = np.eye(k - r), -face.W[face.kept].T
    size = np.abs(V).max(initial=1.0) ** 2
    return [row for row, A in rows.items() if np.abs(V.T @ A @ V).max(initial=0.0) <= k * _ROUNDING * size * np.abs(A).max()]


def _with_face(
    form: ConeForm, entries: Entries, starts: NDArray[np.int64], cone: _Cone, face: Face, implied: list[int]
) -> tuple[ConeForm, Entries]:
    """The form without the implied rows and rows of the cone that the face determines, and with X W = 0 behind all others."""
    k = len(cone.variable)
    kept, inside = np.ones(starts[-1], dtype=np.bool_), np.zeros((k, k), dtype=np.bool_)
    inside[np.ix_(face.kept, face.kept)] = True
    kept[implied] = False
    kept[cone.start : cone.start + k * k] = inside.ravel()
    blocks, sources = [], []
    for number, (block, source) in enumerate(zip(form.blocks, form.sources, strict=True)):
        left = int(kept[starts[number] : starts[number + 1]].sum())
        if left:
            smaller = Block("psd", 1, len(face.kept)) if number == cone.number else replace(block, count=left)
            blocks.append(block if left == block.rows else smaller)
            sources.append(source)
    total, more = _equalities(cone, face, int(kept.sum()), form.parameters.shape[0] - 1)
    where = np.append(np.where(kept, np.cumsum(kept) - 1, -1), -1)
    old = entries.of(kept[entries.row])
    new = Entries(
        np.concatenate([where[old.row], more.row]).astype(np.int32),
        np.concatenate([old.column, more.column]),
        np.concatenate([old.source, more.source]),
        np.concatenate([old.value, more.value]),
    )
    shape = total * (form.n + 1), form.parameters.shape[0]
    G = sp.csc_array((new.value, (new.row + total * new.column.astype(np.int64), new.source)), shape=shape)
    form = replace(
        form,
        G=G,
        blocks=(*blocks, Block("zero", total - int(kept.sum()))),
        sources=(*sources, form.sources[_block_of(implied[0], starts)]),
        outputs=tuple((dual, where[at] if dual else at) for dual, at in form.outputs),
    )
    return form, new


def _equalities(cone: _Cone, face: Face, start: int, constant: int) -> tuple[int, Entries]:
    """How many rows there are with those of X W = 0 behind ``start`` others, and their entries."""
    k = len(cone.variable)
    pairs = [(a, j) for a in range(len(face.pivots)) for j in range(k) if j not in face.pivots[:a]]
    more = [(start + t, cone.variable[i, j], face.W[i, a]) for t, (a, j) in enumerate(pairs) for i in np.flatnonzero(face.W[:, a])]
    row, column, value = (np.array(part) for part in zip(*more, strict=True))
    return start + len(pairs), Entries(row.astype(np.int32), column.astype(np.int32), np.full(len(row), constant, np.int32), value)
