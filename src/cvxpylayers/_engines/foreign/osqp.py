"""OSQP (first order): linear and quadratic programs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

import numpy as np

from cvxpylayers._engines.engine import POLYHEDRAL, Capabilities
from cvxpylayers._engines.foreign.package import words
from cvxpylayers._engines.foreign.per_instance import Adapter
from cvxpylayers._engines.judge.judge import Claim
from cvxpylayers._engines.judge.program import ConeProgram
from cvxpylayers._program import Status

_STATUS: Final[Mapping[str, Status]] = {
    "OSQP_SOLVED": Status.SOLVED,
    "OSQP_SOLVED_INACCURATE": Status.SOLVED,
    "OSQP_PRIMAL_INFEASIBLE": Status.PRIMAL_INFEASIBLE,
    "OSQP_PRIMAL_INFEASIBLE_INACCURATE": Status.PRIMAL_INFEASIBLE,
    "OSQP_DUAL_INFEASIBLE": Status.DUAL_INFEASIBLE,
    "OSQP_DUAL_INFEASIBLE_INACCURATE": Status.DUAL_INFEASIBLE,
    "OSQP_MAX_ITER_REACHED": Status.MAX_ITERATIONS,
    "OSQP_TIME_LIMIT_REACHED": Status.MAX_ITERATIONS,
}


class OsqpEngine(Adapter):
    """Linear and quadratic programs. ``eps_abs`` and ``eps_rel`` are OSQP's own tolerances, ``tolerance`` is the answer's.

    Its step size is adapted after counted iterations, not after measured time, so that results repeat.
    """

    name: ClassVar[str] = "OSQP"
    capabilities: ClassVar[Capabilities] = Capabilities(cones=POLYHEDRAL)
    package: ClassVar[str] = "osqp"
    install: ClassVar[str] = "pip install osqp"
    common: ClassVar[Mapping[str, str]] = {"max_iterations": "max_iter", "time_limit": "time_limit"}
    own: ClassVar[frozenset[str]] = words(
        """
        adaptive_rho adaptive_rho_interval adaptive_rho_tolerance alpha cg_max_iter cg_precond check_dualgap
        check_termination delta device eps_abs eps_dual_inf eps_prim_inf eps_rel linsys_solver max_iter
        polish_refine_iter polishing rho rho_is_vec scaled_termination scaling sigma time_limit verbose
        """
    )
    preset: ClassVar[Mapping[str, Any]] = {
        "verbose": False,
        "eps_abs": 1e-7,
        "eps_rel": 1e-7,
        "max_iter": 100_000,
        "adaptive_rho": 1,  # OSQP_ADAPTIVE_RHO_UPDATE_ITERATIONS
    }

    def claim(self, program: ConeProgram, settings: dict[str, Any]) -> Claim:
        lower = np.where(np.arange(len(program.b)) < program.cones.zero, program.b, -np.inf)
        problem = self._solver.OSQP()
        problem.setup(program.P_upper, program.q, program.A, lower, program.b, **settings)
        found = problem.solve(raise_error=False)
        word = self._solver.SolverStatus(found.info.status_val).name
        status = _STATUS.get(word, Status.NUMERICAL_ERROR)
        if status == Status.PRIMAL_INFEASIBLE:
            return Claim(None, found.prim_inf_cert, status, found.info.iter)
        x = found.dual_inf_cert if status == Status.DUAL_INFEASIBLE else found.x
        return Claim(x, found.y, status, found.info.iter)
