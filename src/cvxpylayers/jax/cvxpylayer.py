"""Where version 1.x had the layer."""

from cvxpylayers.jax import CvxpyLayer

__all__ = ["CvxpyLayer"]
