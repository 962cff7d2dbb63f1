"""MPAX (first order, in JAX): linear and quadratic programs; it needs JAX, which is imported with the first solve."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, ClassVar, Final

import numpy as np

from cvxpylayers._engines.engine import POLYHEDRAL, Capabilities
from cvxpylayers._engines.foreign.package import words
from cvxpylayers._engines.foreign.per_instance import Adapter
from cvxpylayers._engines.judge.judge import Claim
from cvxpylayers._engines.judge.program import ConeProgram
from cvxpylayers._program import Status
from cvxpylayers.errors import OptionError

_STATUS: Final[Mapping[int, Status]] = {
    2: Status.SOLVED,
    3: Status.PRIMAL_INFEASIBLE,
    4: Status.DUAL_INFEASIBLE,
    5: Status.MAX_ITERATIONS,
    6: Status.MAX_ITERATIONS,
}
_ALGORITHMS: Final = ("raPDHG", "r2HPDHG")


class MpaxEngine(Adapter):
    """Linear and quadratic programs, in double precision. ``eps_abs`` and ``eps_rel`` are MPAX's own, ``tolerance`` the answer's.

    A program is compiled once for every structure and setting. Infeasibility is detected for linear programs alone, by MPAX.
    """

    name: ClassVar[str] = "MPAX"
    capabilities: ClassVar[Capabilities] = Capabilities(cones=POLYHEDRAL, devices=("cpu", "cuda"))
    package: ClassVar[str] = "mpax"
    install: ClassVar[str] = "pip install mpax"
    common: ClassVar[Mapping[str, str]] = {"max_iterations": "iteration_limit"}
    own: ClassVar[frozenset[str]] = words(
        """
        algorithm eps_abs eps_dual_infeasible eps_feas_polish eps_primal_infeasible eps_rel feasibility_polishing
        infeasibility_detection iteration_limit l2_norm_rescaling l_inf_ruiz_iterations pock_chambolle_alpha
        primal_importance termination_evaluation_frequency verbose
        """
    )
    preset: ClassVar[Mapping[str, Any]] = {"eps_abs": 1e-7, "eps_rel": 1e-7, "iteration_limit": 100_000, "algorithm": "raPDHG"}

    def claim(self, program: ConeProgram, settings: dict[str, Any]) -> Claim:
        mpax, n = self._solver, len(program.q)
        free = np.full(n, np.inf)
        (A, b), (G, h) = program.equalities(), program.inequalities()
        rows = A, b, -G, -h, -free, free  # A x = b, -G x ≥ -h
        with importlib.import_module("jax").enable_x64(True):
            model = mpax.create_qp(program.P, program.q, *rows) if program.P_upper.nnz else mpax.create_lp(program.q, *rows)
            found = _optimizer(tuple(sorted(settings.items())))(model)
            status = _STATUS.get(int(found.termination_status), Status.NUMERICAL_ERROR)
            # Its Lagrangian is cᵀx - yᵀ(K x - k), whose rows of G are the negatives of ours.
            y = np.asarray(found.dual_solution)
            z = np.where(np.arange(len(y)) < program.cones.zero, -y, y)
            return Claim(np.asarray(found.primal_solution), z, status, int(found.iteration_count))


@lru_cache(maxsize=16)
def _optimizer(settings: tuple[tuple[str, Any], ...]) -> Callable[[Any], Any]:
    """The compiled method; JAX keeps one program for each shape of problem."""
    own = dict(settings)
    algorithm = own.pop("algorithm")
    if algorithm not in _ALGORITHMS:
        raise OptionError(f"Option 'algorithm' must be one of {', '.join(map(repr, _ALGORITHMS))}; got {algorithm!r}.")
    method = getattr(importlib.import_module("mpax"), algorithm)(**own)
    compiled: Callable[[Any], Any] = importlib.import_module("jax").jit(method.optimize)
    return compiled
