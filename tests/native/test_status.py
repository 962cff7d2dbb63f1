"""Every instance gets its own, right status: certificates, bad numbers, non-convexity, limits, and the fallback."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cvxpylayers._canon import compile_problem
from cvxpylayers._engines.judge import clarabel, piqp
from cvxpylayers._engines.native.engine import NativeEngine
from cvxpylayers._program import Batch, Cones, Status
from problems.conic import dual_infeasible, primal_infeasible, random_conic
from problems.families import status_family
from problems.kinds import INFEASIBLE, KINDS
from problems.mixes import MIXES
from problems.programs import PARTS, Kind, batch_of, draw, pick
from tests.checks import Tried, engine, engines, fields, made, same_bits, tape_of

COUNT = 24
BAD = [float("nan"), float("inf"), float("-inf")]


@pytest.mark.isa
@pytest.mark.parametrize("kind", INFEASIBLE.values(), ids=INFEASIBLE)
def test_certificates(kind: Kind) -> None:
    problem, programs = draw(kind, COUNT)
    solution = NativeEngine(problem, {}).solve(batch_of(problem, programs), {}, tape=False)
    assert [Status(k) for k in solution.status] == [p.status for p in programs]


@engines
@pytest.mark.parametrize("cones", MIXES.values(), ids=MIXES)
@pytest.mark.parametrize("broken", [primal_infeasible, dual_infeasible])
def test_certificates_are_found_and_neighbours_untouched(tried: Tried, cones: Cones, broken: Any) -> None:
    """The parameters of solvable and infeasible instances share one pattern, so that they mix in one batch."""
    rng = np.random.default_rng(1)
    good = random_conic(rng, 8, cones, 2, unique=False, rank=7)
    bad = broken(rng, 8, cones, 2)
    joined = [np.stack([g[0], b[0], b[1], g[1]]) for g, b in zip(good.batch.arrays, bad.batch.arrays, strict=True)]
    batch = Batch(tuple(joined), (4,))
    expected = Status.PRIMAL_INFEASIBLE if broken is primal_infeasible else Status.DUAL_INFEASIBLE
    solver = made(tried, good.compiled)
    found = solver.solve(batch, {}, tape=True)
    assert [Status(k) for k in found.status] == [Status.SOLVED, expected, expected, Status.SOLVED]
    alone = solver.solve(pick(batch, [3]), {}, tape=True)
    for name, value in fields(alone).items():
        assert same_bits(value, fields(found)[name][3:]), name


@pytest.mark.parametrize("rank", [0, 3], ids=["lp", "qp"])
def test_mixed_statuses(rank: int) -> None:
    """A third each solvable, primal and dual infeasible: 99.5 % are right, the solvable ones all, and hardly by the fallback."""
    family = status_family(rank=rank)
    problem = compile_problem(*family.make())
    values, status = family.draw(np.random.default_rng(rank), 600)
    batch = Batch(tuple(v.reshape(600, -1) for v in values), (600,))
    found = NativeEngine(problem, {}).solve(batch, {}, tape=False)
    assert np.mean(found.status == status) >= 0.995
    assert not found.status[status == 0].any()
    assert np.mean(found.fallback[status == 0]) < 0.01


@pytest.mark.isa
@pytest.mark.parametrize("value", BAD)
@pytest.mark.parametrize("part", PARTS)
def test_bad_numbers_mark_their_instance_alone(part: str, value: float) -> None:
    problem, programs = draw(KINDS["dense_qp"], 11, seed=2)
    native, batch, spoilt = engine(problem), batch_of(problem, programs), batch_of(problem, programs)
    spoilt.arrays[PARTS.index(part)][[3, 8], -1] = value
    clean, found = (native.solve(b, {}, tape=True) for b in (batch, spoilt))
    others = np.setdiff1d(np.arange(11), [3, 8])
    assert set(found.status[[3, 8]]) == {Status.INVALID_INPUT}
    for name, array in fields(found).items():
        assert same_bits(array[others], fields(clean)[name][others]), name


@pytest.mark.parametrize("part", PARTS)
def test_a_shared_bad_number_marks_every_instance(part: str) -> None:
    problem, programs = draw(KINDS["dense_qp"], 5, seed=2)
    batch = batch_of(problem, [programs[0]] * 5, shared=PARTS)
    batch.arrays[PARTS.index(part)][-1] = np.nan
    assert set(engine(problem).solve(batch, {}, tape=False).status) == {Status.INVALID_INPUT}


def test_a_mask_of_invalid_instances_is_obeyed() -> None:
    problem, programs = draw(KINDS["dense_qp"], 9)
    batch = batch_of(problem, programs)
    mask = np.arange(9) % 3 == 0
    found = engine(problem).solve(Batch(batch.arrays, batch.shape, mask), {}, tape=True)
    clean = engine(problem).solve(pick(batch, np.flatnonzero(~mask)), {}, tape=True)
    assert np.array_equal(found.status == Status.INVALID_INPUT, mask)
    assert np.isnan(found.outputs[mask]).all()
    assert same_bits(found.outputs[~mask], clean.outputs)


@pytest.mark.isa
@pytest.mark.parametrize("kind", ["dense_qp", "sparse_qp", "equality_qp", "unconstrained"])
@pytest.mark.parametrize("depth", [1e-6, 1.0, 1e6])
def test_nonconvex_instances_are_invalid(kind: str, depth: float) -> None:
    """One negative eigenvalue, relative to the largest, whatever its size; singular P is convex."""
    problem, programs = draw(KINDS[kind], 9, seed=3)
    batch, st = batch_of(problem, programs), problem.structure
    for i in (1, 4):
        P = programs[i].P
        direction = np.linalg.eigh(P)[1][:, 0] * (np.abs(P).sum(axis=1) > 0)
        lowered = P - (direction @ P @ direction + depth) * np.outer(direction, direction)
        batch.arrays[0][i] = lowered[st.P.rows, st.P.indices]
        kept = np.zeros_like(P)
        kept[st.P.rows, st.P.indices] = kept[st.P.indices, st.P.rows] = batch.arrays[0][i]
        assert np.linalg.eigvalsh(kept)[0] < -1e-7 * max(1.0, depth)
    expected = np.where(np.isin(np.arange(9), (1, 4)), Status.INVALID_INPUT, Status.SOLVED)
    assert np.array_equal(NativeEngine(problem, {}).solve(batch, {}, tape=False).status, expected)


@pytest.mark.parametrize("exponent", [-12, -6, 0, 6])
def test_semidefinite_is_convex_at_every_scale(exponent: int) -> None:
    problem, programs = draw(Kind(n=12, rank=4, zero=2, active=8, nonneg=14), 40, seed=exponent + 20)
    batch = batch_of(problem, programs)
    batch.arrays[0][:] *= 10.0**exponent
    status = NativeEngine(problem, {}).solve(batch, {}, tape=False).status
    assert Status.INVALID_INPUT not in status


def test_iteration_limit() -> None:
    problem, programs = draw(KINDS["lp_vertex"], 9)
    native, batch = engine(problem, polish=False), batch_of(problem, programs)
    limited = native.solve(batch, {"max_iterations": 2}, tape=True)
    assert set(limited.status) == {Status.MAX_ITERATIONS}
    assert set(limited.iterations) == {2}
    assert np.isfinite(limited.outputs).all()
    free = native.solve(batch, {}, tape=True)
    enough = native.solve(batch, {"max_iterations": int(free.iterations.max()) + 1}, tape=True)
    assert same_bits(free.outputs, enough.outputs)


@pytest.mark.parametrize("there", [True, False], ids=["PIQP", "Clarabel"])
def test_fallback_answers_what_the_loop_leaves(monkeypatch: pytest.MonkeyPatch, there: bool) -> None:
    """By PIQP, or where it is not installed by Clarabel."""
    asked: list[bool] = []
    solve = clarabel.last_resort
    monkeypatch.setattr(piqp, "installed", lambda: there)
    monkeypatch.setattr(clarabel, "last_resort", lambda *arguments: asked.append(True) or solve(*arguments))
    problem, programs = draw(KINDS["dense_qp"], 7)
    batch = batch_of(problem, programs)
    found = NativeEngine(problem, {"max_iterations": 1}).solve(batch, {}, tape=True)
    assert found.fallback.all()
    assert not found.status.any()
    assert len(asked) == (0 if there else 7)
    for x, p in zip(tape_of(found).x, programs, strict=True):
        assert x == pytest.approx(p.x, rel=1e-6, abs=1e-6)
    assert not NativeEngine(problem, {}).solve(batch, {}, tape=True).fallback.any()


def test_empty_batch() -> None:
    problem, programs = draw(KINDS["dense_qp"], 1)
    batch = Batch(tuple(a[:0] for a in batch_of(problem, programs).arrays), (0,))
    solution = engine(problem).solve(batch, {}, tape=True)
    assert solution.outputs.shape == (0, 16)
    gradients, flags = engine(problem).vjp(batch, tape_of(solution), solution.outputs, [True] * 5)
    assert [None if g is None else g.shape for g in gradients] == [a.shape for a in batch.arrays]
    assert flags.shape == (0,)


@pytest.mark.isa
def test_statuses_mix_within_a_pack() -> None:
    """Solvable and infeasible instances of one pattern, interleaved so that every pack of lanes holds all three."""
    kinds = [KINDS["lp_vertex"], INFEASIBLE["contradiction_lp"], INFEASIBLE["descent_lp"]]
    drawn = [draw(kind, 8, seed=7) for kind in kinds]
    assert len({p.structure.A.nnz for p, _ in drawn}) == 1
    mixed = [p for triple in zip(*(programs for _, programs in drawn), strict=True) for p in triple]
    solution = engine(drawn[0][0]).solve(batch_of(drawn[0][0], mixed), {}, tape=False)
    assert [Status(k) for k in solution.status] == [p.status for p in mixed]
