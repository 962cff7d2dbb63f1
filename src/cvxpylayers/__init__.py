"""Differentiable convex optimization layers: CVXPY problems, solved and differentiated in batches.

Front ends: ``cvxpylayers.torch``, ``cvxpylayers.jax``, ``cvxpylayers.mlx``, ``cvxpylayers.numpy``. Importing the package imports no
tensor framework.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from cvxpylayers import errors
from cvxpylayers._layer.diagnosis import Diagnosis
from cvxpylayers._layer.findings import Finding
from cvxpylayers._layer.info import SolveInfo, WarmStart
from cvxpylayers._program import Status
from cvxpylayers.errors import (
    CvxpyLayersError,
    DeviceError,
    InputError,
    InputTypeError,
    MissingPackageError,
    OptionError,
    ProblemError,
    SolverError,
    UnsupportedConeError,
)

if TYPE_CHECKING:
    from cvxpylayers.numpy import CvxpyLayer

__version__ = "2.0.0.dev0"

__all__ = [
    "CvxpyLayersError",
    "DeviceError",
    "Diagnosis",
    "Finding",
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
    "load",
]


def load(path: str | os.PathLike[str]) -> CvxpyLayer:
    """The layer that ``layer.save`` wrote, for NumPy arrays and tables; ``CvxpyLayer.load`` of a front end gives one of its own.

    Raises:
        InputError: the file is no layer, damaged, or of a later version. OSError: it cannot be read.
    """
    from cvxpylayers.numpy import CvxpyLayer

    return CvxpyLayer.load(path)
