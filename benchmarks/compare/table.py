"""Writes the benchmark table from results: ``python -m benchmarks.compare.table RESULTS... [--page docs/benchmarks.md]``.

``benchmarks.compare.pictures`` draws it. The table stands between the two marker lines of the page, and nobody types it. It has the
linear and quadratic families and those of other cones, each with their means, from one run of all of them on a quiet machine,

    python -m benchmarks --batch 128 --budget 0.5 --limit 20 --out out/full
    python -m benchmarks.compare.table out/full/results.json

or from several, for example after only some families have changed:

    python -m benchmarks --batch 128 --budget 0.5 --limit 20 --out out/cones --family entropy_30 logistic_20x5
    python -m benchmarks.compare.table out/full/results.json out/cones/results.json
"""

from __future__ import annotations

import argparse
import textwrap
from pathlib import Path

from benchmarks.compare.contenders import CONTENDERS, OURS
from benchmarks.compare.report import DEFAULT_1X, MOREAU, Results, mean
from benchmarks.text import insert, number
from problems.conic_families import ALL, CONIC

HEADINGS = {"gradient": "forward + backward", "forward": "forward"}


def markdown(results: Results, batch: int) -> str:
    """The table at one batch size, with the geometric means of each kind of family, and where it was measured."""
    rows = ["| µs per instance | " + " | ".join(f"{h} | best peer | × | × 1.x" for h in HEADINGS.values()) + " |"]
    rows.append("|---|" + "--:|:--|--:|--:|" * len(HEADINGS))
    kinds = _kinds(results)
    for kind, families in kinds.items():
        for family in families:
            entries = [_entries(results, family, batch, mode) for mode in HEADINGS]
            rows.append(f"| {family.replace('_', ' ')} | {' | '.join(entries)} |")
        means = []
        for mode in HEADINGS:
            peer = mean(results.ratio(f, batch, mode) for f in families)
            default = mean(results.ratio_to_default(f, batch, mode) for f in families)
            means.append(f" |  | **{peer}** | **{default}**")
        rows.append(f"| geometric mean{f', {kind}' * (len(kinds) > 1)} | {' | '.join(means)} |")
    return "\n".join([*rows, "", _footnote(results, batch)])


def _kinds(results: Results) -> dict[str, list[str]]:
    """The families of each kind that was measured, in the order of the benchmark."""
    place = {family: k for k, family in enumerate(ALL)}
    families = sorted(results.families, key=lambda family: place.get(family, -1))
    kinds = {
        "linear and quadratic programs": [family for family in families if family not in CONIC],
        "other cones": [family for family in families if family in CONIC],
    }
    return {kind: members for kind, members in kinds.items() if members}


def _footnote(results: Results, batch: int) -> str:
    moreau = [
        f"{mean((results.ratio(f, batch, 'gradient', MOREAU) for f in families), '×')} in the mean over families of {kind}"
        for kind, families in _kinds(results).items()
    ]
    machine, versions = results.facts["machine"], results.facts["versions"]
    packages = sorted({f"{p} {v}" for name, table in versions.items() if name != OURS for p, v in table.items()})
    layers = "; on families of other cones they are measured through layers alone" if "other cones" in _kinds(results) else ""
    words = (
        f"Medians of whole calls on {batch} instances, from PyTorch tensors to PyTorch tensors. Peers that take cone programs "
        f"(Moreau's compiled solver, qpth) get them ready-made{layers}. × compares this package with the fastest peer that is "
        f"right, × 1.x with {CONTENDERS[DEFAULT_1X].title}; where a mean stands on fewer families than there are, it says so. "
        f"Against Moreau's best mode, forward + backward: {' and '.join(moreau)}. "
        f"{machine['processor']}, {machine['cores']} cores; {results.facts['date'][:10]}; {', '.join(packages)}."
    )
    return textwrap.fill(words, 130, break_on_hyphens=False)


def _entries(results: Results, family: str, batch: int, mode: str) -> str:
    best = results.best(family, batch, mode)
    peer = f"{number(best[1])} {CONTENDERS[best[0]].title}" if best else "-"
    ratios = results.ratio(family, batch, mode), results.ratio_to_default(family, batch, mode)
    return " | ".join([number(results.time(family, batch, OURS, mode)), peer, *(number(r) for r in ratios)])


def main() -> None:
    """Rewrite the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare.table", description="Writes the benchmark table.")
    parser.add_argument("results", type=Path, nargs="+", help="results.json of one run or more; later ones replace families")
    parser.add_argument("--page", type=Path, default=Path("docs/benchmarks.md"))
    parser.add_argument("--batch", type=int, default=128)
    options = parser.parse_args()
    table = markdown(Results.joined([Results.load(path) for path in options.results]), options.batch)
    options.page.write_text(insert(options.page.read_text(), table))


if __name__ == "__main__":
    main()
