"""For those who stay in CVXPY: a ``cp.Problem`` solved for whole batches of parameter values, and differentiated."""

from cvxpylayers.cvxpy._solution import BatchSolution
from cvxpylayers.cvxpy._solve import solve_batch

__all__ = ["BatchSolution", "solve_batch"]
