"""Moreau (interior point, active set): every cone, one instance at a time, on the CPU or a CUDA device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

import numpy as np
import scipy.sparse as sp

from cvxpylayers._engines.base import Capabilities
from cvxpylayers._engines.judge import Claim
from cvxpylayers._engines.per_instance import Adapter, words
from cvxpylayers._engines.program import ConeProgram
from cvxpylayers._program import Cones, Status

_STATUS: Final[Mapping[str, Status]] = {
    "Solved": Status.SOLVED,
    "AlmostSolved": Status.SOLVED,
    "PrimalInfeasible": Status.PRIMAL_INFEASIBLE,
    "AlmostPrimalInfeasible": Status.PRIMAL_INFEASIBLE,
    "DualInfeasible": Status.DUAL_INFEASIBLE,
    "AlmostDualInfeasible": Status.DUAL_INFEASIBLE,
    "MaxIterations": Status.MAX_ITERATIONS,
    "MaxTime": Status.MAX_ITERATIONS,
    "InsufficientProgress": Status.INSUFFICIENT_PROGRESS,
}
_TOLERANCES: Final = ("tol_gap_abs", "tol_gap_rel", "tol_feas")


class MoreauEngine(Adapter):
    """Every cone. Settings of Moreau pass under their own names, those of its interior point method inside ``ipm_settings``."""

    name: ClassVar[str] = "MOREAU"
    capabilities: ClassVar[Capabilities] = Capabilities(devices=("cpu", "cuda"))
    package: ClassVar[str] = "moreau"
    install: ClassVar[str] = "pip install moreau"
    common: ClassVar[Mapping[str, str]] = {"max_iterations": "max_iter", "time_limit": "time_limit"}
    own: ClassVar[frozenset[str]] = words(
        """
        active_set_settings auto_tune device device_id ipm_settings max_iter solver time_limit verbose
        """
    )
    preset: ClassVar[Mapping[str, Any]] = {"device": "cpu"}

    def _claim(self, program: ConeProgram, settings: dict[str, Any]) -> Claim:
        moreau = self._solver
        ipm = settings.pop("ipm_settings", {})
        if isinstance(ipm, Mapping):
            ipm = moreau.IPMSettings(**{**dict.fromkeys(_TOLERANCES, 1e-10), **ipm})
        solver = moreau.Solver(
            sp.csr_array(program.P), program.q, sp.csr_array(program.A), program.b, self._cones(program.cones),
            settings=moreau.Settings(ipm_settings=ipm, **settings),
        )  # fmt: skip
        found, info = solver.solve(), solver.info
        status = _STATUS.get(getattr(info.status, "name", str(info.status)), Status.NUMERICAL_ERROR)
        return Claim(np.asarray(found.x), np.asarray(found.z), status, int(info.iterations))

    def _cones(self, cones: Cones) -> Any:
        """Our blocks as Moreau's; the orders of rows agree."""
        return self._solver.Cones(
            num_zero_cones=cones.zero, num_nonneg_cones=cones.nonneg, so_cone_dims=list(cones.soc), psd_dims=list(cones.psd),
            num_exp_cones=cones.exp, power_alphas=list(cones.power),
        )  # fmt: skip
