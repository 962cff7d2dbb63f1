"""What records of problems say: who solved what, whether it is right, a table, a performance profile, and promises."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib.figure import Figure

from benchmarks.campaigns.verdict import Promise
from benchmarks.compare.report import machine
from benchmarks.text import number
from cvxpylayers._program import Status

Facts = dict[str, Any]

# Optima of the literature or of two solvers at 1e-13, and SDPLIB's problems without a solution.
KNOWN: Final = {
    "LISWET1": "-2.489288e+03", "LISWET9": "-5.620087e+02", "YAO": "-7.542074e+01", "POWELL20": "5.20895828e+10",
    "UBH1": "1.1160008", "control1": "1.778463e+01", "control2": "8.3", "theta1": "2.3e+01", "mcp100": "2.261574e+02",
    "mcp124-1": "1.419905e+02", "theta2": "3.287917e+01", "arch0": "5.66517e-01", "gpp100": "-4.49435e+01", "qap5": "-4.36e+02",
    "truss1": "-8.999996", "truss3": "-9.109996", "truss7": "-9.000014e+02", "hinf2": "1.0967056e+01",
}  # fmt: skip
# Infima that doubles do not resolve: in 400 bits (`collections.infimum`) they are 0, 330.1037, 58.44917, 0 and 0, at |x| from 1e13
# to 1e42; 2.0326, 362.2 and 116.1 of the literature are what rounding leaves. Whoever says `solved` claims too much.
UNRESOLVED: Final = frozenset({"hinf1", "hinf5", "hinf8", "hinf11", "hinf12"})
HOPELESS: Final = {"infd": Status.DUAL_INFEASIBLE, "infp": Status.PRIMAL_INFEASIBLE}  # codespell:ignore infp
VARIANT: Final = {"no point": Status.PRIMAL_INFEASIBLE, "no bound": Status.DUAL_INFEASIBLE}
SOLVERS: Final = {"default": "#d1495b", "native": "#8d1f33", "Clarabel": "#00798c", "PIQP": "#edae49"}
SAME: Final = 1e-6  # of objectives
PEERS: Final = ("Clarabel", "PIQP")  # which are believed, and right where their objective is
PROMISED: Final = 1e-8  # of residuals and gap


def truth(facts: Facts) -> Status:
    """What the status of the instances is."""
    of_variant = VARIANT.get(facts["variant"], Status.SOLVED)
    return next((status for start, status in HOPELESS.items() if facts["name"].startswith(start)), of_variant)


def known(facts: Facts, k: int) -> tuple[float, float] | None:
    """What the literature says of the objective of instance ``k``, and by how much it is rounded; None if nothing."""
    words = KNOWN.get(facts["name"]) if k == 0 and not facts["variant"] else None
    if words is None or "constant" not in facts:  # its process ended before anything was known
        return None
    digits, _, exponent = words.partition("e")
    unit = 10.0 ** (int(exponent or 0) - len(digits.partition(".")[2]))
    return float(words) + facts["constant"], unit


def reference(facts: Facts, name: str, k: int) -> tuple[float, float] | None:
    """The objective of instance ``k`` by the most accurate of the other solvers, or the literature, and how exact it is."""
    if (given := known(facts, k)) is not None:
        return given
    others = [run for other, run in facts["runs"].items() if other not in {name, *_SAME_ENGINE.get(name, ())}]
    solved = [(r["worst"][k], r["objective"][k]) for r in others if k < len(r["status"]) and r["status"][k] == Status.SOLVED]
    return (min(solved)[1], min(solved)[0] * abs(min(solved)[1])) if solved else None


_SAME_ENGINE: Final = {"default": ("native",), "native": ("default",)}


def verdict(facts: Facts, name: str, k: int = 0) -> str:
    """Whether solver ``name`` is right on instance ``k``, wrong, or has not solved it."""
    run, expected = facts["runs"].get(name), truth(facts)
    if run is None or k >= len(run["status"]):
        return "unsolved"
    status, given = run["status"][k], reference(facts, name, k)
    if facts["name"] in UNRESOLVED and not facts["variant"]:
        return "wrong" if status in {Status.SOLVED, *VARIANT.values()} else "right"
    if status in VARIANT.values():
        fair = expected == status or (expected == Status.SOLVED and k > 0 and given is None)
        return "right" if fair else "wrong"
    optimal = run["worst"][k] <= PROMISED  # whatever a solver says of it
    if status != Status.SOLVED and not optimal:
        return "unsolved"
    if expected != Status.SOLVED or not (optimal or name in PEERS):
        return "wrong"
    off = 0.0 if given is None else abs(run["objective"][k] - given[0]) - given[1]
    size = max(1.0, abs(run["objective"][k]), abs(run["objective"][k] - facts["constant"]))
    return "right" if off <= SAME * size else "wrong"


def verdicts(facts: Facts, name: str) -> list[str]:
    """Of all instances; a solver that was not asked about all of them has those that it was asked about."""
    run = facts["runs"].get(name)
    return [verdict(facts, name, k) for k in range(len(run["status"]) if run else facts.get("count", 1))]


@dataclass
class Trials:
    """The records of a campaign."""

    facts: list[Facts] = field(default_factory=list)

    def add(self, facts: Facts) -> None:
        """One more record."""
        self.facts.append(facts)

    def of(self, variants: bool) -> Iterator[Facts]:
        """The problems themselves, or those without a solution, SDPLIB's among them."""
        return (f for f in self.facts if (truth(f) != Status.SOLVED) == variants)

    def share(self, name: str, collection: str) -> tuple[int, int]:
        """How many problems of a collection a solver has right, and how many there are."""
        all_of_it = [f for f in self.of(variants=False) if f["collection"] == collection]
        return sum(verdict(f, name) == "right" for f in all_of_it), len(all_of_it)

    def collections(self) -> list[str]:
        return sorted({f["collection"] for f in self.facts})


