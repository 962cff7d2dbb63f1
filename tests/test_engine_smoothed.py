"""Smoothed derivatives: those of the central path, found here by a dense Newton method; useful at vertices and kinks."""

from __future__ import annotations

import cvxpy as cp
import numpy as np
import pytest
import torch

from cvxpylayers._engines.native.engine import NativeEngine
from cvxpylayers._program import Batch, CompiledProblem, Status
from cvxpylayers.errors import OptionError
from cvxpylayers.torch import CvxpyLayer
from problems.families import SMALL
from problems.kinds import KINDS
from problems.oracles import dense
from problems.programs import Array, batch_of, draw, family_batch
from tests.checks import assert_adjoint, differentiate, engine, same_bits, tape_of

COUNT, MU = 5, 1e-2
KEPT = ["dense_qp", "sparse_qp", "low_rank_qp", "lp_vertex", "lp_inequalities", "tied", "repeated_rows"]
kinds = pytest.mark.parametrize("kind", [*KEPT, "lp_columns_1e6", "rows_1e6"])


def smoothed(problem: CompiledProblem, mu: float = MU) -> NativeEngine:
    return engine(problem, derivative="smoothed", smoothing=mu)


def central_point(problem: CompiledProblem, theta: Array, mu: float) -> tuple[Array, Array, Array]:
    """(x, z, s) with Px + q + Aᵀz = 0, Ax + s = b and s z = mu on inequality rows: infeasible path following, dense."""
    st, e = problem.structure, problem.structure.cones.zero
    P, q, A, b = dense(problem, problem.M @ np.append(theta, 1.0))
    x, z, s = np.zeros(st.n), np.ones(st.m), np.ones(st.m)
    s[:e] = z[:e] = 0.0
    for _ in range(200):
        target = max(mu, 0.1 * s[e:] @ z[e:] / max(st.m - e, 1))
        H = np.r_[np.zeros(e), s[e:] / z[e:]]
        r = np.r_[-(P @ x + q + A.T @ z), b - A @ x - s]
        r[st.n + e :] += s[e:] - target / z[e:]
        d = np.linalg.solve(np.block([[P, A.T], [A, -np.diag(H)]]), r)
        dx, dz = d[: st.n], d[st.n :]
        ds = np.r_[np.zeros(e), -(s[e:] - target / z[e:] + H[e:] * dz[e:])]
        rate = np.r_[-ds[e:] / s[e:], -dz[e:] / z[e:], 1e-9].max()
        alpha = min(1.0, 0.95 / rate)
        x, z, s = x + alpha * dx, z + alpha * dz, s + alpha * ds
        if alpha == 1.0 and target == mu and np.abs(d).max() < 1e-13 * max(1.0, np.abs(np.r_[x, z]).max()):
            break
    return x, z, s


@pytest.mark.isa
@kinds
@pytest.mark.parametrize("mu", [1e-1, 1e-4, 1e-7])
def test_tape_holds_the_central_point(kind: str, mu: float) -> None:
    problem, programs = draw(KINDS[kind], COUNT, seed=70)
    batch = batch_of(problem, programs)
    exact, solution = engine(problem).solve(batch, {}, tape=True), smoothed(problem, mu).solve(batch, {}, tape=True)
    assert same_bits(solution.outputs, exact.outputs)
    tape, e = tape_of(solution), problem.structure.cones.zero
    np.testing.assert_allclose(tape.s[:, e:] * tape.z[:, e:], mu, rtol=1e-9)
    for i in range(COUNT):
        P, q, A, b = dense(problem, problem.M @ batch.theta([i])[0])
        dual, primal = P @ tape.x[i] + q + A.T @ tape.z[i], A @ tape.x[i] + tape.s[i] - b
        assert np.all(np.abs(dual) <= 1e-10 * (np.abs(P) @ np.abs(tape.x[i]) + np.abs(q) + np.abs(A.T) @ np.abs(tape.z[i])))
        assert np.all(np.abs(primal) <= 1e-10 * (np.abs(A) @ np.abs(tape.x[i]) + tape.s[i] + np.abs(b)))


@pytest.mark.parametrize("kind", KEPT)
def test_differences_of_the_smoothed_map(kind: str) -> None:
    problem, programs = draw(KINDS[kind], COUNT, seed=71)
    case, h = differentiate(smoothed(problem), batch_of(problem, programs)), 1e-4
    assert_adjoint(case)
    assert kind == "repeated_rows" or not np.any(case.flags)
    for i in range(COUNT):
        theta, v = case.batch.theta([i])[0, :-1], np.concatenate([t[i] for t in case.tangents])

        def difference(step: float, theta: Array = theta, v: Array = v) -> Array:
            ends = [central_point(problem, theta + sign * step * v, MU) for sign in (1.0, -1.0)]
            return np.asarray(problem.R @ (np.r_[ends[0][:2]] - np.r_[ends[1][:2]]) / (2 * step))

        expected = (4 * difference(h / 2) - difference(h)) / 3
        assert np.max(np.abs(case.pushed[i] - expected)) <= 1e-6 * np.max(np.abs(expected))


