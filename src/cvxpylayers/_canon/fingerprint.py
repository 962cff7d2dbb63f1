"""Whether two problems are built alike, told from their expressions without canonicalizing them.

Equal fingerprints mean equal compiled problems but for names: same atoms with the same arguments and options, same constants to the
last bit, leaves with the same attributes in the same places, parameters and outputs in the same order. What this module does not
know makes a problem equal to no other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

import cvxpy as cp
import numpy as np
import scipy.sparse as sp
from cvxpy.atoms.perspective import perspective
from cvxpy.atoms.suppfunc import SuppFuncAtom
from cvxpy.constraints.constraint import Constraint
from cvxpy.expressions.expression import Expression
from cvxpy.expressions.leaf import Leaf

from cvxpylayers._canon.compile import output_name
from cvxpylayers._program import CompiledProblem

_SCALARS = (type(None), bool, int, float, complex, str, Fraction, np.generic)
_SILENT = (perspective, SuppFuncAtom)  # hold expressions that are neither their arguments nor their data


class _UnknownError(Exception):
    """An object whose content cannot be told."""


def fingerprint(problem: cp.Problem, parameters: Sequence[Any], variables: Sequence[Any], *options: Any) -> str | None:
    """A digest of the arguments of ``compile_problem``; None where they hold something unknown."""
    walk = _Walk()
    try:
        walk.add([problem.objective, list(problem.constraints), list(parameters), list(variables), list(options)])
    except (_UnknownError, AttributeError, TypeError):  # arguments that are no problem at all are refused elsewhere, in words
        return None
    return walk.digest.hexdigest()


def rename(
    compiled: CompiledProblem, problem: cp.Problem, parameters: Sequence[cp.Parameter], variables: Sequence[cp.Variable]
) -> CompiledProblem:
    """``compiled``, from arguments with the same fingerprint, under the names of these; messages about rows keep the old ones."""
    inputs = tuple(replace(spec, name=p.name()) for spec, p in zip(compiled.parameters, parameters, strict=True))
    outputs = tuple(replace(spec, name=output_name(v, problem)) for spec, v in zip(compiled.outputs, variables, strict=True))
    return replace(compiled, parameters=inputs, outputs=outputs)


class _Walk:
    """Feeds a digest with everything in the order in which it is met; what is met again is its number."""

    def __init__(self) -> None:
        self.digest = hashlib.blake2b(digest_size=20)
        self._numbers: dict[int, int] = {}  # of leaves and duals by CVXPY's id
        self._met: dict[int, tuple[int, Any]] = {}  # expressions by identity, held so that no identity is used twice

    def _say(self, *words: object) -> None:
        self.digest.update(repr(words).encode())

    def add(self, value: Any) -> None:
        """Take in any object that expressions are made of."""
        if isinstance(value, Constraint):
            self._composite(value, _constraint_data(value))
            for dual in value.dual_variables:
                self._numbers.setdefault(dual.id, len(self._numbers))
        elif isinstance(value, Leaf):
            self._leaf(value)
        elif isinstance(value, (Expression, cp.Minimize, cp.Maximize)):
            self._composite(value, value.get_data())
        elif isinstance(value, np.ndarray) and value.dtype.kind in "biufc":
            self._say("array", value.dtype.str, value.shape)
            self.digest.update(np.ascontiguousarray(value).tobytes())
        elif sp.issparse(value):
            rows = sp.coo_array(value)
            self._say("sparse", rows.shape)
            self.add([*rows.coords, rows.data])
        elif isinstance(value, _SCALARS):
            self._say(type(value).__name__, value)
        elif isinstance(value, slice):
            self.add(["slice", value.start, value.stop, value.step])
        elif isinstance(value, (list, tuple)):
            self._say(type(value).__name__, len(value))
            for entry in value:
                self.add(entry)
        else:
            raise _UnknownError(type(value))

    def _composite(self, value: Any, data: Any) -> None:
        if id(value) in self._met:
            self._say("again", self._met[id(value)][0])
            return
        if isinstance(value, _SILENT):
            raise _UnknownError(type(value))
        self._met[id(value)] = len(self._met), value
        self._say(_kind(value), getattr(value, "shape", None))
        self.add(data)
        self.add(list(value.args))

    def _leaf(self, leaf: Leaf) -> None:
        if isinstance(leaf, cp.Constant):
            self._say(_kind(leaf), leaf.shape)
            self.add(leaf.value)
        elif leaf.id in self._numbers:
            self._say("leaf", self._numbers[leaf.id])
        else:
            self._numbers[leaf.id] = len(self._numbers)
            self._say(_kind(leaf), leaf.shape)
            for name, attribute in sorted(leaf.attributes.items()):
                self._say(name)
                self.add(attribute)


def _constraint_data(constraint: Constraint) -> list[Any]:
    """What makes a constraint beside its arguments; CVXPY's number of it, which comes last, does not."""
    data = list(constraint.get_data() or [])  # type: ignore[no-untyped-call]  # CVXPY's has no types
    return data[:-1] if data and isinstance(data[-1], int) and data[-1] == constraint.id else data


def _kind(value: Any) -> str:
    """Name of a class of CVXPY; others may mean anything."""
    kind = type(value)
    if not kind.__module__.startswith("cvxpy."):
        raise _UnknownError(kind)
    return f"{kind.__module__}.{kind.__qualname__}"
