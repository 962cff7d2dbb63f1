"""One problem in this process: ``python -m benchmarks.campaigns.collections.measure FILE VARIANT OUT``.

What is known is written to OUT after each part, so that what ends the process, a time limit or a lack of memory, loses one part.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from zlib import crc32

import clarabel
import cvxpy as cp
import numpy as np

from benchmarks.campaigns.collections.files import read
from benchmarks.campaigns.collections.model import Model, without_bound, without_points
from cvxpylayers._canon import compile_problem
from cvxpylayers._engines.engine import Engine
from cvxpylayers._engines.foreign.piqp import PiqpEngine
from cvxpylayers._engines.judge.clarabel import _STATUS, _cones
from cvxpylayers._engines.judge.judge import Claim
from cvxpylayers._engines.judge.point import Point
from cvxpylayers._engines.judge.program import Assembler, ConeProgram
from cvxpylayers._engines.judge.quality import measure
from cvxpylayers._engines.native.engine import NativeEngine
from cvxpylayers._engines.registry import automatic
from cvxpylayers._program import Batch, CompiledProblem, Status
from problems.families import Array

VARIANTS: Final[Mapping[str, Callable[[Model, np.random.Generator], Model]]] = {
    "": lambda model, _: model,
    "no point": without_points,
    "no bound": without_bound,
}
MEMORY = 12 << 30  # bytes that a problem may take
LONG = 5.0  # seconds for one instance from which on a peer is not asked about perturbations
BUILDS = 3  # of each kind, in turns; the fastest counts: the first ones import and touch memory for all


class Record:
    """What is known of a problem, kept in a file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.facts: dict[str, Any] = {"seconds": {}, "runs": {}}

    def write(self) -> None:
        """Let what is known survive this process."""
        part = self._path.with_suffix(".part")
        part.write_text(json.dumps(self.facts))
        part.replace(self._path)

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Keep what something takes of a processor, in seconds, at best; while it lasts, that it has begun."""
        self.facts["part"] = name
        self.write()
        start = time.process_time()
        yield
        seconds = self.facts["seconds"]
        seconds[name] = min(time.process_time() - start, seconds.get(name, math.inf))
        self.facts["part"] = ""
        self.write()


class Trial:
    """One compiled problem, the costs of its instances, and what is said of them."""

    def __init__(self, compiled: CompiledProblem, costs: Array, record: Record) -> None:
        self.compiled, self.record = compiled, record
        self.batch = Batch((np.ascontiguousarray(costs),), (len(costs),))
        assemble = Assembler(compiled.structure)
        self.programs = [assemble(compiled.M @ theta) for theta in self.batch.theta()]

    def ours(self, name: str, engine: Engine, **options: Any) -> None:
        """The first instance alone, timed, and all of them; points are measured anew."""
        one = Batch((self.batch.arrays[0][:1],), (1,))
        with self.record.timed(f"{name}, one"):
            engine.solve(one, options, tape=True)
        with self.record.timed(f"{name}, all"):
            found = engine.solve(self.batch, options, tape=True)
        assert found.tape is not None
        parts = zip(self.programs, found.tape.x, found.tape.z, found.tape.s, strict=True)
        worst = [measure(program, x, z, s).worst for program, x, z, s in parts]
        self.record.facts["runs"][name] = {
            "seconds": self.record.facts["seconds"][f"{name}, one"],
            "status": found.status.tolist(),
            "objective": found.objective.tolist(),
            "worst": worst,
            "iterations": found.iterations.tolist(),
            "fallback": found.fallback.tolist(),
        }
        self.record.write()

    def peer(self, name: str, solve: Callable[[ConeProgram], Claim]) -> None:
        """The same for a solver of single instances, which is believed: its status is its own."""
        with self.record.timed(f"{name}, one"):
            claims = [solve(self.programs[0])]
        seconds = self.record.facts["seconds"][f"{name}, one"]
        if seconds < LONG:
            with self.record.timed(f"{name}, all"):
                claims += [solve(program) for program in self.programs[1:]]
        points = [Point.near(p, np.asarray(c.x), np.asarray(c.z)) for p, c in zip(self.programs, claims, strict=False)]
        self.record.facts["runs"][name] = {
            "seconds": seconds,
            "status": [int(c.status) for c in claims],
            "objective": [p.quality.cost + program.d for p, program in zip(points, self.programs, strict=False)],
            "worst": [p.quality.worst for p in points],
            "iterations": [c.iterations for c in claims],
        }
        self.record.write()


def by_clarabel(program: ConeProgram) -> Claim:
    """What Clarabel says, by its own tolerances (1e-8)."""
    settings = clarabel.DefaultSettings()
    settings.verbose, settings.max_threads = False, 1
    blocks = _cones(program.cones)
    found = clarabel.DefaultSolver(program.P_upper, program.q, program.A, program.b, blocks, settings).solve()
    word = str(found.status)
    status = Status.SOLVED if word == "Solved" else _STATUS.get(word, Status.NUMERICAL_ERROR)
    return Claim(found.x, found.z, status, int(found.iterations))


def by_piqp(engine: PiqpEngine) -> Callable[[ConeProgram], Claim]:
    """What PIQP says, with the tolerances of Clarabel."""
    return lambda program: engine.claim(program, {"eps_abs": 1e-8, "eps_rel": 1e-8})


def run(model: Model, count: int, seed: int, record: Record, native_only: bool) -> None:
    """Build, solve and compare; ``native_only`` asks nobody else."""
    rng = np.random.default_rng(seed)
    costs = model.costs(count, rng)
    for _ in range(BUILDS):
        theirs, fresh = model.problem(constant=True), model.problem()
        if not native_only:
            with record.timed("canonicalization"):
                theirs.problem.get_problem_data(cp.CLARABEL)
        with record.timed("compilation"):
            compiled = compile_problem(*fresh)
    st = compiled.structure
    record.facts |= {"count": count, "constant": model.constant, "n": st.n, "m": st.m}
    kind, why = automatic(compiled, {})
    record.facts["automatic"] = f"{kind.name}: {why}"
    trial = Trial(compiled, costs, record)
    others = kind is not NativeEngine and not native_only  # first what is surely in time
    if others:
        trial.ours("default", kind(compiled, {}))
        trial.peer("Clarabel", by_clarabel)
    for _ in range(BUILDS):
        with record.timed("plan"):
            native: Engine = NativeEngine(compiled, {})
    trial.ours("native", native, fallback=False)
    if native_only:
        return
    if not others:
        trial.ours("default", native)
        trial.peer("Clarabel", by_clarabel)
    if st.cones.polyhedral:
        trial.peer("PIQP", by_piqp(PiqpEngine(compiled, {})))


def main() -> None:
    """Measure one problem."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.campaigns.collections.measure", description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("variant", choices=VARIANTS)
    parser.add_argument("out", type=Path)
    parser.add_argument("--count", type=int, default=4)
    parser.add_argument("--native", action="store_true")
    options = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    record = Record(options.out)
    seed = crc32(f"{options.file.name} {options.variant}".encode())
    with record.timed("reading"):
        model = VARIANTS[options.variant](read(options.file), np.random.default_rng(seed + 1))
    run(model, options.count, seed, record, options.native)


if __name__ == "__main__":
    main()