# ---- the table -----------------------------------------------------------------------------------------------------------------

COLUMNS: Final = (
    "problem", "variant", "n", "m", "objective", *(f"{name} {what}" for name in SOLVERS for what in ("", "s")), "canon", "build",
    "ended",
)  # fmt: skip


def word(facts: Facts, name: str) -> str:
    """The status of the problem, and how many of its instances are right."""
    run = facts["runs"].get(name)
    if run is None:
        return "-"
    found = verdicts(facts, name)
    mark = "WRONG " if "wrong" in found else ""
    return f"{mark}{str(Status(run['status'][0]))[:12]} {found.count('right')}/{len(found)}"


def building(facts: Facts) -> float | None:
    """Seconds until a layer is built."""
    seconds = facts["seconds"]
    return seconds["compilation"] + seconds["plan"] if "plan" in seconds else None


def lateness(facts: Facts) -> float | None:
    """What building takes, relative to 1.5 of CVXPY's canonicalization or half of one solve by Clarabel, whichever is more."""
    seconds, took = facts["seconds"], building(facts)
    if took is None or "canonicalization" not in seconds:
        return None
    return took / max(1.5 * seconds["canonicalization"], 0.5 * seconds.get("Clarabel, one", 0.0))


def cells(facts: Facts) -> list[str]:
    """The row of a problem."""
    runs, given = facts["runs"], reference(facts, "", 0)
    sizes, objective = (str(facts.get(size, "")) for size in "nm"), "" if given is None else f"{given[0]:.8g}"
    shown = [facts["name"], facts["variant"], *sizes, objective]
    for name in SOLVERS:
        shown += [word(facts, name), number(runs[name]["seconds"] if name in runs else None)]
    ended = f"{facts['ended']} in {facts['part']}" if facts["ended"] else ""
    return [*shown, number(facts["seconds"].get("canonicalization")), number(building(facts)), ended]


