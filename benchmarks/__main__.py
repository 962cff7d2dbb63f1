"""``python -m benchmarks``: measure, then write results.json and results.png and print the table."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks.compare.contenders import CONTENDERS
from benchmarks.compare.plot import plot
from benchmarks.compare.report import Results, measure, summary, table
from benchmarks.compare.runner import Plan
from benchmarks.text import console
from problems.conic_families import ALL


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="batch 128 only, few repeats: under five minutes")
    parser.add_argument("--family", nargs="+", choices=ALL, default=list(ALL), metavar="NAME", help=", ".join(ALL))
    standard = [name for name, entry in CONTENDERS.items() if entry.standard]
    parser.add_argument("--contender", nargs="+", choices=CONTENDERS, default=standard, metavar="NAME", help=", ".join(CONTENDERS))
    parser.add_argument("--batch", nargs="+", type=int, metavar="B", help="batch sizes, ascending (1 16 128 1024; quick: 128)")
    parser.add_argument(
        "--limit", type=float, metavar="S", help="skip a contender whose one call would take longer (120; quick: 2)"
    )
    parser.add_argument("--budget", type=float, metavar="S", help="seconds of repeats per entry (2; quick: 0.3)")
    parser.add_argument(
        "--out", type=Path, default=Path("out/benchmark"), help="folder for results.json and results.png (%(default)s)"
    )
    parser.add_argument("--show", type=Path, metavar="JSON", help="measure nothing: table and plot of an earlier run")
    return parser.parse_args()


def planned(options: argparse.Namespace) -> Plan:
    """What the options ask for."""
    batches = sorted(options.batch or ([128] if options.quick else [1, 16, 128, 1024]))
    limit = options.limit or (2.0 if options.quick else 120.0)
    budget, most = (options.budget or 0.3, 11) if options.quick else (options.budget or 2.0, 41)
    return Plan(options.family, batches, options.contender, budget, limit, (3, most))


def main() -> int:
    """Measure or load, then report."""
    options, screen = arguments(), console()
    options.out.mkdir(parents=True, exist_ok=True)
    if options.show:
        results = Results.load(options.show)
    else:
        results = measure(planned(options), screen.log, lambda found: found.save(options.out / "results.json"))
        results.save(options.out / "results.json")
    screen.print(table(results))
    screen.print(summary(results), markup=False)
    if results.cells:
        plot(results, options.out / "results.png")
        screen.print(f"written: {options.out / 'results.json'}, {options.out / 'results.png'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