@pytest.mark.parametrize("family", ["nnls_3x2", "portfolio_5", "transport_3x3"])
def test_families_tend_to_the_exact_derivative(family: str) -> None:
    """As μ → 0, where the solution is strictly complementary."""
    native, batch = family_batch(SMALL[family], 4, seed=73)
    exact = differentiate(native, batch)
    close = differentiate(NativeEngine(native.compiled, {"derivative": "smoothed", "smoothing": 1e-10}), batch)
    for a, b in zip(exact.gradients, close.gradients, strict=True):
        np.testing.assert_allclose(b, a, atol=1e-5 * np.abs(np.concatenate(exact.gradients, axis=1)).max() + 1e-6)


def test_linear_program_over_the_simplex() -> None:
    """x minimizes cᵀx on the simplex: on the central path x = μ/(c + ν), a softmin; its derivative is known, and nowhere zero."""
    x, c = cp.Variable(4), cp.Parameter(4)
    problem = cp.Problem(cp.Minimize(c @ x), [cp.sum(x) == 1, x >= 0])
    layer = CvxpyLayer(problem, [c], [x], solver_args={"derivative": "smoothed", "smoothing": 0.1})
    cost = torch.tensor([1.0, 1.2, 1.5, 3.0], dtype=torch.float64, requires_grad=True)
    (answer,) = layer(cost)
    assert answer.tolist() == pytest.approx([1.0, 0.0, 0.0, 0.0], abs=1e-9)
    answer[0].backward()
    low, high = -1.0 + 0.02, 10.0  # Σ μ/(c + ν) = 1
    for _ in range(200):
        mid = (low + high) / 2
        low, high = (mid, high) if (0.1 / (cost.detach() + mid)).sum() > 1 else (low, mid)
    slope = 0.1 / (cost.detach() + low) ** 2  # -∂x_i/∂(c_i + ν)
    expected = slope[0] * slope / slope.sum()
    expected[0] -= slope[0]
    assert cost.grad is not None
    torch.testing.assert_close(cost.grad, expected, rtol=1e-9, atol=1e-12)
    assert (cost.grad.abs() > 1e-3).all()


def test_smoothing_of_one_call() -> None:
    problem, programs = draw(KINDS["dense_qp"], COUNT, seed=74)
    batch, native = batch_of(problem, programs), smoothed(problem)
    tape = tape_of(native.solve(batch, {"smoothing": 1e-6}, tape=True))
    assert same_bits(tape.x, tape_of(smoothed(problem, 1e-6).solve(batch, {}, tape=True)).x)
    with pytest.raises(OptionError, match="derivative"):
        engine(problem).solve(batch, {"smoothing": 1e-6}, tape=True)


def test_options_are_checked() -> None:
    x, c = cp.Variable(2), cp.Parameter(2)
    problem = cp.Problem(cp.Minimize(c @ x), [cp.sum(x) == 1, x >= 0])
    with pytest.raises(OptionError, match="'exact', 'smoothed'; got 'smooth'"):
        CvxpyLayer(problem, [c], [x], solver_args={"derivative": "smooth"})
    with pytest.raises(OptionError, match="a number > 0"):
        CvxpyLayer(problem, [c], [x], solver_args={"derivative": "smoothed", "smoothing": 0.0})
    layer = CvxpyLayer(problem, [c], [x])
    with pytest.raises(OptionError, match="belongs to the constructor"):
        layer(torch.ones(2), solver_args={"derivative": "smoothed"})


def test_neighbours_leave_no_trace() -> None:
    """Bit by bit: alone, in any batch, beside failing instances, on any number of threads."""
    problem, programs = draw(KINDS["low_rank_qp"], 9, seed=75)
    native, batch = smoothed(problem), batch_of(problem, programs)
    together = tape_of(native.solve(batch, {}, tape=True))
    arrays = [np.concatenate([a, a, a]) for a in batch.arrays]
    arrays[1][9:18] = np.nan
    spoilt = native.solve(Batch(tuple(arrays), (27,)), {"threads": 2}, tape=True)
    assert (spoilt.status[9:18] == Status.INVALID_INPUT).all()
    alone = [tape_of(native.solve(Batch(tuple(a[i : i + 1] for a in batch.arrays), (1,)), {}, tape=True)) for i in range(9)]
    for name in ("x", "z", "s"):
        expected = getattr(together, name)
        assert same_bits(expected, np.concatenate([getattr(t, name) for t in alone]))
        assert same_bits(expected, getattr(tape_of(spoilt), name)[:9])
        assert same_bits(expected, getattr(tape_of(spoilt), name)[18:])
