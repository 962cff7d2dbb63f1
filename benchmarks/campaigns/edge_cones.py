"""Families of other cones at wide scales, smoothed derivatives, and other engines on some of the families."""

from __future__ import annotations

from dataclasses import replace

import cvxpy as cp
import numpy as np

from benchmarks.campaigns.edge_families import PENALTIES, TIES, Edge, Truth, flat, units, wide
from benchmarks.campaigns.edge_scales import BOUNDS, SHIFTS, UNITS, powers, shift
from benchmarks.campaigns.edge_weights import WEIGHTS, eye, norm2
from cvxpylayers._program import CompiledProblem, Cones
from problems.conic import random_conic
from problems.families import Array, Arrays, Parametrized, Rng
from problems.mixes import MIXES
from problems.oracles import jacobian, reference, sharpen


def norm_penalty() -> Edge:
    """½‖u - r‖² + p‖u - c‖, p from 1e-3 to 1e9: u = c where p exceeds ‖r - c‖."""

    def make() -> Parametrized:
        u, v, r, c, p = cp.Variable(3), cp.Variable(3), cp.Parameter(3), cp.Parameter(3), cp.Parameter(nonneg=True)
        cost = 0.5 * cp.sum_squares(u) - r @ u + p * cp.norm(v)
        return Parametrized(cp.Problem(cp.Minimize(cost), [v == u - c]), [r, c, p], [u])

    def truth(r: Array, c: Array, p: Array) -> Truth:
        v, J = norm2(r - c, p)
        return Truth(c + v, np.concatenate([J[..., :3], eye(*c.shape) - J[..., :3], J[..., 3:]], axis=2), 1.0, units((r, c, p)))

    def draw(rng: Rng, B: int) -> Arrays:
        return rng.normal(size=(B, 3)), rng.normal(size=(B, 3)), wide(rng, -3, 9, B)

    return Edge("cones", "norm penalty", make, draw, truth)


def barrier() -> Edge:
    """½‖w - m‖² - Σ bᵢ log wᵢ with weights from 1 to 1e9."""
    weights = next(e for e in WEIGHTS if e.name == "logarithms")

    def truth(m: Array, b: Array) -> Truth:
        found = weights.truth(m, b)
        return found._replace(output_units=np.maximum(1.0, found.outputs), parameter_units=np.maximum(1.0, flat(m, b)))

    return replace(
        weights, group="cones", name="log barrier",
        draw=lambda rng, B: (rng.uniform(-2, 2, (B, 3)), wide(rng, 0, 9, (B, 3))), truth=truth,
    )  # fmt: skip


def ball() -> Edge:
    """min qᵀx, ‖x - c‖ ≤ r: x = c - r q/‖q‖, with c up to 1e7 away, and r and q in units over 1e±6."""

    def make() -> Parametrized:
        x, q, c, r = cp.Variable(3), cp.Parameter(3), cp.Parameter(3), cp.Parameter()
        return Parametrized(cp.Problem(cp.Minimize(q @ x), [cp.norm(x - c) <= r]), [q, c, r], [x])

    def draw(rng: Rng, B: int) -> Arrays:
        r, far = wide(rng, -6, 6, B), shift(rng, B) * (rng.random((B, 1)) < 0.3)
        return wide(rng, -6, 6, (B, 1)) * rng.normal(size=(B, 3)), r[:, None] * rng.normal(size=(B, 3)) + far, r

    def truth(q: Array, c: Array, r: Array) -> Truth:
        size = np.linalg.norm(q, axis=1)[:, None]
        u = q / size
        bend = -(r[:, None] / size)[..., None] * (eye(*q.shape) - u[:, :, None] * u[:, None])
        unit = np.maximum(r[:, None], 1e-6 * np.abs(c).max(axis=1)[:, None]) * np.ones((1, 3))
        return Truth(c - r[:, None] * u, np.concatenate([bend, eye(*q.shape), -u[..., None]], axis=2), unit,
                     np.hstack([size * np.ones((1, 3)), unit, r[:, None]]))  # fmt: skip

    return Edge("cones", "ball", make, draw, truth)


