"""Families of parametrized LPs and QPs, shared by the benchmarks, the tests and the examples.

A family is a DPP problem and a seeded sampler of parameter batches. With probability one every sampled instance is feasible and
bounded, its solution is unique and nondegenerate (independent active constraints, strict complementarity), so that its derivative
exists and finite differences can check it. Matrices of the quadratic objectives are constants: that is the one form which every
contender accepts (not ``quad_form`` with a parameter matrix). ``FAMILIES`` holds the benchmark sizes, ``SMALL`` the same builders
at sizes for tests; ``status_family`` builds a problem some of whose instances are infeasible or unbounded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import cvxpy as cp
import numpy as np
import scipy.linalg as sla

Array = np.ndarray[Any, np.dtype[np.float64]]
Arrays = tuple[Array, ...]
Rng = np.random.Generator


class Parametrized(NamedTuple):
    """A problem with its parameters and the variables a layer returns, in the order of a layer's call."""

    problem: cp.Problem
    parameters: list[cp.Parameter]
    variables: list[cp.Variable]


@dataclass(frozen=True)
class Family:
    """``make()`` builds a fresh problem; ``draw(rng, B)`` draws one array per parameter: (B, *shape), or shared: (*shape)."""

    name: str
    make: Callable[[], Parametrized]
    draw: Callable[[Rng, int], Arrays]
    quadratic: bool = True
    gp: bool = False

    def sample(self, batch: int, seed: int = 0) -> Arrays:
        """Draw ``batch`` instances: one float64 array per parameter; shared parameters have no batch axis."""
        return tuple(np.ascontiguousarray(a, np.float64) for a in self.draw(np.random.default_rng(seed), batch))


def nnls(m: int = 3, n: int = 2) -> Family:
    """Nonnegative least squares, everything batched."""

    def make() -> Parametrized:
        x, A, b = cp.Variable(n, name="x"), cp.Parameter((m, n), name="A"), cp.Parameter(m, name="b")
        return Parametrized(cp.Problem(cp.Minimize(cp.sum_squares(A @ x - b)), [x >= 0]), [A, b], [x])

    return Family(f"nnls_{m}x{n}", make, lambda rng, B: (rng.normal(size=(B, m, n)), rng.normal(size=(B, m))))


