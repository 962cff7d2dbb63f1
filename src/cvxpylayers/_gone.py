"""Modules that held the inside of layers of version 1.x, which is built otherwise now: their names say where to look instead."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import NoReturn


class _Gone(ModuleType):
    """A module whose names, but those of every module, raise ImportError with what replaces them."""

    def __init__(self, name: str, instead: str) -> None:
        super().__init__(name)
        self._instead = instead

    def __getattr__(self, name: str) -> NoReturn:
        refuse(self.__name__, name, self._instead)


def refuse(module: str, name: str, instead: str) -> NoReturn:
    """Raise ImportError with what replaces ``name`` of ``module``; AttributeError where it is one of Python's own."""
    if name.startswith("__"):
        raise AttributeError(f"module {module!r} has no attribute {name!r}")
    raise ImportError(f"{module}.{name} was part of an earlier version: {instead}.")


def gone(module: str, submodules: Mapping[str, str], instead: str) -> Callable[[str], NoReturn]:
    """The ``__getattr__`` of ``module``, whose ``submodules`` are put in place, each with the words for what replaces its names."""
    for name, words in submodules.items():
        inner = sys.modules[f"{module}.{name}"] = _Gone(f"{module}.{name}", words)
        setattr(sys.modules[module], name, inner)
    return lambda name: refuse(module, name, instead)
