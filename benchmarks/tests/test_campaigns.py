"""Campaigns in short: a few kills of ``solve_dataset``, a few layer files that were tampered with."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchmarks.campaigns.fuzz_layers import trial
from benchmarks.campaigns.kills import run
from cvxpylayers import _file
from problems.layers import LAYERS


def test_killed_at_random_no_row_is_lost_and_none_is_twice() -> None:
    """A short run of ``python -m benchmarks.campaigns.kills``."""
    assert run(kills=3, files=12, rows=20_000, seed=0) >= 1


def test_mutated_files_are_refused_or_solved(tmp_path: Path) -> None:
    """A short run of ``python -m benchmarks.campaigns.fuzz_layers``, in a process of its own, whose death would be the failure."""
    result = subprocess.run(
        [sys.executable, "-m", "benchmarks.campaigns.fuzz_layers", "--count", "200", "--seed", "1"],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert trial(_file.dumps(LAYERS["quadratic"]()[0]._layer)) == "solved"
