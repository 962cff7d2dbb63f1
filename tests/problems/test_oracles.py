"""What cones are tested with is tested: known pairs are complementary, projections obey Moreau, derivatives their differences."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest

from cvxpylayers._program import Cones
from problems.conic import dual_infeasible, primal_infeasible, random_conic, rescaled
from problems.mixes import MIXES, random_cones
from problems.oracles import dense, jacobian, sharpen
from problems.projections import inside, project

mixes = pytest.mark.parametrize("cones", MIXES.values(), ids=MIXES)


@mixes
@pytest.mark.parametrize("rank", [None, 3])
@pytest.mark.parametrize("decades", [0.0, 1.0])
def test_known_solutions_satisfy_the_optimality_conditions(cones: Cones, rank: int | None, decades: float) -> None:
    rng = np.random.default_rng(0)
    d = rescaled(rng, random_conic(rng, 6, cones, 8, rank=rank), decades)
    for i, (x, s, z) in enumerate(zip(d.x, d.s, d.z, strict=True)):
        assert inside(cones, s, 1e-12)
        assert inside(cones, z, 1e-12, dual=True)
        assert abs(s @ z) < 1e-12 * max(1.0, np.abs(s * z).max())
        P, q, A, b = dense(d.compiled, d.compiled.M @ d.batch.theta([i])[0])
        np.testing.assert_allclose(P @ x + q + A.T @ z, 0.0, atol=1e-10 * max(1.0, np.abs(q).max(), np.abs(A.T * z).max()))
        np.testing.assert_allclose(A @ x + s, b, atol=1e-10 * max(1.0, np.abs(b).max()))


@mixes
def test_certificates_certify(cones: Cones) -> None:
    rng = np.random.default_rng(1)
    d = primal_infeasible(rng, 6, cones, 4)
    for i, y in enumerate(d.z):
        _, _, A, b = dense(d.compiled, d.compiled.M @ d.batch.theta([i])[0])
        assert inside(cones, y, 0.0, dual=True)
        assert np.abs(A.T @ y).max() < 1e-12
        assert b @ y == pytest.approx(-1.0)
    d = dual_infeasible(rng, 6, cones, 4)
    for i, ray in enumerate(d.x):
        P, q, A, _ = dense(d.compiled, d.compiled.M @ d.batch.theta([i])[0])
        assert inside(cones, -A @ ray, 1e-12)
        assert np.abs(P @ ray).max() < 1e-12
        assert q @ ray == pytest.approx(-1.0)


@mixes
def test_projections(cones: Cones) -> None:
    """Π(w) ∈ K, Π(w) - w ∈ K*, orthogonal; the derivative is that of the map."""
    rng, h = np.random.default_rng(2), 1e-6
    d = random_conic(rng, 10, cones, 6, unique=False)
    for s, z in zip(d.s, d.z, strict=True):
        w = s - z + 1e-3 * rng.normal(size=len(s)) * (np.abs(s - z) > 0)
        point, D = project(cones, w, s, z)
        assert inside(cones, point, 1e-11)
        assert inside(cones, point - w, 1e-11, dual=True)
        assert abs(point @ (point - w)) < 1e-10
        v = rng.normal(size=len(w))
        ends = [project(cones, w + sign * h * v, s, z)[0] for sign in (1, -1)]
        np.testing.assert_allclose(D @ v, (ends[0] - ends[1]) / (2 * h), atol=1e-7, rtol=1e-6)
        np.testing.assert_allclose(D, D.T, atol=1e-12)


@mixes
def test_sharpening_finds_known_solutions_again(cones: Cones) -> None:
    rng = np.random.default_rng(3)
    d = random_conic(rng, 10, cones, 6)
    for i in range(6):
        theta = d.batch.theta([i])[0, :-1]
        x, z, s = (v + 1e-6 * rng.normal(size=len(v)) * (v != 0) for v in (d.x[i], d.z[i], d.s[i]))
        found = sharpen(d.compiled, theta, x, z, s)
        for new, true in zip(found, (d.x[i], d.z[i], d.s[i]), strict=True):
            np.testing.assert_allclose(new, true, atol=1e-10)


@pytest.mark.parametrize("cones", [MIXES["exp"], MIXES["power"], MIXES["exp_power"]], ids=["exp", "power", "exp_power"])
def test_dense_derivatives_agree_with_implicit_ones_in_high_precision(cones: Cones) -> None:
    """θ moves a little; Newton's method in 40 digits on the smooth equations of these cones moves x and z along."""
    rng = np.random.default_rng(4)
    d = random_conic(rng, 6, cones, 2)
    st = d.compiled.structure
    for i in range(2):
        theta, step = d.batch.theta([i])[0, :-1], rng.normal(size=d.compiled.M.shape[1] - 1)
        pushed = jacobian(d.compiled, theta, d.x[i], d.z[i], d.s[i]) @ step
        with mpmath.workdps(40):
            h = mpmath.mpf(10) ** -12
            base = [_exact(st, d.compiled.M, theta, step, sign * h, d.x[i], d.z[i], d.s[i]) for sign in (1, -1)]
            slope = [(a - b) / (2 * h) for a, b in zip(*base, strict=True)]
        np.testing.assert_allclose(pushed, np.array([float(v) for v in slope]), atol=1e-10, rtol=1e-9)


