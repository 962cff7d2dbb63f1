"""Families far from the origin, with huge bounds, and in other units: rational arithmetic, closed forms, and laws of units."""

from __future__ import annotations

import cvxpy as cp
import numpy as np

from benchmarks.campaigns.edge_families import Edge, H, Program, Truth, constant, exact, short, wide, zeros
from problems.families import Array, Arrays, Parametrized, Rng

EYE = constant(np.eye(3))
SUM = constant(np.ones((1, 3)))


def shift(rng: Rng, B: int) -> Array:
    """0 one time in eight, else 1 … 1e7 of either sign; (B, 1)."""
    return np.asarray(np.where(rng.random(B) < 0.125, 0.0, rng.choice([-1, 1], B) * wide(rng, 0, 7, B))[:, None])


def simplex(form: str) -> Edge:
    """The nearest point of the simplex to z = k + d, as a square or multiplied out."""

    def make() -> Parametrized:
        x, z = cp.Variable(3), cp.Parameter(3)
        cost = cp.sum_squares(x - z) if form == "square" else cp.sum_squares(x) - 2 * z @ x
        return Parametrized(cp.Problem(cp.Minimize(cost), [cp.sum(x) == 1, x >= 0]), [z], [x])

    def draw(rng: Rng, B: int) -> Arrays:
        z = shift(rng, B) + short(rng.normal(size=(B, 3)))
        if form == "one entry":
            z = short(rng.normal(size=(B, 3)))
            z[:, 0] = -wide(rng, 0, 30, B)
        return (z,)

    def program(z: Array) -> Program:
        return Program(EYE, -z, np.vstack([SUM, -EYE]), np.append(constant([1]), zeros(3)), 1)

    return Edge("bounds" if form == "one entry" else "shifts", f"simplex, {form}", make, draw, exact(program))


def far_box() -> Edge:
    """½‖x - z‖² over a box, everything k away from the origin."""

    def make() -> Parametrized:
        x, z, lo, hi = cp.Variable(3), *(cp.Parameter(3) for _ in range(3))
        return Parametrized(cp.Problem(cp.Minimize(cp.sum_squares(x - z)), [lo <= x, x <= hi]), [z, lo, hi], [x])

    def draw(rng: Rng, B: int) -> Arrays:
        k, lo = shift(rng, B), short(rng.normal(size=(B, 3)))
        return k + short(2 * rng.normal(size=(B, 3))), k + lo, k + lo + short(rng.uniform(0.1, 2, (B, 3)))

    def program(z: Array, lo: Array, hi: Array) -> Program:
        return Program(EYE, -z, np.vstack([-EYE, EYE]), np.concatenate([-lo, hi]))

    return Edge("shifts", "box", make, draw, exact(program))


def far_rows() -> Edge:
    """½xᵀHx - tᵀx, G x ≤ b, the feasible set k away from the origin."""
    rows = np.array([[1.0, 0.5], [-0.5, 1.0], [1.0, -1.0]])

    def make() -> Parametrized:
        x, t, b = cp.Variable(2), cp.Parameter(2), cp.Parameter(3)
        return Parametrized(cp.Problem(cp.Minimize(0.5 * cp.quad_form(x, H) - t @ x), [rows @ x <= b]), [t, b], [x])

    def draw(rng: Rng, B: int) -> Arrays:
        k = shift(rng, B) * np.ones(2)
        return k @ H + short(rng.normal(size=(B, 2))), k @ rows.T + short(rng.normal(size=(B, 3)))

    def program(t: Array, b: Array) -> Program:
        return Program(constant(H), -t, constant(rows), b)

    return Edge("shifts", "rows", make, draw, exact(program))


