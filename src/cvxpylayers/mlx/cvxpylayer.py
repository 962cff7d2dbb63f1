"""Where version 1.x had the layer."""

from cvxpylayers.mlx import CvxpyLayer

__all__ = ["CvxpyLayer"]
