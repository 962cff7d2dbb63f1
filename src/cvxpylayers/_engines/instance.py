"""One program, solved by Clarabel and judged by its own residuals: the Clarabel engine, and the native one's second opinion."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import clarabel
import numpy as np
import scipy.sparse as sp

from cvxpylayers._program import Cones, Status, Structure
from cvxpylayers._typing import Float64, Shaped
from cvxpylayers.errors import OptionError

# "Solved" means 1e-8, but x is differentiated and deserves more: Clarabel goes on to here and says where it got stuck.
_TARGET: Final = 1e-11
_ALMOST: Final = 1e-5
SETTINGS: Final = frozenset(n for n in dir(clarabel.DefaultSettings) if not n.startswith("_") and n != "default")

_SETTLED: Final = (Status.SOLVED, Status.PRIMAL_INFEASIBLE, Status.DUAL_INFEASIBLE)

_STATUS: Final[Mapping[str, Status]] = {
    "Solved": Status.INSUFFICIENT_PROGRESS,  # unless our own residuals say solved
    "AlmostSolved": Status.INSUFFICIENT_PROGRESS,
    "InsufficientProgress": Status.INSUFFICIENT_PROGRESS,
    "PrimalInfeasible": Status.PRIMAL_INFEASIBLE,
    "AlmostPrimalInfeasible": Status.PRIMAL_INFEASIBLE,
    "DualInfeasible": Status.DUAL_INFEASIBLE,
    "AlmostDualInfeasible": Status.DUAL_INFEASIBLE,
    "MaxIterations": Status.MAX_ITERATIONS,
    "MaxTime": Status.MAX_ITERATIONS,
}


@dataclass(frozen=True)
class Outcome:
    """One instance: x (n), z and s (m), the status, and how well the optimality conditions hold (relative)."""

    x: Shaped[Float64, " n"]
    z: Shaped[Float64, " m"]
    s: Shaped[Float64, " m"]
    status: Status
    iterations: int
    primal_residual: float
    dual_residual: float
    gap: float
    objective: float


def solve_instance(
    structure: Structure, values: Shaped[Float64, " values"], *, tolerance: float = 1e-8, **settings: Any
) -> Outcome:
    """Solve the program with the value vector ``values`` = [P, q, A, b, d].

    The status is judged by the unscaled residuals of the returned point: at most ``tolerance`` is solved, at most 1e-5 almost
    solved; otherwise it is Clarabel's. ``settings`` are Clarabel's own names and win over what is set here.
    """
    P, q, A, b, d = structure.split(values)
    Pu = sp.csc_matrix((P, structure.P.indices, structure.P.indptr), shape=(structure.n, structure.n))
    Ac = sp.csr_matrix((A, structure.A.indices, structure.A.indptr), shape=(structure.m, structure.n))
    if not np.isfinite(values).all():
        return invalid(structure)
    columns, cones, outcomes = Ac.tocsc(), _cones(structure.cones), []
    # A target out of reach can end Clarabel early, far from any solution; then what was asked for is asked for again.
    for target in (min(_TARGET, tolerance), tolerance):
        found = clarabel.DefaultSolver(Pu, q, columns, b, cones, _settings(target, settings)).solve()
        point = np.asarray(found.x), np.asarray(found.z), np.asarray(found.s)
        outcomes.append(_judge((Pu, q, Ac, b, float(d)), point, str(found.status), int(found.iterations), tolerance))
        if outcomes[-1].status in _SETTLED:
            break
    return min(outcomes, key=lambda outcome: outcome.status)


def _judge(
    program: tuple[sp.csc_matrix, Float64, sp.csr_matrix, Float64, float],
    point: tuple[Float64, Float64, Float64],
    word: str,
    iterations: int,
    tolerance: float,
) -> Outcome:
    """The termination test of Clarabel (arXiv 2405.12762, sec. 2), on the returned point and in the user's units."""
    (Pu, q, A, b, d), (x, z, s) = program, point
    if not (np.isfinite(x).all() and np.isfinite(z).all() and np.isfinite(s).all()):
        return Outcome(x, z, s, _STATUS.get(word, Status.NUMERICAL_ERROR), iterations, math.inf, math.inf, math.inf, math.nan)
    Px = Pu @ x + Pu.T @ x - Pu.diagonal() * x
    xPx, qx, bz = x @ Px, q @ x, b @ z
    primal = _norm(A @ x + s - b) / max(1.0, _norm(b) + _norm(x) + _norm(s))
    dual = _norm(Px + A.T @ z + q) / max(1.0, _norm(q) + _norm(x) + _norm(z))
    cost, bound = 0.5 * xPx + qx, -0.5 * xPx - bz
    gap = abs(cost - bound) / max(1.0, min(abs(cost), abs(bound)))
    worst = max(primal, dual, gap)
    status = _STATUS.get(word, Status.NUMERICAL_ERROR)
    if status not in (Status.PRIMAL_INFEASIBLE, Status.DUAL_INFEASIBLE):
        status = Status.SOLVED if worst <= tolerance else Status.ALMOST_SOLVED if worst <= max(_ALMOST, tolerance) else status
    return Outcome(x, z, s, status, iterations, primal, dual, gap, cost + d)


def _norm(v: Float64) -> float:
    return float(np.abs(v).max(initial=0.0))


def invalid(structure: Structure) -> Outcome:
    """The outcome of an instance that is not worth a solver's time."""
    nan = np.full(structure.n, np.nan), np.full(structure.m, np.nan), np.full(structure.m, np.nan)
    return Outcome(*nan, Status.INVALID_INPUT, 0, math.nan, math.nan, math.nan, math.nan)


@lru_cache(maxsize=64)
def _cones(cones: Cones) -> list[Any]:
    """Our blocks as Clarabel's; its svec order and its exponential and power cones are the ones of ``_canon.layout``."""
    return [
        *([clarabel.ZeroConeT(cones.zero)] if cones.zero else []),
        *([clarabel.NonnegativeConeT(cones.nonneg)] if cones.nonneg else []),
        *(clarabel.SecondOrderConeT(k) for k in cones.soc),
        *(clarabel.PSDTriangleConeT(k) for k in cones.psd),
        *(clarabel.ExponentialConeT() for _ in range(cones.exp)),
        *(clarabel.PowerConeT(a) for a in cones.power),
    ]


def _settings(target: float, own: Mapping[str, Any]) -> clarabel.DefaultSettings:
    settings = clarabel.DefaultSettings()
    defaults = {"verbose": False, "max_threads": 1, "tol_feas": target, "tol_gap_abs": target, "tol_gap_rel": target}
    for name, value in {**defaults, **own}.items():
        try:
            setattr(settings, name, value)
        except (TypeError, AttributeError, OverflowError) as error:
            raise OptionError(f"Clarabel refuses {name}={value!r}: {error}") from error
    return settings