def far_portfolio(quadratic: bool) -> Edge:
    """max μᵀw - ½‖w‖² (or without the risk), Σ w = 1, 0 ≤ w ≤ cap, all returns moved by k."""

    def make() -> Parametrized:
        w, mu, cap = cp.Variable(3), cp.Parameter(3), cp.Parameter()
        utility = mu @ w - 0.5 * cp.sum_squares(w) if quadratic else mu @ w
        return Parametrized(cp.Problem(cp.Maximize(utility), [cp.sum(w) == 1, w >= 0, w <= cap]), [mu, cap], [w])

    def draw(rng: Rng, B: int) -> Arrays:
        return shift(rng, B) + short(rng.normal(size=(B, 3))), short(rng.uniform(0.4, 0.9, B))

    def program(mu: Array, cap: Array) -> Program:
        P = EYE if quadratic else zeros(3, 3)
        return Program(P, -mu, np.vstack([SUM, -EYE, EYE]), np.concatenate([constant([1]), zeros(3), zeros(3) + cap[()]]), 1)

    return Edge("shifts", "portfolio" if quadratic else "linear portfolio", make, draw, exact(program))


def fading() -> Edge:
    """min cᵀx + ½λ‖x‖² over the simplex, λ from 1 to 1e-12; half of the time c is of the size of λ, and the term decides."""

    def make() -> Parametrized:
        x, c, lam = cp.Variable(3), cp.Parameter(3), cp.Parameter(nonneg=True)
        cost = c @ x + 0.5 * lam * cp.sum_squares(x)
        return Parametrized(cp.Problem(cp.Minimize(cost), [cp.sum(x) == 1, x >= 0]), [c, lam], [x])

    def draw(rng: Rng, B: int) -> Arrays:
        lam = wide(rng, -12, 0, B)
        return short(rng.normal(size=(B, 3))) * np.where(rng.random(B) < 0.5, lam, 1.0)[:, None], lam

    def program(c: Array, lam: Array) -> Program:
        return Program(EYE * lam[()], c, np.vstack([SUM, -EYE]), np.append(constant([1]), zeros(3)), 1)

    def truth(c: Array, lam: Array) -> Truth:
        unit = np.where(np.abs(c).max(axis=1) < 8 * lam, lam, 1.0)[:, None] * np.ones((1, 4))
        return exact(program)(c, lam)._replace(parameter_units=unit)

    return Edge("weights", "quadratic term of a linear program", make, draw, truth)


# ---- E: huge bounds ------------------------------------------------------------------------------------------------------------


def one_sided() -> Edge:
    """½‖x‖² + qᵀx, x ≤ b, some b up to 1e30."""

    def make() -> Parametrized:
        x, q, b = cp.Variable(3), cp.Parameter(3), cp.Parameter(3)
        return Parametrized(cp.Problem(cp.Minimize(0.5 * cp.sum_squares(x) + q @ x), [x <= b]), [q, b], [x])

    def draw(rng: Rng, B: int) -> Arrays:
        return short(rng.normal(size=(B, 3))), np.where(
            rng.random((B, 3)) < 0.5, wide(rng, 0, 30, (B, 3)), short(rng.normal(size=(B, 3)))
        )

    return Edge("bounds", "one-sided", make, draw, exact(lambda q, b: Program(EYE, q, EYE, b)))


def two_sided() -> Edge:
    """½xᵀKx + qᵀx, -b ≤ x ≤ c, bounds from 1 to 1e30."""
    K = np.array([[2.0, 1, 0], [1, 2, 0.5], [0, 0.5, 1]])

    def make() -> Parametrized:
        x, q, b, c = cp.Variable(3), *(cp.Parameter(3) for _ in range(3))
        return Parametrized(cp.Problem(cp.Minimize(0.5 * cp.quad_form(x, K) + q @ x), [-b <= x, x <= c]), [q, b, c], [x])

    def draw(rng: Rng, B: int) -> Arrays:
        near = short(rng.uniform(0.1, 1, (2, B, 3)))
        b, c = np.where(rng.random((2, B, 3)) < 0.5, wide(rng, 0, 30, (2, B, 3)), near)
        return short(3 * rng.normal(size=(B, 3))), b, c

    def program(q: Array, b: Array, c: Array) -> Program:
        return Program(constant(K), q, np.vstack([-EYE, EYE]), np.concatenate([b, c]))

    return Edge("bounds", "two-sided", make, draw, exact(program))


