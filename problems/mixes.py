"""The table of products of cones: one row adds a mix to every law; and mixes at random."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import numpy as np

from cvxpylayers._program import Cones
from problems.programs import Rng

CONES = ("zero", "nonneg", "soc", "psd", "exp", "power")

MIXES: dict[str, Cones] = {
    "soc": Cones(soc=(3, 4, 2, 5)),
    "soc_one": Cones(soc=(1, 6, 1)),
    "soc_large": Cones(soc=(25,)),
    "psd": Cones(psd=(3, 2)),
    "psd_large": Cones(psd=(7,)),
    "exp": Cones(exp=4),
    "power": Cones(power=(0.5, 0.3, 0.9)),
    "zero_soc": Cones(zero=2, soc=(3, 4)),
    "nonneg_soc": Cones(nonneg=4, soc=(3, 4)),
    "nonneg_exp": Cones(nonneg=4, exp=3),
    "soc_psd": Cones(soc=(3,), psd=(3,)),
    "psd_exp": Cones(psd=(3,), exp=2),
    "exp_power": Cones(exp=2, power=(0.4, 0.7)),
    "ones": Cones(zero=2, soc=(1, 1), psd=(1,), nonneg=1),
    "psd_power": Cones(psd=(2, 2), power=(0.25,)),
    "soc_exp": Cones(soc=(4,), exp=2),
    "soc_power": Cones(soc=(4,), power=(0.5, 0.8)),
    "nonneg_psd": Cones(nonneg=3, psd=(3,)),
    "nonneg_power": Cones(nonneg=3, power=(0.2, 0.5)),
    "all": Cones(zero=2, nonneg=3, soc=(3, 4), psd=(3, 2), exp=2, power=(0.3, 0.6)),
}


def random_cones(rng: Rng, rows: int = 30, kinds: Collection[str] | None = None) -> Cones:
    """About ``rows`` rows of these ``kinds``; where None, of each with probability one half."""
    if kinds is None:
        kinds = [kind for kind in CONES if rng.random() < 0.5]
    share = max(1, rows // max(1, len(kinds)))
    draws: dict[str, Callable[[], Any]] = {
        "zero": lambda: int(rng.integers(1, min(share, 6) + 1)),
        "nonneg": lambda: int(rng.integers(1, share + 1)),
        "soc": lambda: tuple(rng.integers(1, share + 2, size=rng.integers(1, 4)).tolist()),
        "psd": lambda: tuple(rng.integers(1, max(3, int(np.sqrt(2 * share)) + 1), size=rng.integers(1, 3)).tolist()),
        "exp": lambda: int(rng.integers(1, max(2, share // 3 + 1))),
        "power": lambda: tuple(rng.uniform(0.1, 0.9, size=rng.integers(1, max(2, share // 3 + 1))).tolist()),
    }
    return Cones(**{kind: draws[kind]() for kind in CONES if kind in kinds})
