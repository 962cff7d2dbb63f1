"""NumPy front end: arrays in, arrays out, derivatives by ``vjp``, ``jvp`` and ``jacobian``; needs no tensor framework."""

from cvxpylayers.numpy._linearization import Linearization
from cvxpylayers.numpy._solver import CvxpyLayer

__all__ = ["CvxpyLayer", "Linearization"]
