"""DAQP (dual active set): small dense quadratic programs."""

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

# Exit flags of DAQP; -3 is an unbounded problem.
_STATUS: Final[Mapping[int, Status]] = {
    1: Status.SOLVED,
    2: Status.SOLVED,
    -1: Status.PRIMAL_INFEASIBLE,
    -3: Status.DUAL_INFEASIBLE,
    -4: Status.MAX_ITERATIONS,
    -7: Status.MAX_ITERATIONS,
}
_EQUALITY: Final = 5  # active and immutable


class DaqpEngine(Adapter):
    """Dense linear and quadratic programs; where P is singular it solves a sequence of regularized ones (``eps_prox``)."""

    name: ClassVar[str] = "DAQP"
    capabilities: ClassVar[Capabilities] = Capabilities(cones=POLYHEDRAL)
    package: ClassVar[str] = "daqp"
    install: ClassVar[str] = "pip install daqp"
    common: ClassVar[Mapping[str, str]] = {"max_iterations": "iter_limit", "time_limit": "time_limit"}
    own: ClassVar[frozenset[str]] = words(
        """
        cycle_tol dual_tol eps_prox eq_reduction eta_prox fval_bound iter_limit pivot_tol primal_tol progress_tol
        refactor_tol rho_soft sing_tol time_limit zero_tol
        """
    )
    preset: ClassVar[Mapping[str, Any]] = {"primal_tol": 1e-9, "dual_tol": 1e-12, "iter_limit": 10_000}

    def claim(self, program: ConeProgram, settings: dict[str, Any]) -> Claim:
        n, m, zero = len(program.q), len(program.b), program.cones.zero
        equal = np.arange(m) < zero
        H, A = program.P.toarray(order="C"), program.A.toarray(order="C")
        if "eps_prox" not in settings and np.linalg.eigvalsh(H)[0] <= 1e-10 * max(1.0, np.abs(H).max(initial=0.0)):
            settings["eps_prox"] = 1e-5
        lower, sense = np.where(equal, program.b, -np.inf), np.where(equal, _EQUALITY, 0).astype(np.int32)
        x, _, flag, info = self._solver.solve(H, program.q.copy(), A, program.b.copy(), lower, sense, **settings)
        z = np.asarray(info["lam"], dtype=np.float64)[-m:] if m else np.zeros(0)
        return Claim(np.array(x[:n]), z, _STATUS.get(flag, Status.NUMERICAL_ERROR), int(info["iterations"]))
