"""Kill and resume: ``solve_dataset`` in a process that is killed at random times, until it comes to its end.

    python -m benchmarks.campaigns.kills [--kills 50] [--files 100] [--rows 20000] [--seed 0]

Fails if a row is lost, or there twice, or differs from a run without interruption; or if a finished file is written again.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset as pd
import pyarrow.parquet as pq

from problems.layers import shrunken


def run(*, kills: int, files: int, rows: int, seed: int) -> int:
    """Kill ``kills`` processes, let one finish, compare; how many kills met a process at work on a file.

    Raises:
        AssertionError: a promise is broken.
    """
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        (source := work / "in").mkdir()
        layer = shrunken()
        layer.save(work / "layer")
        numbers = np.random.default_rng(seed).standard_normal((files, rows, 2))
        for k, part in enumerate(numbers):
            b = pa.FixedSizeListArray.from_arrays(pa.array(part.reshape(-1)), 2)
            pq.write_table(pa.table({"id": np.arange(k * rows, (k + 1) * rows), "b": b}), source / f"{k:05}.parquet")
        began = time.monotonic()
        layer.solve_dataset(source, work / "whole", id="id", progress=False)
        each = (time.monotonic() - began) / files
        met, target = 0, work / "out"
        command = [sys.executable, "-m", "cvxpylayers", "solve", work / "layer", source, target, "--id", "id", "--quiet"]
        for _ in range(kills):
            met += _killed(command, target, rng, each)
        subprocess.run(command, check=True, capture_output=True)
        found, expected = (pd.dataset(path).to_table().sort_by("id") for path in (target, work / "whole"))
        assert found["id"].to_pylist() == list(range(files * rows)), "rows are lost, or there twice"
        assert found.equals(expected), "results differ from those of a run without interruption"
        assert not list(target.glob(".*")), "something temporary is left"
    return met


def _killed(command: list[object], target: Path, rng: random.Random, each: float) -> int:
    """Start, wait until it has got to work, kill at a random moment; 1 if it was at work. What was finished stays as it was."""
    before = _finished(target)
    process = subprocess.Popen([str(word) for word in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and _finished(target).keys() == before.keys() and not list(target.glob(".*.parquet.partial")):
        time.sleep(0.002)
    time.sleep(2 * each * rng.random())
    at_work = process.poll() is None
    process.kill()
    process.wait()
    after = _finished(target)
    assert {name: after.get(name) for name in before} == before, "a finished file was written again"
    for name in after.keys() - before.keys():
        pq.read_table(target / name)  # whole, or it raises
    return int(at_work)


def _finished(target: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in target.glob("*.parquet") if not path.name.startswith(".")}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("kills", 50), ("files", 100), ("rows", 20_000), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=value)
    given = parser.parse_args()
    met = run(kills=given.kills, files=given.files, rows=given.rows, seed=given.seed)
    print(f"{given.kills} kills, {met} of them at work: no row lost, none twice, all equal to the last bit")
    return 0


if __name__ == "__main__":
    sys.exit(main())
