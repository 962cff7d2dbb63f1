"""Smoothed derivatives are those of the central path, written down once more: barriers in PyTorch, dense Newton steps.

They are useful at vertices and kinks, and flagged where there is no central path.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import cvxpy as cp
import numpy as np
import pytest
import torch

from cvxpylayers._canon import compile_problem
from cvxpylayers._engines.native.engine import NativeEngine
from cvxpylayers._program import Batch, CompiledProblem, Cones, Tape
from cvxpylayers.errors import OptionError
from cvxpylayers.torch import CvxpyLayer
from problems.families import SMALL
from problems.oracles import dense
from problems.programs import Array, family_batch
from problems.rows import DEFINITE, QUADRATIC, Row
from tests.checks import assert_adjoint, differentiate, engine, same_bits, tape_of

KINDS = ("dense_qp", "sparse_qp", "low_rank_qp", "lp_vertex", "lp_inequalities", "tied", "repeated_rows")
ROWS = {**{kind: QUADRATIC[kind] for kind in KINDS}, **DEFINITE}
WITH_SCALES = {**ROWS, **{kind: QUADRATIC[kind] for kind in ("lp_columns_1e6", "rows_1e6")}}


def smoothed(problem: CompiledProblem, mu: float) -> NativeEngine:
    return engine(problem, derivative="smoothed", smoothing=mu)


def _blocks(cones: Cones, z: torch.Tensor) -> Iterator[torch.Tensor]:
    """The barrier of each block of the dual cone."""
    row = cones.zero
    yield -torch.log(z[row : (row := row + cones.nonneg)]).sum()
    for k in cones.soc:
        v = z[row : (row := row + k)]
        yield -0.5 * torch.log(v[0] ** 2 - (v[1:] ** 2).sum())
    for k in cones.psd:
        column, line = np.tril_indices(k)
        v = z[row : (row := row + k * (k + 1) // 2)] * torch.as_tensor(np.where(line == column, 0.5, np.sqrt(0.5)))
        Z = torch.zeros(k, k, dtype=z.dtype).index_put((torch.as_tensor(line), torch.as_tensor(column)), v)
        yield -2.0 * torch.log(torch.diagonal(torch.linalg.cholesky(Z + Z.T))).sum()
    for _ in range(cones.exp):
        a, b, c = z[row : (row := row + 3)]
        yield -torch.log(b - a - a * torch.log(-c / a)) - torch.log(-a) - torch.log(c)
    for p in cones.power:
        a, b, c = z[row : (row := row + 3)]
        power = (a / p) ** (2 * p) * (b / (1 - p)) ** (2 * (1 - p))
        yield -torch.log(power - c**2) - (1 - p) * torch.log(a) - p * torch.log(b)


def _barrier(cones: Cones) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda z: torch.stack(list(_blocks(cones, z))).sum()


def central(cones: Cones, z: Array, mu: float) -> Array:
    """-mu ∇f*(z), row by row."""
    return -mu * np.asarray(torch.func.vmap(torch.func.grad(_barrier(cones)))(torch.tensor(z)))


def programs(problem: CompiledProblem, theta: Array) -> list[Array]:
    """P, q, A and b with one row per row of ``theta``."""
    return [np.stack(part) for part in zip(*(dense(problem, problem.M @ np.append(row, 1.0)) for row in theta), strict=True)]


def followed(problem: CompiledProblem, theta: Array, point: Array, mu: float) -> Array:
    """Where four steps of Newton's method lead from (x, z), row by row: Px + q + Aᵀz = 0 and Ax + s = b with s = -mu ∇f*(z)."""
    n, cones, (P, q, A, b) = problem.structure.n, problem.structure.cones, programs(problem, theta)
    curvature = torch.func.vmap(torch.func.hessian(_barrier(cones)))
    for _ in range(4):
        x, z = point[:, :n], point[:, n:]
        left = np.einsum("bij,bj->bi", P, x) + q + np.einsum("bij,bi->bj", A, z)
        right = np.einsum("bij,bj->bi", A, x) + central(cones, z, mu) - b
        J = np.block([[P, A.transpose(0, 2, 1)], [A, -mu * np.asarray(curvature(torch.tensor(z)))]])
        point = point - np.linalg.solve(J, np.concatenate([left, right], axis=1)[..., None])[..., 0]
    return point


def assert_central(problem: CompiledProblem, theta: Array, tape: Tape, mu: float) -> None:
    """Rows of the tape are on the central path: linear equations hold relative to the terms that cancel, and s = -mu ∇f*(z).

    The latter magnifies the rounding of z by 1/mu on curved cones, and is measured by the size of the point there.
    """
    cones = problem.structure.cones
    linear = slice(cones.zero, cones.zero + cones.nonneg)
    paths = central(cones, tape.z, mu)
    for row, x, z, s, path in zip(theta, tape.x, tape.z, tape.s, paths, strict=True):
        P, q, A, b = dense(problem, problem.M @ np.append(row, 1.0))
        assert np.all(np.abs(P @ x + q + A.T @ z) <= 1e-10 * (np.abs(P) @ np.abs(x) + np.abs(q) + np.abs(A).T @ np.abs(z)))
        assert np.all(np.abs(A @ x + s - b) <= 1e-10 * (np.abs(A) @ np.abs(x) + np.abs(s) + np.abs(b)))
        np.testing.assert_allclose(s[linear], path[linear], rtol=1e-9)
        np.testing.assert_allclose(s, path, rtol=0, atol=max(1e-9, 1e-14 / mu) * max(1.0, np.abs(np.r_[x, z, s]).max()))


