"""Engines by name, imported when asked for."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, Final

from cvxpylayers._engines.base import Engine
from cvxpylayers.errors import OptionError

_ENGINES: Final[Mapping[str, tuple[str, str]]] = {
    "NATIVE": ("cvxpylayers._engines.native", "NativeEngine"),
    "CLARABEL": ("cvxpylayers._engines.clarabel", "ClarabelEngine"),
}


def names() -> tuple[str, ...]:
    """What ``solver`` may name."""
    return tuple(_ENGINES)


def resolve(solver: str | type[Engine] | Engine | None) -> tuple[type[Engine], dict[str, Any]]:
    """The engine class that ``solver`` asks for, and the options it brings.

    None is the native engine; a name is matched without regard to case; an ``Engine`` class or an instance, whose options are
    kept, is used as it is.

    Raises:
        OptionError: no such engine.
    """
    if isinstance(solver, Engine):
        return type(solver), solver.options
    if isinstance(solver, type) and issubclass(solver, Engine):
        return solver, {}
    name = "NATIVE" if solver is None else str(solver).upper()
    if name not in _ENGINES:
        known = ", ".join(map(repr, names()))
        raise OptionError(f"No engine {solver!r}; use solver=None for the default, one of {known}, or an Engine class.")
    module, attribute = _ENGINES[name]
    engine: type[Engine] = getattr(importlib.import_module(module), attribute)
    return engine, {}
