"""Mistakes raise; outcomes are data. Every exception of the package, in one place."""

from __future__ import annotations

import sys
from functools import cache
from typing import Any, Self


class CvxpyLayersError(Exception):
    """Base class of everything this package raises on purpose."""


class ProblemError(CvxpyLayersError, ValueError):
    """The problem, its parameters or its variables cannot make a layer; the message says what to type instead."""


class InputError(CvxpyLayersError, ValueError):
    """A call's argument has the wrong number, shape, dtype or device."""


class InputTypeError(CvxpyLayersError, TypeError):
    """A call's argument has the wrong type."""


class OptionError(CvxpyLayersError, ValueError):
    """An unknown option or an impossible value for one."""


class UnsupportedConeError(ProblemError):
    """The chosen engine cannot handle a cone that the problem needs."""


class MissingPackageError(CvxpyLayersError, ImportError):
    """The chosen engine needs a package that is not installed; the message says how to install it."""


class DeviceError(CvxpyLayersError, RuntimeError):
    """A device cannot do what is asked of it: there is no driver, no kernel or too little memory; the message says what to do."""


class SolverError(CvxpyLayersError, RuntimeError):
    """At least one instance has no solution. ``info`` is the SolveInfo, ``outputs`` hold NaN where there is none.

    In programs that have imported diffcp it is a ``diffcp.SolverError``, too: version 1.x raised that.
    """

    def __new__(cls, *_: Any, **__: Any) -> Self:
        theirs = getattr(sys.modules.get("diffcp.cone_program"), "SolverError", None)
        kind: type[Self] = cls if theirs is None or cls is not SolverError else _joint(theirs)
        return super().__new__(kind)

    def __reduce__(self) -> tuple[Any, ...]:
        kind = type(self)
        return SolverError if kind.__base__ is SolverError and kind.__module__ == __name__ else kind, self.args, vars(self)

    def __init__(self, message: str, info: Any = None, outputs: Any = None) -> None:
        super().__init__(message)
        self.info = info
        self.outputs = outputs


@cache
def _joint(theirs: type[Exception]) -> Any:
    """Our error as one of theirs, under our name."""
    facts = {"__module__": SolverError.__module__, "__qualname__": SolverError.__qualname__, "__doc__": SolverError.__doc__}
    return type(SolverError.__name__, (SolverError, theirs), facts)


class DerivativeError(CvxpyLayersError, RuntimeError):
    """A derivative that does not exist, or that the engine does not offer."""
