"""Does the native engine tell the truth on cones? ``python -m benchmarks.campaigns.conic_truth``: random programs of every mix.

Each instance is built around its solution or certificate (``problems.conic``), so that status, objective and x are known exactly;
Clarabel solves every one as well. The exit code is 1 if one of the promises printed under the table is broken.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from itertools import combinations

import numpy as np
from rich.console import Console
from rich.progress import track

from benchmarks.campaigns.truth import distance
from benchmarks.campaigns.verdict import Promise, judged, share, tabulated, worst
from cvxpylayers._engines.foreign.clarabel import solve_instance
from cvxpylayers._engines.native.engine import NativeEngine
from cvxpylayers._program import Status
from problems.conic import dual_infeasible, primal_infeasible, random_conic, rescaled
from problems.mixes import CONES, random_cones
from problems.programs import Draw

Rng = np.random.Generator
BATCH = 32  # instances of one pattern: half of them solvable, a quarter of each kind of infeasible ones
NEAR = 1e-6


@dataclass
class Tally:
    """Counts and worst cases of one group of instances; ``+`` joins groups."""

    instances: int = 0
    solvable: int = 0
    right: int = 0  # status as known
    alone: int = 0  # the same without the fallback
    peer: int = 0  # Clarabel's status as known
    same: int = 0  # status as Clarabel's
    fallback: int = 0  # of solvable instances
    objective: list[float] = field(default_factory=list)
    x: list[float] = field(default_factory=list)
    peer_x: list[float] = field(default_factory=list)
    iterations: int = 0
    peer_iterations: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


def examine(d: Draw, expected: Status) -> Tally:
    """Solve with and without the fallback, and with Clarabel; compare with what is known."""
    native = NativeEngine(d.compiled, {})
    found, alone = (native.solve(d.batch, {"fallback": help_}, tape=True) for help_ in (True, False))
    assert found.tape is not None
    tally, parts = Tally(instances=d.batch.size), d.compiled.structure.split((d.compiled.M @ d.batch.theta().T).T)
    values = (d.compiled.M @ d.batch.theta().T).T
    for i in range(d.batch.size):
        mine, other = Status(int(found.status[i])), solve_instance(d.compiled.structure, values[i], tolerance=1e-9)
        tally.right += agree(mine, expected)
        tally.alone += agree(Status(int(alone.status[i])), expected)
        tally.peer += agree(other.status, expected)
        tally.same += agree(mine, other.status)
        if expected is not Status.SOLVED:
            continue
        tally.solvable += 1
        tally.fallback += bool(found.fallback[i])
        tally.iterations += int(alone.iterations[i])
        tally.peer_iterations += other.iterations
        if mine.solved:
            true = 0.5 * (parts[1][i] @ d.x[i] - parts[3][i] @ d.z[i])
            tally.objective.append(distance(np.float64(found.objective[i]), np.float64(true)))
            tally.x.append(distance(found.tape.x[i], d.x[i]))
        if other.status.solved:
            tally.peer_x.append(distance(other.x, d.x[i]))
    return tally


def agree(status: Status, expected: Status) -> bool:
    """Equal, or both with a solution."""
    return status == expected or (status.solved and expected.solved)


def pattern(rng: Rng, kinds: tuple[str, ...], decades: float) -> Tally:
    """One random pattern of these kinds: solvable and infeasible instances, n up to 60."""
    while True:
        cones, n = random_cones(rng, int(rng.choice([8, 20, 40])), kinds), int(rng.integers(2, 61))
        rank = int(rng.choice([n, n, rng.integers(0, n + 1)]))
        if cones.zero <= n - 1 and (rank == n or cones.rows >= 2 * (n - rank)):
            break
    density = float(rng.choice([1.0, 0.5, 0.2]))
    try:
        good = random_conic(rng, n, cones, BATCH // 2, rank=rank, density=density)
    except ValueError:  # these cones cannot pin x down where P is flat
        good = random_conic(rng, n, cones, BATCH // 2, density=density)
    tally = examine(rescaled(rng, good, decades), Status.SOLVED)
    for make, status in ((primal_infeasible, Status.PRIMAL_INFEASIBLE), (dual_infeasible, Status.DUAL_INFEASIBLE)):
        tally += examine(rescaled(rng, make(rng, n, cones, BATCH // 4), decades), status)
    return tally


def rows(count: int) -> Iterator[tuple[str, str, Iterator[Tally]]]:
    """Group, name, and the tallies of every row of the table; about ``count`` instances in each."""
    rng, patterns = np.random.default_rng(0), max(1, count // BATCH)

    def row(kinds: tuple[str, ...], decades: float = 0.0) -> Iterator[Tally]:
        return (pattern(rng, kinds, decades) for _ in range(patterns))

    for kind in CONES[2:]:
        yield "alone", kind, row((kind,))
    for pair in combinations(CONES[1:], 2):
        yield "pairs", " and ".join(pair), row(pair)
    yield "together", "all", row(CONES)
    for decades in (1.0, 2.0, 4.0):
        yield "scaled", f"all, scales 1e±{decades:.0f}", row(CONES, decades)


COLUMNS = (
    "", "instances", "status %", "alone %", "Clarabel %", "same %", "fallback %", "max |Δf|", "median |Δx|", "max |Δx|",
    "Clarabel's", "iterations", "Clarabel's",
)  # fmt: skip


def cells(t: Tally) -> list[str]:
    median = f"{np.median(t.x):.0e}" if t.x else ""
    return [
        str(t.instances), share(t.right, t.instances), share(t.alone, t.instances), share(t.peer, t.instances),
        share(t.same, t.instances), share(t.fallback, t.solvable), worst(t.objective), median, worst(t.x), worst(t.peer_x),
        f"{t.iterations / max(1, t.solvable):.1f}", f"{t.peer_iterations / max(1, t.solvable):.1f}",
    ]  # fmt: skip


def promises(t: Tally) -> list[Promise]:
    """What must hold, what was found, and whether it does."""
    far = int(np.sum(np.array(t.x) > NEAR))
    return [
        ("at least 20 000 instances", str(t.instances), t.instances >= 20_000),
        ("statuses right on 99.5 %", share(t.right, t.instances), t.right >= 0.995 * t.instances),
        ("the same status as Clarabel on 99.5 %", share(t.same, t.instances), t.same >= 0.995 * t.instances),
        ("objectives within 1e-6", worst(t.objective), max(t.objective) <= 1e-6),
        ("solutions within 1e-6 on 99.5 %", f"{far} of {len(t.x)} further", far <= 0.005 * len(t.x)),
        ("fallback under 1 % of solvable ones", share(t.fallback, t.solvable), t.fallback < 0.01 * t.solvable),
    ]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.campaigns.conic_truth", description=__doc__)
    parser.add_argument("--count", type=int, default=1344, help="instances of each row (default 1344, 22 848 in all)")
    parser.add_argument("--only", default="", help="rows whose name contains this; no promises are judged")
    options = parser.parse_args(arguments)
    chosen = [row for row in rows(options.count) if options.only in row[1]]
    tallied = ((group, name, sum(found, Tally())) for group, name, found in track(chosen, console=Console(stderr=True)))
    groups = tabulated("native engine on known conic programs", COLUMNS, tallied, cells)
    together = sum((tally for group, tally in groups.items() if group != "scaled"), Tally())
    return 0 if options.only else judged(promises(together))


if __name__ == "__main__":
    sys.exit(main())
