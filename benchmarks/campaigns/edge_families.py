"""Families of wide scales with their true solutions and derivatives, by closed forms or rational arithmetic (``benchmarks.exact``).

Every family mixes the scales of its kind over the instances of one structure: weights and penalties, shifts, bounds, ties.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import cvxpy as cp
import numpy as np

from benchmarks.campaigns.exact import Program, answers, rational
from cvxpylayers._program import CompiledProblem
from problems.families import Array, Arrays, Parametrized, Rng


class Truth(NamedTuple):
    """Outputs (B, o) and Jacobian (B, o, p) of a batch, all outputs and all parameters flattened and joined.

    A row of the Jacobian is NaN where that output has no derivative: then it must be marked. ``free`` (B,): instances at the end of
    a parameter's domain, where the one-sided derivative given and a mark are both right. The units (B, o) and (B, p), of outputs
    and parameters, are what errors are relative to. Outputs are NaN where they are not determined.
    """

    outputs: Array
    jacobian: Array
    output_units: Array | float = 1.0
    parameter_units: Array | float = 1.0
    free: Array | bool = False


@dataclass(frozen=True)
class Edge:
    """One structure: the problem, a sampler (one array (B, *shape) per parameter), and the truth of what it draws.

    ``units`` draws factors (B, o) and (B, p) of outputs and parameters that leave the problem the same;
    ``options`` are the layer's, ``solver`` its engine.
    """

    group: str
    name: str
    make: Callable[[], Parametrized | CompiledProblem]
    draw: Callable[[Rng, int], Arrays]
    truth: Callable[..., Truth]
    units: Callable[[Rng, int], tuple[Array, Array]] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    solver: str | None = None

    def sample(self, rng: Rng, B: int) -> tuple[Arrays, Truth]:
        """B instances in their units, and their truth."""
        values = tuple(np.ascontiguousarray(v, dtype=float) for v in self.draw(rng, B))
        truth = self.truth(*values)
        if self.units is None:
            return values, truth
        uo, up = self.units(rng, B)
        cuts = np.cumsum([v[0].size for v in values])[:-1]
        scaled = tuple(v * u.reshape(v.shape) for v, u in zip(values, np.split(up, cuts, axis=1), strict=True))
        return scaled, Truth(truth.outputs * uo, truth.jacobian * uo[..., None] / up[:, None], uo, up, truth.free)


def short(values: Any, bits: int = 10) -> Array:
    """Rounded to ``bits`` binary digits, so that sums and products are exact."""
    mantissa, exponent = np.frexp(np.asarray(values, dtype=float))
    return np.asarray(np.ldexp(np.round(np.ldexp(mantissa, bits)), exponent - bits))


def wide(rng: Rng, low: float, high: float, shape: Any) -> Array:
    """10 to a power drawn evenly from [low, high]."""
    return short(10.0 ** rng.uniform(low, high, shape))


def flat(*arrays: Array) -> Array:
    return np.concatenate([np.asarray(a, dtype=float).reshape(len(a), -1) for a in arrays], axis=1)


def units(values: Arrays) -> Array:
    """Of parameters: the size of an entry from 1 to 1e4. A derivative by a larger penalty is below what 1e-16 of others leaves."""
    return np.clip(np.abs(flat(*values)), 1.0, 1e4)


def exact(program: Callable[..., Program], outputs: int | None = None) -> Callable[..., Truth]:
    """The truth of a quadratic program in rational arithmetic; the first ``outputs`` variables are the layer's outputs."""

    def truth(*values: Array) -> Truth:
        found = answers(program, values)
        x, J = np.array([a.x[:outputs] for a in found]), np.array([a.jacobian[:outputs] for a in found])
        stuck = np.isnan(J).all(axis=2)
        x = np.where(stuck & (np.isnan(J).all(axis=(1, 2)) & unsteady(values, program))[:, None], np.nan, x)
        return Truth(x, J, np.ones_like(x), np.ones_like(flat(*values)))

    return truth


def unsteady(values: Arrays, program: Callable[..., Program]) -> Array:
    """Whether x may be one of many: the quadratic part is singular."""
    P = np.array([program(*(rational(v[i]) for v in values)).P.astype(float) for i in range(len(values[0]))])
    return np.array([np.linalg.matrix_rank(p / max(np.abs(p).max(), 1e-300)) < len(p) for p in P])


def zeros(*shape: int) -> Array:
    return rational(np.zeros(shape, dtype=int))


def constant(values: Any) -> Array:
    return rational(np.asarray(values, dtype=float))


# ---- A: penalties -------------------------------------------------------------------------------------------------------------

G = np.array([[1.0, 0.5], [-0.5, 1.0]])
H = np.array([[2.0, 0.5], [0.5, 1.0]])


