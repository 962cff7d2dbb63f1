"""The engine contract: solve a batch, and differentiate its solution."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from cvxpylayers._program import Batch, CompiledProblem, Solution, Tape
from cvxpylayers._typing import Bool, Float64, Shaped
from cvxpylayers.errors import DerivativeError


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
        self, batch: Batch, tape: Tape, outputs: Shaped[Float64, "*K B outputs"], wanted: Sequence[bool]
    ) -> tuple[list[Float64 | None], Shaped[Bool, " B"]]:
        """Pull the cotangent ``outputs`` back to the parameters.

        Returns one array per parameter, of the shape of ``batch.arrays[i]`` with broadcast axes summed (None where not wanted),
        and a flag per instance: True where the solution is not differentiable and a regularized answer was given.

        A leading axis of length K holds as many cotangents of one linearization, which is factored once; the gradients get it too.
        """

    @abc.abstractmethod
    def jvp(
        self, batch: Batch, tape: Tape, arrays: Sequence[Float64 | None], *, directions: int | None = None
    ) -> tuple[Shaped[Float64, "*K B outputs"], Shaped[Bool, " B"]]:
        """Push tangents of the parameters (each broadcastable to (*batch.shape, size), None for zero) to outputs.

        With ``directions`` = K every array has one more leading axis, of length K or 1, and so have the outputs.
        """

    def hvp(
        self,
        batch: Batch,
        tape: Tape,
        outputs: Shaped[Float64, "*K B outputs"],
        arrays: Sequence[Float64 | None],
        wanted: Sequence[bool],
        *,
        directions: int | None = None,
    ) -> tuple[list[Float64 | None], Shaped[Bool, " B"]]:
        """Differentiate ``vjp``, its cotangent ``outputs`` held fixed, along tangents of the parameters; gradients as from ``vjp``.

        The second derivative of ⟨outputs, solution⟩ is symmetric: this serves forward over reverse and reverse over reverse alike.

        Raises:
            DerivativeError: the engine has no second derivatives.
        """
        raise DerivativeError(f"Engine {self.name} has no second derivatives; use the native engine, solver=None.")

    @abc.abstractmethod
    def describe(self) -> Mapping[str, Any]:
        """Facts for ``repr`` and ``explain``: name, lane width, instruction set, factor size, …"""