def bounded_lp() -> Edge:
    """min cᵀx, Σ x = 1, 0 ≤ x ≤ b, A x ≤ h with bounds and right-hand sides up to 1e30."""
    a = np.array([[1.0, -1.0, 0.5]])

    def make() -> Parametrized:
        x, c, b, h = cp.Variable(3), cp.Parameter(3), cp.Parameter(3), cp.Parameter(1)
        return Parametrized(cp.Problem(cp.Minimize(c @ x), [cp.sum(x) == 1, x >= 0, x <= b, a @ x <= h]), [c, b, h], [x])

    def draw(rng: Rng, B: int) -> Arrays:
        b = np.where(rng.random((B, 3)) < 0.6, wide(rng, 0.01, 30, (B, 3)), short(rng.uniform(0.4, 0.9, (B, 3))))
        h = np.where(rng.random((B, 1)) < 0.6, wide(rng, 0, 30, (B, 1)), short(rng.uniform(0.2, 0.6, (B, 1))))
        return short(rng.normal(size=(B, 3))), b, h

    def program(c: Array, b: Array, h: Array) -> Program:
        A = np.vstack([SUM, -EYE, EYE, constant(a)])
        return Program(zeros(3, 3), c, A, np.concatenate([constant([1]), zeros(3), b, h]), 1)

    return Edge("bounds", "linear program", make, draw, exact(program))


# ---- units ---------------------------------------------------------------------------------------------------------------------


def powers(rng: Rng, decades: float, shape: tuple[int, ...]) -> Array:
    """Powers of two within 10^±decades, so that nothing is rounded."""
    return np.asarray(2.0 ** np.round(rng.uniform(-decades, decades, shape) * np.log2(10)))


def in_units(decades: float, quadratic: bool) -> Edge:
    """½‖L x‖² + qᵀx, A x ≤ b, where x, rows and objective are measured in units over 10^±decades."""
    n, m = 2, 4

    def make() -> Parametrized:
        x, L, q, A, b = cp.Variable(n), cp.Parameter((n, n)), cp.Parameter(n), cp.Parameter((m, n)), cp.Parameter(m)
        cost = 0.5 * cp.sum_squares(L @ x) + q @ x if quadratic else q @ x
        return Parametrized(cp.Problem(cp.Minimize(cost), [A @ x <= b]), [*([L] if quadratic else []), q, A, b], [x])

    def draw(rng: Rng, B: int) -> Arrays:
        L, A = short(rng.normal(size=(B, n, n)) + 1.5 * np.eye(n)), short(rng.normal(size=(B, m, n)))
        z, x = rng.uniform(0.5, 1.5, (B, m)), rng.normal(size=(B, n))
        b = (A @ x[..., None])[..., 0] + rng.uniform(0.02, 0.5, (B, m))
        q = -(A.swapaxes(1, 2) @ z[..., None])[..., 0] + (0 if not quadratic else rng.normal(size=(B, n)))
        return (*((L,) if quadratic else ()), short(q), A, short(b))

    def program(*values: Array) -> Program:
        *L, q, A, b = values
        return Program(L[0].T @ L[0] if quadratic else zeros(n, n), q, A, b)

    def scales(rng: Rng, B: int) -> tuple[Array, Array]:
        D, E = powers(rng, decades, (B, n)), powers(rng, decades, (B, m))
        c = powers(rng, decades / 2, (B, 1))
        L = np.tile(c * D, (1, n)) if quadratic else np.zeros((B, 0))
        return 1 / D, np.hstack([L, c * c * D, (E[:, :, None] * D[:, None]).reshape(B, -1), E])

    kind = "quadratic" if quadratic else "linear"
    return Edge("units", f"{kind} programs, 1e±{decades:g}", make, draw, exact(program), scales)


SHIFTS = (simplex("square"), simplex("product"), far_box(), far_rows(), far_portfolio(True), far_portfolio(False))
FADING = (fading(),)
BOUNDS = (simplex("one entry"), one_sided(), two_sided(), bounded_lp())
UNITS = tuple(in_units(decades, quadratic) for quadratic in (True, False) for decades in (2.0, 6.0))
