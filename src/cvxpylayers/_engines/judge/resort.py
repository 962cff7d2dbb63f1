"""The last resort of an instance that the native engine leaves unsolved: PIQP where it can serve, then Clarabel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from cvxpylayers._engines.judge import clarabel, piqp
from cvxpylayers._engines.judge.judge import Outcome, settle
from cvxpylayers._engines.judge.program import ConeProgram
from cvxpylayers._program import Status, Structure

# Points are differentiated, and refined from as near as PIQP gets.
_SHARP: Final[Mapping[str, Any]] = {"eps_abs": 1e-11, "eps_rel": 1e-11, "max_iter": 400}
_DEAR: Final = 1e10  # flops of a factorization, of which a last resort makes some hundred: a second each


def takes_minutes(structure: Structure) -> bool:
    """Whether a last resort does: Clarabel factors those rows of a semidefinite cone that meet variables as one dense block."""
    ends = structure.A.indptr
    blocks = (ends[block.rows.start : block.rows.stop + 1] for block in structure.cones.blocks("psd"))
    return any(float(np.count_nonzero(np.diff(block))) ** 3 / 3 > _DEAR for block in blocks)


def last_resort(program: ConeProgram, tolerance: float) -> Outcome:
    """The answer of PIQP, if it is installed and inequalities are rows, or else of Clarabel, refined and judged.

    Of 61 problems of Maros and Mészáros Clarabel solves 52 and PIQP 51, four of which Clarabel does not, in a third of the time.
    """
    if program.cones.polyhedral and piqp.installed():
        found = settle(program, piqp.claim(program, _SHARP), tolerance=tolerance)
        if found.status is Status.SOLVED:
            return found
    return clarabel.last_resort(program, tolerance)
