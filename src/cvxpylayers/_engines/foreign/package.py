"""Engines that another package provides: what is typed where it is missing, and whose options are whose."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping
from typing import Any, ClassVar

from cvxpylayers._engines.foreign.chunks import OURS, Chunked
from cvxpylayers._program import CompiledProblem
from cvxpylayers.errors import MissingPackageError


class Packaged(Chunked):
    """Options: ``tolerance`` and ``polish`` judge and refine the answer, ``threads`` counts instances solved at a time; the common
    names in ``common`` and the solver's own go to the solver.
    """

    package: ClassVar[str]  # what is imported
    install: ClassVar[str]  # what is typed where it is missing
    common: ClassVar[Mapping[str, str]] = {}  # common option → the solver's name for it
    own: ClassVar[frozenset[str]] = frozenset()  # the solver's own settings
    preset: ClassVar[Mapping[str, Any]] = {}  # settings that hold unless the user gives them

    def __init__(self, compiled: CompiledProblem, options: Mapping[str, Any]) -> None:
        super().__init__(compiled, options)
        require(self.name, self.package, self.install)

    @classmethod
    def option_names(cls) -> frozenset[str] | None:
        """The common options that mean something here, and the solver's own settings."""
        return OURS.union(cls.common, cls.own)

    def _own(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """The solver's settings, under its names."""
        return {**self.preset, **{self.common.get(name, name): value for name, value in settings.items() if name not in OURS}}

    @property
    def _solver(self) -> Any:
        """The solver's package, imported when first needed."""
        return importlib.import_module(self.package)

    def describe(self) -> Mapping[str, Any]:
        """Name and version of the solver."""
        return {"name": self.name, "version": getattr(self._solver, "__version__", "unknown"), **self._derivative_facts}


def require(engine: str, package: str, install: str) -> None:
    """Refuse to go on without a package that an engine imports later.

    Raises:
        MissingPackageError: with what to type.
    """
    if importlib.util.find_spec(package) is None:
        raise MissingPackageError(f"Engine {engine!r} needs the package {package!r}; install it with: {install}")


def words(text: str) -> frozenset[str]:
    """The words of a text: how adapters list a solver's settings."""
    return frozenset(text.split())
