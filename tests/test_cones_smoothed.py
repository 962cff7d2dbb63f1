"""Smoothed derivatives of every cone, against the central path written down once more: barriers in PyTorch, dense Newton steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import cvxpy as cp
import numpy as np
import pytest
import torch

from cvxpylayers._canon import compile_problem
from cvxpylayers._engines.native.engine import NativeEngine
from cvxpylayers._program import Batch, CompiledProblem, Cones, Tape
from cvxpylayers.torch import CvxpyLayer
from problems.conic import random_conic
from problems.mixes import MIXES
from problems.oracles import dense
from problems.programs import Array
from tests.checks import assert_adjoint, differentiate, same_bits, tape_of

COUNT = 2
mixes = pytest.mark.parametrize("cones", MIXES.values(), ids=MIXES)


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


def equations(problem: CompiledProblem, theta: Array, x: Array, z: Array, mu: float) -> tuple[Array, Array, Array]:
    """Residuals of Px + q + Aᵀz = 0 and Ax + s = b with s = -mu ∇f*(z); their Jacobian in (x, z); s."""
    P, q, A, b = dense(problem, problem.M @ np.append(theta, 1.0))
    s = -mu * torch.func.grad(_barrier(problem.structure.cones))(torch.tensor(z)).numpy()
    H = mu * torch.func.hessian(_barrier(problem.structure.cones))(torch.tensor(z)).numpy()
    return np.r_[P @ x + q + A.T @ z, A @ x + s - b], np.block([[P, A.T], [A, -H]]), s


def _barrier(cones: Cones) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda z: torch.stack(list(_blocks(cones, z))).sum()


def off_path(problem: CompiledProblem, theta: Array, tape: Tape, i: int, mu: float) -> float:
    """The largest residual of the central path's equations at row ``i`` of the tape, relative to the size of the point."""
    x, z, s = tape.x[i], tape.z[i], tape.s[i]
    P, q, A, b = dense(problem, problem.M @ np.append(theta, 1.0))
    central = -mu * torch.func.grad(_barrier(problem.structure.cones))(torch.tensor(z)).numpy()
    size = max(1.0, np.abs(np.r_[x, z, s]).max())
    return float(np.abs(np.r_[P @ x + q + A.T @ z, A @ x + s - b, s - central]).max() / size)


def smoothed(compiled: CompiledProblem, mu: float) -> NativeEngine:
    return NativeEngine(compiled, {"derivative": "smoothed", "smoothing": mu, "fallback": False})


@mixes
@pytest.mark.parametrize("mu", [1.0, 1e-1, 1e-2, 1e-4, 1e-6])
def test_every_tape_is_on_the_central_path(cones: Cones, mu: float) -> None:
    """A thousand programs. In the last, s = -mu ∇f*(z) magnifies the rounding of z by 1/mu."""
    d = random_conic(np.random.default_rng(82), 8, cones, 10)
    native = smoothed(d.compiled, mu)
    tape = tape_of(native.solve(d.batch, {}, tape=True))
    errors = [off_path(d.compiled, theta[:-1], tape, i, mu) for i, theta in enumerate(d.batch.theta())]
    assert max(errors) <= max(1e-9, 1e-14 / mu)
    cotangent = np.random.default_rng(0).normal(size=(10, d.compiled.R.shape[0]))
    assert not np.any(native.vjp(d.batch, tape, cotangent, [True] * len(d.batch.arrays))[1])


def test_only_the_smoothing_changes() -> None:
    """One layer, a smoothing of its own in every call: the points are those of layers made for them, and none is kept."""
    d = random_conic(np.random.default_rng(83), 8, MIXES["all"], 3)
    layer = smoothed(d.compiled, 1e-4)
    for mu in (1e-4, 1.0, 1e-6, 1e-2, 1e-4):
        found = tape_of(layer.solve(d.batch, {"smoothing": mu}, tape=True))
        expected = tape_of(smoothed(d.compiled, mu).solve(d.batch, {}, tape=True))
        assert all(same_bits(getattr(found, name), getattr(expected, name)) for name in ("x", "z", "s"))


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
        assert max(off_path(compiled, row, tape, i, mu) for i, row in enumerate(theta)) <= max(1e-9, 1e-14 / mu)


@mixes
@pytest.mark.parametrize("mu", [1.0, 1e-1, 1e-2, 1e-3])
def test_differences_of_the_smoothed_map(cones: Cones, mu: float) -> None:
    """The tape is on the central path; both derivatives are those of the point that Newton's method follows."""
    d = random_conic(np.random.default_rng(80), 8, cones, COUNT)
    native = smoothed(d.compiled, mu)
    solution = native.solve(d.batch, {}, tape=True)
    assert same_bits(solution.outputs, NativeEngine(d.compiled, {"fallback": False}).solve(d.batch, {}, tape=True).outputs)
    case, tape, h = differentiate(native, d.batch), tape_of(solution), 1e-4
    assert_adjoint(case)
    assert not np.any(case.flags)
    for i in range(COUNT):
        theta, v = case.batch.theta([i])[0, :-1], np.concatenate([t[i] for t in case.tangents])
        x, z, n = tape.x[i], tape.z[i], len(tape.x[i])
        residual, _, s = equations(d.compiled, theta, x, z, mu)
        size = max(1.0, np.abs(np.r_[x, z, s]).max())
        assert np.abs(residual).max() <= 1e-9 * size
        assert np.abs(s - tape.s[i]).max() <= 1e-9 * size

        def difference(step: float, theta: Array = theta, v: Array = v, start: Array = np.r_[x, z], n: int = n) -> Array:
            ends = []
            for sign in (1.0, -1.0):
                point = start.copy()
                for _ in range(4):
                    residual, J, _ = equations(d.compiled, theta + sign * step * v, point[:n], point[n:], mu)
                    point -= np.linalg.solve(J, residual)
                ends.append(point)
            return np.asarray(ends[0] - ends[1]) / (2 * step)

        step = h * min(1.0, mu * 10)
        expected = d.compiled.R @ ((4 * difference(step / 2) - difference(step)) / 3)
        assert np.max(np.abs(case.pushed[i] - expected)) <= 1e-6 * np.max(np.abs(expected))
