"""This working tree against another commit: ``python -m benchmarks.compare.branch BASE``, where BASE is anything that git knows.

BASE is built in a worktree of its own under ``build/``. Each family is called as users call it, through PyTorch, forward and
backward, in two processes that take turns on the same arrays; both run the benchmark of this tree. The table shows the median and
the quartiles of the ratios, turn by turn, and the ratio of the fastest turns: above 1, this tree is slower. What looks slower than
allowed is measured again in fresh processes, as where one lies in memory is worth a few percent. The exit code is 1 if it stays so.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from rich.table import Table

from benchmarks.compare.cases import layer_case
from benchmarks.compare.contenders import OURS
from benchmarks.compare.environments import ROOT
from benchmarks.compare.report import geometric_mean
from benchmarks.compare.runner import Remote
from benchmarks.text import console
from problems.conic_families import ALL

PATIENCE = 120.0  # seconds for a build of a layer, or a turn
TURN = 0.02  # seconds that a turn is made to last by repeating the call


def built(base: str) -> Path:
    """The folder with the package of the commit ``base``, built unless it has been before."""
    git = ["git", "-C", str(ROOT)]
    commit = subprocess.run([*git, "rev-parse", f"{base}^{{commit}}"], check=True, capture_output=True, text=True).stdout.strip()
    folder = ROOT / "build" / "branch" / commit[:12]
    tree, site = folder / "tree", folder / "site"
    if not site.exists():
        if not tree.exists():
            subprocess.run([*git, "worktree", "add", "--detach", str(tree), commit], check=True, stdout=subprocess.DEVNULL)
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-build-isolation", "--no-deps"]
        try:
            subprocess.run(
                [*pip, "--config-settings", f"build-dir={folder / 'cmake'}", "--target", str(site), str(tree)], check=True
            )
        finally:
            subprocess.run([*git, "worktree", "remove", "--force", str(tree)], check=True)
    return site


@dataclass
class Cell:
    """One family at one batch size: seconds of a call of this tree and of the other, turn by turn."""

    family: str
    batch: int
    turns: list[tuple[float, float]] = field(default_factory=list)

    @property
    def ratios(self) -> tuple[float, float, float]:
        """Lower quartile, median and upper quartile of this tree's time over the other's."""
        ours, theirs = np.array(self.turns).T
        low, middle, high = np.quantile(ours / theirs, (0.25, 0.5, 0.75))
        return float(low), float(middle), float(high)

    @property
    def best(self) -> float:
        """The ratio of the fastest turns, which a busy machine disturbs least."""
        ours, theirs = np.array(self.turns).min(axis=0)
        return float(ours / theirs)

    def slower(self, limit: float) -> bool:
        """Whether both ratios say so."""
        return min(self.ratios[1], self.best) > limit

    def row(self) -> list[str]:
        each = [f"{t / self.batch * 1e6:.4g}" for t in np.median(np.array(self.turns), axis=0)]
        low, middle, high = (f"{ratio:.3f}" for ratio in self.ratios)
        return [self.family, str(self.batch), *each, middle, f"{low} … {high}", f"{self.best:.3f}", str(len(self.turns))]


def timed(remote: Remote, number: int) -> float:
    """Seconds of a call, forward and backward."""
    return float(remote.ask("time", PATIENCE, mode="gradient", number=number))


def measure(cells: list[Cell], site: Path, budget: float, work: Path) -> None:
    """Adds turns of about ``budget`` seconds to every cell, from one pair of fresh processes."""
    pair = [Remote(OURS, work / "ours.log"), Remote(OURS, work / "theirs.log", site)]
    try:
        for cell in cells:
            layer_case(ALL[cell.family], cell.batch).save(work / "case.npz")
            for remote in pair:
                remote.ask("load", PATIENCE, path=str(work / "case.npz"))
            call = min(timed(remote, 1) for _ in range(3) for remote in pair)
            number = max(1, round(TURN / call))
            for turn in range(max(5, round(budget / (2 * (number + 1) * call)))):
                order = (0, 1) if turn % 2 == 0 else (1, 0)
                taken = {k: timed(pair[k], number) for k in order}
                cell.turns.append((taken[0], taken[1]))
    finally:
        for remote in pair:
            remote.close()


def main() -> int:
    """Build, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare.branch", description=__doc__)
    parser.add_argument("base", metavar="BASE", help="commit, tag or branch")
    parser.add_argument("--family", nargs="+", choices=ALL, default=list(ALL), metavar="NAME", help=", ".join(ALL))
    parser.add_argument("--batch", nargs="+", type=int, default=[128, 1], metavar="B")
    parser.add_argument("--budget", type=float, default=4.0, metavar="S", help="seconds per family and batch size (%(default)s)")
    parser.add_argument("--allow", type=float, default=0.02, metavar="X", help="how much slower a family may be (%(default)s)")
    parser.add_argument("--again", type=int, default=2, metavar="N", help="repeats for what looks slower (%(default)s)")
    options = parser.parse_args()
    site, limit = built(options.base), 1.0 + options.allow
    cells = slower = [Cell(family, batch) for family in options.family for batch in options.batch]
    with tempfile.TemporaryDirectory(prefix="cvxpylayers-branch-") as work:
        for _ in range(1 + options.again):
            measure(slower, site, options.budget, Path(work))
            slower = [cell for cell in cells if cell.slower(limit)]
    table = Table("family", "batch", title=f"forward + backward, this tree against {options.base}")
    for heading in ("µs each, this tree", options.base, "ratio", "quartiles", "of the fastest", "turns"):
        table.add_column(heading, justify="right")
    for cell in cells:
        table.add_row(*cell.row(), style="bold" if cell in slower else "")
    console().print(table)
    for batch in options.batch:
        mean = geometric_mean([cell.ratios[1] for cell in cells if cell.batch == batch])
        console().print(f"batch {batch}: geometric mean of the ratios {mean:.3f}")
    console().print(f"slower than {limit:g}: {', '.join(f'{cell.family} × {cell.batch}' for cell in slower) or 'no family'}")
    return int(bool(slower))


if __name__ == "__main__":
    sys.exit(main())