def _exact(st, M, theta, step, h, x, z, s) -> list[mpmath.mpf]:
    """(x, z) at θ + h step in the current precision; blocks keep the face they are on."""
    values = np.array([mpmath.mpf(v) for v in M @ np.append(theta, 1.0)]) + h * (M[:, :-1] @ step)
    P, q, A, b, _ = np.split(values, np.cumsum([st.P.nnz, st.n, st.A.nnz, st.m]))
    n, blocks = st.n, range(0, st.m, 3)
    full, dense = mpmath.zeros(n), mpmath.zeros(st.m, n)
    for value, r, c in zip(P, st.P.rows, st.P.indices, strict=True):
        full[r, c] = full[c, r] = value
    for value, r, c in zip(A, st.A.rows, st.A.indices, strict=True):
        dense[r, c] = value
    alphas = [None] * st.cones.exp + list(st.cones.power)
    edge = [bool(np.any(z[r : r + 3]) and np.any(s[r : r + 3])) for r in blocks]
    v = mpmath.matrix([*map(float, x), *map(float, z)])
    signs = [float(np.sign(s[r + 2])) for r in blocks]

    def surface(alpha, sign, a):
        """g, ∇g and ∇²g."""
        x, y, w = a
        if alpha is None:
            e = mpmath.exp(x / y)
            r = (1, -x / y, 0)
            return w - y * e, (-e, -e * (1 - x / y), 1), [[-e / y * p * k for k in r] for p in r]
        top, r = x**alpha * y ** (1 - mpmath.mpf(alpha)), (1 / x, -1 / y, 0)
        k = -alpha * (1 - mpmath.mpf(alpha)) * top
        return top - sign * w, (alpha * top / x, (1 - mpmath.mpf(alpha)) * top / y, -sign), [[k * p * t for t in r] for p in r]

    for _ in range(8):
        xs, zs = v[:n, 0], v[n:, 0]
        slack = mpmath.matrix(list(b)) - dense * xs
        F, J = mpmath.zeros(n + st.m, 1), mpmath.zeros(n + st.m)
        top = full * xs + mpmath.matrix(list(q)) + dense.T * zs
        for r in range(n):
            F[r] = top[r]
            for c in range(n):
                J[r, c] = full[r, c]
            for c in range(st.m):
                J[r, n + c] = dense[c, r]
        for k, r in enumerate(blocks):
            at = n + r
            if not edge[k]:  # z = 0, or s = 0
                zero = not np.any(z[r : r + 3])
                for j in range(3):
                    F[at + j] = zs[r + j] if zero else slack[r + j]
                    for c in range(n):
                        J[at + j, c] = 0 if zero else -dense[r + j, c]
                    J[at + j, n + r + j] = 1 if zero else 0
                continue
            g, slope, curvature = surface(alphas[k], signs[k], [slack[r + j] for j in range(3)])
            nu = zs[r + 2] / slope[2]  # ∂g/∂w is constant
            F[at] = g
            for c in range(n):
                J[at, c] = -sum(slope[j] * dense[r + j, c] for j in range(3))
            for j in range(2):
                F[at + 1 + j] = zs[r + j] - nu * slope[j]
                J[at + 1 + j, n + r + j] = 1
                J[at + 1 + j, n + r + 2] = -slope[j] / slope[2]
                for c in range(n):
                    J[at + 1 + j, c] = nu * sum(curvature[j][t] * dense[r + t, c] for t in range(3))
        v -= mpmath.lu_solve(J, F)
    return list(v)


def test_random_mixes_can_be_drawn() -> None:
    rng = np.random.default_rng(5)
    for _ in range(40):
        cones = random_cones(rng)
        d = random_conic(rng, int(rng.integers(cones.zero + 1, 20)), cones, 2, density=0.5, unique=False)
        assert d.compiled.structure.m == cones.rows
