"""Where version 1.x had the layer."""

from cvxpylayers.torch import CvxpyLayer

__all__ = ["CvxpyLayer"]
