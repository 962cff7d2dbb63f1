"""Runs contenders side by side: one process each, the same arrays for all, repeats interleaved round-robin.

For one family and batch, every contender is built and warmed up; then rounds follow in which each is timed once, so that a noisy
moment of the machine falls on all of them. A contender whose call would exceed the limit (judged by its previous batch size) is
skipped, and the result says so.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sysconfig
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.compare.cases import Cases
from benchmarks.compare.conic_cases import ConicCases, cases_of
from benchmarks.compare.contenders import CONTENDERS
from benchmarks.compare.environments import REQUIREMENTS, ROOT, ensure, python_of
from problems.conic_families import ALL

CHECK_BATCH = 8
MODES = ("forward", "gradient")
SAMPLE_SECONDS = 0.01  # a sample repeats calls until it is about this long


@dataclass
class Cell:
    """One contender on one family at one batch: quartiles of seconds per call by mode, or a note why there are none."""

    family: str
    batch: int
    contender: str
    note: str = ""
    construction: float | None = None
    times: dict[str, list[float]] = field(default_factory=dict)
    samples: dict[str, int] = field(default_factory=dict)


@dataclass
class Accuracy:
    """Errors on the check batch: of the solution (largest absolute), of the gradient (relative, all parameters at once)."""

    family: str
    contender: str
    solution: float | None = None
    gradient: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Plan:
    """What to run. ``budget``: seconds of samples per cell and mode; ``limit``: seconds that one call may take."""

    families: Sequence[str]
    batches: Sequence[int]
    contenders: Sequence[str]
    budget: float
    limit: float
    repeats: tuple[int, int]  # fewest and most samples

    @property
    def patience(self) -> float:
        """Seconds that building a contender, with whatever it compiles, or its first call may take."""
        return max(4 * self.limit, 60.0)


class WorkerError(Exception):
    """The contender failed, does not support the family, or took too long."""


class Remote:
    """A worker process: started when first asked, killed when it exceeds a time limit."""

    def __init__(self, name: str, log: Path, build: Path | None = None) -> None:
        """``build`` is a folder with another build of this package, which the process finds instead of the installed one."""
        self.name, self.log, self.build = name, log, build
        self.process: subprocess.Popen[str] | None = None

    def _start(self) -> subprocess.Popen[str]:
        environment = CONTENDERS[self.name].environment
        ensure(environment)
        # Every contender may use all cores; the peers must not see this package's sources.
        env = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "MKL_", "OPENBLAS_"))}
        paths = [str(ROOT), *([] if environment in REQUIREMENTS else [env.get("PYTHONPATH", "")])]
        if self.build:  # without the site module, which would find the editable install first
            paths = [str(ROOT), str(self.build), sysconfig.get_path("platlib")]
        env["PYTHONPATH"] = os.pathsep.join(paths)
        command = [str(python_of(environment)), *(["-S"] if self.build else []), "-m", "benchmarks.compare.worker", self.name]
        pipe = subprocess.PIPE
        with self.log.open("a") as log:
            return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=log, text=True, env=env, cwd=ROOT)

    def ask(self, op: str, timeout: float, **arguments: Any) -> Any:
        """Send a request, wait for the value. Raises WorkerError with a message for the report."""
        if self.process is not None and self.process.poll() is not None:
            died = self._died()
            if op != "load":  # anything else needs what was loaded
                raise died
        if self.process is None:
            self.process = self._start()
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(json.dumps({"op": op, **arguments}), file=self.process.stdin, flush=True)
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            if not selector.select(timeout):
                self.close()
                raise WorkerError(f"more than {timeout:.0f} s")
        line = self.process.stdout.readline()
        if not line:
            raise self._died()
        reply = json.loads(line)
        if "value" not in reply:
            raise WorkerError(reply.get("unsupported") or reply["error"])
        return reply["value"]

    def _died(self) -> WorkerError:
        assert self.process is not None
        code = self.process.wait()
        self.process = None
        return WorkerError(f"the process died ({signal.Signals(-code).name if code < 0 else f'exit status {code}'})")

    def close(self) -> None:
        """End the process."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


