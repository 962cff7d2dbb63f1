"""What 1.x kept here was the inside of its layers, which is built otherwise now: each name says where to look instead."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Final, NoReturn

_INSTEAD: Final = {
    "parse_args": "a layer compiles its problem itself, and layer.explain() tells what it made",
    "solver_utils": "an engine of one's own gets matrices in its solver's layout from cvxpylayers.engines",
}
_ELSE: Final = "solves and gradients in NumPy are those of cvxpylayers.numpy.CvxpyLayer"
__path__: list[str] = []  # has submodules, those below


class _Gone(ModuleType):
    """A module whose names, but those of every module, raise ImportError with what replaces them."""

    def __getattr__(self, name: str) -> NoReturn:
        _refuse(self.__name__, name)


def __getattr__(name: str) -> NoReturn:
    _refuse(__name__, name)


def _refuse(module: str, name: str) -> NoReturn:
    if name.startswith("__"):
        raise AttributeError(f"module {module!r} has no attribute {name!r}")
    raise ImportError(f"{module}.{name} was part of version 1.x: {_INSTEAD.get(module.rpartition('.')[2], _ELSE)}.")


for _name in _INSTEAD:
    _module = sys.modules[f"{__name__}.{_name}"] = _Gone(f"{__name__}.{_name}")
    globals()[_name] = _module
