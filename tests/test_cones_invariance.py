"""Every cone, exact and smoothed: an instance's results are the same, bit by bit, alone and in any batch, beside any neighbour."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cvxpylayers._program import Batch, Status
from problems.conic import Draw, dual_infeasible, primal_infeasible, random_conic
from problems.mixes import MIXES
from problems.programs import pick
from tests.checks import assert_rows, engine, everything

WIDTHS = [4, 8]
COUNT = 2 * max(WIDTHS) + 1
BY_MODE = {"exact": {}, "smoothed": {"derivative": "smoothed", "smoothing": 1e-2}}
mixes = pytest.mark.parametrize("cones", ["soc", "psd", "exp", "power", "all"])
modes = pytest.mark.parametrize("mode", BY_MODE)
widths = pytest.mark.parametrize("width", WIDTHS)


def drawn(cones: str, seed: int, count: int = COUNT) -> Draw:
    return random_conic(np.random.default_rng(seed), 8, MIXES[cones], count)


@pytest.mark.isa
@widths
@modes
@mixes
def test_alone_in_any_batch_and_permuted(cones: str, mode: str, width: int) -> None:
    d, seeds = drawn(cones, 90), np.arange(COUNT)
    native = engine(d.compiled, lane_width=width, **BY_MODE[mode])
    expected = everything(native, d.batch, seeds)
    order = np.random.default_rng(0).permutation(COUNT)
    assert_rows(everything(native, pick(d.batch, order), order), expected, of=order)
    for i in range(COUNT):
        assert_rows(everything(native, pick(d.batch, [i]), seeds[[i]]), expected, of=[i])
    threaded = engine(d.compiled, lane_width=width, **BY_MODE[mode] | {"threads": 3})
    assert_rows(everything(threaded, d.batch, seeds), expected)


@pytest.mark.isa
@widths
@modes
@mixes
@pytest.mark.parametrize("neighbour", ["nan", "huge", "primal", "dual"])
def test_bad_neighbours(cones: str, mode: str, neighbour: str, width: int) -> None:
    """Neighbours that are invalid, overflow or are infeasible, on every side and in every lane."""
    rng, seeds = np.random.default_rng(91), np.arange(COUNT)
    broken = {"primal": primal_infeasible, "dual": dual_infeasible}.get(neighbour)
    if broken:  # their patterns are dense, and P's rank is the same throughout
        good = random_conic(rng, 8, MIXES[cones], COUNT, unique=False, rank=7)
        bad = broken(rng, 8, MIXES[cones], COUNT)
    else:
        good, bad = drawn(cones, 92), drawn(cones, 93)
        bad.batch.arrays[1][:, 0] = np.nan if neighbour == "nan" else 1e200
    pairs = [np.stack([b, g], axis=1).reshape(2 * COUNT, -1) for b, g in zip(bad.batch.arrays, good.batch.arrays, strict=True)]
    invalid = np.repeat(~np.isfinite(bad.batch.arrays[1]).all(axis=1), 2) & (np.arange(2 * COUNT) % 2 == 0)
    native = engine(good.compiled, lane_width=width, **BY_MODE[mode])
    found = everything(native, Batch(tuple(pairs), (2 * COUNT,), invalid), np.repeat(seeds, 2))
    assert (found["status"][::2] != Status.SOLVED).all()
    assert_rows(found, everything(native, good.batch, seeds), rows=slice(1, None, 2))


@pytest.mark.isa
@modes
@mixes
def test_shared_parameters(cones: str, mode: str) -> None:
    """Passed once, or as many times as there are instances."""
    d, seeds = drawn(cones, 94), np.arange(COUNT)
    P, q, A, b, t = d.batch.arrays
    once = Batch((P[0], q, A[0], b[:1] + 0.1 * (b - b[:1]), t), (COUNT,))
    written = replace(once, arrays=tuple(np.ascontiguousarray(np.broadcast_to(a, (COUNT, a.shape[-1]))) for a in once.arrays))
    native = engine(d.compiled, **BY_MODE[mode])
    assert_rows(everything(native, once, seeds), everything(native, written, seeds))
