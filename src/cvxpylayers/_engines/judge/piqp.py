"""One polyhedral program, solved by PIQP: the PIQP engine's claim, and the native one's second opinion."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping
from functools import cache
from typing import Any, Final

import numpy as np

from cvxpylayers._engines.judge.judge import Claim
from cvxpylayers._engines.judge.program import ConeProgram
from cvxpylayers._program import Status
from cvxpylayers.errors import OptionError

PACKAGE: Final = "piqp"

_STATUS: Final[Mapping[str, Status]] = {
    "PIQP_SOLVED": Status.SOLVED,
    "PIQP_MAX_ITER_REACHED": Status.MAX_ITERATIONS,
    "PIQP_PRIMAL_INFEASIBLE": Status.PRIMAL_INFEASIBLE,
    "PIQP_DUAL_INFEASIBLE": Status.DUAL_INFEASIBLE,
}


@cache
def installed() -> bool:
    """Whether PIQP is there, which is optional."""
    return importlib.util.find_spec(PACKAGE) is not None


def claim(program: ConeProgram, settings: Mapping[str, Any]) -> Claim:
    """PIQP's answer, with its own ``settings``; every row is an equality or an inequality.

    Raises:
        OptionError: PIQP refuses the value of a setting.
    """
    solver = importlib.import_module(PACKAGE).SparseSolver()
    for name, value in settings.items():
        try:
            setattr(solver.settings, name, value)
        except TypeError as error:
            raise OptionError(f"PIQP refuses {name}={value!r}") from error
    (A, b), (G, h) = program.equalities(), program.inequalities()
    solver.setup(program.P, program.q, A, b, G, np.full(len(h), -np.inf), h)
    word, found = solver.solve().name, solver.result
    z = np.concatenate([found.y, found.z_u])
    return Claim(np.array(found.x), z, _STATUS.get(word, Status.NUMERICAL_ERROR), int(found.info.iter))
