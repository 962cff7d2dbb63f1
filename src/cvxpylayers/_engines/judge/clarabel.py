"""One program, solved by Clarabel and judged by its own residuals: the Clarabel engine, and the native one's second opinion."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any, Final

import clarabel
import numpy as np
import scipy.sparse.linalg as spla

from cvxpylayers._engines.defaults import ALMOST, TOLERANCE
from cvxpylayers._engines.judge.certificate import proves
from cvxpylayers._engines.judge.judge import NO_SOLUTION, SETTLED, Claim, Outcome, known, settle
from cvxpylayers._engines.judge.point import Point
from cvxpylayers._engines.judge.program import Assembler, ConeProgram
from cvxpylayers._engines.judge.quality import measure
from cvxpylayers._program import Block, Cones, Status, Structure
from cvxpylayers._typing import Float64, Shaped
from cvxpylayers.errors import OptionError

# "Solved" means 1e-8, but x is differentiated and deserves more: Clarabel goes on to here and says where it got stuck.
_TARGET: Final = 1e-11
SETTINGS: Final = frozenset(n for n in dir(clarabel.DefaultSettings) if not n.startswith("_") and n != "default")

_CONES: Final[Mapping[str, Callable[[Block], Any]]] = {
    "zero": lambda block: clarabel.ZeroConeT(block.order),
    "nonneg": lambda block: clarabel.NonnegativeConeT(block.order),
    "soc": lambda block: clarabel.SecondOrderConeT(block.order),
    "psd": lambda block: clarabel.PSDTriangleConeT(block.order),
    "exp": lambda _: clarabel.ExponentialConeT(),
    "power": lambda block: clarabel.PowerConeT(block.alpha),
}

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


def solve_instance(
    structure: Structure, values: Shaped[Float64, " values"], *, tolerance: float = TOLERANCE, **settings: Any
) -> Outcome:
    """Solve the program with the value vector ``values`` = [P, q, A, b, d].

    The status is judged by the unscaled residuals of the returned point: at most ``tolerance`` is solved, at most 1e-5 almost
    solved; otherwise it is Clarabel's, whose certificates must prove what they say. ``settings`` are Clarabel's own
    names and win over what is set here.
    """
    if not np.isfinite(values).all():
        return known(structure, Status.INVALID_INPUT)
    return solve_program(Assembler(structure)(values), tolerance=tolerance, **settings)


def last_resort(program: ConeProgram, tolerance: float) -> Outcome:
    """Clarabel's answer, refined where it is a solution: what another engine could not solve is differentiated there.

    Residuals of 1e-11 leave x off by their root where a cone curves; so what is refined counts, though its residuals may be larger.
    What it cannot solve far from the origin it may from where A x = b all but holds.
    """
    found = _sharpened(program, solve_program(program, tolerance=tolerance), tolerance)
    if found.status in SETTLED:
        return found
    origin = np.asarray(spla.lsqr(program.A, program.b, atol=_TARGET, btol=_TARGET)[0])
    if not np.isfinite(origin).all():
        return found
    near = solve_program(program.moved(origin), tolerance=tolerance)
    if near.status in NO_SOLUTION:
        return found
    near = _sharpened(program, replace(near, x=near.x + origin, status=Status.INSUFFICIENT_PROGRESS), tolerance)
    return near if near.status is Status.SOLVED else found


def _sharpened(program: ConeProgram, found: Outcome, tolerance: float) -> Outcome:
    """A point refined, if it is solved then."""
    if found.status in NO_SOLUTION or not np.isfinite(found.x).all():
        return found
    better = refined(program, found, tolerance)
    return better if better.status is Status.SOLVED else found


def refined(program: ConeProgram, found: Outcome, tolerance: float) -> Outcome:
    """What Newton's method makes of a point, judged anew."""
    return settle(program, Claim(found.x, found.z, found.status, found.iterations), tolerance=tolerance)


def solve_program(program: ConeProgram, *, tolerance: float = TOLERANCE, polish: bool = False, **settings: Any) -> Outcome:
    """As ``solve_instance``, for a program that is assembled and finite; ``polish``: what is almost solved is refined."""
    cones, outcomes = _cones(program.cones), []
    # A target out of reach can end Clarabel early, far from any solution; then what was asked for is asked for again.
    for target in (min(_TARGET, tolerance), tolerance):
        solver = clarabel.DefaultSolver(program.P_upper, program.q, program.A, program.b, cones, _settings(target, settings))
        found = solver.solve()
        point = np.asarray(found.x), np.asarray(found.z), np.asarray(found.s)
        outcomes.append(_judge(program, *point, str(found.status), int(found.iterations), tolerance))
        if polish and outcomes[-1].status is Status.ALMOST_SOLVED:  # costs less than another solve
            outcomes.append(refined(program, outcomes[-1], tolerance))
        if outcomes[-1].status in SETTLED:
            break
    return min(outcomes, key=lambda outcome: outcome.status)


def _judge(program: ConeProgram, x: Float64, z: Float64, s: Float64, word: str, iterations: int, tolerance: float) -> Outcome:
    """By the residuals of the returned point, or its proof that there is none, in the user's units."""
    status = _STATUS.get(word, Status.NUMERICAL_ERROR)
    found = measure(program, x, z, s)
    if found.worst <= max(ALMOST, tolerance):
        solved = found.worst <= tolerance and Point.near(program, x, z).uncertainty() <= tolerance
        status = Status.SOLVED if solved else Status.ALMOST_SOLVED
    else:
        proven = [verdict for verdict in NO_SOLUTION if proves(program, verdict, x, z)]
        status = proven[0] if proven else Status.INSUFFICIENT_PROGRESS if status in NO_SOLUTION else status
    return Outcome(x, z, s, status, iterations, found.primal, found.dual, found.gap, found.cost + program.d)


@lru_cache(maxsize=64)
def _cones(cones: Cones) -> list[Any]:
    """Our blocks as Clarabel's, whose svec order and exponential and power cones are ours."""
    return [_CONES[block.kind](block) for block in cones.blocks()]


def _settings(target: float, own: Mapping[str, Any]) -> clarabel.DefaultSettings:
    settings = clarabel.DefaultSettings()
    defaults = {"verbose": False, "max_threads": 1, "tol_feas": target, "tol_gap_abs": target, "tol_gap_rel": target}
    # Relative to the certificate's norm; our test has units of the data, and asks for more where these are large.
    for name, value in {**defaults, "tol_infeas_rel": 0.1 * target, **own}.items():
        try:
            setattr(settings, name, value)
        except (TypeError, AttributeError, OverflowError) as error:
            raise OptionError(f"Clarabel refuses {name}={value!r}: {error}") from error
    return settings