def soft(power: int, form: str) -> Edge:
    """½(u - r)ᵀH(u - r) + p Σ sᵢ^power with G u + c ≤ s: as slack variables, or as positive parts; u ≥ -1."""

    def make() -> Parametrized:
        u, s, r, c, p = cp.Variable(2), cp.Variable(2), cp.Parameter(2), cp.Parameter(2), cp.Parameter(nonneg=True)
        near = 0.5 * cp.quad_form(u, H) - (H @ r) @ u
        if form == "parts":
            v = cp.Variable(2)
            penalty = cp.sum(cp.pos(v)) if power == 1 else cp.sum_squares(cp.pos(v))
            return Parametrized(cp.Problem(cp.Minimize(near + p * penalty), [v == G @ u + c, u >= -1]), [r, c, p], [u])
        penalty = cp.sum(s) if power == 1 else cp.sum_squares(s)
        rows = [G @ u + c <= s, u >= -1, *([s >= 0] if power == 1 else [])]
        return Parametrized(cp.Problem(cp.Minimize(near + p * penalty), rows), [r, c, p], [u, s])

    def draw(rng: Rng, B: int) -> Arrays:
        return short(rng.normal(size=(B, 2))), short(rng.normal(size=(B, 2)) * 2), wide(rng, 0, 9, B)

    def program(r: Array, c: Array, p: Array) -> Program:
        P, q, g = zeros(4, 4), zeros(4), constant(G)
        P[:2, :2], q[:2] = constant(H), -(constant(H) @ r)
        if power == 1:
            q[2:] = p[()]
        else:
            P[2, 2] = P[3, 3] = 2 * p[()]
        E, Z = constant(np.eye(2)), zeros(2, 2)
        A = np.block([[g, -E], [-E, Z], *([[Z, -E]] if power == 1 else [])])
        b = np.concatenate([-c, constant([1, 1]), *([zeros(2)] if power == 1 else [])])
        return Program(P, q, A, b)

    def truth(*values: Array) -> Truth:
        return exact(program, 2 if form == "parts" else 4)(*values)._replace(parameter_units=units(values))

    return Edge("penalties", f"{'linear' if power == 1 else 'quadratic'}, {form}", make, draw, truth)


def equality_penalty() -> Edge:
    """½‖u - r‖² + p‖F u - c‖² over a box."""
    F = np.array([[1.0, 2.0, -1.0], [0.5, -1.0, 1.0]])

    def make() -> Parametrized:
        u, r, c, p = cp.Variable(3), cp.Parameter(3), cp.Parameter(2), cp.Parameter(nonneg=True)
        v = cp.Variable(2)
        cost = 0.5 * cp.sum_squares(u - r) + p * cp.sum_squares(v)
        return Parametrized(cp.Problem(cp.Minimize(cost), [v == F @ u - c, u >= -1, u <= 1]), [r, c, p], [u])

    def draw(rng: Rng, B: int) -> Arrays:
        return short(rng.normal(size=(B, 3))), short(rng.normal(size=(B, 2))), wide(rng, 0, 9, B)

    def program(r: Array, c: Array, p: Array) -> Program:
        f, E = constant(F), constant(np.eye(3))
        return Program(E + 2 * p[()] * (f.T @ f), -r - 2 * p[()] * (f.T @ c), np.vstack([-E, E]), constant(np.ones(6)))

    def truth(*values: Array) -> Truth:
        return exact(program)(*values)._replace(parameter_units=units(values))

    return Edge("penalties", "quadratic, equality", make, draw, truth)


# ---- B: dependent active constraints, ties -------------------------------------------------------------------------------------


def corner() -> Edge:
    """min ‖y - t‖², y ≤ r, Σ y ≤ s: three rows meet in a point of the plane where s = r₀ + r₁."""

    def make() -> Parametrized:
        y, t, r, s = cp.Variable(2), cp.Parameter(2), cp.Parameter(2), cp.Parameter()
        return Parametrized(cp.Problem(cp.Minimize(cp.sum_squares(y) - 2 * t @ y), [y <= r, cp.sum(y) <= s]), [t, r, s], [y])

    def draw(rng: Rng, B: int) -> Arrays:
        r = short(rng.normal(size=(B, 2)), 8)
        t = r + short(rng.uniform(0.1, 2, (B, 2)), 8)
        return t, r, r.sum(axis=1) + np.where(rng.random(B) < 0.7, 0.0, short(rng.normal(size=B), 8))

    def program(t: Array, r: Array, s: Array) -> Program:
        return Program(constant(2 * np.eye(2)), -2 * t, constant([[1, 0], [0, 1], [1, 1]]), np.append(r, s[()]))

    return Edge("ties", "corner of three rows", make, draw, exact(program))


