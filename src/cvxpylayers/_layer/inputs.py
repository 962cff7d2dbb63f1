"""Arrays of a call → ``Batch``: number, shape and type of the arguments, broadcasting, and the declared domains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from cvxpylayers._program import Batch, CompiledProblem, ParameterSpec
from cvxpylayers._program.batch import compact
from cvxpylayers._typing import Bool, Float64, NDArray, Shaped
from cvxpylayers.errors import InputError, InputTypeError

# A parameter may miss its domain by this much, relative to 1 or its largest entry (of eigenvalues: the Frobenius norm), or by the
# rounding of the dtype in which it came, if that is more: so many units in the last place.
SLACK, DEFINITE_SLACK = 1e-8, 1e-9
_ROUNDING = {"f": 16 * 2.0**-23, "e": 16 * 2.0**-10, "E": 16 * 2.0**-7}  # float32, float16, bfloat16
# Largest entry of (S - Sᵀ)/2, relative to that of S, which is taken for error; the symmetric part of S is what counts.
SKEW = 1e-3
_FEW = 8192  # entries of which a dot product is one thread's work
# From here on a bound is none, as for other solvers: 1e20, and what it may become in a coarse dtype.
INFINITE = 0.99e20
_PLAIN = INFINITE**2
_DEFINITE = {1: "positive", -1: "negative"}


@runtime_checkable
class HasShape(Protocol):
    """What has a shape; its batch axes may be symbolic, while JAX exports."""

    @property
    def shape(self) -> tuple[Any, ...]: ...


def batch_shape(specs: Sequence[ParameterSpec], arrays: Sequence[HasShape]) -> tuple[Any, ...]:
    """The common batch axes of one array per parameter, of shape (*batch_i, *parameter shape); arrays may be mere shapes.

    Raises:
        InputError: the number of arrays, a shape, or batch axes that do not broadcast.
    """
    if len(arrays) != len(specs):
        expected = ", ".join(f"{s.name}: {s.shape}" for s in specs)
        raise InputError(f"The layer takes {len(specs)} parameters ({expected}); got {len(arrays)}.")
    shape: tuple[Any, ...] = ()
    for spec, array in zip(specs, arrays, strict=True):
        full, own = array.shape, spec.shape
        rank = len(full) - len(own)
        if rank < 0 or full[rank:] != own:
            raise InputError(_misfit(specs, spec, full))
        axes = full[:rank]
        if axes != shape:
            shape = axes if not shape else _broadcast(specs, arrays) if axes else shape
    return shape


def to_batch(specs: Sequence[ParameterSpec], arrays: Sequence[NDArray[np.generic]]) -> Batch:
    """Broadcast one array per parameter, of shape (*batch_i, *parameter shape), into a ``Batch``; ``invalid`` is left open.

    Nothing is copied that is float64 with contiguous parameter axes; axes of stride 0 keep it through every conversion.

    Raises:
        InputError: as ``batch_shape``.
        InputTypeError: entries that are not real numbers.
    """
    shape = batch_shape(specs, arrays)
    flat = tuple([_flatten(spec, array) for spec, array in zip(specs, arrays, strict=True)])
    return Batch(flat, shape, rounding=tuple([rounding_of(array.dtype) for array in arrays]))


def rounding_of(dtype: np.dtype[np.generic]) -> float:
    """The relative error that numbers of this type may be expected to have, beyond that of double precision."""
    return _ROUNDING.get(dtype.char, 0.0)


def _flatten(spec: ParameterSpec, array: NDArray[np.generic]) -> Shaped[Float64, "*batch size"]:
    """View ``array`` as float64 of shape (*batch_i, size) with a contiguous last axis; convert and copy only what must be."""
    rank, size = array.ndim - len(spec.shape), spec.size
    shape = (*array.shape[:rank], size)
    if array.size == 0:
        return np.broadcast_to(np.empty(size), shape)  # NumPy gives other empty arrays strides of 0 throughout
    if array.dtype.kind not in "fiu":
        raise not_real(spec, array.dtype)
    distinct = compact(array, rank)
    flat = distinct.reshape(*distinct.shape[:rank], spec.size)
    if flat.dtype != np.float64 or not flat.flags.aligned or (spec.size > 1 and flat.strides[-1] != flat.itemsize):
        flat = np.require(flat, np.float64, ["C", "A"])
    return np.broadcast_to(flat, shape)


def not_real(spec: ParameterSpec, dtype: object) -> InputTypeError:
    """What to say of a parameter whose entries, of that type, are no real numbers."""
    return InputTypeError(f"Parameter {spec.name!r} must hold real numbers (float64 is best); got {dtype}.")


def _misfit(specs: Sequence[ParameterSpec], spec: ParameterSpec, shape: tuple[int, ...]) -> str:
    """What is wrong with ``shape``, and what the caller most likely meant."""
    own, rank = spec.shape, len(spec.shape)
    others = [s.name for s in specs if s is not spec and s.shape == (shape[-len(s.shape) :] if s.shape else shape)]
    if shape[-1:] == (1,) and shape[-rank - 1 : -1] == own:
        hint = " Drop its last axis, for example by value.squeeze(-1)."
    elif rank >= 2 and shape[-rank:] == (*own[:-2], own[-1], own[-2]):
        hint = " Swap its last two axes: value.mT."
    elif len(shape) > rank and shape[:rank] == own:
        hint = " Batch axes come first."
    elif others:
        hint = f" This fits {others[0]!r}: the order of the parameters is {', '.join(s.name for s in specs)}."
    else:
        hint = ""
    batched = ", ".join(("*batch", *map(str, own)))
    return f"Parameter {spec.name!r} must have shape {own} or ({batched}); got {tuple(shape)}.{hint}"


def _broadcast(specs: Sequence[ParameterSpec], arrays: Sequence[HasShape]) -> tuple[int, ...]:
    axes = [a.shape[: len(a.shape) - len(s.shape)] for s, a in zip(specs, arrays, strict=True)]
    try:
        return np.broadcast_shapes(*axes)
    except ValueError:
        listed = ", ".join(f"{s.name}: {b}" for s, b in zip(specs, axes, strict=True))
        raise InputError(f"Batch axes must broadcast against each other as in NumPy; got {listed}.") from None


def to_screen(compiled: CompiledProblem) -> tuple[int, ...]:
    """Positions of the parameters that ``watchful`` engines (``Capabilities``) do not judge: of which some numbers are not read, or
    finite ones may be wrong, too, or infinite ones right."""
    pairs = enumerate(compiled.parameters)
    return tuple(i for i, p in pairs if not p.free or p.unbounded or i in compiled.partly_read)


def screen(specs: Sequence[ParameterSpec], batch: Batch, among: Sequence[int] | None = None) -> Batch:
    """The batch as engines take it: bounds that are none are infinite, and ``invalid`` marks instances that hold NaN or inf
    elsewhere, or leave a declared domain (None when all are fine), by the parameters at the positions ``among`` (None: all).

    Of parameters that make P only the diagonal is judged here; engines judge P where it matters.
    """
    if among is None:
        among = range(len(specs))
    suspects = [(i, plain) for i in among if not (plain := _plain(batch.arrays[i])) or not specs[i].free]
    return _judged(specs, batch, suspects) if suspects else batch


@np.errstate(over="ignore", invalid="ignore")
def _judged(specs: Sequence[ParameterSpec], batch: Batch, suspects: Sequence[tuple[int, bool]]) -> Batch:
    """``screen`` of the parameters at these positions, with what ``_plain`` says of each."""
    invalid, arrays, infinite, roundings = None, list(batch.arrays), False, _roundings(batch)
    for i, plain in suspects:
        spec, array = specs[i], batch.arrays[i]
        distinct = compact(array, array.ndim - 1)
        if not plain and spec.unbounded:
            distinct = np.where(np.abs(distinct) >= INFINITE, np.copysign(np.inf, distinct), distinct)
            arrays[i], infinite = np.broadcast_to(distinct, array.shape), True
        for _, bad in (*_violations(spec, distinct, roundings[i], plain), *_ill_shaped(spec, distinct, roundings[i])):
            invalid = np.zeros(batch.shape, dtype=np.bool_) if invalid is None else invalid
            invalid |= bad
    if invalid is None and not infinite:
        return batch
    return batch._replace(arrays=tuple(arrays), invalid=None if invalid is None else invalid.reshape(-1), infinite=infinite)


def _plain(array: Shaped[Float64, "*batch size"]) -> bool:
    """Whether all entries are finite and below what counts as infinite, by one pass over few of them."""
    if array.size <= _FEW and array.flags.c_contiguous:
        return bool(np.vdot(array, array) < _PLAIN)
    distinct = compact(array, array.ndim - 1)
    return bool(np.max(distinct) < INFINITE and np.min(distinct) > -INFINITE)


@np.errstate(over="ignore", invalid="ignore")
def reasons(specs: Sequence[ParameterSpec], batch: Batch, instance: int) -> list[str]:
    """What ``screen`` or an engine found wrong with the parameters of one instance, in words."""
    index = np.unravel_index(instance, batch.shape) if batch.shape else ()
    found = []
    for spec, array, rounding in zip(specs, batch.arrays, _roundings(batch), strict=True):
        value = np.broadcast_to(array, (*batch.shape, spec.size))[index]
        found_here = (*_violations(spec, value, rounding, False), *_asymmetric(_matrix(spec, value)))
        wrong = [what for what, _ in found_here] or _extreme(spec, value, rounding)
        found += [f"parameter {spec.name!r} {what}" for what in wrong]
    return found


def _roundings(batch: Batch) -> tuple[float, ...]:
    return batch.rounding or (0.0,) * len(batch.arrays)


def _violations(
    spec: ParameterSpec, array: Shaped[Float64, "*batch size"], rounding: float, plain: bool
) -> list[tuple[str, Bool | np.bool_]]:
    """The domains of entries that ``array`` (*batch_i, size) leaves: what is wrong in words, and where (*batch_i)."""
    found: list[tuple[str, Bool | np.bool_]] = []
    if array.size == 0:
        return found
    if not plain:
        good = np.asarray((~np.isnan(array) if spec.unbounded else np.isfinite(array)).all(axis=-1))
        if not good.all():
            found.append(("holds NaN or inf", ~good))
            array = np.where(good[..., None], array, 0.0)
    slack = max(SLACK, rounding)

    def leaves(miss: Float64, words: str) -> None:
        """Note the instances where an entry of ``miss`` (*batch_i, …), how far outside it is, is beyond rounding."""
        if miss.size and np.max(miss) > slack:
            size = np.maximum(np.abs(array).max(axis=-1, where=np.isfinite(array), initial=0.0), 1.0)
            if (wrong := miss.max(axis=-1) > slack * size).any():
                found.append((words, wrong))

    if "log" in spec.forms:
        if np.min(array) <= 0:
            found.append(("is not positive", (array <= 0).any(axis=-1)))
    elif spec.sign and (np.min(array) if spec.sign > 0 else -np.max(array)) < 0:
        leaves(-spec.sign * array, "is negative" if spec.sign > 0 else "is positive")
    if spec.bounds is not None:
        low, high = map(np.array, spec.bounds)
        leaves(np.fmax(low - array, array - high), "leaves its bounds")  # of infinite ones one is NaN
    if spec.support is not None:
        leaves(np.abs(np.delete(array, spec.support, axis=-1)), "has nonzero entries where its attributes want zeros")
    return found


def _matrix(spec: ParameterSpec, array: Shaped[Float64, "*batch size"]) -> Shaped[Float64, "*batch k l"] | None:
    return array.reshape(*array.shape[:-1], *spec.shape) if (spec.symmetric or spec.psd) and array.size else None


def _asymmetric(matrix: Shaped[Float64, "*batch k k"] | None) -> list[tuple[str, Bool | np.bool_]]:
    if matrix is None:
        return []
    skew = 0.5 * np.abs(matrix - matrix.swapaxes(-1, -2)).max(axis=(-1, -2))
    bad = skew > SKEW * np.abs(matrix).max(axis=(-1, -2))
    return [("is not symmetric", bad)] if bad.any() else []


def _ill_shaped(spec: ParameterSpec, array: Shaped[Float64, "*batch size"], rounding: float) -> list[tuple[str, Bool | np.bool_]]:
    """As ``_violations``, for symmetry and definiteness."""
    matrix = _matrix(spec, array)
    if matrix is None:
        return []
    found: list[tuple[str, Bool | np.bool_]] = []
    if (matrix != matrix.swapaxes(-1, -2)).any():
        found = _asymmetric(matrix)
        matrix = 0.5 * matrix + 0.5 * matrix.swapaxes(-1, -2)
    if spec.psd and (bad := _indefinite(spec, spec.psd * matrix, max(DEFINITE_SLACK, rounding))).any():
        found.append((f"is not {_DEFINITE[spec.psd]} semidefinite", bad))
    return found


def _indefinite(spec: ParameterSpec, matrix: Shaped[Float64, "*batch k k"], slack: float) -> Bool | np.bool_:
    """Where symmetric ``matrix`` is not positive semidefinite to ``slack`` of its norm; if it makes P, its diagonal.

    One batched Cholesky factorization where all is well, eigenvalues where it is not.
    """
    diagonal = np.diagonal(matrix, axis1=-2, axis2=-1)
    if spec.quadratic:
        if np.min(diagonal) >= -slack:
            return np.False_
        least = diagonal.min(axis=-1)
    else:
        shift = slack * np.maximum(diagonal.max(axis=-1, keepdims=True), 1.0)  # no more than the norm
        try:
            np.linalg.cholesky(matrix + shift[..., None] * np.eye(spec.shape[-1]))
            return np.False_
        except np.linalg.LinAlgError:
            finite = np.isfinite(matrix).all(axis=(-1, -2), keepdims=True)
            least = np.linalg.eigvalsh(np.where(finite, matrix, 0.0))[..., 0]
    return np.asarray(least < -slack * _size(matrix))


def _size(matrix: Shaped[Float64, "*batch k k"]) -> Shaped[Float64, "*batch"]:
    """1 or the Frobenius norm, if that is more."""
    return np.asarray(np.maximum(np.sqrt(np.square(matrix).sum(axis=(-1, -2))), 1.0))


def _extreme(spec: ParameterSpec, value: Shaped[Float64, " size"], rounding: float) -> list[str]:
    """How a finite ``value`` lacks the declared definiteness beyond rounding, in words."""
    matrix = _matrix(spec, value)
    if not spec.psd or matrix is None:
        return []
    matrix = 0.5 * spec.psd * (matrix + matrix.T)
    least = np.linalg.eigvalsh(matrix)[0]
    if least >= -max(DEFINITE_SLACK, rounding) * _size(matrix):
        return []
    end = "smallest" if spec.psd > 0 else "largest"
    return [f"is not {_DEFINITE[spec.psd]} semidefinite: its {end} eigenvalue is {spec.psd * least:.3g}"]
