"""The table of random programs: what is drawn (``Kind``) and how it is twisted; one row adds a case to every law.

``KINDS`` are solvable and must be solved well, ``HARSH`` are at or beyond the edge of float64, ``INFEASIBLE`` carry certificates.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from cvxpylayers._program import Status
from problems.programs import Kind, Program, Rng, Twist

# ---- twists ------------------------------------------------------------------------------------------------------------------


def repeat_row(source: int, target: int, factor: float = 1.0) -> Twist:
    """Row ``target`` becomes ``factor`` > 0 times row ``source``, multiplier and slack included (of an equality: any factor)."""

    def twist(rng: Rng, p: Program) -> Program:
        A, s, z = p.A.copy(), p.s.copy(), p.z.copy()
        A[target], s[target], z[target] = factor * A[source], factor * s[source], z[source]
        return replace(p, A=A, s=s, z=z)

    return twist


def unit_row(row: int, variable: int, sign: float = 1.0, active: bool | None = None) -> Twist:
    """Row ``row`` becomes a bound on one variable; ``active`` forces it on (slack 0, multiplier ½)."""

    def twist(rng: Rng, p: Program) -> Program:
        A, s, z = p.A.copy(), p.s.copy(), p.z.copy()
        A[row] = 0.0
        A[row, variable] = sign
        if active:
            s[row], z[row] = 0.0, 0.5
        return replace(p, A=A, s=s, z=z)

    return twist


def nearly_repeat_row(source: int, target: int, gap: float) -> Twist:
    """Row ``target``, like ``source`` active, becomes row ``source`` up to ``gap``."""

    def twist(rng: Rng, p: Program) -> Program:
        A, s, z = p.A.copy(), p.s.copy(), p.z.copy()
        A[target] = A[source] + gap * A[target]
        s[[source, target]], z[[source, target]] = 0.0, 1.0
        return replace(p, A=A, s=s, z=z)

    return twist


def empty_row(row: int, slack: float = 0.0) -> Twist:
    """Row ``row`` becomes 0·x ≤ slack (of an equality: 0 = 0)."""

    def twist(rng: Rng, p: Program) -> Program:
        A, s, z = p.A.copy(), p.s.copy(), p.z.copy()
        A[row], s[row], z[row] = 0.0, slack, 0.0
        return replace(p, A=A, s=s, z=z)

    return twist


def tie(row: int) -> Twist:
    """Inequality ``row`` holds with equality and multiplier zero."""

    def twist(rng: Rng, p: Program) -> Program:
        s, z = p.s.copy(), p.z.copy()
        s[row] = z[row] = 0.0
        return replace(p, s=s, z=z)

    return twist


def scale(rows: float = 0.0, columns: float = 0.0, cost: float = 0.0) -> Twist:
    """Scales rows, columns and the objective by 10^u, u uniform in ±rows, ±columns, ±cost; the solution goes along."""

    def twist(rng: Rng, p: Program) -> Program:
        m, n = p.A.shape
        r, c = 10.0 ** rng.uniform(-rows, rows, m), 10.0 ** rng.uniform(-columns, columns, n)
        f = 10.0 ** rng.uniform(-cost, cost)
        return replace(p, P=f * c[:, None] * p.P * c, A=r[:, None] * p.A * c, x=p.x / c, s=r * p.s, z=f * p.z / r)

    return twist


def enlarge(point: float) -> Twist:
    """The solution moves to 10^point times itself: b and q become huge or tiny against P and A."""
    return lambda rng, p: replace(p, x=p.x * 10.0**point, s=p.s * 10.0**point, z=p.z * 10.0**point)


def contradict(margin: float = 1.0) -> Twist:
    """Primal infeasible: y with Aᵀy = 0, y ≥ 0 on inequalities, bᵀy = -margin."""

    def twist(rng: Rng, p: Program) -> Program:
        m = len(p.s)
        y = np.concatenate([rng.normal(size=p.zero), rng.uniform(0.1, 1.0, m - p.zero)])
        A = p.A.copy()
        A[-1] = -(y[:-1] @ A[:-1]) / y[-1]
        moved = replace(p, A=A)
        db = np.zeros(m)
        db[-1] = -(y @ moved.b + margin) / y[-1]
        return replace(moved, db=db, status=Status.PRIMAL_INFEASIBLE)

    return twist


def contradict_row(row: int, by: float = -1.0) -> Twist:
    """Primal infeasible: row ``row`` becomes 0·x ≤ by (of an equality: 0 = by)."""

    def twist(rng: Rng, p: Program) -> Program:
        db = np.zeros(len(p.s))
        db[row] = by
        return replace(empty_row(row)(rng, p), db=db, status=Status.PRIMAL_INFEASIBLE)

    return twist


def descend(margin: float = 1.0) -> Twist:
    """Dual infeasible: d with Pd = 0, Ad = 0 on equalities and ≤ 0 on inequalities, qᵀd = -margin. Needs a singular P."""

    def twist(rng: Rng, p: Program) -> Program:
        n = len(p.x)
        null = np.linalg.svd(np.vstack([p.P, np.zeros((1, n))]))[2][np.linalg.matrix_rank(p.P) :]
        d = null.T @ rng.normal(size=len(null))
        d /= np.linalg.norm(d)
        aim = np.where(np.arange(len(p.s)) < p.zero, 0.0, -rng.uniform(0.1, 1.0, len(p.s)))
        moved = replace(p, A=p.A + np.outer(aim - p.A @ d, d))
        return replace(moved, dq=-(moved.q @ d + margin) * d, status=Status.DUAL_INFEASIBLE)

    return twist


# ---- the table ---------------------------------------------------------------------------------------------------------------

KINDS: dict[str, Kind] = {
    "dense_qp": Kind(),
    "sparse_qp": Kind(n=12, nonneg=20, rank=12, active=5, density=0.25),
    "diagonal_qp": Kind(diagonal=True, density=0.4),
    "low_rank_qp": Kind(rank=3, zero=1, active=4),
    "low_rank_sparse": Kind(n=10, rank=4, zero=2, nonneg=15, active=7, density=0.5),
    "lp_vertex": Kind(rank=0, active=4),
    "lp_stored_p": Kind(rank=0, active=4, stored=True),
    "lp_inequalities": Kind(rank=0, zero=0, nonneg=15, active=6),
    "lp_overdetermined_vertex": Kind(rank=0, active=6, regular=False),
    "lp_face": Kind(rank=0, active=2, unique=False, regular=False),
    "lp_equalities": Kind(rank=0, zero=6, nonneg=0, active=0),
    "lp_equalities_free": Kind(rank=0, zero=3, nonneg=0, active=0, unique=False, regular=False),
    "equality_qp": Kind(nonneg=0, active=0),
    "inequality_qp": Kind(zero=0),
    "no_active_row": Kind(zero=0, active=0),
    "unconstrained": Kind(zero=0, nonneg=0, active=0),
    "unconstrained_low_rank": Kind(zero=0, nonneg=0, rank=3, active=0, unique=False, regular=False),
    "qp_face": Kind(rank=2, zero=1, active=1, unique=False, regular=False),
    "one_variable": Kind(n=1, zero=0, nonneg=2, rank=1, active=1),
    "one_variable_lp": Kind(n=1, zero=0, nonneg=2, rank=0, active=1),
    "repeated_rows": Kind(twists=(repeat_row(2, 3), repeat_row(4, 5, 2.0)), regular=False),
    "repeated_rows_lp": Kind(rank=0, active=6, twists=(repeat_row(2, 3), repeat_row(4, 5)), regular=False, unique=False),
    "redundant_equalities": Kind(zero=3, twists=(repeat_row(0, 1, -2.0),), regular=False),
    "redundant_equalities_only": Kind(zero=3, nonneg=0, active=0, twists=(repeat_row(0, 1, -2.0),), regular=False),
    "fixed_by_equality": Kind(twists=(unit_row(0, 0),)),
    "fixed_by_bounds": Kind(twists=(unit_row(2, 0, 1.0, True), unit_row(3, 0, -1.0, True)), regular=False),
    "all_fixed_by_bounds": Kind(
        n=2, zero=0, nonneg=4, rank=2, regular=False,
        twists=tuple(unit_row(2 * j + k, j, 1.0 - 2 * k, True) for j in range(2) for k in range(2)),
    ),
    "fixed_by_bounds_lp": Kind(rank=0, active=6, twists=(unit_row(2, 0, 1.0, True), unit_row(3, 0, -1.0, True)),
                               regular=False, unique=False),
    "empty_rows": Kind(twists=(empty_row(0), empty_row(2, 1.0), empty_row(3)), regular=False),
    "empty_rows_only": Kind(zero=1, nonneg=2, active=0, twists=(empty_row(0), empty_row(1, 1.0), empty_row(2)), regular=False),
    "tied": Kind(twists=(tie(2), tie(3)), regular=False),
    "rows_1e6": Kind(twists=(scale(rows=3),)),
    "columns_1e6": Kind(twists=(scale(columns=3),)),
    "cost_1e12": Kind(twists=(scale(cost=6),)),
    "lp_rows_1e6": Kind(rank=0, active=4, twists=(scale(rows=3),)),
    "lp_columns_1e6": Kind(rank=0, active=4, twists=(scale(columns=3),)),
    "all_1e4": Kind(twists=(scale(2, 2, 2),)),
    "large_point": Kind(twists=(enlarge(5),)),
    "small_point": Kind(twists=(enlarge(-4),)),
}  # fmt: skip
SCALED = {name for name in KINDS if "1e" in name or "point" in name}  # beyond a dense oracle in float64
# Active inequalities depend on other rows, so that multipliers are a choice.
DEPENDENT = {name for name in KINDS if name.startswith("repeated_rows") or "fixed_by_bounds" in name}
DEPENDENT |= {"lp_overdetermined_vertex", "tied"}
HARSH: dict[str, Kind] = {
    "rows_1e12": Kind(twists=(scale(rows=6),)),
    "columns_1e12": Kind(twists=(scale(columns=6),)),
    "rows_1e16": Kind(twists=(scale(rows=8),)),
    "lp_all_1e8": Kind(rank=0, active=4, twists=(scale(4, 4, 4),)),
    "qp_all_1e8": Kind(twists=(scale(4, 4, 4),)),
    "huge_point": Kind(twists=(enlarge(8),)),
    "tiny_point": Kind(twists=(enlarge(-8),)),
}
INFEASIBLE: dict[str, Kind] = {
    "contradiction": Kind(twists=(contradict(),)),
    "contradiction_lp": Kind(rank=0, active=4, twists=(contradict(),)),
    "contradiction_equalities": Kind(zero=4, nonneg=0, active=0, twists=(contradict(),)),
    "zero_equals_one": Kind(twists=(contradict_row(0, 1.0),)),
    "zero_equals_one_only": Kind(nonneg=0, active=0, twists=(contradict_row(0, 1.0),)),
    "zero_below_minus_one": Kind(twists=(contradict_row(2),)),
    "descent_lp": Kind(rank=0, active=4, twists=(descend(),)),
    "descent_low_rank": Kind(rank=3, zero=1, active=2, twists=(descend(),)),
    "descent_inequalities": Kind(rank=2, zero=0, active=2, twists=(descend(),)),
    "descent_equalities": Kind(rank=2, nonneg=0, active=0, twists=(descend(),)),
    "descent_unconstrained": Kind(rank=3, zero=0, nonneg=0, active=0, twists=(descend(),)),
    "descent_unconstrained_lp": Kind(rank=0, zero=0, nonneg=0, active=0, twists=(descend(),)),
}


def random_kind(rng: np.random.Generator) -> Kind:
    """Sizes, ranks and densities at random."""
    n = int(rng.integers(1, 25))
    zero, nonneg = int(rng.integers(0, n // 3 + 1)), int(rng.integers(0, 2 * n + 1))
    rank = int(rng.choice([0, n, rng.integers(0, n + 1)]))
    active = int(rng.integers(0, min(nonneg, n - zero) + 1))
    return Kind(
        n, zero, nonneg, rank, active, density=float(rng.choice([1.0, 0.5, 0.2])), regular=False, stored=bool(rng.integers(2))
    )
