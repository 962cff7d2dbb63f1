"""Derivatives of single instances with cones kept sparse: the laws of the native kernel's, of which they are an independent check."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from benchmarks.families import SMALL, Family
from benchmarks.truth import random_kind
from cvxpylayers._engines.native import NativeEngine
from cvxpylayers._engines.sparse import SparseDerivative
from cvxpylayers._program import Batch, Cones, Status
from tests.conic import MIXES, random_conic
from tests.kinds import KINDS
from tests.oracles import jacobian
from tests.programs import Array, Case, Kind, batch_of, differentiate, draw, family_batch, pick
from tests.test_engine_derivatives import COUNT, assert_adjoint, nearly_repeat_row

mixes = pytest.mark.parametrize("cones", MIXES.values(), ids=MIXES)
ranks = pytest.mark.parametrize(("rank", "unique"), [(None, True), (3, False), (0, False)], ids=["definite", "low_rank", "linear"])


class Sparse(NativeEngine):
    """Solutions of the native engine, derivatives of the other kind."""

    def vjp(self, *arguments: Any) -> Any:
        return SparseDerivative(self.compiled, 1).vjp(*arguments)

    def jvp(self, *arguments: Any, **options: Any) -> Any:
        return SparseDerivative(self.compiled, 1).jvp(*arguments, **options)


def settled(native: NativeEngine, batch: Batch) -> Batch:
    return pick(batch, np.flatnonzero(native.solve(batch, {}, tape=False).status == Status.SOLVED))


def both(native: NativeEngine, batch: Batch) -> tuple[Case, Case]:
    kept = settled(native, batch)
    return differentiate(Sparse(native.compiled, {}), kept), differentiate(native, kept)


def assert_agree(found: Case, expected: Case) -> None:
    """Equal flags, equal numbers where there are none, relative to the largest of an instance."""
    assert [list(f) for f in found.flags] == [list(f) for f in expected.flags]
    regular = ~expected.flags[0] & ~expected.flags[1]
    assert regular.any()
    for ours, theirs in [(found.pushed, expected.pushed), *zip(found.gradients, expected.gradients, strict=True)]:
        a, b = ours[regular], theirs[regular]
        assert np.max(np.abs(a - b).max(axis=1, initial=0.0) / np.maximum(1e-3, np.abs(b).max(axis=1, initial=0.0))) < 1e-6


@mixes
@ranks
def test_every_cone_against_the_kernel(cones: Cones, rank: int | None, unique: bool) -> None:
    d = random_conic(np.random.default_rng(80), 8, cones, 12, rank=rank, unique=unique)
    found, expected = both(NativeEngine(d.compiled, {}), d.batch)
    assert_adjoint(found)
    if unique:
        assert_agree(found, expected)


@pytest.mark.parametrize("family", SMALL.values(), ids=SMALL)
def test_families_against_the_kernel(family: Family) -> None:
    found, expected = both(*family_batch(family, COUNT, seed=32))
    assert_adjoint(found)
    assert_agree(found, expected)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_quadratic_programs_of_every_kind(kind: Kind) -> None:
    problem, programs = draw(kind, COUNT, seed=31)
    found, expected = both(NativeEngine(problem, {}), batch_of(problem, programs))
    assert_adjoint(found)
    if kind.regular:
        assert_agree(found, expected)


@pytest.mark.parametrize("rank", [6, 3, 0])
@pytest.mark.parametrize("digits", range(2, 15))
def test_adjoint_between_rank_and_null_space(rank: int, digits: int) -> None:
    kind = Kind(rank=rank, regular=False, active=4, twists=(nearly_repeat_row(3, 4, 10.0**-digits),))
    problem, programs = draw(kind, COUNT, seed=45)
    native = NativeEngine(problem, {})
    assert_adjoint(differentiate(Sparse(problem, {}), settled(native, batch_of(problem, programs))))


@pytest.mark.parametrize("seed", [10, 11, 24, 31, 36, 95, 118, 141, 155, 202, 265])
def test_adjoint_on_random_ranks(seed: int) -> None:
    rng = np.random.default_rng(3)
    kind = [random_kind(rng) for _ in range(seed + 1)][-1]
    problem, programs = draw(kind, 16, seed)
    native = NativeEngine(problem, {})
    assert_adjoint(differentiate(Sparse(problem, {}), settled(native, batch_of(problem, programs))))
