"""Linear, quadratic and conic programs with known solutions in one table, so that a law stands once for them all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from cvxpylayers._program import Cones
from problems.conic import random_conic
from problems.kinds import KINDS, SCALED, nearly_repeat_row, random_kind
from problems.mixes import MIXES
from problems.programs import Draw, Kind, known


@dataclass(frozen=True)
class Row:
    """``draw(count, seed)`` gives instances of one pattern.

    ``unique`` says whether x is the only solution, ``regular`` whether (x, z) is and strictly complementary, ``scaled`` whether the
    data are beyond what dense linear algebra in float64 can judge.
    """

    draw: Callable[[int, int], Draw]
    unique: bool = True
    regular: bool = True
    scaled: bool = False


def of_kind(name: str) -> Row:
    kind = KINDS[name]
    return Row(lambda count, seed: known(kind, count, seed), kind.unique, kind.regular and kind.unique, name in SCALED)


def of_mix(cones: Cones, rank: int | None = None, unique: bool = True) -> Row:
    """Programs of 8 variables, or of 10 or 6, where solutions are unique: as many as the cones pin down."""
    n = 8 if rank is None or not unique else 6 if cones.rows < 10 else 10
    return Row(
        lambda count, seed: random_conic(np.random.default_rng(seed), n, cones, count, rank=rank, unique=unique), unique, unique
    )


def _singular(kind: Kind, seed: int, count: int = 12) -> Row:
    """The same instances whatever is asked for: those that once were hard."""
    return Row(lambda *_: known(kind, count, seed), unique=False, regular=False)


QUADRATIC = {name: of_kind(name) for name in KINDS}
DEFINITE = {name: of_mix(cones) for name, cones in MIXES.items()}
LOW_RANK = {f"{name}-low_rank": of_mix(cones, 4) for name, cones in MIXES.items()}
SINGULAR = {f"{name}-rank_{rank}": of_mix(cones, rank, unique=False) for name, cones in MIXES.items() for rank in (3, 0)}
# Null spaces of any dimension beside small singular values, down to and beyond what the precision can tell from zero.
_KINDS_AT_RANDOM = [random_kind(rng) for rng in [np.random.default_rng(3)] for _ in range(266)]
BETWEEN_RANKS = {
    f"rank_{rank}-gap_1e-{digits}": _singular(
        Kind(rank=rank, regular=False, active=4, twists=(nearly_repeat_row(3, 4, 10.0**-digits),)), seed=45
    )
    for rank in (6, 3, 0)
    for digits in range(2, 15)
} | {
    f"random_ranks-{seed}": _singular(_KINDS_AT_RANDOM[seed], seed, count=16)
    for seed in (10, 11, 24, 31, 36, 95, 118, 141, 155, 202, 265)
}
EVERY = {**QUADRATIC, **DEFINITE, **SINGULAR, **BETWEEN_RANKS}
