"""Peak memory of this package's layer beyond its inputs and outputs: ``python -m benchmarks.micro.memory``.

Each measurement runs in a fresh process after one small warm-up call. The peak is that of the resident size during one call
(Linux keeps it, and lets a process reset it). Forward alone must need nothing per instance beyond what it returns; with gradients
the saved (x, z, s) and the gradients themselves come on top and are listed apart.
"""

from __future__ import annotations

import argparse
import multiprocessing
import re
from pathlib import Path

from rich.table import Table

from benchmarks.compare.cases import layer_case
from benchmarks.compare.contenders import Layer
from benchmarks.text import console
from problems.canonical import canonicalize
from problems.families import FAMILIES, SOME

MB = 1 / 2**20


def _status(key: str) -> int:
    """A size from the process's status, bytes."""
    found = re.search(rf"{key}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    if found is None:
        raise RuntimeError(f"no {key} in /proc/self/status")
    return int(found[1]) * 1024


def growth(family: str, batch: int, mode: str) -> dict[str, int]:
    """Bytes: the inputs, what the call returns, and by how much the resident peak rose during the call."""
    Layer(layer_case(FAMILIES[family], 64)).gradient()
    contender = Layer(layer_case(FAMILIES[family], batch))
    inputs = sum(p.nbytes for p in contender.parameters)
    outputs = sum(c.nbytes for c in contender.cotangents)
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    kept = {"forward": contender.forward, "gradient": contender.gradient}[mode]()
    peak = _status("VmHWM") - before
    del kept
    return {"inputs": inputs, "returned": outputs if mode == "forward" else outputs + inputs, "peak": peak}


def _in_fresh_process(family: str, batch: int, mode: str) -> dict[str, int]:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(growth, (family, batch, mode))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.micro.memory", description=__doc__)
    parser.add_argument("--family", nargs="+", choices=FAMILIES, default=SOME, metavar="NAME")
    parser.add_argument("--batch", nargs="+", type=int, default=[1_000, 100_000])
    options = parser.parse_args()
    table = Table("family", "mode", title="MB; beyond = peak growth - returned - tape (x, z, s)")
    for heading in ("instances", "inputs", "returned", "tape", "peak growth", "beyond", "bytes each"):
        table.add_column(heading, justify="right")
    for family in options.family:
        program = canonicalize(FAMILIES[family].make())
        for mode in ("forward", "gradient"):
            for batch in options.batch:
                found = _in_fresh_process(family, batch, mode)
                tape = batch * (program.n + 2 * program.m) * 8 if mode == "gradient" else 0
                beyond = found["peak"] - found["returned"] - tape
                sizes = [found["inputs"], found["returned"], tape, found["peak"], beyond]
                table.add_row(family, mode, f"{batch}", *(f"{s * MB:.1f}" for s in sizes), f"{beyond / batch:.0f}")
    console().print(table)


if __name__ == "__main__":
    main()
