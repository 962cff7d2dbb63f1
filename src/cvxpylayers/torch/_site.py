"""The interface of one call, ``solve, vjp, jvp, hvp``, to derivatives and batching rules; ``Direct`` and ``_ops`` implement it."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Any, ClassVar, TypeAlias

import torch
from torch.autograd import Function

from cvxpylayers._layer.layer import Layer

Tensors: TypeAlias = Sequence[torch.Tensor]
Maybe: TypeAlias = Sequence[torch.Tensor | None]
Wanted: TypeAlias = Sequence[bool]


class Derivative(Function):
    """(site, many, wanted, *row) → the wanted results of one of the site's derivatives."""

    name: ClassVar[str]  # of the site's method, and of the operator
    tangents: ClassVar[bool]  # whether tangents end the row
    gradients: ClassVar[bool]  # whether results are like the parameters, or like the outputs


class Site(abc.ABC):
    """One call of a layer, to solve and to differentiate.

    Derivatives take one ``row`` of tensors: the tape (*batch, n + 2 m), parameters, cotangents (one per output) or tangents (one
    per parameter) or both, None for zero. They may be taken in several directions at once: with ``many``, cotangents, tangents and
    results have one more leading axis, and the linearization is factored once.
    """

    def __init__(self, layer: Layer) -> None:
        self.ranks, self.outputs = layer.ranks, len(layer.compiled.outputs)

    def cut(self, row: Sequence[Any]) -> tuple[Any, Sequence[Any], Sequence[Any]]:
        """Tape, parameters, and the rest."""
        end = 1 + len(self.ranks)
        return row[0], row[1:end], row[end:]

    @abc.abstractmethod
    def solve(self, parameters: Tensors, tape: bool) -> Tensors:
        """One tensor (*batch, *shape) per output, and with ``tape`` that after them."""

    @abc.abstractmethod
    def vjp(self, many: bool, wanted: Wanted, row: Maybe) -> Tensors:
        """Gradients of the wanted parameters, from cotangents."""

    @abc.abstractmethod
    def jvp(self, many: bool, wanted: Wanted, row: Maybe) -> Tensors:
        """Tangents of the wanted outputs, from tangents of the parameters."""

    @abc.abstractmethod
    def hvp(self, many: bool, wanted: Wanted, row: Maybe) -> Tensors:
        """The derivative of ``vjp`` along tangents, cotangents held fixed."""

    @abc.abstractmethod
    def recorded(self, function: type[Derivative], many: bool, wanted: Wanted, row: Maybe) -> Tensors:
        """The same by a function that autograd sees, so that it can be differentiated in turn."""
