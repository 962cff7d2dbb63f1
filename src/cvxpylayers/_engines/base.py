"""The engine contract: solve a batch, and differentiate its solution."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from cvxpylayers._program import Batch, CompiledProblem, Solution, Tape
from cvxpylayers._typing import Bool, Float64, Shaped


class Engine(abc.ABC):
    """Solves batches of one compiled problem.

    Engines are immutable after construction, safe to call from several threads at once, and picklable. Laws, with B = batch.size:

    * An instance's result does not depend on its neighbours, its position or the number of threads.
    * ``vjp`` and ``jvp`` depend on (batch, tape) alone, and are adjoint to each other.
    * Instances whose status is not solved contribute zero to every derivative.
    """

    name: ClassVar[str]

    def __init__(self, compiled: CompiledProblem, options: Mapping[str, Any]) -> None:
        self.compiled = compiled
        self.options = dict(options)

    @classmethod
    @abc.abstractmethod
    def option_names(cls) -> frozenset[str]:
        """Names that ``options`` may hold."""

    @abc.abstractmethod
    def solve(self, batch: Batch, options: Mapping[str, Any], *, tape: bool) -> Solution:
        """Solve every instance; ``options`` override those of the constructor; record a tape if asked."""

    @abc.abstractmethod
    def vjp(
        self, batch: Batch, tape: Tape, outputs: Shaped[Float64, "B outputs"], wanted: Sequence[bool]
    ) -> tuple[list[Float64 | None], Shaped[Bool, " B"]]:
        """Pull the cotangent ``outputs`` back to the parameters.

        Returns one array per parameter, of the shape of ``batch.arrays[i]`` with broadcast axes summed (None where not wanted),
        and a flag per instance: True where the solution is not differentiable and a regularized answer was given.
        """

    @abc.abstractmethod
    def jvp(
        self, batch: Batch, tape: Tape, arrays: Sequence[Float64 | None]
    ) -> tuple[Shaped[Float64, "B outputs"], Shaped[Bool, " B"]]:
        """Push tangents of the parameters (each broadcastable to (*batch.shape, size), None for zero) to outputs."""

    @abc.abstractmethod
    def describe(self) -> Mapping[str, Any]:
        """Facts for ``repr`` and ``explain``: name, lane width, instruction set, factor size, …"""