@pytest.mark.isa
@pytest.mark.parametrize("row", WITH_SCALES.values(), ids=WITH_SCALES)
@pytest.mark.parametrize("mu", [1.0, 1e-1, 1e-2, 1e-4, 1e-6, 1e-7])
def test_every_tape_is_on_the_central_path(row: Row, mu: float) -> None:
    """And outputs are those of the exact solution."""
    d = row.draw(10, 82)
    native = smoothed(d.compiled, mu)
    solution = native.solve(d.batch, {}, tape=True)
    tape = tape_of(solution)
    assert same_bits(solution.outputs, engine(d.compiled).solve(d.batch, {}, tape=False).outputs)
    assert_central(d.compiled, d.batch.theta()[:, :-1], tape, mu)
    if row.regular:
        cotangent = np.random.default_rng(0).normal(size=(10, d.compiled.R.shape[0]))
        assert not np.any(native.vjp(d.batch, tape, cotangent, [True] * len(d.batch.arrays))[1])


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
@pytest.mark.parametrize("mu", [1.0, 1e-1, 1e-2, 1e-3])
def test_differences_of_the_smoothed_map(row: Row, mu: float) -> None:
    """Both derivatives are those of the point that Newton's method follows from the tape."""
    d = row.draw(3, 80)
    native = smoothed(d.compiled, mu)
    case, tape = differentiate(native, d.batch), tape_of(native.solve(d.batch, {}, tape=True))
    assert_adjoint(case)
    assert row is ROWS["repeated_rows"] or not np.any(case.flags)
    theta, v, point = case.batch.theta()[:, :-1], np.concatenate(case.tangents, axis=1), np.concatenate([tape.x, tape.z], axis=1)
    h = 1e-4 * min(1.0, mu * 10)
    steps = [h / 2, -h / 2, h, -h]
    ends = followed(d.compiled, np.concatenate([theta + step * v for step in steps]), np.tile(point, (4, 1)), mu)
    half, half_back, whole, whole_back = ends.reshape(4, *point.shape)
    slopes = (half - half_back) / h, (whole - whole_back) / (2 * h)
    expected = (d.compiled.R @ ((4 * slopes[0] - slopes[1]) / 3).T).T
    assert np.all(np.abs(case.pushed - expected).max(axis=1) <= 1e-6 * np.abs(expected).max(axis=1))


@pytest.mark.parametrize("row", ["dense_qp", "all"])
def test_only_the_smoothing_changes(row: str) -> None:
    """One layer, a smoothing of its own in every call: the points are those of layers made for them, and none is kept."""
    d = ROWS[row].draw(3, 83)
    layer = smoothed(d.compiled, 1e-4)
    for mu in (1e-4, 1.0, 1e-6, 1e-2, 1e-4):
        found = tape_of(layer.solve(d.batch, {"smoothing": mu}, tape=True))
        expected = tape_of(smoothed(d.compiled, mu).solve(d.batch, {}, tape=True))
        assert all(same_bits(getattr(found, name), getattr(expected, name)) for name in ("x", "z", "s"))
    with pytest.raises(OptionError, match="derivative"):
        engine(d.compiled).solve(d.batch, {"smoothing": 1e-6}, tape=True)


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


# Sets that lose their interior where h = 0.
SHRINKING: dict[str, Callable[[cp.Variable, cp.Parameter], list[cp.Constraint]]] = {
    "nonneg": lambda x, h: [x >= 0, x[0] <= h],
    "soc": lambda x, h: [cp.norm(x) <= h],
    "psd": lambda x, h: [h * np.diag([1.0, 0.0]) + x[0] * np.array([[0.0, 1.0], [1.0, 0.0]]) + np.diag([0.0, 1.0]) >> 0],
    "exp": lambda x, h: [x >= 0, cp.sum(cp.exp(x)) <= 2 + h],
    "power": lambda x, h: [cp.PowCone3D(h, 1, x[0], 0.4)],
}


@pytest.mark.parametrize("family", SHRINKING)
@pytest.mark.parametrize("mu", [1.0, 1e-2, 1e-6])
def test_where_there_is_no_central_path(family: str, mu: float) -> None:
    """Solved and flagged; its neighbours are neither flagged nor touched."""
    x, h = cp.Variable(2), cp.Parameter()
    problem = cp.Problem(cp.Minimize(cp.sum_squares(x - np.array([0.3, 0.7]))), SHRINKING[family](x, h))
    layer = CvxpyLayer(problem, [h], [x], solver_args={"derivative": "smoothed", "smoothing": mu})
    sizes = torch.tensor([1.0, 0.0, 0.1, 1e-3], dtype=torch.float64, requires_grad=True)
    (points,), info = layer.solve(sizes)
    points.sum().backward()
    assert info.solved.all()
    assert info.degenerate.tolist() == [False, True, False, False]
    rest = sizes.detach()[[0, 2, 3]].requires_grad_()
    layer(rest)[0].sum().backward()
    assert sizes.grad is not None
    assert rest.grad is not None
    assert sizes.grad.isfinite().all()
    assert torch.equal(sizes.grad[[0, 2, 3]], rest.grad)


def test_beside_the_boundary_of_an_exponential_cone() -> None:
    """Whence going down from a large mu found no way."""
    x, p = cp.Variable(3), cp.Parameter(3)
    problem = cp.Problem(cp.Minimize(0.5 * cp.sum_squares(x - 2 * p)), [cp.log_sum_exp(x) <= 0.1 * p[1]])
    compiled = compile_problem(problem, [p], [x])
    for mu in (1.0, 1e-1, 1e-2, 1e-4, 1e-6):
        theta = np.array([[1.0, 0.8, 1.3], [0.7, -0.6, 0.9]])
        tape = tape_of(smoothed(compiled, mu).solve(Batch((theta,), (2,)), {}, tape=True))
        assert_central(compiled, theta, tape, mu)
