"""How long a layer with a dense parameter takes to build: ``python -m benchmarks.micro.building``; exits 1 where a promise breaks.

The yardstick is CVXPY's own canonicalization, ``get_problem_data`` of a fresh problem, which every user of CVXPY pays once as well.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Callable, Iterator
from typing import Final

import cvxpy as cp
import numpy as np
from rich.table import Table

from benchmarks.text import console
from cvxpylayers.numpy import CvxpyLayer
from problems.families import Parametrized

PROMISE: Final = 1.5  # times CVXPY's canonicalization
_COUNTER: Final = itertools.count(1)  # makes every problem a new one, since layers that are built alike share what they can


def _inequalities(A: cp.Parameter, b: cp.Parameter, x: cp.Variable) -> cp.Problem:
    return cp.Problem(cp.Minimize(cp.sum_squares(x) - next(_COUNTER) * cp.sum(x)), [A @ x <= b])


def _equalities(A: cp.Parameter, b: cp.Parameter, x: cp.Variable) -> cp.Problem:
    return cp.Problem(cp.Minimize(next(_COUNTER) * cp.norm1(x)), [A @ x == b])


def _least_squares(A: cp.Parameter, b: cp.Parameter, x: cp.Variable) -> cp.Problem:
    return cp.Problem(cp.Minimize(next(_COUNTER) * cp.sum_squares(A @ x - b)), [x >= 0])


def _norm_bound(A: cp.Parameter, b: cp.Parameter, x: cp.Variable) -> cp.Problem:
    return cp.Problem(cp.Minimize(b @ x), [cp.norm(A @ x) <= next(_COUNTER)])


PROBLEMS: Final = {"A x <= b": _inequalities, "A x == b": _equalities, "|A x - b|²": _least_squares, "|A x| <= 1": _norm_bound}


def problem(make: Callable[..., cp.Problem], n: int) -> Parametrized:
    """A fresh problem with a dense n × n parameter and one of n entries."""
    A, b, x = cp.Parameter((n, n)), cp.Parameter(n), cp.Variable(n)
    rng = np.random.default_rng(n)
    A.value, b.value = rng.normal(size=(n, n)), np.ones(n)
    return Parametrized(make(A, b, x), [A, b], [x])


def least_seconds(make: Callable[..., cp.Problem], n: int, repeats: int) -> tuple[float, float]:
    """The least times of CVXPY's canonicalization and of building a layer, over interleaved repeats."""

    def timed() -> Iterator[tuple[float, float]]:
        for _ in range(repeats):
            theirs, ours = problem(make, n), problem(make, n)
            start = time.perf_counter()
            theirs.problem.get_problem_data(cp.CLARABEL)
            middle = time.perf_counter()
            CvxpyLayer(ours.problem, ours.parameters, ours.variables)
            yield middle - start, time.perf_counter() - middle

    canonicalization, layer = zip(*timed(), strict=True)
    return min(canonicalization), min(layer)


def main() -> int:
    """Measure and print; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.micro.building", description=__doc__)
    parser.add_argument("--size", nargs="+", type=int, default=[100, 400, 800])
    parser.add_argument("--repeats", type=int, default=9, help="of which the least counts (%(default)s)")
    options = parser.parse_args()
    table = Table("problem", title=f"building a layer with a dense n × n parameter; promised: at most {PROMISE} × CVXPY's time")
    for heading in ("n", "CVXPY, ms", "layer, ms", "ratio"):
        table.add_column(heading, justify="right")
    worst = 0.0
    for n in options.size:
        for name, make in PROBLEMS.items():
            theirs, ours = least_seconds(make, n, options.repeats)
            worst = max(worst, ours / theirs)
            table.add_row(name, str(n), f"{theirs * 1e3:.1f}", f"{ours * 1e3:.1f}", f"{ours / theirs:.2f}")
    console().print(table)
    return int(worst > PROMISE)


if __name__ == "__main__":
    sys.exit(main())