class Run:
    """One execution of a plan; ``cells`` and ``accuracies`` grow as it goes, ``tell`` hears a line per step."""

    def __init__(self, plan: Plan, tell: Callable[[str], None]) -> None:
        self.plan, self.tell = plan, tell
        self.cells: list[Cell] = []
        self.accuracies: list[Accuracy] = []
        self.folder = tempfile.TemporaryDirectory(prefix="cvxpylayers-bench-")
        self.path = Path(self.folder.name)
        self.remotes = {name: Remote(name, self.path / f"{name}.log") for name in plan.contenders}

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_: object) -> None:
        for remote in self.remotes.values():
            remote.close()
        self.folder.cleanup()

    def versions(self) -> dict[str, dict[str, str]]:
        """Versions of the packages behind each contender; starts all workers, so that a missing environment is found at once."""
        return {name: remote.ask("versions", 120.0) for name, remote in self.remotes.items()}

    def run(self) -> Iterator[None]:
        """Measure everything in the plan; pauses after every family and batch size, when there is something to write."""
        for family in self.plan.families:
            cases = cases_of(ALL[family])
            paces = self._check(cases)
            for batch in self.plan.batches:
                self._measure(cases, batch, paces)
                yield

    def _check(self, cases: Cases | ConicCases) -> dict[str, dict[str, float]]:
        """Accuracy of every contender; gives the seconds per instance of the modes in which it works."""
        case, name = self.path / "case.npz", cases.family.name
        draw = cases.draw_check(CHECK_BATCH)
        cases.case(draw).save(case)
        solution, gradient = cases.reference(draw)
        paces: dict[str, dict[str, float]] = {}
        for contender, remote in self.remotes.items():
            accuracy = Accuracy(name, contender)
            self.accuracies.append(accuracy)
            try:
                remote.ask("load", self.plan.patience, path=str(case))
                result, seconds = self._try(contender, "forward")
                accuracy.solution = cases.solution_error(result, solution)
                paces[contender] = {"forward": seconds / CHECK_BATCH}
                result, seconds = self._try(contender, "gradient")
                accuracy.gradient = cases.gradient_error(result, gradient, draw)
                paces[contender]["gradient"] = seconds / CHECK_BATCH
            except WorkerError as error:
                accuracy.note = str(error)
            errors = [f"{e:.0e}" if e is not None else "-" for e in (accuracy.solution, accuracy.gradient)]
            self.tell(f"{name:22} check  {contender:12} solution {errors[0]:6} gradient {errors[1]:6} {accuracy.note}")
        return paces

    def _try(self, name: str, mode: str) -> tuple[dict[str, Any], float]:
        """What a call gives, and how long it takes; a short one is timed once more, as the first call loads and tunes."""
        path = self.path / "result.npz"
        seconds = self.remotes[name].ask("check", self.plan.patience, mode=mode, path=str(path))
        with np.load(path) as file:
            return dict(file), seconds if seconds > 1.0 else self._time(name, mode, 1)

    def _measure(self, cases: Cases | ConicCases, batch: int, paces: dict[str, dict[str, float]]) -> None:
        """Add one cell per contender that passed the check; its pace is updated for the next batch size."""
        case = self.path / "case.npz"
        cases.case(cases.draw(batch)).save(case)
        cells = {name: Cell(cases.family.name, batch, name) for name in paces}
        self.cells += cells.values()
        warm: dict[tuple[str, str], float] = {}
        for name, cell in cells.items():
            expected = max(paces[name].values()) * batch
            if expected > self.plan.limit:
                cell.note = f"skipped: a call would take about {expected:.0f} s"
                continue
            try:
                cell.construction = self.remotes[name].ask("load", self.plan.patience, path=str(case))
                for mode in paces[name]:  # twice: the first call tunes, allocates and loads code
                    warm[name, mode] = min(self._time(name, mode, 1) for _ in range(2 if expected < 1.0 else 1))
                    paces[name][mode] = warm[name, mode] / batch
            except WorkerError as error:
                cell.note = str(error)
        self._rounds(cells, warm)
        for mode in MODES:
            medians = {name: cell.times[mode][1] / batch * 1e6 if mode in cell.times else np.nan for name, cell in cells.items()}
            speeds = "  ".join(f"{name} {median:.3g}" for name, median in medians.items())
            self.tell(f"{cases.family.name:22} × {batch:<5} {mode:8} µs/instance: {speeds}")

    def _time(self, name: str, mode: str, number: int) -> float:
        return float(self.remotes[name].ask("time", self.plan.patience * number, mode=mode, number=number))

    def _rounds(self, cells: dict[str, Cell], warm: dict[tuple[str, str], float]) -> None:
        """Interleave: each round times every contender and mode that still has samples to take."""
        fewest, most = self.plan.repeats
        wanted = {key: int(np.clip(self.plan.budget / max(t, SAMPLE_SECONDS), fewest, most)) for key, t in warm.items()}
        wanted = {key: 1 if warm[key] > self.plan.budget else count for key, count in wanted.items()}
        samples: dict[tuple[str, str], list[float]] = {key: [] for key in warm}
        failed: set[tuple[str, str]] = set()
        for round_ in range(max(wanted.values(), default=0)):
            for key in [key for key, count in wanted.items() if round_ < count and key not in failed]:
                try:
                    samples[key].append(self._time(*key, max(1, round(SAMPLE_SECONDS / warm[key]))))
                except WorkerError as error:
                    alive = self.remotes[key[0]].process is not None
                    failed |= {key} if alive else {(key[0], mode) for mode in MODES}
                    cells[key[0]].note = str(error)
        for (name, mode), values in samples.items():
            if values:
                cells[name].times[mode] = [float(q) for q in np.quantile(values, (0.25, 0.5, 0.75))]
                cells[name].samples[mode] = len(values)
