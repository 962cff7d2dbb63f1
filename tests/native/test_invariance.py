"""An instance's result is the same, bit by bit, alone, in any batch, at any place, beside any neighbour, on any threads.

Every law compares all that a call returns: outputs, (x, z, s), status, iterations, residuals, gap and objective of a solve, and
gradients, tangents, second derivatives and flags.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from cvxpylayers._engines.native.engine import NativeEngine
from cvxpylayers._program import Batch, CompiledProblem, Cones, Status, Tape
from problems.conic import dual_infeasible, primal_infeasible, random_conic
from problems.kinds import INFEASIBLE, KINDS
from problems.mixes import MIXES
from problems.programs import PARTS, Array, batch_of, draw, pick
from problems.structured import flat_distances, patches
from tests.checks import assert_rows, engine, everything, fields, same_bits, tape_of

WIDTHS = [0, 1, 8]  # 0: that of each call, which a small batch has smaller
COUNT = 2 * max(WIDTHS) + 1
BY_MODE: dict[str, dict[str, Any]] = {"exact": {}, "smoothed": {"derivative": "smoothed", "smoothing": 1e-2}}
HERE = {name: MIXES[name] for name in ("soc", "psd", "exp", "power", "all")}
Drawn = tuple[CompiledProblem, Batch]


def of_kind(name: str, count: int = COUNT, seed: int = 11) -> Drawn:
    problem, programs = draw(KINDS[name], count, seed)
    return problem, batch_of(problem, programs)


def of_mix(cones: Cones, count: int = COUNT, seed: int = 90) -> Drawn:
    drawn = random_conic(np.random.default_rng(seed), 8, cones, count)
    return drawn.compiled, drawn.batch


KINDS_HERE = [
    "dense_qp", "low_rank_sparse", "lp_vertex", "lp_face", "equality_qp", "unconstrained", "tied", "redundant_equalities",
    "empty_rows", "rows_1e6", "small_point",
]  # fmt: skip
# What is drawn, and the options of the engine; every law holds for every row.
ROWS: dict[str, tuple[Callable[[int], Drawn], dict[str, Any]]] = {
    **{kind: (lambda count, kind=kind: of_kind(kind, count), {}) for kind in KINDS_HERE},
    "flat_distances": (flat_distances, {}),
    "patches": (patches, {}),
    **{
        f"{kind}-smoothed": (lambda count, kind=kind: of_kind(kind, count), BY_MODE["smoothed"])
        for kind in ("low_rank_qp", "lp_vertex")
    },
    **{
        f"{name}-{mode}": (lambda count, cones=cones: of_mix(cones, count), options)
        for name, cones in HERE.items()
        for mode, options in BY_MODE.items()
    },
}
widths = pytest.mark.parametrize("width", WIDTHS)


def rows_and_widths(rows: Iterable[str]) -> pytest.MarkDecorator:
    """Every width for every row, but once where every call has the widest: cones."""
    pairs = [(row, width) for row in rows for width in WIDTHS if width < 8 or row.partition("-")[0] not in HERE]
    return pytest.mark.parametrize(("row", "width"), pairs)


@pytest.mark.isa
@rows_and_widths(ROWS)
def test_alone_in_any_batch_and_permuted(row: str, width: int) -> None:
    make, options = ROWS[row]
    (problem, batch), seeds = make(COUNT), np.arange(COUNT)
    native = engine(problem, lane_width=width, **options)
    expected = everything(native, batch, seeds)
    for size in range(1, COUNT):
        assert_rows(everything(native, pick(batch, seeds[:size]), seeds[:size]), expected, of=slice(size))
    for i in range(COUNT):
        assert_rows(everything(native, pick(batch, [i]), seeds[[i]]), expected, of=[i])
    order = np.random.default_rng(0).permutation(COUNT)
    assert_rows(everything(native, pick(batch, order), order), expected, of=order)


@rows_and_widths(ROWS)
def test_threads(row: str, width: int) -> None:
    make, options = ROWS[row]
    (problem, batch), seeds = make(100), np.arange(100)
    one, *others = (everything(engine(problem, lane_width=width, **options | {"threads": t}), batch, seeds) for t in (1, 2, 3, 5))
    for found in others:
        assert_rows(found, one)


# ---- neighbours --------------------------------------------------------------------------------------------------------------


def spoilt(neighbour: str, batch: Batch, structure: Any) -> Batch:
    """The instances made invalid, nonconvex, without a solution or hard, within their sparsity."""
    bad, rng = pick(batch, np.arange(COUNT)), np.random.default_rng(1)
    P, q, A, b, _ = bad.arrays
    match neighbour:
        case "nan":
            A[:, 0] = np.nan
        case "inf":
            b[:, -1] = np.inf
        case "huge":
            q[:, 0] = 1e200
        case "primal":
            A[:, :6], b[:, 0] = 0.0, 1.0  # the equality becomes 0 = 1
        case "dual":
            A[:], q[:] = -np.abs(A), -1e3
            P[:] = 0.0
        case "slow":
            scales = 10.0 ** rng.uniform(-8, 8, (COUNT, structure.m))
            A *= scales[:, structure.A.rows]
            b *= scales
        case "nonconvex":
            P[:, -1] -= 1e3
        case "hard":
            b *= 10.0 ** rng.uniform(-12, 12, b.shape)
    return bad


def good_and_bad(row: str, neighbour: str) -> tuple[CompiledProblem, Batch, Batch]:
    """Instances with solutions, and others of the same pattern; those of cones without a solution are built around certificates."""
    broken = {"primal": primal_infeasible, "dual": dual_infeasible}.get(neighbour)
    if row not in HERE:
        problem, good = of_kind(row, seed=13)
    elif broken is None:
        problem, good = of_mix(HERE[row], seed=92)
    else:  # their patterns are dense, and P's rank is the same throughout
        rng = np.random.default_rng(91)
        drawn = random_conic(rng, 8, HERE[row], COUNT, unique=False, rank=7)
        return drawn.compiled, drawn.batch, broken(rng, 8, HERE[row], COUNT).batch
    return problem, good, spoilt(neighbour, good, problem.structure)


@pytest.mark.isa
@pytest.mark.parametrize("neighbour", ["nan", "inf", "huge", "primal", "dual", "slow", "nonconvex", "hard"])
@pytest.mark.parametrize("mode", BY_MODE)
@rows_and_widths(["low_rank_qp", *HERE])
def test_bad_neighbours(row: str, mode: str, neighbour: str, width: int) -> None:
    """Neighbours that are invalid, infeasible, stopped by the iteration limit, or hard, on every side and in every lane."""
    problem, good, bad = good_and_bad(row, neighbour)
    native = engine(problem, lane_width=width, max_iterations=3 if neighbour == "slow" else 100, **BY_MODE[mode])
    assert neighbour in ("hard", "slow") or (native.solve(bad, {}, tape=False).status != Status.SOLVED).all()
    pairs = [np.stack([b, g], axis=1).reshape(2 * COUNT, -1) for b, g in zip(bad.arrays, good.arrays, strict=True)]
    seeds = np.arange(COUNT)
    found = everything(native, Batch(tuple(pairs), (2 * COUNT,)), np.repeat(seeds, 2))
    assert_rows(found, everything(native, good, seeds), rows=slice(1, None, 2))
    overflows = neighbour == "huge" or (neighbour, mode) == ("hard", "smoothed")
    if row not in HERE or not overflows:  # cones then have no point to return, or to differentiate at
        assert_rows(found, everything(native, bad, seeds), rows=slice(0, None, 2))


# ---- shared parameters, layouts ------------------------------------------------------------------------------------------------


@pytest.mark.isa
@pytest.mark.parametrize("shared", ["P", "A", "q", "PA", "PAb", "PqA", "qb", "PqAbd"])
@rows_and_widths(["dense_qp", "lp_vertex", "low_rank_qp", *(row for row in ROWS if row.partition("-")[0] in HERE)])
def test_shared_parameters(row: str, shared: str, width: int) -> None:
    """A parameter passed once is the same as passed B times, by copies or by strides of zero, whatever becomes of the instances."""
    make, options = ROWS.get(row, (lambda count: of_kind(row, count, 14), {}))
    problem, batch = make(COUNT)
    native, seeds = engine(problem, lane_width=width, **options), np.arange(COUNT)
    once = batch._replace(arrays=tuple(a[0] if part in shared else a for part, a in zip(PARTS, batch.arrays, strict=True)))
    full = tuple(np.broadcast_to(a, (COUNT, a.shape[-1])) for a in once.arrays)
    expected = everything(native, once, seeds)
    assert_rows(everything(native, once._replace(arrays=full), seeds), expected)
    copies = once._replace(arrays=tuple(np.ascontiguousarray(a) for a in full))
    assert_rows(everything(native, copies, seeds), expected)


@widths
def test_two_batch_axes(width: int) -> None:
    """Parameters that broadcast against each other equal the batch written out."""
    problem, programs = draw(KINDS["dense_qp"], 15, seed=15)
    native, flat = engine(problem, lane_width=width), batch_of(problem, programs)
    P, q, A, b, d = flat.arrays
    crossed = Batch((P[0], q.reshape(3, 5, -1), A[None, 0], b[:5], d[:3, None]), (3, 5))
    written = Batch(
        tuple(np.ascontiguousarray(np.broadcast_to(a, (3, 5, a.shape[-1]))).reshape(15, -1) for a in crossed.arrays), (15,)
    )
    found, expected = (native.solve(batch, {}, tape=True) for batch in (crossed, written))
    assert_rows(fields(found), fields(expected))


@pytest.mark.isa
@widths
@pytest.mark.parametrize("size", [1, 7, 64, 65, 300])
def test_sums_over_the_batch_do_not_depend_on_threads(size: int, width: int) -> None:
    problem, programs = draw(KINDS["dense_qp"], size, seed=16)
    batch = batch_of(problem, programs, shared=PARTS)
    natives = [engine(problem, lane_width=width, threads=t) for t in (1, 2, 3)]
    tape = tape_of(natives[0].solve(batch, {}, tape=True))
    cotangent = np.random.default_rng(0).normal(size=(size, problem.R.shape[0]))
    first, *others = ([g for g in n.vjp(batch, tape, cotangent, [True] * 5)[0] if g is not None] for n in natives)
    assert all(same_bits(a, b) for other in others for a, b in zip(first, other, strict=True))


LAYOUTS: dict[str, Callable[[Array], Array]] = {
    "strided": lambda a: np.repeat(a, 2, axis=0)[::2],
    "reversed": lambda a: np.ascontiguousarray(a[::-1])[::-1],
    "columns of a wider array": lambda a: np.concatenate([a, a], axis=1)[:, : a.shape[1]],
    "read only": lambda a: np.frombuffer(a.tobytes()).reshape(a.shape),
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_layouts_of_arrays(layout: Callable[[Array], Array]) -> None:
    """Where the entries of a parameter lie in memory is of no consequence."""
    problem, programs = draw(KINDS["dense_qp"], COUNT, seed=21)
    native, batch, seeds = engine(problem), batch_of(problem, programs), np.arange(COUNT)
    laid = batch._replace(arrays=tuple(layout(a) for a in batch.arrays))
    assert_rows(everything(native, laid, seeds), everything(native, batch, seeds))


def test_calls_from_several_threads_at_once() -> None:
    problem, programs = draw(KINDS["dense_qp"], COUNT, seed=22)
    native, batch, seeds = engine(problem, threads=2), batch_of(problem, programs), np.arange(COUNT)
    expected = everything(native, batch, seeds)
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: everything(native, batch, seeds), range(20)):
            assert_rows(found, expected)


def test_repeated_calls_and_a_copied_engine() -> None:
    """Nothing of a call stays on the engine."""
    problem, programs = draw(KINDS["low_rank_qp"], COUNT, seed=17)
    native, batch = engine(problem), batch_of(problem, programs)
    expected = fields(native.solve(batch, {}, tape=True))
    native.solve(pick(batch, [0]), {"max_iterations": 1}, tape=False)
    assert_rows(fields(native.solve(batch, {}, tape=True)), expected)
    clone = object.__new__(NativeEngine)
    clone.__setstate__(native.__getstate__())
    assert_rows(fields(clone.solve(batch, {}, tape=True)), expected)


def test_a_tape_changes_nothing() -> None:
    problem, programs = draw(KINDS["dense_qp"], COUNT, seed=18)
    native, batch = engine(problem), batch_of(problem, programs)
    with_tape, without = (fields(native.solve(batch, {}, tape=tape)) for tape in (True, False))
    assert_rows(with_tape, without)


def test_derivatives_depend_on_the_tape_alone() -> None:
    """The points of neighbours on the tape do not matter, nor does where the tape came from."""
    problem, programs = draw(KINDS["dense_qp"], COUNT, seed=19)
    native, batch = engine(problem), batch_of(problem, programs)
    tape = tape_of(native.solve(batch, {}, tape=True))
    cotangent = np.random.default_rng(0).normal(size=(COUNT, problem.R.shape[0]))
    expected, _ = native.vjp(batch, tape, cotangent, [True] * 5)
    spoilt = Tape(tape.points.copy(), tape.n)
    spoilt.points[::2] = np.nan
    for found, array in zip(native.vjp(batch, spoilt, cotangent, [True] * 5)[0], expected, strict=True):
        assert found is not None
        assert array is not None
        assert same_bits(found[1::2], array[1::2])
        assert not found[::2].any()


@widths
def test_certificates_too(width: int) -> None:
    """Infeasible instances keep their iterates and residuals wherever they stand."""
    problem, programs = draw(INFEASIBLE["contradiction"], COUNT, seed=20)
    native, batch = engine(problem, lane_width=width), batch_of(problem, programs)
    expected = fields(native.solve(batch, {}, tape=True))
    order = np.random.default_rng(1).permutation(COUNT)
    assert_rows(fields(native.solve(pick(batch, order), {}, tape=True)), expected, of=order)
