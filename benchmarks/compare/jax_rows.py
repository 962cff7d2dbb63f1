"""The JAX front end in one run: ``python -m benchmarks.compare.jax_rows`` (``--quick`` for a few minutes).

First what a jitted call of a tiny batch costs beyond the kernel. Then every family: this package in JAX and in PyTorch against the
published library in JAX (its default in eager batched calls, Moreau under ``jit``), qpax, and jaxopt's OSQP and BoxOSQP under
``vmap``, each in a process of its own, repeats interleaved, answers checked. ``table.md`` and ``results.json`` grow as it goes.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.compare.contenders import CONTENDERS, OURS
from benchmarks.compare.report import Results, geometric_mean, measure
from benchmarks.compare.runner import MODES, Accuracy, Plan
from benchmarks.micro.jax_overhead import Line, lines
from benchmarks.text import console, number
from problems.conic_families import ALL
from problems.families import SOME

JAX, DEFAULT_1X = "ours-jax", "1x-jax"
ROWS = (JAX, OURS, DEFAULT_1X, "1x-jax-moreau", "qpax", "jaxopt-osqp", "jaxopt-box")
RIGHT = "right"
TINY = (1, 8)  # instances, of the first table


def main() -> None:
    """Measure, write, and print where it is."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare.jax_rows", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="batch 128 only, few repeats, calls of at most two seconds")
    parser.add_argument("--family", nargs="+", choices=ALL, default=list(ALL), metavar="NAME", help=", ".join(ALL))
    parser.add_argument("--contender", nargs="+", choices=ROWS, default=list(ROWS), metavar="NAME", help=", ".join(ROWS))
    parser.add_argument("--batch", nargs="+", type=int, metavar="B", help="batch sizes, ascending (128 1024; quick: 128)")
    parser.add_argument("--limit", type=float, metavar="S", help="skip a contender whose one call would take longer (20; quick: 2)")
    parser.add_argument("--budget", type=float, metavar="S", help="seconds of repeats per entry (1; quick: 0.2)")
    parser.add_argument("--out", type=Path, default=Path("out/jax"), help="folder for table.md and results.json (%(default)s)")
    options = parser.parse_args()
    limit, budget, most = (2.0, 0.2, 11) if options.quick else (20.0, 1.0, 41)
    limit, budget = options.limit or limit, options.budget or budget
    batches = sorted(options.batch or ([128] if options.quick else [128, 1024]))
    screen, path = console(), options.out / "table.md"
    options.out.mkdir(parents=True, exist_ok=True)
    tiny = []
    for line in lines([f for f in options.family if f in SOME], TINY, 2 * budget):
        tiny.append(line)
        screen.log(" ".join(f"{h}: {e}" for h, e in zip(Line.HEADINGS, line.entries(), strict=True)))

    def keep(results: Results) -> None:
        results.save(options.out / "results.json")
        path.write_text(markdown(results, tiny))

    keep(measure(Plan(options.family, batches, options.contender, budget, limit, (3, most)), screen.log, keep))
    screen.print(path.read_text(), markup=False, soft_wrap=True)
    screen.print(f"written: {path}, {options.out / 'results.json'}")


def markdown(results: Results, tiny: Sequence[Line]) -> str:
    """All tables, how to read them, and why entries are missing."""
    machine = results.facts["machine"]
    packages = sorted(
        {f"{p} {v}" for name, t in results.facts["versions"].items() if name not in (JAX, OURS) for p, v in t.items()}
    )
    place = (
        f"{machine['processor']}, {machine['cores']} cores, load {machine['load']:.1f} at the start; {results.facts['date'][:10]}"
    )
    parts = [f"{place}; {', '.join(packages)}."]
    parts += ["Forward / forward + backward throughout."]
    if tiny:
        parts += ["## Tiny batches, µs a call", _grid(Line.HEADINGS, [line.entries() for line in tiny])]
    parts += [_rows(results, batch) for batch in results.batches]
    notes = [f"- {a.family}, {CONTENDERS[a.contender].title}: {_verdict(results, a)}" for a in results.accuracies]
    notes = [note for note in notes if not note.endswith(RIGHT)]
    notes += [f"- {c.family} × {c.batch}, {CONTENDERS[c.contender].title}: {c.note}" for c in results.cells if c.note]
    return "\n\n".join([*parts, *(["## Missing and wrong", "\n".join(notes)] if notes else [])]) + "\n"


def _verdict(results: Results, found: Accuracy) -> str:
    """Why a contender is missing on a family, or how far off it is."""
    if all(results.correct(found.family, found.contender, mode) for mode in MODES):
        return RIGHT
    errors = (("solution", found.solution), ("gradient", found.gradient))
    return "; ".join([found.note] * bool(found.note) + [f"{name} off by {e:.0e}" for name, e in errors if e is not None])


def _rows(results: Results, batch: int) -> str:
    """Every contender on every family, and what the two promises say of each."""
    names = [name for name in ROWS if name in results.contenders]
    body, torch, default, best = [], [], [], []
    for family in [f for f in results.families if any(results.cell(f, batch, name) for name in names)]:
        torch.append([_quotient(results, family, batch, mode, OURS) for mode in MODES])
        default.append([_quotient(results, family, batch, mode, DEFAULT_1X) for mode in MODES])
        best.append([results.ratio(family, batch, mode, contender=JAX) for mode in MODES])
        times = [" / ".join(_time(results, family, batch, name, mode) for mode in MODES) for name in names]
        body.append([family.replace("_", " "), *times, *map(_pair, (torch[-1], best[-1], default[-1]))])
    means = [[geometric_mean(column) for column in zip(*found, strict=True)] for found in (torch, best, default)]
    body.append(["geometric mean", *("" for _ in names), *map(_pair, means)])
    headings = ["family", *(CONTENDERS[name].title for name in names), "PyTorch : JAX", "best peer : JAX", "1.x default : JAX"]
    words = "( ): wrong answer. The best peer is right."
    return f"## Batches of {batch}, µs per instance\n\n{words}\n\n{_grid(headings, body)}"


def _time(results: Results, family: str, batch: int, name: str, mode: str) -> str:
    text = number(results.time(family, batch, name, mode))
    return text if text == "-" or results.correct(family, name, mode) else f"({text})"


def _quotient(results: Results, family: str, batch: int, mode: str, name: str) -> float | None:
    """How many times the time of JAX another contender takes, right or wrong."""
    ours, theirs = (results.time(family, batch, n, mode) for n in (JAX, name))
    return theirs / ours if ours and theirs else None


def _pair(values: Iterable[float | None]) -> str:
    return " / ".join(map(number, values))


def _grid(headings: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    rows = [headings, ["---", *("--:" for _ in headings[1:])], *body]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


if __name__ == "__main__":
    main()
