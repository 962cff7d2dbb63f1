"""What a layer takes and gives, by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cvxpylayers._program import CompiledProblem


@dataclass(frozen=True)
class Signature:
    """Names of parameters and outputs with their shapes, in the order of calls; prints as ``A (3, 2), b (3,) -> x (2,)``."""

    parameters: Mapping[str, tuple[int, ...]]
    outputs: Mapping[str, tuple[int, ...]]

    @classmethod
    def of(cls, compiled: CompiledProblem) -> Signature:
        """The signature of a compiled problem."""
        return cls({p.name: p.shape for p in compiled.parameters}, {o.name: o.shape for o in compiled.outputs})

    def __str__(self) -> str:
        sides = (", ".join(f"{name} {shape}" for name, shape in side.items()) for side in (self.parameters, self.outputs))
        return " -> ".join(sides)
