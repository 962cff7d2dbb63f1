"""CVXPY problems → ``CompiledProblem``."""

from cvxpylayers._canon.compile import compile_problem
from cvxpylayers._canon.fingerprint import fingerprint, rename
from cvxpylayers._canon.recent import Recent

__all__ = ["Recent", "compile_problem", "fingerprint", "rename"]
