"""Differentiable convex optimization layers: CVXPY problems, solved and differentiated in batches.

Front ends: ``cvxpylayers.torch``, ``cvxpylayers.jax``, ``cvxpylayers.mlx``, ``cvxpylayers.numpy``. Importing the package imports no
tensor framework.
"""

from __future__ import annotations

from cvxpylayers import errors
from cvxpylayers._layer.info import SolveInfo, WarmStart
from cvxpylayers._program import Status
from cvxpylayers.errors import (
    CvxpyLayersError,
    InputError,
    InputTypeError,
    MissingPackageError,
    OptionError,
    ProblemError,
    SolverError,
    UnsupportedConeError,
)

__version__ = "2.0.0.dev0"

__all__ = [
    "CvxpyLayersError",
    "InputError",
    "InputTypeError",
    "MissingPackageError",
    "OptionError",
    "ProblemError",
    "SolveInfo",
    "SolverError",
    "Status",
    "UnsupportedConeError",
    "WarmStart",
    "errors",
]
