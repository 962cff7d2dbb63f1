"""Fixed and marginal costs of this package's layer: ``python -m benchmarks.overhead``.

One tiny instance through PyTorch and back, without a batch axis, as a model that solves one problem at a time pays it; and the time
per instance at a large against a moderate batch, which must not rise.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

from rich.table import Table

from benchmarks.cases import layer_case
from benchmarks.contenders import Case, Layer
from benchmarks.families import FAMILIES, SOME
from benchmarks.report import console


def median_seconds(calls: list[Callable[[], object]], budget: float) -> list[float]:
    """Median time of each call over interleaved repeats that take about ``budget`` seconds in all, after one warm-up."""
    for call in calls:
        call()
    samples: list[list[float]] = [[] for _ in calls]
    end = time.perf_counter() + budget
    while time.perf_counter() < end or len(samples[0]) < 5:
        for call, taken in zip(calls, samples, strict=True):
            start = time.perf_counter()
            call()
            taken.append(time.perf_counter() - start)
    return [statistics.median(taken) for taken in samples]


def single(family: str) -> Layer:
    """A layer on one instance without a batch axis."""
    case = layer_case(FAMILIES[family], 1)
    shapes = [p.shape for p in FAMILIES[family].make().parameters]
    arrays = {k: a.reshape(shapes[int(k[5:])]) if k.startswith("param") else a[0] for k, a in case.arrays.items()}
    return Layer(Case(family, 1, 0, 0, 0, (), arrays))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overhead", description=__doc__)
    parser.add_argument("--family", nargs="+", choices=FAMILIES, default=SOME, metavar="NAME")
    parser.add_argument("--batch", nargs=2, type=int, default=[1024, 100_000], metavar=("MODERATE", "LARGE"))
    parser.add_argument("--budget", type=float, default=3.0, help="seconds per family and line (%(default)s)")
    options = parser.parse_args()
    table = Table("family", title="forward + backward through PyTorch, medians")
    for heading in ("one instance, ms", "forward, ms", *(f"µs each of {b}" for b in options.batch), "ratio"):
        table.add_column(heading, justify="right")
    for family in options.family:
        one = single(family)
        gradient, forward = median_seconds([one.gradient, one.forward], options.budget)
        many = [Layer(layer_case(FAMILIES[family], batch)).gradient for batch in options.batch]
        each = [t / b * 1e6 for t, b in zip(median_seconds(many, options.budget), options.batch, strict=True)]
        fixed = [f"{t * 1e3:.3f}" for t in (gradient, forward)]
        table.add_row(family, *fixed, *(f"{t:.2f}" for t in each), f"{each[1] / each[0]:.2f}")
    console().print(table)


if __name__ == "__main__":
    main()