def portfolio(n: int = 10) -> Family:
    """Long-only mean-variance portfolio with a constant covariance; expected returns batched."""
    rng = np.random.default_rng(n)
    loadings = rng.normal(size=(n, max(2, n // 5)))
    covariance = loadings @ loadings.T / loadings.shape[1] + np.diag(rng.uniform(0.5, 1.5, n))

    def make() -> Parametrized:
        w, returns = cp.Variable(n), cp.Parameter(n)
        utility = returns @ w - 0.5 * cp.quad_form(w, cp.psd_wrap(covariance))
        return Parametrized(cp.Problem(cp.Maximize(utility), [cp.sum(w) == 1, w >= 0]), [returns], [w])

    return Family(f"portfolio_{n}", make, lambda rng, B: (rng.normal(size=(B, n)),))


def factor_portfolio(n: int = 100, k: int = 10) -> Family:
    """Long-only portfolio with a k-factor risk model and linear transaction costs; the loadings are one shared parameter."""
    idiosyncratic = np.random.default_rng(n).uniform(0.3, 1.0, n)

    def make() -> Parametrized:
        w, f = cp.Variable(n), cp.Variable(k)
        returns, held, loadings = cp.Parameter(n), cp.Parameter(n), cp.Parameter((k, n))
        risk = cp.sum_squares(f) + cp.quad_form(w, cp.psd_wrap(np.diag(idiosyncratic)))
        cost = 0.5 * risk - returns @ w + 0.1 * cp.norm1(w - held)
        problem = cp.Problem(cp.Minimize(cost), [f == loadings @ w, cp.sum(w) == 1, w >= 0])
        return Parametrized(problem, [returns, held, loadings], [w])

    def draw(rng: Rng, B: int) -> Arrays:
        return 0.3 * rng.normal(size=(B, n)), rng.dirichlet(np.full(n, 5.0), size=B), rng.normal(size=(k, n)) / np.sqrt(k)

    return Family(f"factor_portfolio_{n}", make, draw)


def _quadratic_program(n: int, m: int, p: int) -> Callable[[], Parametrized]:
    """½ xᵀQx + qᵀx, G x ≤ h, A x = b with a constant dense Q ≻ 0 and parameters q, G, h, A, b."""
    factor = np.random.default_rng(n).normal(size=(n, n)) / np.sqrt(n)
    Q = factor @ factor.T + 0.1 * np.eye(n)

    def make() -> Parametrized:
        x = cp.Variable(n)
        q, G, h, A, b = (cp.Parameter(shape) for shape in (n, (m, n), m, (p, n), p))
        cost = 0.5 * cp.quad_form(x, cp.psd_wrap(Q)) + q @ x
        return Parametrized(cp.Problem(cp.Minimize(cost), [G @ x <= h, A @ x == b]), [q, G, h, A, b], [x])

    return make


def _constraints(rng: Rng, n: int, m: int, p: int, lead: tuple[int, ...]) -> tuple[Array, Array, Array, Array]:
    """Random G, h, A, b with a common strictly feasible point."""
    G, A, x = rng.normal(size=(*lead, m, n)), rng.normal(size=(*lead, p, n)), rng.normal(size=(*lead, n, 1))
    return G, (G @ x)[..., 0] + rng.uniform(0.1, 1.0, (*lead, m)), A, (A @ x)[..., 0]


def dense_qp(n: int = 20) -> Family:
    """Dense QP with n inequalities and n/5 equalities; q, G, h, A, b batched, Q constant."""
    m, p = n, n // 5

    def draw(rng: Rng, B: int) -> Arrays:
        return rng.normal(size=(B, n)), *_constraints(rng, n, m, p, (B,))

    return Family(f"dense_qp_{n}", _quadratic_program(n, m, p), draw)


def shared_qp(n: int = 50) -> Family:
    """The dense QP with one G, h, A, b for all instances (parameters without a batch axis); only q is batched."""
    m, p = n, n // 5

    def draw(rng: Rng, B: int) -> Arrays:
        constraints = _constraints(rng, n, m, p, ())
        return rng.normal(size=(B, n)), *constraints

    return Family(f"shared_qp_{n}", _quadratic_program(n, m, p), draw)


def mpc(states: int = 8, inputs: int = 3, horizon: int = 30) -> Family:
    """Linear-quadratic tracking with bounds on inputs and on their rates; initial state and reference batched.

    ½‖X − ref‖² is written without its constant as ½‖X‖² − ⟨ref, X⟩, which needs no auxiliary variables.
    Limits up and down differ: an input that leaves a bound and returns to it at one common rate would make both bounds and both
    rates active on three inputs, a degenerate vertex with positive probability.
    """
    rng = np.random.default_rng(states)
    dynamics = sla.qr(rng.normal(size=(states, states)))[0]
    actuation = rng.normal(size=(states, inputs)) / np.sqrt(states)

    def make() -> Parametrized:
        X, U = cp.Variable((horizon + 1, states)), cp.Variable((horizon, inputs))
        start, reference = cp.Parameter(states), cp.Parameter((horizon, states))
        cost = 0.5 * cp.sum_squares(X) - cp.sum(cp.multiply(reference, X[1:])) + 0.05 * cp.sum_squares(U)
        constraints = [
            X[0] == start,
            X[1:] == X[:-1] @ dynamics.T + U @ actuation.T,
            U <= 0.5,
            U >= -0.5,
            U[1:] - U[:-1] <= 0.4,
            U[1:] - U[:-1] >= -0.33,
        ]
        return Parametrized(cp.Problem(cp.Minimize(cost), constraints), [start, reference], [X, U])

    def draw(rng: Rng, B: int) -> Arrays:
        return rng.normal(size=(B, states)), 0.3 * rng.normal(size=(B, horizon, states))

    return Family(f"mpc_{horizon}", make, draw)


def transport(sources: int = 10, sinks: int = 10) -> Family:
    """Transport LP: costs, supplies and demands batched; supply exceeds demand, so that vertices are nondegenerate."""

    def make() -> Parametrized:
        flow = cp.Variable((sources, sinks))
        cost, supply, demand = cp.Parameter((sources, sinks)), cp.Parameter(sources), cp.Parameter(sinks)
        constraints = [cp.sum(flow, axis=1) <= supply, cp.sum(flow, axis=0) >= demand, flow >= 0]
        return Parametrized(cp.Problem(cp.Minimize(cp.sum(cp.multiply(cost, flow))), constraints), [cost, supply, demand], [flow])

    def draw(rng: Rng, B: int) -> Arrays:
        demand = rng.uniform(0.5, 1.5, (B, sinks))
        supply = rng.uniform(0.5, 1.5, (B, sources))
        supply *= 1.3 * demand.sum(1, keepdims=True) / supply.sum(1, keepdims=True)
        return rng.uniform(0.1, 1.0, (B, sources, sinks)), supply, demand

    return Family(f"transport_{sources}x{sinks}", make, draw, quadratic=False)


def _sudoku_rules(box: int) -> Array:
    """Independent rows among the rules of side box² (each cell, row, column and box once per digit), shape (rank, side³)."""
    side = box * box
    z = np.eye(side**3).reshape(side, side, side, -1)  # row, column, digit
    boxes = z.reshape(box, box, box, box, side, -1).sum((1, 3))
    rules = np.concatenate([group.reshape(side**2, -1) for group in (z.sum(2), z.sum(1), z.sum(0), boxes)])
    _, triangle, order = sla.qr(rules.T, pivoting=True, mode="economic")
    rank = int(np.sum(np.abs(np.diag(triangle)) > 1e-9))
    return np.asarray(rules[np.sort(order[:rank])])


def sudoku(box: int = 2) -> Family:
    """LP relaxation of a sudoku with learned rules: A, b shared (the rules, perturbed, through a positive point), costs batched.

    The costs reward the given digits and carry noise, as a network would produce; with exact rules vertices would be degenerate.
    """
    rules = _sudoku_rules(box)
    side, (p, n) = box * box, rules.shape

    def make() -> Parametrized:
        z, cost, A, b = cp.Variable(n), cp.Parameter(n), cp.Parameter((p, n)), cp.Parameter(p)
        return Parametrized(cp.Problem(cp.Minimize(cost @ z), [A @ z == b, z >= 0]), [cost, A, b], [z])

    def draw(rng: Rng, B: int) -> Arrays:
        rows, columns = np.indices((side, side))
        solution = (box * (rows % box) + rows // box + columns) % side  # a valid grid; relabelled per instance
        digits = np.argsort(rng.random((B, side)), axis=1)[:, solution]
        given = rng.random((B, side, side, 1)) < 0.4
        clues = np.where(given, np.eye(side)[digits], 0.0).reshape(B, n)
        A = rules + 0.1 * rng.random((p, n))
        return 0.3 * rng.random((B, n)) - clues, A, A @ rng.uniform(0.1, 1.0, n)

    return Family(f"sudoku_{side}", make, draw, quadratic=False)


SOLVED, PRIMAL_INFEASIBLE, DUAL_INFEASIBLE = 0, 2, 3


class StatusFamily(NamedTuple):
    """``make()`` as in ``Family``; ``draw(rng, B)`` gives the arrays and the true status code of each instance."""

    make: Callable[[], Parametrized]
    draw: Callable[[Rng, int], tuple[Arrays, np.ndarray[Any, np.dtype[np.int8]]]]


def status_family(n: int = 6, m: int = 8, p: int = 2, rank: int = 3) -> StatusFamily:
    """½‖x[:rank]‖² + qᵀx, G x ≤ h, A x = b: a third each solvable, primal infeasible and dual infeasible, in random order.

    ``rank`` 0 gives LPs. Each infeasible instance is built around its certificate, of margin one:
    primal: y > 0, ν with Gᵀy + Aᵀν = 0, hᵀy + bᵀν = −1; dual: x feasible and d with d[:rank] = 0, Gd < 0, Ad = 0, qᵀd = −1.
    Solvable ones have strictly feasible points on both sides.
    """
    if not (0 <= rank < n and m > n and p < n - rank):
        raise ValueError("need rank < n < m and p < n - rank")

    def make() -> Parametrized:
        x = cp.Variable(n)
        q, G, h, A, b = (cp.Parameter(shape) for shape in (n, (m, n), m, (p, n), p))
        cost = q @ x + (0.5 * cp.sum_squares(x[:rank]) if rank else 0)
        return Parametrized(cp.Problem(cp.Minimize(cost), [G @ x <= h, A @ x == b]), [q, G, h, A, b], [x])

    def draw_one(rng: Rng, status: int) -> Arrays:
        G, h, A, b = _constraints(rng, n, m, p, ())
        y, nu = rng.uniform(0.1, 1.0, m), rng.normal(size=p)
        curvature = np.r_[rng.normal(size=rank), np.zeros(n - rank)]
        q = -curvature - G.T @ y - A.T @ nu
        if status == PRIMAL_INFEASIBLE:
            G[-1] = -(y[:-1] @ G[:-1] + nu @ A) / y[-1]
            h[-1] = -(y[:-1] @ h[:-1] + nu @ b + 1.0) / y[-1]
        if status == DUAL_INFEASIBLE:
            d = np.r_[np.zeros(rank), rng.normal(size=n - rank)]
            d /= np.linalg.norm(d)
            x = rng.normal(size=n)
            G -= np.outer(G @ d + rng.uniform(0.1, 1.0, m), d)
            A -= np.outer(A @ d, d)
            q -= (q @ d + 1.0) * d
            h, b = G @ x + rng.uniform(0.1, 1.0, m), A @ x
        return q, G, h, A, b

    def draw(rng: Rng, B: int) -> tuple[Arrays, np.ndarray[Any, np.dtype[np.int8]]]:
        status = rng.permutation(np.resize(np.array([SOLVED, PRIMAL_INFEASIBLE, DUAL_INFEASIBLE], np.int8), B))
        instances = [draw_one(rng, s) for s in status]
        return tuple(np.stack(column) for column in zip(*instances, strict=True)), status

    return StatusFamily(make, draw)


def _table(*families: Family) -> dict[str, Family]:
    return {family.name: family for family in families}


FAMILIES = _table(
    nnls(),
    portfolio(10),
    portfolio(100),
    factor_portfolio(),
    dense_qp(20),
    dense_qp(50),
    dense_qp(100),
    shared_qp(),
    mpc(),
    transport(),
    sudoku(),
)
SMALL = _table(
    nnls(), nnls(6, 4), portfolio(5), factor_portfolio(6, 2), dense_qp(5), shared_qp(5), mpc(3, 2, 5), transport(3, 3), sudoku()
)
SOME = ["nnls_3x2", "portfolio_10", "dense_qp_20"]  # names, for measurements that need only a few
