"""JAX front end: ``CvxpyLayer`` is a function of arrays that every transformation of JAX takes."""

from __future__ import annotations

try:
    import jax
except ImportError as error:
    raise ImportError("cvxpylayers.jax needs JAX; install it with: pip install 'cvxpylayers[jax]'") from error

from cvxpylayers.jax import losses
from cvxpylayers.jax._export import export_checks
from cvxpylayers.jax._info import SolveInfo, WarmStart
from cvxpylayers.jax._layer import CvxpyLayer

__all__ = ["CvxpyLayer", "SolveInfo", "WarmStart", "export_checks", "losses"]