def softmax() -> Edge:
    """max cᵀx + T Σ entr(xᵢ), Σ x = 1: x = softmax(c/T), temperatures from 1e-2 to 1e6, c moved by up to 1e7."""

    def make() -> Parametrized:
        x, c, T = cp.Variable(3), cp.Parameter(3), cp.Parameter(nonneg=True)
        return Parametrized(cp.Problem(cp.Maximize(c @ x + T * cp.sum(cp.entr(x))), [cp.sum(x) == 1]), [c, T], [x])

    def draw(rng: Rng, B: int) -> Arrays:
        T = wide(rng, -2, 6, B)
        return T[:, None] * rng.normal(size=(B, 3)) + shift(rng, B) * (rng.random((B, 1)) < 0.3), T

    def truth(c: Array, T: Array) -> Truth:
        d = (c - c.max(axis=1, keepdims=True)) / T[:, None]
        x = np.exp(d) / np.exp(d).sum(axis=1, keepdims=True)
        J = (x[:, :, None] * np.eye(3) - x[:, :, None] * x[:, None]) / T[:, None, None]
        unit = np.hstack([T[:, None] * np.ones((1, 3)), T[:, None]])
        return Truth(x, np.concatenate([J, -J @ d[..., None]], axis=2), 1.0, unit)

    return Edge("cones", "entropy", make, draw, truth)


def budget() -> Edge:
    """max x^α y^(1-α), p x + r y ≤ w: x = α w/p, y = (1 - α) w/r, prices and income over 1e±6."""
    alpha = np.array([0.3, 0.7])

    def make() -> Parametrized:
        x, t, p, w = cp.Variable(2), cp.Variable(), cp.Parameter(2, nonneg=True), cp.Parameter()
        return Parametrized(cp.Problem(cp.Maximize(t), [cp.PowCone3D(x[0], x[1], t, alpha[0]), p @ x <= w]), [p, w], [x])

    def truth(p: Array, w: Array) -> Truth:
        x = alpha * w[:, None] / p
        J = np.concatenate([-(x / p)[..., None] * np.eye(2), (alpha / p)[..., None]], axis=2)
        return Truth(x, J, x, flat(p, w))

    return Edge("cones", "power utility", make, lambda rng, B: (wide(rng, -6, 6, (B, 2)), wide(rng, -6, 6, B)), truth)


def spectral() -> Edge:
    """The nearest X ⪰ 0 with tr X = t to S + k I, both in units over 1e±6: the simplex projection of the spectrum."""
    n = 3

    def make() -> Parametrized:
        X, S, t = cp.Variable((n, n), symmetric=True), cp.Parameter((n, n)), cp.Parameter()
        cost = cp.sum_squares(X) - 2 * cp.sum(cp.multiply(S, X))
        return Parametrized(cp.Problem(cp.Minimize(cost), [X >> 0, cp.trace(X) == t]), [S, t], [X])

    def draw(rng: Rng, B: int) -> Arrays:
        t, S = wide(rng, -6, 6, B), rng.normal(size=(B, n, n))
        k = t * shift(rng, B)[:, 0] * (rng.random(B) < 0.5)
        return t[:, None, None] * (S + S.swapaxes(1, 2)) / 2 + k[:, None, None] * np.eye(n), t

    def truth(S: Array, t: Array) -> Truth:
        B, origin = len(t), S[:, :1, :1] * np.eye(n)
        w, Q = np.linalg.eigh((S + S.swapaxes(1, 2) - 2 * origin) / 2 / t[:, None, None])
        order = w[:, ::-1]
        levels = (np.cumsum(order, axis=1) - 1) / np.arange(1, n + 1)
        count = np.sum(order > levels, axis=1)
        v = np.maximum(w - levels[np.arange(B), count - 1][:, None], 0)
        gap, same = w[:, :, None] - w[:, None], np.eye(n, dtype=bool)
        slope = (v[:, :, None] - v[:, None]) / np.where(same, 1, gap) * ~same
        on = v > 0
        units_ = np.eye(n * n).reshape(n * n, n, n)
        inner = Q[:, None].swapaxes(2, 3) @ ((units_ + units_.swapaxes(1, 2)) / 2) @ Q[:, None]
        diagonal = np.diagonal(inner, axis1=2, axis2=3) * on[:, None]
        diagonal = diagonal - on[:, None] * diagonal.sum(axis=2, keepdims=True) / count[:, None, None]
        moved = inner * slope[:, None] + diagonal[..., None] * np.eye(n)
        J = (Q[:, None] @ moved @ Q[:, None].swapaxes(2, 3)).reshape(B, n * n, n * n).swapaxes(1, 2)
        spread = (Q * (on / count[:, None])[:, None]) @ Q.swapaxes(1, 2)
        X = t[:, None] * ((Q * v[:, None]) @ Q.swapaxes(1, 2)).reshape(B, -1)
        return Truth(X, np.concatenate([J, spread.reshape(B, -1, 1)], axis=2), t[:, None] * np.ones((1, n * n)),
                     t[:, None] * np.ones((1, n * n + 1)))  # fmt: skip

    return Edge("cones", "spectral simplex", make, draw, truth)


