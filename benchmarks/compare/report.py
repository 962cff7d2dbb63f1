"""A run's results: the JSON file, the table, and the comparisons drawn from it."""

from __future__ import annotations

import json
import math
import os
import platform
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.table import Table

from benchmarks.compare.contenders import CONTENDERS, OURS
from benchmarks.compare.runner import CHECK_BATCH, MODES, Accuracy, Cell, Plan, Run
from benchmarks.text import number

# A contender further off than this on a family has not solved it: it is shown in brackets and is nobody's best peer.
SOLUTION_TOLERANCE, GRADIENT_TOLERANCE = 1e-3, 1e-2
MOREAU = ("1x-moreau", "moreau-auto", "moreau-ipm")
DEFAULT_1X = "1x"


def machine() -> dict[str, Any]:
    """Processor, cores, system and Python of this machine."""
    info = Path("/proc/cpuinfo")
    models = [line.split(":")[1].strip() for line in info.read_text().splitlines() if "model name" in line] if info.exists() else []
    return {
        "processor": models[0] if models else platform.processor(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "load": os.getloadavg()[0],
    }


@dataclass(frozen=True)
class Results:
    """What a run found. Times are microseconds per instance, medians."""

    facts: dict[str, Any]
    cells: list[Cell]
    accuracies: list[Accuracy]

    @classmethod
    def of(cls, run: Run, versions: dict[str, dict[str, str]], before: dict[str, Any]) -> Results:
        """Collect a finished run; ``before`` is the machine as it was at the start."""
        facts = {"date": datetime.now(UTC).isoformat(timespec="seconds"), "machine": before, "versions": versions}
        return cls(facts | {"plan": asdict(run.plan), "check_batch": CHECK_BATCH}, run.cells, run.accuracies)

    def save(self, path: Path) -> None:
        """Write as JSON."""
        document = self.facts | {"cells": [asdict(c) for c in self.cells], "accuracies": [asdict(a) for a in self.accuracies]}
        path.write_text(json.dumps(document, indent=1) + "\n")

    @classmethod
    def load(cls, path: Path) -> Results:
        """Read what ``save`` wrote."""
        document = json.loads(path.read_text())
        cells = [Cell(**c) for c in document.pop("cells")]
        return cls(document, cells, [Accuracy(**a) for a in document.pop("accuracies")])

    @classmethod
    def joined(cls, runs: Sequence[Results]) -> Results:
        """Several runs as one; a family comes whole from the last run that has it, as repeats are only interleaved within a run.

        Raises:
            ValueError: the runs are of different machines, or of different versions of a package.
        """
        machines = {tuple(run.facts["machine"].get(k) for k in ("processor", "cores")) for run in runs}
        if len(machines) > 1:
            raise ValueError(f"one table takes runs of one machine; these are of {' and '.join(map(str, machines))}")
        versions: dict[str, dict[str, str]] = {}
        for run in runs:
            for name, table in run.facts["versions"].items():
                if versions.setdefault(name, table) != table:
                    raise ValueError(f"one table takes one version of each package; {name} ran with {versions[name]} and {table}")
        source = {family: run for run in runs for family in run.families}
        return cls(
            {**runs[-1].facts, "versions": versions},
            [c for family, run in source.items() for c in run.cells if c.family == family],
            [a for family, run in source.items() for a in run.accuracies if a.family == family],
        )

    @property
    def families(self) -> list[str]:
        """Families in the order of the run."""
        return list(dict.fromkeys(a.family for a in self.accuracies))

    @property
    def batches(self) -> list[int]:
        """Batch sizes in the order of the run."""
        return list(dict.fromkeys(c.batch for c in self.cells))

    @property
    def contenders(self) -> list[str]:
        """Contenders in the order of their table."""
        present = {a.contender for a in self.accuracies}
        return [name for name in CONTENDERS if name in present]

    def cell(self, family: str, batch: int, contender: str) -> Cell | None:
        """The cell, if that contender got so far."""
        found = [c for c in self.cells if (c.family, c.batch, c.contender) == (family, batch, contender)]
        return found[0] if found else None

    def accuracy(self, family: str, contender: str) -> Accuracy:
        """The accuracy of a contender on a family; without errors where it was not asked."""
        found = (a for a in self.accuracies if (a.family, a.contender) == (family, contender))
        return next(found, Accuracy(family, contender))

    def time(self, family: str, batch: int, contender: str, mode: str) -> float | None:
        """Median microseconds per instance, whatever the accuracy."""
        cell = self.cell(family, batch, contender)
        return cell.times[mode][1] / batch * 1e6 if cell and mode in cell.times else None

    def correct(self, family: str, contender: str, mode: str) -> bool:
        """Whether the contender solves (and, for mode "gradient", differentiates) the family to the tolerances above."""
        found = self.accuracy(family, contender)
        solved = found.solution is not None and found.solution <= SOLUTION_TOLERANCE
        return solved and (mode == "forward" or (found.gradient is not None and found.gradient <= GRADIENT_TOLERANCE))

    def best(self, family: str, batch: int, mode: str, among: Iterable[str] | None = None) -> tuple[str, float] | None:
        """The fastest correct contender that is not of this package, and its time."""
        names = [n for n in (self.contenders if among is None else among) if not n.startswith(OURS) and n in self.contenders]
        times = [(t, n) for n in names if self.correct(family, n, mode) and (t := self.time(family, batch, n, mode)) is not None]
        return (min(times)[1], min(times)[0]) if times else None

    def ratio(self, family: str, batch: int, mode: str, among: Iterable[str] | None = None, contender: str = OURS) -> float | None:
        """How many times faster ours, or the given contender, is than the best of ``among`` (all peers)."""
        ours, best = self.time(family, batch, contender, mode), self.best(family, batch, mode, among)
        return best[1] / ours if ours and best else None

    def ratio_to_default(self, family: str, batch: int, mode: str) -> float | None:
        """How many times faster ours is than the 1.x default, right or wrong: it is what users leave behind."""
        ours, theirs = (self.time(family, batch, n, mode) for n in (OURS, DEFAULT_1X))
        return theirs / ours if ours and theirs else None


def measure(plan: Plan, tell: Callable[[str], None], keep: Callable[[Results], None]) -> Results:
    """Run the plan. ``keep`` gets what there is after every family and batch size; an interruption ends the run early."""
    before = machine()
    with Run(plan, tell) as run:
        versions = run.versions()
        try:
            for _ in run.run():
                keep(Results.of(run, versions, before))
        except KeyboardInterrupt:
            tell("interrupted; reporting what was measured")
        return Results.of(run, versions, before)


def geometric_mean(values: Iterable[float | None]) -> float | None:
    """Geometric mean of those that exist; None if none does."""
    logs = [math.log(v) for v in values if v]
    return math.exp(sum(logs) / len(logs)) if logs else None


def mean(values: Iterable[float | None], unit: str = "") -> str:
    """The geometric mean in words, with how many families it stands on if some are missing."""
    ratios = list(values)
    known = sum(v is not None for v in ratios)
    return number(geometric_mean(ratios), unit) + (f" ({known} of {len(ratios)})" if 0 < known < len(ratios) else "")


def table(results: Results) -> Table:
    """Every contender on every family: errors, then microseconds per instance, forward / forward + backward, per batch size."""
    output = Table()
    output.add_column("family / contender", no_wrap=True)
    for heading in ("x error", "gradient error", *(f"B = {b}" for b in results.batches)):
        output.add_column(heading, justify="right", no_wrap=True)
    for family in results.families:
        ratios = [" / ".join(number(results.ratio(family, b, mode), "×") for mode in MODES) for b in results.batches]
        output.add_row(f"[bold]{family}", "", "", *(f"[bold]{r}" if r != "- / -" else "" for r in ratios))
        for contender in results.contenders:
            found = results.accuracy(family, contender)
            errors = [f"{e:.0e}" if e is not None else "-" for e in (found.solution, found.gradient)]
            style = "green" if contender == OURS else ""
            output.add_row(f"  {CONTENDERS[contender].title}", *errors, *_times(results, family, contender), style=style)
        output.add_section()
    return output


def _times(results: Results, family: str, contender: str) -> list[str]:
    row = []
    for batch in results.batches:
        entries = []
        for mode in MODES:
            text = number(results.time(family, batch, contender, mode))
            entries.append(text if text == "-" or results.correct(family, contender, mode) else f"\\[{text}]")
        row.append(" / ".join(entries))
    return row


def summary(results: Results) -> str:
    """How to read the table, geometric means over families per batch size, and why entries are missing."""
    lines = [
        "µs per instance, forward / forward + backward, medians. [ ]: wrong answer. ×: this package against the best correct peer.",
    ]
    for batch in results.batches:
        for mode in MODES:
            ratios = {
                "best peer": [results.ratio(f, batch, mode) for f in results.families],
                "Moreau's best": [results.ratio(f, batch, mode, MOREAU) for f in results.families],
                "1.x default": [results.ratio_to_default(f, batch, mode) for f in results.families],
            }
            if any(map(any, ratios.values())):
                parts = ", ".join(f"{name} {mean(values, '×')}" for name, values in ratios.items())
                lines.append(f"B = {batch}, {mode}: geometric mean against {parts}")
    lines += [f"{a.family}, {CONTENDERS[a.contender].title}: {a.note}" for a in results.accuracies if a.note]
    lines += [f"{c.family} × {c.batch}, {CONTENDERS[c.contender].title}: {c.note}" for c in results.cells if c.note]
    return "\n".join(lines)