def promises(trials: Trials) -> list[Promise]:
    """What must hold, what was found, and whether it does."""
    kept: list[Promise] = []
    for collection in trials.collections():
        least = {"maros": {"default": 1.0, "native": 0.97}}.get(collection, {"native": 0.95})
        for name, wanted in least.items():
            right, count = trials.share(name, collection)
            if count:
                kept.append((f"{collection}: {100 * wanted:g} % right, {name}", f"{right} of {count}", right >= wanted * count))
    ours = [verdict for f in trials.facts for name in ("default", "native") for verdict in verdicts(f, name)]
    kept.append(("no status or objective of ours is wrong", str(ours.count("wrong")), "wrong" not in ours))
    none = [v for f in trials.of(variants=True) for v in verdicts(f, "default")]
    if none:
        right = none.count("right")
        kept.append(("without a solution: 99.5 % right", f"{right} of {len(none)}", right >= 0.995 * len(none)))
    shares = [s for f in trials.facts if not f["variant"] and (s := lateness(f)) is not None]
    if shares:
        prompt, most = sum(s <= 1.0 for s in shares), max(shares)
        built = "built in 1.5 of CVXPY's canonicalization or half a solve of Clarabel's"
        kept.append((built, f"{prompt} of {len(shares)}, at most {most:.2f} of it", prompt == len(shares)))
    return kept


def markdown(trials: Trials, kept: list[Promise]) -> str:
    """The table of a page: how many problems each solver has right, and how fast."""
    lines = ["| right of | problems | " + " | ".join(SOLVERS) + " |", "|---|--:|" + "--:|" * len(SOLVERS)]
    for collection in trials.collections():
        shares = [trials.share(name, collection) for name in SOLVERS]
        lines.append(f"| {collection} | {shares[0][1]} | " + " | ".join(str(right) for right, _ in shares) + " |")
    none = list(trials.of(variants=True))
    right = [[v for f in none for v in verdicts(f, name)].count("right") for name in SOLVERS]
    total = sum(len(verdicts(f, "default")) for f in none)
    lines.append(f"| without a solution (instances) | {total} | " + " | ".join(map(str, right)) + " |")
    facts, ended = machine(), sum(bool(f["ended"]) for f in trials.facts)
    words = "; ".join(f"{promise}: {result}" for promise, result, _ in kept)
    where = f"{facts['processor']}, {facts['cores']} cores, one thread; {time.strftime('%Y-%m-%d')}"
    return "\n".join([*lines, "", f"{words[0].upper()}{words[1:]}; not finished in time: {ended}. {where}."])


# ---- the performance profile ---------------------------------------------------------------------------------------------------


def ratios(trials: Trials) -> dict[str, list[float]]:
    """By solver, the time of each problem relative to the fastest solver that is right on it; inf where the solver is not."""
    found: dict[str, list[float]] = {name: [] for name in SOLVERS}
    for facts in trials.of(variants=False):
        times = {n: facts["runs"][n]["seconds"] if verdict(facts, n) == "right" else math.inf for n in SOLVERS}
        best = min(times.values())
        for name, seconds in times.items():
            found[name].append(seconds / best if math.isfinite(best) else math.inf)
    return found


def draw(trials: Trials, path: Path) -> None:
    """The share of problems that a solver has right within a factor of the fastest (Dolan, Moré 2002)."""
    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    axis = figure.subplots()
    for name, times in ratios(trials).items():
        steps = np.sort(np.array(times))
        share = np.arange(1, len(steps) + 1) / max(len(steps), 1)
        inside = np.isfinite(steps)
        if inside.any():
            x, y = np.append(np.maximum(steps[inside], 1.0), 1e3), np.append(share[inside], share[inside][-1])
            axis.step(x, y, where="post", color=SOLVERS[name], label=name, lw=2)
    axis.set(xscale="log", xlim=(1, 1e3), ylim=(0, 1.02), xlabel="processor time, × the fastest", ylabel="problems solved")
    axis.grid(visible=True, color="#e6e6e6")
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False, loc="lower right")
    figure.savefig(path, dpi=150)