def dependent() -> Edge:
    """½yᵀHy - tᵀy over five planes in space, three to five of which pass through the solution."""
    A = np.array([[1, 0, 0], [0, 1, 0], [1, 1, 0], [1, -1, 1], [0, 1, 1]], dtype=float)
    K = np.array([[2, 1, 0], [1, 2, 0], [0, 0, 1]], dtype=float)

    def make() -> Parametrized:
        y, t, r = cp.Variable(3), cp.Parameter(3), cp.Parameter(5)
        return Parametrized(cp.Problem(cp.Minimize(0.5 * cp.quad_form(y, K) - t @ y), [A @ y <= r]), [t, r], [y])

    def draw(rng: Rng, B: int) -> Arrays:
        x, z = rng.integers(-4, 5, (B, 3)) / 4, rng.integers(1, 9, (B, 5)) / 8 * (rng.random((B, 5)) < 0.6)
        s = np.where((z > 0) | (rng.random((B, 5)) < 0.1), 0.0, rng.integers(1, 9, (B, 5)) / 8)
        return x @ K + z @ A, x @ A.T + s

    def program(t: Array, r: Array) -> Program:
        return Program(constant(K), -t, constant(A), r)

    return Edge("ties", "dependent rows", make, draw, exact(program))


def doubled() -> Edge:
    """½‖x - t‖² with x ≥ a and x ≥ b, at a = b and beside it."""

    def make() -> Parametrized:
        x, t, a, b = cp.Variable(2), cp.Parameter(2), cp.Parameter(2), cp.Parameter(2)
        return Parametrized(cp.Problem(cp.Minimize(0.5 * cp.sum_squares(x) - t @ x), [x >= a, x >= b]), [t, a, b], [x])

    def draw(rng: Rng, B: int) -> Arrays:
        a = short(rng.normal(size=(B, 2)), 8)
        return short(rng.normal(size=(B, 2)), 8), a, np.where(rng.random((B, 2)) < 0.3, a, short(rng.normal(size=(B, 2)), 8))

    def program(t: Array, a: Array, b: Array) -> Program:
        E = constant(np.eye(2))
        return Program(E, -t, np.vstack([-E, -E]), np.concatenate([-a, -b]))

    return Edge("ties", "a bound stated twice", make, draw, exact(program))


def capped(n: int = 4) -> Edge:
    """max μᵀw, Σ w = 1, 0 ≤ w ≤ cap: at cap = 1/k as many bounds as variables hold; returns may be tied."""

    def make() -> Parametrized:
        w, mu, cap = cp.Variable(n), cp.Parameter(n), cp.Parameter()
        return Parametrized(cp.Problem(cp.Maximize(mu @ w), [cp.sum(w) == 1, w >= 0, w <= cap]), [mu, cap], [w])

    def draw(rng: Rng, B: int) -> Arrays:
        mu = np.array([rng.permutation(16)[:n] for _ in range(B)]) / 16.0
        mu[:, 1] = np.where(rng.random(B) < 0.1, mu[:, 0], mu[:, 1])
        cap = np.where(rng.random(B) < 0.3, rng.choice([0.5, 1.0], B), short(rng.uniform(0.26, 1.2, B)))
        return mu, cap

    def program(mu: Array, cap: Array) -> Program:
        E, ones = constant(np.eye(n)), constant(np.ones((1, n)))
        b = np.concatenate([constant([1]), zeros(n), zeros(n) + cap[()]])
        return Program(zeros(n, n), -mu, np.vstack([ones, -E, E]), b, 1)

    return Edge("ties", "capped portfolio", make, draw, exact(program))


def transport() -> Edge:
    """2 × 2 transport with marginals (a, 1 - a), (b, 1 - b): degenerate at a = b, and one equality row says what the others do."""

    def make() -> Parametrized:
        X, C, a, b = cp.Variable((2, 2)), cp.Parameter((2, 2)), cp.Parameter(), cp.Parameter()
        rows = [cp.sum(X, axis=1) == cp.hstack([a, 1 - a]), cp.sum(X, axis=0) == cp.hstack([b, 1 - b]), X >= 0]
        return Parametrized(cp.Problem(cp.Minimize(cp.sum(cp.multiply(C, X))), rows), [C, a, b], [X])

    def draw(rng: Rng, B: int) -> Arrays:
        a = short(rng.uniform(0.1, 0.9, B), 8)
        b = np.where(rng.random(B) < 0.4, a, short(rng.uniform(0.1, 0.9, B), 8))
        return np.array([rng.permutation(16)[:4].reshape(2, 2) for _ in range(B)]) / 4.0, a, b

    def program(C: Array, a: Array, b: Array) -> Program:
        rows = constant([[1, 1, 0, 0], [0, 0, 1, 1], [1, 0, 1, 0]])
        side = np.array([a[()], 1 - a[()], b[()]], dtype=object)
        return Program(zeros(4, 4), C.reshape(-1), np.vstack([rows, -constant(np.eye(4))]), np.concatenate([side, zeros(4)]), 3)

    return Edge("ties", "transport", make, draw, exact(program))


PENALTIES = (soft(2, "slacks"), soft(2, "parts"), soft(1, "slacks"), soft(1, "parts"), equality_penalty())
TIES = (corner(), dependent(), doubled(), capped(), transport())
