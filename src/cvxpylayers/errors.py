"""Mistakes raise; outcomes are data. Every exception of the package, in one place."""

from __future__ import annotations

from typing import Any


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


class SolverError(CvxpyLayersError, RuntimeError):
    """At least one instance has no solution. ``info`` is the SolveInfo, ``outputs`` hold NaN where there is none."""

    def __init__(self, message: str, info: Any = None, outputs: Any = None) -> None:
        super().__init__(message)
        self.info = info
        self.outputs = outputs


class DerivativeError(CvxpyLayersError, RuntimeError):
    """A derivative that does not exist, or that the engine does not offer."""
