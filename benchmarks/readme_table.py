"""Writes the README's benchmark table from a run: ``python -m benchmarks.readme_table out/benchmark/results.json [README.md]``.

The table stands between the two marker lines, and nobody types it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.contenders import CONTENDERS, OURS
from benchmarks.report import DEFAULT_1X, MOREAU, Results, mean, number

BEGIN, END = "<!-- benchmark:begin -->", "<!-- benchmark:end -->"
HEADINGS = {"gradient": "forward + backward", "forward": "forward"}


def markdown(results: Results, batch: int) -> str:
    """The table at one batch size, with the geometric means and where it was measured."""
    rows = ["| µs per instance | " + " | ".join(f"{h} | best peer | × | × 1.x" for h in HEADINGS.values()) + " |"]
    rows.append("|---|" + "--:|:--|--:|--:|" * len(HEADINGS))
    for family in results.families:
        entries = [_entries(results, family, batch, mode) for mode in HEADINGS]
        rows.append(f"| {family.replace('_', ' ')} | {' | '.join(entries)} |")
    means = []
    for mode in HEADINGS:
        peer = mean(results.ratio(f, batch, mode) for f in results.families)
        default = mean(results.ratio_to_default(f, batch, mode) for f in results.families)
        means.append(f" |  | **{peer}** | **{default}**")
    rows.append(f"| geometric mean | {' | '.join(means)} |")
    return "\n".join([*rows, "", _footnote(results, batch)])


def _footnote(results: Results, batch: int) -> str:
    moreau = mean((results.ratio(f, batch, "gradient", MOREAU) for f in results.families), "×")
    machine, versions = results.facts["machine"], results.facts["versions"]
    packages = sorted({f"{p} {v}" for name, table in versions.items() if name != OURS for p, v in table.items()})
    return (
        f"Medians of whole calls on {batch} instances, from PyTorch tensors to PyTorch tensors. Peers that take cone programs "
        "(Moreau's compiled solver, qpth) get them ready-made. × compares this package with the fastest peer that is right, "
        f"× 1.x with {CONTENDERS[DEFAULT_1X].title}. Against Moreau's best mode, forward + backward: {moreau} in the mean. "
        f"{machine['processor']}, {machine['cores']} cores; {results.facts['date'][:10]}; {', '.join(packages)}."
    )


def _entries(results: Results, family: str, batch: int, mode: str) -> str:
    best = results.best(family, batch, mode)
    peer = f"{number(best[1])} {CONTENDERS[best[0]].title}" if best else "-"
    ratios = results.ratio(family, batch, mode), results.ratio_to_default(family, batch, mode)
    return " | ".join([number(results.time(family, batch, OURS, mode)), peer, *(number(r) for r in ratios)])


def insert(text: str, table: str) -> str:
    """The text with the table between the markers. Raises ValueError if there is not exactly one pair of them, in order."""
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise ValueError(f"the file needs one line {BEGIN} and, below it, one line {END}")
    return text[: text.index(BEGIN) + len(BEGIN)] + "\n" + table + "\n" + text[text.index(END) :]


def main() -> None:
    """Rewrite the README."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.readme_table", description=__doc__)
    parser.add_argument("results", type=Path)
    parser.add_argument("readme", type=Path, nargs="?", default=Path("README.md"))
    parser.add_argument("--batch", type=int, default=128)
    options = parser.parse_args()
    table = markdown(Results.load(options.results), options.batch)
    options.readme.write_text(insert(options.readme.read_text(), table))


if __name__ == "__main__":
    main()
