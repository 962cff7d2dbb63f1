"""Large cones that are kept sparse, one instance: ``python -m benchmarks.micro.large``; exits 1 where a promise breaks.

Seconds to build a layer, to solve, and to differentiate; best of some repeats after one warm-up, which imports.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import cvxpy as cp
import numpy as np
from rich.table import Table

from benchmarks.text import console
from cvxpylayers.numpy import CvxpyLayer
from problems.families import Parametrized

REPEATS: Final = 3


class Row(NamedTuple):
    """A problem, and the seconds promised for building it and for both passes; None where nothing is."""

    name: str
    make: Callable[[], Parametrized]
    building: float | None = None
    passes: float | None = None


def ball(n: int) -> Parametrized:
    """min gᵀx, ‖x‖ ≤ 1."""
    g, x = cp.Parameter(n), cp.Variable(n)
    return Parametrized(cp.Problem(cp.Minimize(g @ x), [cp.norm(x) <= 1]), [g], [x])


def bounded(n: int) -> Parametrized:
    """A ball with bounds and a dense equality."""
    g, x = cp.Parameter(n), cp.Variable(n)
    rows = [cp.norm(x) <= 1, x <= 0.5 / np.sqrt(n), cp.sum(x) == 0]
    return Parametrized(cp.Problem(cp.Minimize(g @ x), rows), [g], [x])


def sum_of_norms(n: int) -> Parametrized:
    """The geometric median of five points."""
    A, x = cp.Parameter((n, 5)), cp.Variable(n)
    return Parametrized(cp.Problem(cp.Minimize(cp.sum([cp.norm(x - A[:, k]) for k in range(5)]))), [A], [x])


def robust(n: int) -> Parametrized:
    """Least squares with norms: a dense block, which stays with the native engine."""
    b, x = cp.Parameter(n), cp.Variable(n // 4)
    R = np.random.default_rng(0).normal(size=(n, n // 4))
    return Parametrized(cp.Problem(cp.Minimize(cp.norm(R @ x - b) + 0.1 * cp.norm(x))), [b], [x])


def cut(n: int) -> Parametrized:
    """The relaxation of a maximal cut: X ⪰ 0 of order n with a diagonal of ones."""
    C, X = cp.Parameter((n, n), symmetric=True), cp.Variable((n, n), symmetric=True)
    return Parametrized(cp.Problem(cp.Minimize(cp.trace(C @ X)), [X >> 0, cp.diag(X) == 1]), [C], [X])


ROWS: Final = (
    Row("ball, n = 1000", lambda: ball(1000), building=0.1, passes=0.05),
    Row("ball, n = 5000", lambda: ball(5000), building=1.0, passes=1.0),
    Row("ball with bounds, n = 1000", lambda: bounded(1000)),
    Row("sum of norms, n = 1000", lambda: sum_of_norms(1000)),
    Row("robust regression, 1000 × 250", lambda: robust(1000)),
    Row("cut relaxation of order 60", lambda: cut(60)),
)


def clocked(call: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds, and what the call returned."""
    start = time.perf_counter()
    found = call()
    return time.perf_counter() - start, found


def seconds(row: Row) -> tuple[str, float, float, float]:
    """The engine; seconds of building, solving and differentiating."""
    problem, parameters, variables = row.make()
    building, layer = clocked(lambda: CvxpyLayer(problem, parameters, variables))
    rng = np.random.default_rng(1)
    values = [rng.normal(size=p.shape) for p in parameters]
    values = [v + v.T if p.is_symmetric() and v.ndim == 2 else v for v, p in zip(values, parameters, strict=True)]
    forward, backward = [], []
    for _ in range(1 + REPEATS):
        solved, linear = clocked(lambda: layer.linearize(*values))
        weights = [rng.normal(size=v.shape) for v in linear.outputs]
        forward.append(solved)
        backward.append(clocked(lambda linear=linear, weights=weights: linear.vjp(*weights))[0])
    return str(layer.explain()["engine"]), building, min(forward[1:]), min(backward[1:])


def main() -> int:
    """Measure and print; the exit code."""
    seconds(Row("warm-up", lambda: ball(310)))
    table = Table("problem", "engine", title="large cones, one instance")
    for heading in ("building, ms", "promised", "forward, ms", "backward, ms", "promised"):
        table.add_column(heading, justify="right")
    broken = False
    for row in ROWS:
        engine, building, forward, backward = seconds(row)
        broken |= building > (row.building or np.inf) or forward + backward > (row.passes or np.inf)
        promised = ["" if limit is None else f"{limit * 1e3:.0f}" for limit in (row.building, row.passes)]
        times = [f"{t * 1e3:.1f}" for t in (building, forward, backward)]
        table.add_row(row.name, engine, times[0], promised[0], *times[1:], promised[1])
    console().print(table)
    return int(broken)


if __name__ == "__main__":
    sys.exit(main())
