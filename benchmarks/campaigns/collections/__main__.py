"""Does a layer solve public test problems? ``python -m benchmarks.campaigns.collections DIR…``: Maros–Mészáros, SDPLIB, CBLIB, MPS.

Of every file: the layer of the problem with its linear costs as parameter, the problem itself and perturbed costs, and two variants
that provably have no solution; by the engine alone, as users have it, by Clarabel, and by PIQP. What is solved must have the
objective of the others, and be optimal by a measure of its own. Each problem is measured in a process of its own, and not again
where its record is in ``--out``. The exit code is 1 if one of the promises printed under the table is broken.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.campaigns.collections.files import found
from benchmarks.campaigns.collections.measure import VARIANTS
from benchmarks.campaigns.collections.report import COLUMNS, Trials, cells, draw, markdown, promises
from benchmarks.campaigns.verdict import judged
from benchmarks.text import insert


def arguments(words: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.campaigns.collections", description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path, metavar="DIR", help="folders, or files, of problems")
    parser.add_argument("--out", type=Path, default=Path("out/collections"), help="folder of records (%(default)s)")
    parser.add_argument("--problem", nargs="+", default=[], metavar="NAME", help="only files whose names begin so")
    parser.add_argument("--variant", nargs="+", choices=VARIANTS, default=list(VARIANTS), help='"" is the problem itself')
    parser.add_argument("--limit", type=float, default=120.0, metavar="S", help="seconds for one problem (%(default)s)")
    parser.add_argument("--most", type=int, default=0, metavar="BYTES", help="only files up to this size")
    parser.add_argument("--count", type=int, default=4, help="instances of each problem, the first unperturbed (%(default)s)")
    parser.add_argument("--native", action="store_true", help="measure the engine alone; nothing is compared")
    parser.add_argument("--again", action="store_true", help="measure what has a record, too")
    parser.add_argument("--json", type=Path, help="where to write all records as one file")
    parser.add_argument("--picture", type=Path, help="where to draw the performance profile")
    parser.add_argument("--write", type=Path, help="page with a pair of marker lines, for the table")
    return parser.parse_args(words)


def wanted(options: argparse.Namespace) -> Iterator[tuple[Path, str, Path]]:
    """File, variant and record of every problem that is asked for."""
    for path in found(options.folders):
        if options.problem and not path.name.startswith(tuple(options.problem)):
            continue
        if options.most and path.stat().st_size > options.most:
            continue
        for variant in options.variant:
            name = f"{path.parent.name}.{path.name}{variant and '.' + variant.replace(' ', '-')}"
            yield path, variant, options.out / f"{name}.json"


def measured(path: Path, variant: str, record: Path, options: argparse.Namespace) -> dict[str, Any]:
    """The facts of one problem; ``ended``: what ended its process early, and in which part."""
    if options.again or not record.exists():
        record.unlink(missing_ok=True)
        command = [sys.executable, "-m", "benchmarks.campaigns.collections.measure", str(path), variant, str(record)]
        command += ["--count", str(options.count), *(["--native"] if options.native else [])]
        try:
            ended = subprocess.run(command, capture_output=True, text=True, timeout=options.limit, check=False)
            words = ended.stderr.strip().splitlines()[-1:] if ended.returncode else []
            reason = "".join(words) if words or not ended.returncode else f"exit code {ended.returncode}"
        except subprocess.TimeoutExpired:
            reason = f"more than {options.limit:g} s"
        facts = json.loads(record.read_text()) if record.exists() else {"seconds": {}, "runs": {}, "part": "reading"}
        facts |= {"collection": path.parent.name, "name": path.name.partition(".")[0], "variant": variant, "ended": reason}
        record.write_text(json.dumps(facts, indent=1))
    facts = json.loads(record.read_text())
    assert isinstance(facts, dict)
    return facts


def main(words: list[str] | None = None) -> int:
    """Measure and report; the exit code."""
    options = arguments(words)
    options.out.mkdir(parents=True, exist_ok=True)
    table, trials = Table(*COLUMNS, title="public collections"), Trials()
    for path, variant, record in wanted(options):
        facts = measured(path, variant, record, options)
        trials.add(facts)
        row = cells(facts)
        print(*row, sep="\t", file=sys.stderr, flush=True)
        table.add_row(*row)
    Console(width=200).print(table)
    if options.json:
        options.json.write_text(json.dumps(trials.facts, indent=1))
    if options.picture:
        draw(trials, options.picture)
    kept = promises(trials)
    if options.write:
        options.write.write_text(insert(options.write.read_text(), markdown(trials, kept)))
    return judged(kept)


if __name__ == "__main__":
    sys.exit(main())
