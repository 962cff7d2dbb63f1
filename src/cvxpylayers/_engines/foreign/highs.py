"""HiGHS: linear programs by simplex or interior point, quadratic ones by an active set."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, ClassVar, Final

import numpy as np
import scipy.sparse as sp

from cvxpylayers._engines.engine import POLYHEDRAL, Capabilities
from cvxpylayers._engines.foreign.per_instance import Adapter
from cvxpylayers._engines.judge.judge import Claim
from cvxpylayers._engines.judge.program import ConeProgram
from cvxpylayers._program import Status
from cvxpylayers.errors import OptionError

_STATUS: Final[Mapping[str, Status]] = {
    "kOptimal": Status.SOLVED,
    "kInfeasible": Status.PRIMAL_INFEASIBLE,
    "kUnboundedOrInfeasible": Status.DUAL_INFEASIBLE,
    "kUnbounded": Status.DUAL_INFEASIBLE,
    "kIterationLimit": Status.MAX_ITERATIONS,
    "kTimeLimit": Status.MAX_ITERATIONS,
}


class HighsEngine(Adapter):
    """Linear and quadratic programs, one thread an instance; every option of HiGHS passes under its own name."""

    name: ClassVar[str] = "HIGHS"
    capabilities: ClassVar[Capabilities] = Capabilities(cones=POLYHEDRAL)
    package: ClassVar[str] = "highspy"
    install: ClassVar[str] = "pip install highspy"
    common: ClassVar[Mapping[str, str]] = {"max_iterations": "simplex_iteration_limit", "time_limit": "time_limit"}
    preset: ClassVar[Mapping[str, Any]] = {
        "output_flag": False,
        "threads": 1,
        "primal_feasibility_tolerance": 1e-9,
        "dual_feasibility_tolerance": 1e-9,
    }

    @classmethod
    def option_names(cls) -> frozenset[str] | None:
        """The common options and those of HiGHS."""
        known = frozenset(super().option_names() or ())
        return known | {name for name in dir(importlib.import_module(cls.package).HighsOptions) if not name.startswith("_")}

    def claim(self, program: ConeProgram, settings: dict[str, Any]) -> Claim:
        highs = self._solver.Highs()
        highs.silent()
        for name, value in settings.items():
            if highs.setOptionValue(name, value) != self._solver.HighsStatus.kOk:
                raise OptionError(f"HiGHS refuses {name}={value!r}")
        if "simplex_iteration_limit" in settings:
            for name in ("ipm_iteration_limit", "qp_iteration_limit"):
                highs.setOptionValue(name, settings["simplex_iteration_limit"])
        highs.passModel(self._model(program))
        highs.run()
        found, info = highs.getSolution(), highs.getInfo()
        status = _STATUS.get(highs.getModelStatus().name, Status.NUMERICAL_ERROR)
        iterations = max(info.simplex_iteration_count, info.ipm_iteration_count, info.qp_iteration_count, 0)
        # The rows' multipliers there are the derivative of the optimal value by b, here its negative.
        return Claim(np.array(found.col_value), -np.array(found.row_dual), status, iterations)

    def _model(self, program: ConeProgram) -> Any:
        (m, n), inf = program.A.shape, self._solver.kHighsInf
        model = self._solver.HighsModel()
        lp = model.lp_
        lp.num_col_, lp.num_row_ = n, m
        lp.col_cost_, lp.col_lower_, lp.col_upper_ = program.q, np.full(n, -inf), np.full(n, inf)
        lp.row_lower_ = np.where(np.arange(m) < program.cones.zero, program.b, -inf)
        lp.row_upper_ = program.b
        lp.a_matrix_.format_ = self._solver.MatrixFormat.kColwise
        lp.a_matrix_.start_, lp.a_matrix_.index_, lp.a_matrix_.value_ = program.A.indptr, program.A.indices, program.A.data
        if program.P_upper.nnz:
            lower = sp.csc_matrix(program.P_upper.T)
            model.hessian_.dim_, model.hessian_.format_ = n, self._solver.HessianFormat.kTriangular
            model.hessian_.start_, model.hessian_.index_, model.hessian_.value_ = lower.indptr, lower.indices, lower.data
        return model
