"""Is a compiled problem that comes from outside what its classes promise? Everything that engines rely on is asked here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields
from itertools import pairwise
from typing import Any, Final

import numpy as np
import scipy.sparse as sp

from cvxpylayers._program import CompiledProblem, Cones, OutputSpec, ParameterSpec, Pattern, Structure
from cvxpylayers.errors import InputError

_MOST: Final = 2**31 - 1  # indices are 32 bits wide


def verify(found: object) -> CompiledProblem:
    """``found``, if it is a compiled problem whose parts fit each other.

    Raises:
        InputError: which part does not.
    """
    compiled: CompiledProblem = _typed(found, CompiledProblem, "the content")
    structure = _typed(compiled.structure, Structure, "structure")
    _count(structure.n, "structure.n", least=1)
    _count(structure.m, "structure.m")
    _cones(_typed(structure.cones, Cones, "cones"), structure.m)
    _pattern(structure.P, structure.n, structure.n, "P", lower=True)
    _pattern(structure.A, structure.m, structure.n, "A")
    _specs(compiled.parameters, ParameterSpec, "parameters")
    _specs(compiled.outputs, OutputSpec, "outputs")
    for spec in compiled.parameters:
        _parameter(spec)
    for output in compiled.outputs:
        _flags(output, ("dual", "exp"))
    theta = sum(spec.size * len(spec.forms) for spec in compiled.parameters)
    _map(compiled.M, structure.values, theta + 1, "M")
    _map(compiled.R, sum(spec.size for spec in compiled.outputs), structure.n + structure.m, "R")
    _require(type(compiled.objective_sign) is int and compiled.objective_sign in (-1, 1), "objective_sign is not ±1")
    _flags(compiled, ("log_space",))
    logs = any(spec.exp for spec in compiled.outputs) or any(spec.forms != ("value",) for spec in compiled.parameters)
    _require(compiled.log_space or not logs, "logarithms outside of a geometric program")
    sources = compiled.row_sources
    _require(isinstance(sources, tuple) and all(type(name) is str for name in sources), "row_sources are not names")
    _require(len(sources) in (0, structure.m), "row_sources has not one name for each row")
    return compiled


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise InputError(f"This is no layer: {what}.")


def _typed(value: object, kind: type[Any], what: str) -> Any:
    _require(type(value) is kind, f"{what} is not a {kind.__name__}")
    return value


def _count(value: object, what: str, least: int = 0) -> None:
    _require(type(value) is int and least <= value <= _MOST, f"{what} is not a count")


def _flags(value: Any, names: Sequence[str]) -> None:
    for name in names:
        _require(type(getattr(value, name)) is bool, f"{name} is neither true nor false")


def _cones(cones: Cones, rows: int) -> None:
    for f in fields(Cones):
        value = getattr(cones, f.name)
        if f.type == "int":
            _count(value, f"cones.{f.name}")
            continue
        _require(isinstance(value, tuple), f"cones.{f.name} is not a tuple")
        for entry in value:
            if f.type == "tuple[int, ...]":
                _count(entry, "the size of a cone", least=1)
            else:
                _require(type(entry) is float and 0 < entry < 1, "the exponent of a power cone is not in (0, 1)")
    _require(cones.rows == rows, "the cones have another number of rows than A")


def _array(value: object, kinds: str, what: str) -> Any:
    _require(
        type(value) is np.ndarray and value.ndim == 1 and value.dtype.str in kinds.split(), f"{what} is not an array of {kinds}"
    )
    return value


def _compressed(indptr: object, indices: object, rows: int, columns: int, what: str) -> None:
    """Rows of ascending column numbers."""
    starts, numbers = _array(indptr, "<i4 <i8", f"{what}.indptr"), _array(indices, "<i4 <i8", f"{what}.indices")
    _require(len(starts) == rows + 1 and starts[0] == 0 and starts[-1] == len(numbers) <= _MOST, f"{what}.indptr does not fit")
    _require(bool((starts[1:] >= starts[:-1]).all()), f"{what}.indptr goes backwards")
    if len(numbers):
        _require(int(numbers.min()) >= 0 and int(numbers.max()) < columns, f"{what}.indices leave the matrix")
        ascending = numbers[1:] > numbers[:-1]
        first = starts[1:-1]
        ascending[first[(first > 0) & (first < len(numbers))] - 1] = True  # the first entry of a row follows nobody
        _require(bool(ascending.all()), f"{what}.indices do not ascend within their rows")


def _pattern(found: object, rows: int, columns: int, what: str, *, lower: bool = False) -> None:
    pattern = _typed(found, Pattern, what)
    _array(pattern.indptr, "<i4", f"{what}.indptr")
    _array(pattern.indices, "<i4", f"{what}.indices")
    _compressed(pattern.indptr, pattern.indices, rows, columns, what)
    _require(not lower or bool((pattern.indices <= pattern.rows).all()), f"{what} leaves the lower triangle")


def _map(found: object, rows: int, columns: int, what: str) -> None:
    matrix = _typed(found, sp.csr_array, what)
    _require(tuple(matrix.shape) == (rows, columns), f"{what} is not {rows} × {columns}")
    _compressed(matrix.indptr, matrix.indices, rows, columns, what)
    _array(matrix.data, "<f8", f"{what}.data")
    _require(len(matrix.data) == len(matrix.indices), f"{what}.data does not fit")
    _require(bool(np.isfinite(matrix.data).all()), f"{what} has entries that are not finite")


def _specs(found: object, kind: type[Any], what: str) -> None:
    _require(isinstance(found, tuple) and len(found) > 0, f"{what} are missing")
    assert isinstance(found, tuple)
    total = 0
    for spec in found:
        _typed(spec, kind, what)
        _require(type(spec.name) is str and spec.name.isprintable(), f"{what} have no names")
        _require(isinstance(spec.shape, tuple), f"the shape of {spec.name!r} is not a tuple")
        for length in spec.shape:
            _count(length, f"the shape of {spec.name!r}")
        total += spec.size
    _require(total <= _MOST, f"{what} are too large")


def _parameter(spec: ParameterSpec) -> None:
    here = f"of parameter {spec.name!r}"
    for name in ("sign", "psd"):
        value = getattr(spec, name)
        _require(type(value) is int and value in (-1, 0, 1), f"{name} {here} is not -1, 0 or 1")
    _flags(spec, ("symmetric", "quadratic", "unbounded"))
    square = len(spec.shape) == 2 and spec.shape[0] == spec.shape[1]
    _require(square or not (spec.psd or spec.symmetric), f"a symmetric shape {here}")
    forms = spec.forms
    _require(forms in (("value",), ("log",), ("value", "log"), ("log", "value")), f"the forms {here} are unknown")
    support = spec.support
    if support is not None:
        _require(isinstance(support, tuple) and all(type(k) is int for k in support), f"the support {here} are no positions")
        _require(all(0 <= a < spec.size for a in support), f"the support {here} leaves it")
        _require(all(a < b for a, b in pairwise(support)), f"the support {here} does not ascend")
    if spec.bounds is not None:
        _require(isinstance(spec.bounds, tuple) and len(spec.bounds) == 2, f"the bounds {here} are no pair")
        for side in spec.bounds:
            _require(isinstance(side, tuple) and len(side) in (1, spec.size), f"the bounds {here} do not fit")
            _require(all(type(v) is float and not math.isnan(v) for v in side), f"the bounds {here} are no numbers")


assert {f.type for f in fields(Cones)} == {"int", "tuple[int, ...]", "tuple[float, ...]"}  # each is asked for above
