"""The margin of strict complementarity: what would have to vanish for the derivative to jump."""

from __future__ import annotations

import cvxpy as cp
import numpy as np
import pytest
import torch

from cvxpylayers._engines.judge.margin import margin
from cvxpylayers._engines.native.engine import NativeEngine
from cvxpylayers._program import Cones
from cvxpylayers.torch import CvxpyLayer
from problems.conic import random_conic
from problems.kinds import KINDS, tie
from problems.mixes import MIXES
from problems.programs import Kind, batch_of, draw
from tests.checks import engine, tape_of


@pytest.mark.parametrize("cones", MIXES.values(), ids=MIXES)
def test_the_kernel_and_the_definition(cones: Cones) -> None:
    d = random_conic(np.random.default_rng(90), 8, cones, 6)
    solution = NativeEngine(d.compiled, {"fallback": False}).solve(d.batch, {}, tape=True)
    tape = tape_of(solution)
    expected = [margin(cones, s, z) for s, z in zip(tape.s, tape.z, strict=True)]
    np.testing.assert_allclose(solution.margin, expected, rtol=1e-9, atol=1e-12)
    assert np.all(solution.margin > 1e-4)  # drawn strictly complementary


@pytest.mark.parametrize("kind", ["dense_qp", "lp_vertex", "all_1e4"])
def test_known_solutions(kind: str) -> None:
    problem, programs = draw(KINDS[kind], 9, seed=91)
    found = engine(problem).solve(batch_of(problem, programs), {}, tape=False).margin
    np.testing.assert_allclose(found, [np.abs(p.s - p.z)[p.zero :].min() for p in programs], rtol=1e-6)


def test_ties_and_no_inequalities() -> None:
    problem, programs = draw(Kind(zero=1, active=2, twists=(tie(4),), regular=False), 5, seed=92)
    assert np.all(engine(problem).solve(batch_of(problem, programs), {}, tape=False).margin < 1e-6)
    problem, programs = draw(KINDS["equality_qp"], 5, seed=92)
    assert np.all(np.isinf(engine(problem).solve(batch_of(problem, programs), {}, tape=False).margin))


def test_in_the_info_of_every_engine(solver: str | None) -> None:
    """max(t, 0) as a projection: the margin is |t|."""
    x, t = cp.Variable(1), cp.Parameter(1)
    layer = CvxpyLayer(cp.Problem(cp.Minimize(0.5 * cp.sum_squares(x - t)), [x >= 0]), [t], [x], solver=solver)
    _, info = layer.solve(torch.tensor([[-2.0], [0.5], [3.0]], dtype=torch.float64))
    assert info.margin.tolist() == pytest.approx([2.0, 0.5, 3.0], abs=1e-6)
    assert info.margin.shape == (3,)
