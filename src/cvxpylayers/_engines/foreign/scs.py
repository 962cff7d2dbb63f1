"""SCS (first order): every cone, at low accuracy that the refinement makes good."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np
import scipy.sparse as sp

from cvxpylayers._engines.defaults import TOLERANCE
from cvxpylayers._engines.foreign.package import words
from cvxpylayers._engines.foreign.per_instance import Adapter
from cvxpylayers._engines.judge.clarabel import last_resort
from cvxpylayers._engines.judge.judge import SETTLED, Claim, Outcome
from cvxpylayers._engines.judge.program import ConeProgram
from cvxpylayers._program import Cones, Status
from cvxpylayers._program.cones import svec_position
from cvxpylayers._typing import Float64, NDArray, Shaped

_STATUS: Final[Mapping[int, Status]] = {
    1: Status.SOLVED,
    2: Status.MAX_ITERATIONS,  # solved, but inaccurately
    -1: Status.DUAL_INFEASIBLE,
    -2: Status.PRIMAL_INFEASIBLE,
    -6: Status.DUAL_INFEASIBLE,
    -7: Status.PRIMAL_INFEASIBLE,
}


class ScsEngine(Adapter):
    """Every cone. ``eps_abs`` and ``eps_rel`` are SCS's own tolerances, ``tolerance`` that of the refined answer.

    ``fallback`` (False) hands what is not solved then to Clarabel.
    """

    name: ClassVar[str] = "SCS"
    package: ClassVar[str] = "scs"
    install: ClassVar[str] = "pip install scs"
    common: ClassVar[Mapping[str, str]] = {"max_iterations": "max_iters", "time_limit": "time_limit_secs"}
    own: ClassVar[frozenset[str]] = words(
        """
        acceleration_interval acceleration_lookback adaptive_scale alpha eps_abs eps_infeas eps_rel linear_solver
        max_iters normalize rho_x scale time_limit_secs verbose fallback
        """
    )
    preset: ClassVar[Mapping[str, Any]] = {"verbose": False, "eps_abs": 1e-7, "eps_rel": 1e-7}

    def _outcome(self, values: Shaped[Float64, " values"], settings: Mapping[str, Any]) -> Outcome:
        found = super()._outcome(values, {name: value for name, value in settings.items() if name != "fallback"})
        if not settings.get("fallback", False) or found.status in SETTLED:
            return found
        second = last_resort(self._assemble(values), settings.get("tolerance", TOLERANCE))
        return second if second.status < found.status else found

    def claim(self, program: ConeProgram, settings: dict[str, Any]) -> Claim:
        form = ScsForm.of(program)
        data = {"P": program.P_upper, "A": form.A, "b": form.b, "c": program.q}
        cones = {**form.cones, "p": list(program.cones.power)}
        found = self._solver.SCS(data, cones, **settings).solve()
        info = found["info"]
        return Claim(found["x"], form.ours(found["y"]), _STATUS.get(info["status_val"], Status.NUMERICAL_ERROR), info["iter"])


@dataclass(frozen=True)
class ScsForm:
    """A program as SCS takes it, but for power cones: rows in its order, at least one row (0 x ≤ 1 where there is none)."""

    A: sp.csc_matrix
    b: Float64
    cones: Mapping[str, Any]
    order: NDArray[np.intp]  # our row of each of theirs

    @classmethod
    def of(cls, program: ConeProgram) -> ScsForm:
        """The form of ``program``."""
        cones, order = program.cones, svec_by_lower_columns(program.cones)
        if not len(order):
            return cls(sp.csc_matrix((1, len(program.q))), np.ones(1), {"l": 1}, order)
        own = {"z": cones.zero, "l": cones.nonneg, "q": list(cones.soc), "s": list(cones.psd), "ep": cones.exp}
        return cls(program.A[order], program.b[order], own, order)

    def theirs(self, rows: Float64) -> Float64:
        """A vector over our rows, over theirs."""
        return rows[self.order] if len(self.order) else np.zeros(1)

    def ours(self, rows: Float64) -> Float64:
        """A vector over their rows, over ours."""
        found = np.empty(len(self.order))
        found[self.order] = rows[: len(self.order)]
        return found


def svec_by_lower_columns(cones: Cones) -> NDArray[np.intp]:
    """Our rows, which hold upper triangles by columns, in the order of lower triangles by columns."""
    order = np.arange(cones.rows)
    for _, k, _, rows in cones.blocks("psd"):
        column, row = np.triu_indices(k)  # of the lower triangle, column by column
        order[rows] = rows.start + svec_position(row, column)
    return order
