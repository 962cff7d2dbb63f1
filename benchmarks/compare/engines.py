"""The same problem with every engine, forward and backward: ``python -m benchmarks.compare.engines [--write docs/engines.md]``.

Each cell is the shortest of some repeats of a whole call through the NumPy front end, solve and VJP, in µs per instance. A ``*``
marks engines that did not solve every instance to 1e-8, after refinement; ``-`` those that do not take the problem.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.text import insert, number
from cvxpylayers import MissingPackageError, Status, UnsupportedConeError
from cvxpylayers.engines import names
from cvxpylayers.numpy import CvxpyLayer
from problems.conic_families import cut_relaxation, entropy, robust_portfolio
from problems.families import Family, dense_qp, mpc, nnls, portfolio, transport

LINEAR = (nnls(), portfolio(10), dense_qp(20), dense_qp(50), mpc(4, 2, 10), transport(6, 6))
FAMILIES = (*LINEAR, robust_portfolio(10), entropy(10), cut_relaxation(5))
BATCHES = (1, 128)


def cell(family: Family, engine: str, batch: int, budget: float) -> str | None:
    """Time of one engine; None where its package is missing."""
    made = family.make()
    try:
        layer = CvxpyLayer(*made, solver=engine, gp=family.gp, on_failure="nan")
    except UnsupportedConeError:
        return "-"
    except MissingPackageError:
        return None
    values, best, start = family.sample(batch), np.inf, time.perf_counter()
    while best == np.inf or time.perf_counter() - start < budget:
        begin = time.perf_counter()
        point = layer.linearize(*values)
        point.vjp(*(np.ones_like(o) for o in point.outputs))
        best = min(best, time.perf_counter() - begin)
    return number(best / batch * 1e6) + "*" * bool((point.info.codes != Status.SOLVED).any())


def table(engines: list[str], budget: float) -> Iterator[str]:
    """The lines of the table, as they are measured."""
    rows = []
    for family in FAMILIES:
        for batch in BATCHES:
            cells = {engine: cell(family, engine, batch, budget) for engine in engines}
            rows.append((f"{family.name.replace('_', ' ')}, {batch}", cells))
            print(rows[-1], flush=True)
    shown = [engine for engine in engines if any(cells[engine] not in (None, "-") for _, cells in rows)]
    yield "| µs per instance | " + " | ".join(shown) + " |"
    yield "|---|" + "--:|" * len(shown)
    for title, cells in rows:
        yield f"| {title} | " + " | ".join(cells[engine] or "-" for engine in shown) + " |"


def main() -> None:
    """Measure, print, and write the table between the markers of a page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare.engines", description=__doc__)
    parser.add_argument("--engines", nargs="*", default=list(names()))
    parser.add_argument("--budget", type=float, default=0.5, help="seconds for the repeats of a cell (default 0.5)")
    parser.add_argument("--write", type=Path, help="page with a pair of marker lines")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    text = "\n".join(table(options.engines, options.budget))
    machine = f"{platform.machine()}, {os.cpu_count()} cores"
    text += f"\n\nProblem and batch size; solve and VJP, best of repeats in {options.budget:g} s. {machine}."
    print(text)
    if options.write:
        options.write.write_text(insert(options.write.read_text(), text))


if __name__ == "__main__":
    main()
