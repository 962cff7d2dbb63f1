"""What may explain a gradient, in words: what it means and what to try."""

from __future__ import annotations

import enum


class Finding(enum.Enum):
    """One reason why a gradient is zero, large or flagged; ``help`` says what it means and what to try."""

    UNSOLVED = "unsolved"
    CORNER = "corner"
    IDLE = "idle"
    FLAT = "flat"
    KINK = "kink"
    DEPENDENT = "dependent"
    STEEP = "steep"
    SCALE = "scale"
    OFF_PATH = "off path"

    def __str__(self) -> str:
        return self.value

    @property
    def meaning(self) -> str:
        """What was found, and what it does to the gradient."""
        return _MEANING[self]

    @property
    def remedy(self) -> str:
        """What to try."""
        return _REMEDY[self]

    @property
    def help(self) -> str:
        """Both."""
        return f"{self.meaning} {self.remedy}"


# Thresholds that the words name.
MARGIN, STEEP, SPREAD = 1e-6, 1e4, 1e8

SMOOTHED = 'solver_args={"derivative": "smoothed"}'
_MEANING = {
    Finding.UNSOLVED: "There is no solution to differentiate: the gradient is zero.",
    Finding.CORNER: (
        "The active constraints leave no direction to move in: the solution does not change with the objective, whose parameters "
        "get a gradient of zero."
    ),
    Finding.IDLE: "A parameter enters nothing but constraints that do not bind here: its gradient is zero, and rightly so.",
    Finding.FLAT: (
        "The objective has no curvature along directions that the active constraints leave open: the solution is not unique, and "
        "what of a loss moves along them has no derivative and is dropped."
    ),
    Finding.KINK: (
        "A constraint holds with equality while its multiplier vanishes: derivatives from two sides differ, and one is given."
    ),
    Finding.DEPENDENT: (
        "Some active constraints follow from the others: multipliers are not unique, and where info.degenerate is set the solution "
        "follows other constraints in other directions of change."
    ),
    Finding.STEEP: (
        f"A change of the data moves the outputs {STEEP:.0e} times as much, both relative to their size or 1: there is little "
        "curvature, or active constraints nearly depend on each other."
    ),
    Finding.SCALE: f"Norms of the problem's rows and columns differ by more than {SPREAD:.0e}.",
    Finding.OFF_PATH: (
        "No point of the central path was reached, as where constraints leave no interior: the smoothed gradient is that of the "
        "nearest point found."
    ),
}
_REMEDY = {
    Finding.UNSOLVED: "Its status says why, and info.status[i].help what to do.",
    Finding.CORNER: f"Try {SMOOTHED}, a small strictly convex term such as 0.01 * cp.sum_squares(x), or wider bounds.",
    Finding.IDLE: f"Nothing, if that is meant; else tighten the constraint, or try {SMOOTHED}.",
    Finding.FLAT: f"Regularize: add a small strictly convex term such as 0.01 * cp.sum_squares(x); or try {SMOOTHED}.",
    Finding.KINK: f"Try {SMOOTHED} if training stays at such points; in passing they do no harm.",
    Finding.DEPENDENT: "Leave out constraints that others imply; where info.degenerate is not set, gradients are exact.",
    Finding.STEEP: "Regularize, leave out constraints that are nearly redundant, or rescale; clip gradients in training.",
    Finding.SCALE: "Rescale: choose units in which variables, costs and constraints are of size 1.",
    Finding.OFF_PATH: "Widen bounds that meet, or state them as an equality; a larger smoothing is easier to reach.",
}
