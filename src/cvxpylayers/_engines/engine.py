"""The engine contract: solve a batch, and differentiate its solution."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Protocol, final, runtime_checkable

from cvxpylayers._program import Batch, CompiledProblem, Solution, Tape
from cvxpylayers._program.cones import CURVED, LINEAR
from cvxpylayers._typing import Bool, Exchanged, Float64, Shaped
from cvxpylayers.errors import DerivativeError

EVERY_CONE: Final = frozenset(LINEAR + CURVED)
POLYHEDRAL: Final = frozenset(LINEAR)


@dataclass(frozen=True)
class Capabilities:
    """What an engine can do, known before it is built.

    ``cones``: fields of ``Cones`` that it accepts. ``quadratic``: whether P may be there. ``batched``: whether instances run
    side by side in its own code, not one by one. ``warm_start``: whether it can start from an earlier solution. ``devices``: where
    it computes. ``derivative``: whether it brings its own, instead of the native kernel's. ``watchful``: whether it finds NaN and
    inf itself among the numbers that are made of parameters, and calls their instances invalid.
    """

    cones: frozenset[str] = EVERY_CONE
    quadratic: bool = True
    batched: bool = False
    warm_start: bool = False
    devices: tuple[str, ...] = ("cpu",)
    derivative: bool = False
    watchful: bool = False

    def lacks(self, compiled: CompiledProblem) -> frozenset[str]:
        """The needs of a problem that are not met: names of cones, and "quadratic"."""
        structure = compiled.structure
        needed = {block.kind for block in structure.cones.blocks()} - self.cones
        return frozenset(needed | ({"quadratic"} if structure.P.nnz and not self.quadratic else set()))


@runtime_checkable
class Derivative(Protocol):
    """What differentiates the solutions of one compiled problem, whoever found them; laws and arguments are those of ``Engine``."""

    def vjp(
        self, batch: Batch, tape: Tape, outputs: Shaped[Float64, "*K B outputs"], wanted: Sequence[bool]
    ) -> tuple[list[Exchanged | None], Shaped[Bool, " B"]]: ...

    def jvp(
        self, batch: Batch, tape: Tape, arrays: Sequence[Float64 | None], *, directions: int | None = None
    ) -> tuple[Shaped[Float64, "*K B outputs"], Shaped[Bool, " B"]]: ...

    def hvp(
        self,
        batch: Batch,
        tape: Tape,
        outputs: Shaped[Float64, "*K B outputs"],
        arrays: Sequence[Float64 | None],
        wanted: Sequence[bool],
        *,
        directions: int | None = None,
    ) -> tuple[list[Exchanged | None], Shaped[Bool, " B"]]: ...


class Engine(abc.ABC):
    """Solves batches of one compiled problem.

    Engines are immutable after construction, safe to call from several threads at once, and picklable. Laws, with B = batch.size:

    * An instance's result does not depend on its neighbours, its position or the number of threads.
    * ``vjp`` and ``jvp`` depend on (batch, tape) alone, and are adjoint to each other.
    * Instances without a point on the tape contribute zero to every derivative, also where their cotangents are NaN.
    """

    name: ClassVar[str]
    capabilities: ClassVar[Capabilities] = Capabilities()

    def __init__(self, compiled: CompiledProblem, options: Mapping[str, Any]) -> None:
        self.compiled = compiled
        self.options = dict(options)

    @final
    def twin(self) -> Engine:
        """A shallow copy: handles name an engine by its identity, so two layers that share a compilation have one each."""
        twin = object.__new__(type(self))
        vars(twin).update(vars(self))
        return twin

    @classmethod
    @abc.abstractmethod
    def option_names(cls) -> frozenset[str] | None:
        """Names that ``options`` may hold; None where only the solver itself knows."""

    @abc.abstractmethod
    def solve(self, batch: Batch, options: Mapping[str, Any], *, tape: bool) -> Solution:
        """Solve every instance; ``options`` override those of the constructor; record a tape if asked."""

    @abc.abstractmethod
    def vjp(
        self, batch: Batch, tape: Tape, outputs: Shaped[Float64, "*K B outputs"], wanted: Sequence[bool]
    ) -> tuple[list[Exchanged | None], Shaped[Bool, " B"]]:
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
    ) -> tuple[list[Exchanged | None], Shaped[Bool, " B"]]:
        """Differentiate ``vjp``, its cotangent ``outputs`` held fixed, along tangents of the parameters; gradients as from ``vjp``.

        The second derivative of ⟨outputs, solution⟩ is symmetric: this serves forward over reverse and reverse over reverse alike.

        Raises:
            DerivativeError: the engine has no second derivatives.
        """
        raise DerivativeError(f"Engine {self.name} has no second derivatives; use the native engine, solver=None.")

    @abc.abstractmethod
    def describe(self) -> Mapping[str, Any]:
        """Facts for ``repr`` and ``explain``: name, lane width, instruction set, factor size, …"""
