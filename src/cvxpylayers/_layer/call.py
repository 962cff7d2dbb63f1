"""What a layer gives back of a call, and where its derivatives are taken."""

from __future__ import annotations

from typing import NamedTuple

from cvxpylayers._layer.info import SolveInfo
from cvxpylayers._program import Batch, Solution, Tape
from cvxpylayers._typing import Float64


class Point(NamedTuple):
    """Where derivatives are taken: at parameters and what a solve found for them; their flags go to the ``info`` of ``call``."""

    batch: Batch
    tape: Tape
    call: Call | None = None


class Call:
    """One solved batch. ``outputs[i]``: (*batch, *shape of output i); ``tape`` is None where no derivative was asked for."""

    __slots__ = ("_info", "_solution", "_warm", "batch", "outputs", "tape")

    def __init__(self, outputs: tuple[Float64, ...], batch: Batch, solution: Solution, warm: bool) -> None:
        self.outputs, self.batch, self.tape = outputs, batch, solution.tape
        self._solution, self._warm = solution, warm
        self._info: SolveInfo | None = None

    @property
    def info(self) -> SolveInfo:
        """The outcome of every instance, made when it is first asked for."""
        if self._info is None:
            self._info = SolveInfo.of(self._solution, self.batch.shape, warm_start=self._warm)
        return self._info

    @property
    def point(self) -> Point:
        """Where its derivatives are taken, if one was asked for."""
        assert self.tape is not None
        return Point(self.batch, self.tape, self)
