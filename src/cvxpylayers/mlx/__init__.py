"""MLX front end: arrays of ``mlx.core`` in and out, gradients through ``mx.grad``, ``mx.vjp`` and ``mx.jvp``."""

from __future__ import annotations

try:
    import mlx.core
except ImportError as error:
    raise ImportError("cvxpylayers.mlx needs MLX; install it with: pip install 'cvxpylayers[mlx]'") from error

from cvxpylayers.mlx._layer import CvxpyLayer

__all__ = ["CvxpyLayer"]
