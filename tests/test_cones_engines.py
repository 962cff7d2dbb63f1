"""Engines on random conic programs with known solutions and certificates: every cone alone, in pairs, and all together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from cvxpylayers._engines.engine import Engine
from cvxpylayers._engines.native.engine import NativeEngine
from cvxpylayers._program import Cones, Status
from problems.conic import Draw, dual_infeasible, primal_infeasible, random_conic
from problems.mixes import MIXES, random_cones
from problems.oracles import OracleEngine, jacobian
from problems.programs import Array, pick
from tests.checks import fields, same_bits, tape_of

Tried = tuple[type[Engine], Mapping[str, Any]]
ENGINES: dict[str, Tried] = {"ORACLE": (OracleEngine, {}), "NATIVE": (NativeEngine, {"fallback": False})}
COUNT = 6
N = 10
NEAR = 1e-7

engines = pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)
mixes = pytest.mark.parametrize("cones", MIXES.values(), ids=MIXES)
ranks = pytest.mark.parametrize("rank", [None, 4], ids=["definite", "low_rank"])


def made(engine: Tried, d: Draw) -> Engine:
    kind, options = engine
    return kind(d.compiled, options)


def objectives(d: Draw) -> Array:
    """½ xᵀP x + qᵀx at the known solutions: half of what P x + q + Aᵀz = 0 and b = A x + s make of it, xᵀP x = -qᵀx - bᵀz."""
    parts = (d.compiled.structure.split(d.compiled.M @ theta) for theta in d.batch.theta())
    return np.array([0.5 * (q @ x - b @ z) for (_, q, _, b, _), x, z in zip(parts, d.x, d.z, strict=True)])


def assert_near(found: Array, true: Array) -> None:
    np.testing.assert_allclose(found, true, atol=NEAR, rtol=NEAR)


def drawn(cones: Cones, rank: int | None, seed: int, count: int = COUNT) -> Draw:
    return random_conic(np.random.default_rng(seed), 6 if cones.rows < N else N, cones, count, rank=rank)


@engines
@mixes
@ranks
def test_known_solutions_are_found(engine: Tried, cones: Cones, rank: int | None) -> None:
    d = drawn(cones, rank, 0)
    found = made(engine, d).solve(d.batch, {}, tape=True)
    tape = tape_of(found)
    assert [Status(k) for k in found.status] == [Status.SOLVED] * COUNT
    np.testing.assert_allclose(found.objective, objectives(d), atol=1e-7, rtol=1e-7)
    assert_near(tape.x, d.x)
    assert_near(tape.z, d.z)
    assert_near(tape.s, d.s)
    np.testing.assert_array_equal(found.outputs, np.concatenate([tape.x, tape.z], axis=1))


@engines
@mixes
@pytest.mark.parametrize("broken", [primal_infeasible, dual_infeasible])
def test_certificates_are_found_and_neighbours_untouched(engine: Tried, cones: Cones, broken: Any) -> None:
    """The parameters of solvable and infeasible instances share one pattern, so that they mix in one batch."""
    rng = np.random.default_rng(1)
    good = random_conic(rng, 8, cones, 2, unique=False, rank=7)
    bad = broken(rng, 8, cones, 2)
    joined = [np.stack([g[0], b[0], b[1], g[1]]) for g, b in zip(good.batch.arrays, bad.batch.arrays, strict=True)]
    batch = type(good.batch)(tuple(joined), (4,))
    expected = Status.PRIMAL_INFEASIBLE if broken is primal_infeasible else Status.DUAL_INFEASIBLE
    solver = made(engine, good)
    found = solver.solve(batch, {}, tape=True)
    assert [Status(k) for k in found.status] == [Status.SOLVED, expected, expected, Status.SOLVED]
    alone = solver.solve(pick(batch, [3]), {}, tape=True)
    for name, value in fields(alone).items():
        assert same_bits(value, fields(found)[name][3:]), name


@engines
@mixes
@ranks
def test_derivatives_are_those_of_the_optimality_conditions(engine: Tried, cones: Cones, rank: int | None) -> None:
    d = drawn(cones, rank, 2)
    solver, rng = made(engine, d), np.random.default_rng(3)
    tape = tape_of(solver.solve(d.batch, {}, tape=True))
    u, v = rng.normal(size=(COUNT, d.compiled.R.shape[0])), [rng.normal(size=a.shape) for a in d.batch.arrays]
    pulled, flags = solver.vjp(d.batch, tape, u, [True] * len(v))
    pushed, _ = solver.jvp(d.batch, tape, v)
    gradient, tangent = np.concatenate(pulled, axis=1), np.concatenate(v, axis=1)
    assert not flags.any()
    for i in range(COUNT):
        J = jacobian(d.compiled, d.batch.theta([i])[0, :-1], d.x[i], d.z[i], d.s[i])
        scale = max(1.0, np.abs(J).max())
        np.testing.assert_allclose(gradient[i], J.T @ u[i], atol=1e-6 * scale, rtol=1e-6)
        np.testing.assert_allclose(pushed[i], J @ tangent[i], atol=1e-6 * scale, rtol=1e-6)
        left, right = pushed[i] * u[i], gradient[i] * tangent[i]
        assert abs(left.sum() - right.sum()) <= 1e-12 * (np.abs(left).sum() + np.abs(right).sum())


@engines
@pytest.mark.parametrize("seed", range(8))
def test_random_mixes(engine: Tried, seed: int) -> None:
    rng = np.random.default_rng(seed)
    cones = random_cones(rng, rows=20)
    d = random_conic(rng, int(rng.integers(cones.zero + 1, 16)), cones, 3, density=float(rng.choice([1.0, 0.5])))
    found = made(engine, d).solve(d.batch, {}, tape=True)
    assert not found.status.any()
    assert_near(tape_of(found).x, d.x)
