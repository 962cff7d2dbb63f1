"""CVXPY problems → ``CompiledProblem``."""

from cvxpylayers._canon.compile import compile_problem

__all__ = ["compile_problem"]
