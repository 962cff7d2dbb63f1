"""Compiled problems as text and back: JSON for the tree, one compressed archive for its arrays; reading it runs no code.

The classes of ``_program`` are written field by field, so that a new field needs nothing here.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import io
import json
from typing import Any, Final

import numpy as np
import scipy.sparse as sp

from cvxpylayers import _program
from cvxpylayers._typing import NDArray

_CLASSES: Final[dict[str, Any]] = {name: kind for name, kind in vars(_program).items() if dataclasses.is_dataclass(kind)}


def digest(value: Any) -> str:
    """32 hexadecimal digits that tell apart what ``dumps`` would write differently."""
    tree, arrays = flatten(value)
    total = hashlib.blake2b(json.dumps(tree).encode(), digest_size=16)
    for array in arrays:
        total.update(f"{array.dtype.str}{array.shape}".encode())
        total.update(np.ascontiguousarray(array).view(np.uint8).data if array.size else b"")
    return total.hexdigest()


def dumps(value: Any) -> str:
    """Text that ``loads`` turns back into ``value``: scalars, tuples, dicts, arrays, CSR matrices and classes of ``_program``."""
    tree, arrays = flatten(value)
    file = io.BytesIO()
    np.savez_compressed(file, np.frombuffer(json.dumps(tree).encode(), dtype=np.uint8), *arrays)
    return base64.b85encode(file.getvalue()).decode()


def loads(text: str) -> Any:
    """What ``dumps`` wrote."""
    with np.load(io.BytesIO(base64.b85decode(text)), allow_pickle=False) as archive:
        tree, *arrays = (archive[f"arr_{k}"] for k in range(len(archive.files)))
    return _value(json.loads(tree.tobytes()), arrays)


def flatten(value: Any) -> tuple[Any, list[NDArray[Any]]]:
    """``value`` as a tree of JSON's types, and the arrays that it numbers."""
    arrays: list[NDArray[Any]] = []
    return _tree(value, arrays), arrays


def unflatten(tree: Any, arrays: list[NDArray[Any]]) -> Any:
    """What ``flatten`` was given; raises whatever a tree of another shape leads to, and runs none of its content."""
    return _value(tree, arrays)


def _tree(value: Any, arrays: list[NDArray[Any]]) -> Any:
    """``value`` in JSON's types: all but plain scalars become [kind, content]; arrays are numbers of entries of ``arrays``."""
    match value:
        case None | bool() | int() | float() | str():
            return value
        case np.generic():
            return value.item()
        case np.ndarray():
            arrays.append(value)
            return ["array", len(arrays) - 1]
        case sp.csr_array():
            return ["csr", [_tree(part, arrays) for part in (value.data, value.indices, value.indptr, value.shape)]]
        case tuple() | list():
            return ["tuple", [_tree(entry, arrays) for entry in value]]
        case dict():
            return ["dict", [[_tree(k, arrays), _tree(v, arrays)] for k, v in value.items()]]
    if type(value).__name__ not in _CLASSES:
        raise TypeError(f"{type(value).__name__} cannot be written as text")
    fields = {f.name: _tree(getattr(value, f.name), arrays) for f in dataclasses.fields(value)}
    return [type(value).__name__, fields]


def _value(tree: Any, arrays: list[NDArray[Any]]) -> Any:
    if not isinstance(tree, list):
        return tree
    kind, content = tree
    match kind:
        case "array":
            return arrays[content]
        case "csr":
            data, indices, indptr, shape = (_value(part, arrays) for part in content)
            if not all(isinstance(part, np.ndarray) and part.ndim == 1 for part in (data, indices, indptr)):
                raise TypeError("a sparse matrix is made of three arrays")
            return sp.csr_array((data, indices, indptr), shape=shape)
        case "tuple":
            return tuple(_value(entry, arrays) for entry in content)
        case "dict":
            return {_value(k, arrays): _value(v, arrays) for k, v in content}
    return _CLASSES[kind](**{name: _value(part, arrays) for name, part in content.items()})
