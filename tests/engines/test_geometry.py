"""The geometry of a solution: its numbers are those of the derivative with respect to the linear cost."""

from __future__ import annotations

import numpy as np
import pytest

from cvxpylayers._engines.engine import Engine
from cvxpylayers._engines.judge.geometry import Geometry, independent
from cvxpylayers._engines.judge.program import Assembler
from cvxpylayers._engines.native.engine import NativeEngine
from cvxpylayers._program import Batch, Cones
from problems.conic import random_conic
from problems.kinds import KINDS, SCALED
from problems.mixes import MIXES
from problems.programs import Array, batch_of, draw
from tests.checks import tape_of


def geometries(engine: Engine, batch: Batch) -> tuple[list[Geometry], Array]:
    """Of every instance of a solved batch, and the derivatives (B, n, n) of x by q."""
    compiled, tape = engine.compiled, tape_of(engine.solve(batch, {}, tape=True))
    n, assemble = compiled.structure.n, Assembler(compiled.structure)
    values = (compiled.M @ batch.theta().T).T
    found = [Geometry.at(assemble(v), s, z, np.eye(n)) for v, s, z in zip(values, tape.s, tape.z, strict=True)]
    units = np.tile(np.eye(compiled.R.shape[0])[:n, None], (1, batch.size, 1))
    gradients, _ = engine.vjp(batch.per_instance(), tape, units, [name == "q" for name in ("P", "q", "A", "b", "d")])
    assert gradients[1] is not None
    return found, gradients[1].reshape(n, batch.size, n).swapaxes(0, 1)


def assert_agree(found: list[Geometry], moves: Array) -> None:
    """With Z orthonormal, ∂x/∂q = -Z (ZᵀHZ)⁻¹ Zᵀ: its rank and norm are the free directions and 1 / least curvature."""
    for geometry, J in zip(found, moves, strict=True):
        size = np.linalg.norm(J, 2)
        assert np.linalg.matrix_rank(J, tol=1e-7 * max(size, 1e-3)) == geometry.free - geometry.flat
        assert (geometry.seen, geometry.seen_flat) == (geometry.free, geometry.flat)
        if geometry.free > geometry.flat:
            assert size * geometry.curvature == pytest.approx(1.0, rel=1e-5)
        assert geometry.rank + geometry.free == len(J)


@pytest.mark.parametrize("cones", MIXES.values(), ids=MIXES)
def test_the_derivative_of_every_mix_of_cones(cones: Cones) -> None:
    d = random_conic(np.random.default_rng(90), 8, cones, 6)
    assert_agree(*geometries(NativeEngine(d.compiled, {}), d.batch))


@pytest.mark.parametrize("kind", [name for name, kind in KINDS.items() if kind.regular])
def test_the_derivative_of_every_program(kind: str) -> None:
    problem, programs = draw(KINDS[kind], 6, seed=93)
    found, moves = geometries(NativeEngine(problem, {"fallback": False}), batch_of(problem, programs))
    for geometry, program in zip(found, programs, strict=True):
        on = np.arange(len(program.s)) < program.zero
        on[program.zero :] = program.s[program.zero :] < program.z[program.zero :]
        assert geometry.active.tolist() == on.tolist()
        assert geometry.rank + geometry.dependent == on.sum()
    if kind not in SCALED:
        assert_agree(found, moves)


@pytest.mark.parametrize("penalty", [1.0, 1e9, 1e-9])
def test_rank_is_decided_by_rounding_not_by_size(penalty: float) -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(5, 8))
    rows = np.concatenate([rows, rng.normal(size=(3, 5)) @ rows]) * np.geomspace(1.0, penalty, 8)[:, None]
    chosen, columns = independent(rows, np.zeros(8))
    assert len(chosen) == len(set(columns.tolist())) == 5
    assert np.linalg.matrix_rank(rows[chosen] / np.abs(rows[chosen]).max(axis=1, keepdims=True)) == 5
