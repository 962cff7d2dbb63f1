"""Layers by name: operators see strings, and find the layer that a string stands for.

A *handle* is the fingerprint of a layer's content, so that equal layers share it, in this process and in others. Behind a colon it
may carry the content itself, which is what exported programs hold.
"""

from __future__ import annotations

import itertools
from typing import Final
from weakref import WeakValueDictionary

from cvxpylayers._engines.registry import names, resolve
from cvxpylayers._layer.layer import Layer
from cvxpylayers._program import codec
from cvxpylayers.errors import ProblemError

_TICKETS: Final = itertools.count()
_LAYERS: Final[WeakValueDictionary[int, Layer]] = WeakValueDictionary()  # by ticket
_KNOWN: Final[WeakValueDictionary[str, Layer]] = WeakValueDictionary()  # by handle
_KEPT: Final[dict[str, Layer]] = {}  # by handle, because of graphs that may outlive every module that holds the layer


def register(layer: Layer) -> int:
    """A ticket for the layer's handle, which most layers never need; good in this process, while somebody holds the layer."""
    ticket = next(_TICKETS)
    _LAYERS[ticket] = layer
    return ticket


def handle(ticket: int) -> str:
    """The handle of the layer that has this ticket."""
    layer = _LAYERS[ticket]
    name = codec.digest(_content(layer))
    _KNOWN.setdefault(name, layer)
    return name


def portable(handle: str) -> str:
    """``handle`` with the content of its layer.

    Raises:
        ProblemError: the layer's engine is none that other processes know by name.
    """
    layer = find(handle)
    name, *_ = content = _content(layer)
    if name not in names() or resolve(name)[0] is not layer.kind:
        raise ProblemError(f"A layer can be exported if its engine has a name; {layer.kind.__name__} has none.")
    return f"{handle}:{codec.dumps(content)}"


def find(handle: str, *, keep: bool = False) -> Layer:
    """The layer that ``handle`` stands for; ``keep`` holds on to it."""
    key, _, content = handle.partition(":")
    layer = _KEPT.get(key) or _KNOWN.get(key)
    if layer is None and content:
        name, compiled, options, on_failure, verbose = codec.loads(content)
        layer, keep = Layer.of(compiled, resolve(name)[0], options, on_failure=on_failure, verbose=verbose), True
    if layer is None:
        raise ProblemError("The layer of this operator is gone; export the model with torch.export to use it in other processes.")
    if keep:
        _KEPT[key] = layer
    return layer


def _content(layer: Layer) -> tuple[object, ...]:
    return layer.kind.name, layer.compiled, layer.engine.options, layer.on_failure, layer.verbose
