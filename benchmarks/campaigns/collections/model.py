"""A problem as its file states it, min ½ xᵀPx + qᵀx + r with A x + b ∈ K for groups of rows, and as a CVXPY problem."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cvxpy as cp
import numpy as np
import scipy.sparse as sp

from problems.families import Array, Parametrized

NONE = 1e15  # a bound of this size is none
SPREAD = 1e-3  # of perturbed costs, relative to themselves


@dataclass(frozen=True)
class Rows:
    """A x + b ∈ K: ``kind`` is zero, nonneg, soc, exp, power (with exponent ``alpha``), or psd, whose rows are all k² entries."""

    kind: str
    A: sp.csr_array
    b: Array
    alpha: float = 0.5

    def constraint(self, x: cp.Variable) -> cp.Constraint:
        """The same in CVXPY's words; exponential cones are in its order, y exp(x/y) ≤ z."""
        left = self.A @ x + self.b
        match self.kind:
            case "zero":
                return left == 0
            case "nonneg":
                return left >= 0
            case "soc":
                return cp.SOC(left[0], left[1:])
            case "psd":
                order = int(np.sqrt(len(self.b)))
                return cp.reshape(left, (order, order), order="C") >> 0
            case "exp":
                return cp.ExpCone(left[0], left[1], left[2])
        return cp.PowCone3D(left[0], left[1], left[2], self.alpha)


@dataclass(frozen=True)
class Model:
    """A problem of a collection. ``ray``: d and g, if costs are always to fall by g along (-d, 1)."""

    P: sp.csr_array
    q: Array
    constant: float
    rows: tuple[Rows, ...]
    ray: tuple[Array, float] | None = None

    def problem(self, *, constant: bool = False) -> Parametrized:
        """The problem with q as its parameter, or ``constant``, without one."""
        x, q = cp.Variable(len(self.q)), cp.Parameter(len(self.q))
        q.value = self.q
        cost, constraints = (self.q if constant else q) @ x + self.constant, [r.constraint(x) for r in self.rows if len(r.b)]
        if self.P.nnz:
            cost = 0.5 * cp.quad_form(x, self.P, assume_PSD=True) + cost
        return Parametrized(cp.Problem(cp.Minimize(cost), constraints), [] if constant else [q], [x])

    def costs(self, count: int, rng: np.random.Generator) -> Array:
        """(count, n): q, and perturbations of it."""
        noise = rng.normal(size=(count, len(self.q)))
        noise[0] = 0.0
        q = self.q * (1.0 + SPREAD * noise)
        if self.ray is not None:
            direction, gain = self.ray
            q[:, -1] = q[:, :-1] @ direction - gain
        return q


def bounded(P: sp.spmatrix, q: Array, constant: float, A: sp.spmatrix, low: Array, high: Array) -> Model:
    """The quadratic program with low ≤ A x ≤ high."""
    A, low, high = sp.csr_array(A), np.where(low <= -NONE, -np.inf, low), np.where(high >= NONE, np.inf, high)
    equal, above, below = low == high, np.isfinite(low), np.isfinite(high)
    above, below = above & ~equal, below & ~equal
    rows = (
        Rows("zero", A[equal], -high[equal]),
        Rows("nonneg", A[above], -low[above]),
        Rows("nonneg", sp.csr_array(-A[below]), high[below]),
    )
    return Model(sp.csr_array(P), q, constant, rows)


# ---- variants that provably have no solution -----------------------------------------------------------------------------------

PICKED = 6  # rows, or columns, that are combined


def without_points(model: Model, rng: np.random.Generator) -> Model:
    """The model and a row that contradicts a combination of others, y'(A x + b) ≥ 0 with y ∈ K*: it says that this is ≤ -g."""
    total, constant, size = sp.csr_array((1, len(model.q))), 0.0, 0.0
    plain = [r for r in model.rows if r.kind in ("zero", "nonneg") and len(r.b)]
    cones = [r for r in model.rows if r.kind in ("soc", "psd")]
    for rows in plain or cones[:1]:
        picked = rng.choice(len(rows.b), min(PICKED, len(rows.b)), replace=False)
        y = np.zeros(len(rows.b))
        if rows.kind in ("zero", "nonneg"):
            y[picked] = rng.uniform(0.5, 1.5, len(picked)) * (rng.choice([-1, 1], len(picked)) if rows.kind == "zero" else 1)
        elif rows.kind == "soc":
            y[0] = 1.0
        else:
            y[:: int(np.sqrt(len(y))) + 1] = rng.uniform(0.5, 1.5, int(np.sqrt(len(y))))
        total, constant = sp.csr_array(total + sp.csr_array(y[None] @ rows.A)), constant + float(y @ rows.b)
        size += float(np.abs(y) @ np.abs(rows.b))
    gap = rng.uniform(0.1, 1.0) * max(1.0, size)
    return replace(model, rows=(*model.rows, Rows("nonneg", sp.csr_array(-total), np.array([-constant - gap]))))


def without_bound(model: Model, rng: np.random.Generator) -> Model:
    """The model in x + t d with one more unknown t, whose cost along (-d, 1), where nothing else changes, is -g."""
    n = len(model.q)
    direction = np.zeros(n)
    picked = rng.choice(n, min(PICKED, n), replace=False)
    direction[picked] = rng.normal(size=len(picked))
    T = sp.csr_array(sp.hstack([sp.eye_array(n), sp.csr_array(direction[:, None])]))
    gain = rng.uniform(0.1, 1.0) * max(1.0, float(np.abs(model.q) @ np.abs(direction)))
    q = np.append(model.q, model.q @ direction - gain)
    rows = tuple(replace(r, A=sp.csr_array(r.A @ T)) for r in model.rows)
    return replace(model, P=sp.csr_array(T.T @ model.P @ T), q=q, rows=rows, ray=(direction, gain))
