"""Any solver that CVXPY can call, by its name: each instance becomes a small CVXPY problem over the rows we have already.

Slower than an adapter by the milliseconds that CVXPY takes for a problem, but it serves every interface that CVXPY has, in every
version of it, with the solver's own options and its own words where a licence is missing.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Mapping
from functools import lru_cache
from math import sqrt
from typing import Any, Final

import cvxpy
import numpy as np
import scipy.sparse as sp
from cvxpy.reductions.solvers.defines import SOLVER_MAP_CONIC, SOLVER_MAP_QP

from cvxpylayers._engines.foreign.chunks import OURS
from cvxpylayers._engines.foreign.per_instance import PerInstance
from cvxpylayers._engines.judge.judge import Claim, Outcome
from cvxpylayers._engines.judge.program import ConeProgram
from cvxpylayers._program import Block, CompiledProblem, Status
from cvxpylayers._program.cones import svec_entries
from cvxpylayers._typing import Float64, Shaped

cp: Any = cvxpy  # its types are partial

_STATUS: Final[Mapping[str, Status]] = {
    cp.OPTIMAL: Status.SOLVED,
    cp.OPTIMAL_INACCURATE: Status.SOLVED,
    cp.INFEASIBLE: Status.PRIMAL_INFEASIBLE,
    cp.INFEASIBLE_INACCURATE: Status.PRIMAL_INFEASIBLE,
    cp.UNBOUNDED: Status.DUAL_INFEASIBLE,
    cp.UNBOUNDED_INACCURATE: Status.DUAL_INFEASIBLE,
    cp.settings.INFEASIBLE_OR_UNBOUNDED: Status.PRIMAL_INFEASIBLE,
    cp.USER_LIMIT: Status.MAX_ITERATIONS,
}
_LOCK = threading.Lock()  # CVXPY numbers its variables and constraints with a counter that threads would share


def known() -> frozenset[str]:
    """The solvers that CVXPY has interfaces for."""
    return frozenset(SOLVER_MAP_CONIC) | frozenset(SOLVER_MAP_QP)


def installed() -> tuple[str, ...]:
    """Those of them whose packages are here."""
    return tuple(sorted(known() & frozenset(cp.installed_solvers())))


class CvxpyEngine(PerInstance):
    """One of CVXPY's solvers. Options: ``threads``, ``tolerance`` and ``polish``, and whatever the solver takes."""

    @classmethod
    def option_names(cls) -> frozenset[str] | None:
        """Only the solver knows."""
        return None

    def _outcome(self, values: Shaped[Float64, " values"], settings: Mapping[str, Any]) -> Outcome:
        program = self._assemble(values)
        own = {name: value for name, value in settings.items() if name not in OURS}
        with _LOCK:
            claim = _solve(program, self.name, own)
        return self._settled(program, claim, settings)

    def describe(self) -> Mapping[str, Any]:
        """The solver's name, and CVXPY's version, which calls it."""
        return {"name": self.name, "version": f"by CVXPY {cp.__version__}"}

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self.name, self.compiled, self.options)


def _solve(program: ConeProgram, solver: str, settings: Mapping[str, Any]) -> Claim:
    x = cp.Variable(len(program.q))
    blocks = _blocks(program, program.b - program.A @ x if len(program.b) else None)
    objective = program.q @ x
    if program.P_upper.nnz:
        objective += 0.5 * cp.quad_form(x, cp.psd_wrap(program.P))
    problem = cp.Problem(cp.Minimize(objective), [constraint for constraint, _ in blocks])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of inaccurate solutions: those are judged here
        problem.solve(solver=solver, **settings)
    if x.value is None:
        return Claim(None, None, _STATUS.get(problem.status, Status.NUMERICAL_ERROR))
    duals = [transpose @ _flat(constraint.dual_value) for constraint, transpose in blocks]
    iterations = problem.solver_stats.num_iters
    found = np.concatenate([np.zeros(0), *duals])
    return Claim(x.value, found, _STATUS.get(problem.status, Status.NUMERICAL_ERROR), int(iterations or 0))


def _blocks(program: ConeProgram, slack: Any) -> list[tuple[Any, Any]]:
    """A CVXPY constraint for every block of s = b - A x, and the map from its dual value to our rows of z."""
    return [_constraint(block, slack[block.rows]) for block in program.cones.blocks()]


def _constraint(block: Block, s: Any) -> tuple[Any, Any]:
    k, same = block.order, sp.eye_array(block.order)
    match block.kind:
        case "zero":
            return s == 0, -same  # its Lagrangian has λᵀ(b - A x)
        case "nonneg":
            return s >= 0, same
        case "soc":
            return cp.SOC(s[0], s[1:]) if k > 1 else s >= 0, same
        case "psd":
            unpack = _matrix_of_svec(k)
            return cp.reshape(unpack @ s, (k, k), order="F") >> 0, unpack.T
        case "exp":
            return cp.ExpCone(s[0], s[1], s[2]), same
    return cp.PowCone3D(s[0], s[1], s[2], block.alpha), same


def _matrix_of_svec(k: int) -> sp.csr_array:
    """svec (upper triangle by columns) → the matrix flattened by columns; its transpose takes matrices to svec."""
    row, column = svec_entries(k)
    entry, off = np.arange(len(row)), row != column
    weight = np.where(off, 1 / sqrt(2), 1.0)
    rows = np.concatenate([row + k * column, (column + k * row)[off]])
    parts = np.concatenate([weight, weight[off]]), (rows, np.concatenate([entry, entry[off]]))
    return sp.csr_array(parts, shape=(k * k, len(row)))


def _flat(dual: Any) -> Float64:
    """A dual value as one vector: SOC and the three-dimensional cones have several parts."""
    parts = dual if isinstance(dual, list | tuple) else [dual]
    return np.concatenate([np.asarray(part, dtype=np.float64).ravel(order="F") for part in parts])


@lru_cache(maxsize=64)
def cvxpy_engine(name: str) -> type[CvxpyEngine]:
    """The engine class of a solver."""
    return type(f"{name.title()}Engine", (CvxpyEngine,), {"name": name})


def _rebuild(name: str, compiled: CompiledProblem, options: Mapping[str, Any]) -> CvxpyEngine:
    return cvxpy_engine(name)(compiled, options)
