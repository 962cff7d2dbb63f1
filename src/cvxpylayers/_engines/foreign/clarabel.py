"""Clarabel as an engine: every cone, one instance at a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import clarabel

from cvxpylayers._engines.defaults import TOLERANCE
from cvxpylayers._engines.foreign.per_instance import PerInstance
from cvxpylayers._engines.judge.clarabel import SETTINGS, refined, solve_instance, solve_program
from cvxpylayers._engines.judge.judge import NO_SOLUTION, Outcome
from cvxpylayers._engines.native.derivative import DERIVATIVE_OPTIONS
from cvxpylayers._program import Status
from cvxpylayers._typing import Float64, Shaped

__all__ = ["ClarabelEngine", "Outcome", "solve_instance"]


class ClarabelEngine(PerInstance):
    """Every cone, each instance by itself on a pool of threads; derivatives by the native kernel.

    Options: ``tolerance``, ``max_iterations``, ``time_limit``, ``threads``, ``polish`` (refine the solution), and every setting of
    Clarabel under its own name. Every instance is set up anew: Clarabel's data updates keep the equilibration of the first data,
    and results would depend on it.
    """

    name: ClassVar[str] = "CLARABEL"

    @classmethod
    def option_names(cls) -> frozenset[str]:
        """The common options and Clarabel's own settings."""
        return SETTINGS | DERIVATIVE_OPTIONS | {"tolerance", "max_iterations", "threads", "polish"}

    def _outcome(self, values: Shaped[Float64, " values"], settings: Mapping[str, Any]) -> Outcome:
        own = {name: value for name, value in settings.items() if name not in DERIVATIVE_OPTIONS}
        if "max_iterations" in own:
            own["max_iter"] = own.pop("max_iterations")
        program = self._assemble(values)
        polish = own.pop("polish", True)
        found = solve_program(program, polish=polish, **own)
        if found.status in (*NO_SOLUTION, Status.MAX_ITERATIONS) or not polish:
            return found
        return min(found, refined(program, found, own.get("tolerance", TOLERANCE)), key=_worst)

    def describe(self) -> Mapping[str, Any]:
        """Name and version of the solver."""
        return {"name": self.name, "version": clarabel.__version__, **self._derivative_facts}


def _worst(outcome: Outcome) -> float:
    return max(outcome.primal_residual, outcome.dual_residual, outcome.gap)
