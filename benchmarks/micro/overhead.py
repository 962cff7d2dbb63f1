"""Fixed and marginal costs of this package's layer: ``python -m benchmarks.micro.overhead``.

First what a call costs beside the kernel, in every front end (``beside``). Then one tiny instance through PyTorch and back, without
a batch axis, as a model that solves one problem at a time pays it; and the time per instance at a large against a moderate batch,
which must not rise. Gradients of a large batch are fresh memory, and their first touch costs what the system makes of it: for the
4.2 kB of one dense_qp_20, 0.2 µs where pages are at hand, 3 to 10 where a virtual machine has lent them to its host in the
meantime, whoever asks for them. So the processors' time is split: ``user`` is ours.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from typing import NamedTuple

from rich.table import Table

from benchmarks.compare.cases import layer_case
from benchmarks.compare.contenders import Layer
from benchmarks.micro.beside import Beside, Call, interleaved, single
from benchmarks.text import console
from problems.families import FAMILIES, SOME


class Times(NamedTuple):
    """Seconds: on the clock, and of all cores in this process and in the system on its behalf."""

    wall: float
    user: float
    system: float

    @classmethod
    def now(cls) -> Times:
        spent = os.times()
        return cls(time.perf_counter(), spent.user, spent.system)

    @classmethod
    def of(cls, call: Call) -> Times:
        start = cls.now()
        call()
        return cls(*(b - a for a, b in zip(start, cls.now(), strict=True)))


def medians(calls: list[Call], budget: float) -> list[Times]:
    """Median times of each call over interleaved repeats that take about ``budget`` seconds in all, after one warm-up."""
    samples = interleaved(calls, budget, Times.of)
    return [Times(*map(statistics.median, zip(*taken, strict=True))) for taken in samples]


def median_seconds(calls: list[Call], budget: float) -> list[float]:
    """Of ``medians`` the time on the clock."""
    return [times.wall for times in medians(calls, budget)]


def repeated(call: Call, count: int) -> Call:
    """The call ``count`` times, for clocks that tick slowly."""
    return lambda: [call() for _ in range(count)]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.micro.overhead", description=__doc__)
    parser.add_argument("--family", nargs="+", choices=FAMILIES, default=SOME, metavar="NAME")
    parser.add_argument("--batch", nargs=2, type=int, default=[1024, 100_000], metavar=("MODERATE", "LARGE"))
    parser.add_argument("--budget", type=float, default=3.0, help="seconds per family and line (%(default)s)")
    parser.add_argument("--only-beside", action="store_true", help="print the first table alone")
    options = parser.parse_args()
    beside = Table(*Beside.HEADINGS, title="µs a call, processor time of one thread")
    for family in options.family:
        for batch in (0, 1, 128):
            beside.add_row(*Beside.of(family, batch, options.budget).entries())
    console().print(beside)
    if options.only_beside:
        return
    table = Table("family", title="forward + backward through PyTorch, medians")
    moderate, large = options.batch
    repeats = max(1, large // moderate)
    walls = [f"µs each of {b}" for b in options.batch]
    for heading in ("one instance, ms", "forward, ms", *walls, "ratio", "user ratio", f"system µs each of {large}"):
        table.add_column(heading, justify="right")
    for family in options.family:
        one = Layer(single(family))
        gradient, forward = median_seconds([one.gradient, one.forward], options.budget)
        calls = [Layer(layer_case(FAMILIES[family], batch)).gradient for batch in options.batch]
        found = medians([repeated(calls[0], repeats), calls[1]], options.budget)
        each = [Times(*(t / b * 1e6 for t in times)) for times, b in zip(found, (moderate * repeats, large), strict=True)]
        fixed = [f"{t * 1e3:.3f}" for t in (gradient, forward)]
        ratios = [each[1].wall / each[0].wall, each[1].user / each[0].user]
        table.add_row(family, *fixed, *(f"{t:.2f}" for t in (*(e.wall for e in each), *ratios, each[1].system)))
    console().print(table)


if __name__ == "__main__":
    main()
