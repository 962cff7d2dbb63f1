"""Arrow columns ↔ arrays: which types a parameter may come in, and how outputs leave. Nothing is copied where the layouts agree."""

from __future__ import annotations

import math
from typing import Any, Final, Literal

import numpy as np

from cvxpylayers._program import Status
from cvxpylayers._typing import Bool, Float64, Int8, NDArray
from cvxpylayers.errors import InputError, InputTypeError, MissingPackageError

try:
    import pyarrow as pa
except ImportError as _error:
    raise MissingPackageError("Tables need pyarrow: pip install 'cvxpylayers[tables]'.") from _error

Lists = Literal["fixed", "list", "tensor"]

STATUS: Final = pa.string()
_WORDS: Final = pa.array([str(status) for status in Status])


def check(name: str, kind: Any, shape: tuple[int, ...]) -> None:
    """Whether a column of this type can hold an array of this shape in every row.

    Raises:
        InputError: a list size that does not fit. InputTypeError: entries that are not numbers.
    """
    here = f"Column {name!r} ({kind})"
    if isinstance(kind, pa.FixedShapeTensorType) and (
        tuple(kind.shape) != shape or list(kind.permutation or ()) != sorted(kind.permutation or ())
    ):
        raise InputError(f"{here} must hold tensors of shape {shape} in C order.")
    if isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type
    if pa.types.is_dictionary(kind):
        raise InputTypeError(f"{here} is dictionary-encoded: pass column.combine_chunks().dictionary_decode().")
    size, widths = math.prod(shape), []
    while _is_list(kind):
        widths.append(kind.list_size if pa.types.is_fixed_size_list(kind) else None)
        kind = kind.value_type
    if pa.types.is_decimal(kind):
        raise InputTypeError(f"{here} is decimal: cast it to float64.")
    if not (pa.types.is_floating(kind) or pa.types.is_integer(kind)):
        raise InputTypeError(f"{here} must hold numbers{f' or lists of {size} numbers' if shape else ''}; float64 is best.")
    known = [width for width in widths if width is not None]
    nested = len(widths) == len(shape) and all(w in (None, k) for w, k in zip(widths, shape, strict=True))
    flat = (len(widths) == 1 and widths[0] in (None, size)) or (not widths and size == 1)
    if not (nested or flat or (len(known) == len(widths) and len(widths) > 0 and math.prod(known) == size)):
        wanted = f"lists of {size} numbers, the entries of an array of shape {shape} in C order" if shape else "one number"
        raise InputError(f"{here} must hold {wanted} in each row.")


def numbers(column: Any, shape: tuple[int, ...]) -> NDArray[Any]:
    """The rows of a column that ``check`` has passed, (N, *shape); NaN in rows with a null or a list of another size."""
    array = column
    if isinstance(column, pa.ChunkedArray):
        array = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    count, size, level, total = len(array), 1, 0, math.prod(shape)
    bad = np.zeros(count, dtype=np.bool_)
    while _is_list(array.type):
        if array.null_count:
            bad |= _rows(array.is_null(), count, size)
        deeper = _is_list(array.type.value_type)
        if pa.types.is_fixed_size_list(array.type):
            width = array.type.list_size
            array = array.values.slice(array.offset * width, len(array) * width)
        else:
            width = shape[level] if deeper else total // size
            array, misfit = _equal(array, width)
            bad |= misfit.reshape(count, size).any(axis=1) if size else False
        size, level = size * width, level + 1
    if array.null_count:
        bad |= _rows(array.is_null(), count, size)
        array = array.cast(pa.float64())
    values: NDArray[Any] = array.to_numpy(zero_copy_only=False).reshape(count, *shape)
    if bad.any():
        values = values.astype(np.result_type(values.dtype, np.float32) if values.dtype.kind == "f" else np.float64)
        values[bad] = np.nan
    return values


def field_type(shape: tuple[int, ...], lists: Lists) -> Any:
    """The type of the column that ``column`` makes."""
    if not shape:
        return pa.float64()
    match lists:
        case "tensor":
            return pa.fixed_shape_tensor(pa.float64(), shape)
        case "list":
            return pa.list_(pa.float64())
    return pa.list_(pa.float64(), math.prod(shape))


def column(values: Float64, failed: Bool, lists: Lists) -> Any:
    """Arrays (N, *shape) as a column, null where ``failed``; the numbers are not copied where lists or no row has failed."""
    shape, mask = values.shape[1:], failed if failed.any() else None
    if not shape:
        return pa.array(values, mask=mask)
    size = math.prod(shape)
    flat = pa.array(values.reshape(-1))
    mask = None if mask is None else pa.array(mask)
    if lists == "list":
        if values.size > np.iinfo(np.int32).max:
            raise InputError(f"A column of {values.size} numbers is too long for lists: pass fewer rows at once.")
        return pa.ListArray.from_arrays(pa.array(np.arange(len(values) + 1, dtype=np.int32) * size), flat, mask=mask)
    storage = pa.FixedSizeListArray.from_arrays(flat, size, mask=mask)
    return pa.ExtensionArray.from_storage(pa.fixed_shape_tensor(pa.float64(), shape), storage) if lists == "tensor" else storage


def words(codes: Int8) -> Any:
    """Status codes as words."""
    return pa.DictionaryArray.from_arrays(pa.array(codes), _WORDS).cast(STATUS)


def _is_list(kind: Any) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _rows(marks: Any, count: int, size: int) -> Bool:
    """Which rows have a mark among their ``size`` entries."""
    return np.asarray(marks.to_numpy(zero_copy_only=False).reshape(count, size).any(axis=1))


def _equal(array: Any, width: int) -> tuple[Any, Bool]:
    """The entries of lists of variable size as if all had ``width`` of them, and which lists have not."""
    starts = array.offsets.to_numpy()
    misfit = np.diff(starts) != width
    if not misfit.any():
        return array.values.slice(int(starts[0]), len(array) * width), misfit
    if len(array.values) == 0:
        return pa.nulls(len(array) * width, array.type.value_type), misfit
    index = np.where(misfit, 0, starts[:-1])[:, None] + np.arange(width)
    return array.values.take(pa.array(np.minimum(index, len(array.values) - 1).reshape(-1))), misfit
