"""What became of one instance: the status codes, their words, and which of them have a solution."""

from __future__ import annotations

import enum
from typing import Final


class Status(enum.IntEnum):
    """Outcome of one instance; ``str`` gives the word CVXPY and Clarabel use, ``help`` says what to do about it."""

    SOLVED = 0
    ALMOST_SOLVED = 1
    PRIMAL_INFEASIBLE = 2
    DUAL_INFEASIBLE = 3
    MAX_ITERATIONS = 4
    INSUFFICIENT_PROGRESS = 5
    NUMERICAL_ERROR = 6
    INVALID_INPUT = 7

    def __str__(self) -> str:
        return self.name.lower()

    @property
    def help(self) -> str:
        """What the status means and what a user can do."""
        return _HELP[self]

    @property
    def solved(self) -> bool:
        """Whether the instance has a solution that can be used and differentiated."""
        return self <= Status.ALMOST_SOLVED


# Instances up to this status have a solution; a plain int, because comparing an array with an enumeration's member is slow.
USABLE: Final = int(Status.ALMOST_SOLVED)

_HELP = {
    Status.SOLVED: "Optimal to the requested tolerance.",
    Status.ALMOST_SOLVED: (
        "Constraints and objective are right to 1e-5 (relative to the objective or 1; x may be further off where the objective is "
        "flat); check the scaling of the data if this is frequent."
    ),
    Status.PRIMAL_INFEASIBLE: "No point satisfies the constraints for these parameter values; relax a constraint or add a slack.",
    Status.DUAL_INFEASIBLE: "The objective is unbounded for these parameter values; bound the variables or add a convex term.",
    Status.MAX_ITERATIONS: "The iteration limit was reached; raise max_iterations or rescale the data.",
    Status.INSUFFICIENT_PROGRESS: (
        "The iterates stalled before the tolerance, and nothing is proven; the data are badly scaled or nearly infeasible."
    ),
    Status.NUMERICAL_ERROR: "A factorization broke down; look for huge or tiny entries in the data.",
    Status.INVALID_INPUT: "A parameter holds NaN or inf, or violates its declared sign or definiteness.",
}
