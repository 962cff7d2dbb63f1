"""A layer in a file: what is written, byte by byte, in docs/scale.md; reading it runs none of its content and needs no CVXPY.

    magic (8 bytes), version (4), length of the header (4), header (JSON), 0…7 zeros, arrays, each padded to 8 bytes, digest (16)

The header holds the tree of ``codec`` and, for each array, its type and shape: the length of the file follows from it and is
checked before anything is allocated. The digest (BLAKE2b of all before it) finds accidents; against intent stands ``_verify``.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

import numpy as np

from cvxpylayers._engines import registry
from cvxpylayers._layer.failure import failure_mode
from cvxpylayers._layer.layer import Layer
from cvxpylayers._layer.options import normalize
from cvxpylayers._program import codec
from cvxpylayers._verify import verify
from cvxpylayers.errors import CvxpyLayersError, InputError

VERSION: Final = 1
_MAGIC: Final = b"\x89CVXLAY\n"
_HEAD: Final = struct.Struct("<8sII")
_DIGEST: Final = 16
_TYPES: Final = frozenset({"<f8", "<i4", "<i8"})
_SCALARS: Final = (bool, int, float, str)


class _Facts(NamedTuple):
    """What is in a file besides the compiled problem."""

    engine: str
    options: dict[str, Any]
    chosen: bool
    on_failure: str
    verbose: bool


class Filed:
    """A front end's layer, as far as files go: it is made of a ``Layer``, and holds it."""

    _layer: Layer

    def _assume(self, layer: Layer) -> None:
        """Become the front end of ``layer``."""
        self._layer = layer

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """The layer that ``save`` of any front end wrote; nothing in the file is executed, and CVXPY is not imported.

        Raises:
            InputError: the file is no layer, damaged, or of a later version. OSError: it cannot be read.
        """
        made = cls.__new__(cls)
        made._assume(load(path))
        return made

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the compiled problem, the engine's name and its options to a file, which ``load`` of any front end reads.

        Raises:
            InputError: the engine is an object or a function of yours, or an option is no plain value.
        """
        save(self._layer, path)


def save(layer: Layer, path: str | os.PathLike[str]) -> None:
    """Write the layer to ``path``, all or nothing.

    Raises:
        InputError: its engine is an object or a function of the user's, or an option is no plain value.
    """
    data = dumps(layer)
    target = Path(path)
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(data)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def load(path: str | os.PathLike[str]) -> Layer:
    """The layer that ``save`` wrote.

    Raises:
        InputError: the file is no layer, damaged, or of a later version. OSError: it cannot be read.
    """
    return loads(Path(path).read_bytes())


def dumps(layer: Layer) -> bytes:
    """The content of a layer's file; raises as ``save``."""
    kind, options = layer.kind, dict(layer.engine.options)
    if kind.name not in registry.names() or registry.resolve(kind.name)[0] is not kind:
        raise InputError(
            f"The engine of this layer ({kind.name}) has no name that a file could hold: give solver= the name of one."
        )
    for name, value in options.items():
        if type(value) not in _SCALARS:
            raise InputError(f"Option {name!r} is a {type(value).__name__}; a file holds numbers, words, True and False alone.")
    facts = _Facts(kind.name, options, layer.chosen, layer.on_failure, layer.verbose)
    tree, arrays = codec.flatten({**facts._asdict(), "problem": layer.compiled})
    arrays = [np.ascontiguousarray(a, dtype=a.dtype.newbyteorder("<")) for a in arrays]
    header = json.dumps({"layer": tree, "arrays": [[a.dtype.str, list(a.shape)] for a in arrays]}).encode()
    parts = [_HEAD.pack(_MAGIC, VERSION, len(header)), _padded(header), *(_padded(a.tobytes()) for a in arrays)]
    content = b"".join(parts)
    return content + _digest(content)


def loads(data: bytes) -> Layer:
    """The layer of which ``dumps`` gave ``data``; raises as ``load``."""
    facts, problem = _parsed(data)
    compiled = verify(problem)
    if facts.engine not in registry.names():
        raise InputError(f"The layer wants the engine {facts.engine!r}, which is not here.")
    kind, _ = registry.resolve(facts.engine)
    options = normalize(facts.options, kind.option_names())
    try:
        return Layer.of(
            compiled, kind, options, on_failure=failure_mode(facts.on_failure), verbose=facts.verbose, chosen=facts.chosen
        )
    except CvxpyLayersError:
        raise
    except (ValueError, TypeError, OverflowError, MemoryError, RuntimeError) as error:
        raise InputError(f"The engine {facts.engine} refuses the problem of this layer: {error}") from error


def _parsed(data: bytes) -> tuple[_Facts, Any]:
    """Facts of the right types, and the problem as it stands in the file."""
    if len(data) < _HEAD.size + _DIGEST or not data.startswith(_MAGIC):
        raise InputError("This is no layer: the file does not begin as layer.save begins one.")
    _, version, length = _HEAD.unpack_from(data)
    if version != VERSION:
        raise InputError(f"The layer was written in format {version}, and this version of cvxpylayers reads {VERSION}: update it.")
    content = memoryview(data)[:-_DIGEST]
    if _digest(content) != data[-_DIGEST:]:
        raise InputError("The layer's file is damaged: its digest differs.")
    try:
        header = json.loads(bytes(content[_HEAD.size : _HEAD.size + length]))
        arrays = _arrays(content, _HEAD.size + _up(length), header["arrays"])
        fields = codec.unflatten(header["layer"], arrays)
        problem = fields.pop("problem")
        facts = _Facts(**fields)
    except InputError:
        raise
    except Exception as error:  # a tree of any other shape fails in ways that nobody can list
        raise InputError(f"This is no layer: its header does not read as one ({type(error).__name__}: {error}).") from error
    types = (str, dict, bool, str, bool)
    if any(type(value) is not kind for value, kind in zip(facts, types, strict=True)):
        raise InputError("This is no layer: a fact about it has the wrong type.")
    if any(type(name) is not str or type(value) not in _SCALARS for name, value in facts.options.items()):
        raise InputError("This is no layer: its options are not plain values.")
    return facts, problem


def _arrays(content: memoryview, begin: int, described: list[Any]) -> list[Any]:
    """The arrays, which fill the content from ``begin`` on."""
    found = []
    for dtype, shape in described:
        if dtype not in _TYPES or any(type(k) is not int or k < 0 for k in shape):
            raise InputError("This is no layer: an array of a type or shape that none holds.")
        count = int(np.prod(shape, dtype=object)) if shape else 1
        size = count * int(dtype[2])
        if begin + size > len(content):
            raise InputError("This is no layer: its arrays are longer than the file.")
        found.append(np.frombuffer(content, dtype=dtype, count=count, offset=begin).reshape(shape))
        begin += _up(size)
    if begin != len(content):
        raise InputError("This is no layer: its arrays do not fill the file.")
    return found


def _up(length: int) -> int:
    """The next multiple of 8."""
    return (length + 7) // 8 * 8


def _padded(data: bytes) -> bytes:
    return data.ljust(_up(len(data)), b"\0")


def _digest(content: bytes | memoryview) -> bytes:
    return hashlib.blake2b(content, digest_size=_DIGEST).digest()
