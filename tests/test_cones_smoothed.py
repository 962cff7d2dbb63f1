"""Smoothed derivatives of every cone, against the central path written down once more: barriers in PyTorch, dense Newton steps."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from cvxpylayers._engines.native import NativeEngine
from cvxpylayers._program import CompiledProblem, Cones
from tests.conic import MIXES, random_conic
from tests.oracles import _dense
from tests.programs import Array, differentiate, same_bits, tape_of
from tests.test_engine_derivatives import assert_adjoint

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
    st = problem.structure
    P, q, A, b = _dense(problem, problem.M @ np.append(theta, 1.0))
    point = torch.tensor(z, requires_grad=True)

    def barrier(v: torch.Tensor) -> torch.Tensor:
        return torch.stack(list(_blocks(st.cones, v))).sum()

    s = -mu * torch.func.grad(barrier)(point).detach().numpy()
    H = mu * torch.func.hessian(barrier)(point).detach().numpy()
    return np.r_[P @ x + q + A.T @ z, A @ x + s - b], np.block([[P, A.T], [A, -H]]), s


@mixes
@pytest.mark.parametrize("mu", [1e-1, 1e-3])
def test_differences_of_the_smoothed_map(cones: Cones, mu: float) -> None:
    """The tape is on the central path; both derivatives are those of the point that Newton's method follows."""
    d = random_conic(np.random.default_rng(80), 8, cones, COUNT)
    native = NativeEngine(d.compiled, {"derivative": "smoothed", "smoothing": mu, "fallback": False})
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