def conic(mix: str, decades: float) -> Edge:
    """Random programs of several cones, primal and dual solutions, each variable, cone and the objective in units of its own."""
    n, cones = 5, {**MIXES, "zero_nonneg": Cones(zero=2, nonneg=5)}[mix]

    def pattern() -> CompiledProblem:
        return random_conic(np.random.default_rng(1), n, cones, 1).compiled

    def draw(rng: Rng, B: int) -> Arrays:
        return random_conic(rng, n, cones, B).batch.arrays

    def truth(*values: Array) -> Truth:
        problem, found = pattern(), []
        for theta in np.concatenate(values, axis=1):
            start = reference(problem, theta)
            x, z, s = sharpen(problem, theta, start.x, start.z, start.s)
            found.append((np.concatenate([x, z]), jacobian(problem, theta, x, z, s)))
        return Truth(np.array([x for x, _ in found]), np.array([J for _, J in found]))

    def scales(rng: Rng, B: int) -> tuple[Array, Array]:
        st = pattern().structure
        widths = [1] * (cones.zero + cones.nonneg) + [*cones.soc, *(k * (k + 1) // 2 for k in cones.psd)]
        widths += [3] * (cones.exp + len(cones.power))
        r = np.repeat(powers(rng, decades, (B, len(widths))), widths, axis=1)
        c, f = powers(rng, decades, (B, n)), powers(rng, decades, (B, 1))
        data = (f * c[:, st.P.rows] * c[:, st.P.indices], f * c, r[:, st.A.rows] * c[:, st.A.indices], r, f)
        return np.hstack([1 / c, f / r]), np.hstack(data)

    return Edge("units", f"{mix.replace('_', ', ')}, 1e±{decades:g}", pattern, draw, truth, scales)


def smoothed() -> Edge:
    """min ½‖x - t‖², x ≥ 0, derivative at μ = 1e-4: (x - t) x = μ, in units over 1e±3; the output is exact."""
    mu = 1e-4

    def make() -> Parametrized:
        x, t = cp.Variable(3), cp.Parameter(3)
        return Parametrized(cp.Problem(cp.Minimize(0.5 * cp.sum_squares(x - t)), [x >= 0]), [t], [x])

    def truth(t: Array) -> Truth:
        return Truth(np.maximum(t, 0), ((1 + t / np.sqrt(t * t + 4 * mu)) / 2)[..., None] * np.eye(3))

    def draw(rng: Rng, B: int) -> Arrays:
        return (wide(rng, -6, 3, (B, 3)) * rng.choice([-1, 1], (B, 3)),)

    return Edge("smoothed", "box", make, draw, truth, options={"derivative": "smoothed", "smoothing": mu})


CONES = (norm_penalty(), barrier(), ball(), softmax(), budget(), spectral())
CONES += tuple(conic(mix, d) for mix in ("zero_nonneg", "soc", "psd", "exp", "power", "all") for d in (2.0, 6.0))
SMOOTHED = (smoothed(),)
PART = {e.name: e for e in (*PENALTIES, *TIES, *SHIFTS, *BOUNDS, *UNITS)}
SOME = ("quadratic, slacks", "dependent rows", "simplex, square", "two-sided", "quadratic programs, 1e±2")
ENGINES = tuple(
    replace(PART[name], group="engines", name=f"{solver}, {name}", solver=solver)
    for solver in ("CLARABEL", "OSQP", "PIQP", "SCS")
    for name in SOME
)
