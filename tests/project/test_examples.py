"""The examples run, at small size, and show what they promise to show."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
SMALL = {
    "denoising": (["--n", "16", "--steps", "60"], r"test error ([\d.]+)"),
    "decision_focused": (["--epochs", "25", "--samples", "200"], r"test regret ([\d.]+) %"),
}


@pytest.mark.parametrize("name", SMALL)
def test_the_second_way_is_better(name: str, tmp_path: Path) -> None:
    arguments, pattern = SMALL[name]
    command = [sys.executable, str(EXAMPLES / f"{name}.py"), *arguments, "--out", str(tmp_path)]
    found = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    first, second = map(float, re.findall(pattern, found.stdout))
    assert second < first
    assert (tmp_path / f"{name}.png").stat().st_size > 10_000


def test_two_processes_learn_what_one_learns() -> None:
    script = [sys.executable, str(EXAMPLES / "distributed_training.py"), "--steps", "20", "--workers"]
    found = [subprocess.run([*script, k], capture_output=True, text=True, check=True, timeout=120).stdout for k in "12"]
    one, two = (np.array([float(number) for number in re.findall(r"\d+\.\d+", text)]) for text in found)
    assert len(one) == 2
    np.testing.assert_allclose(two, one, rtol=1e-9)


@pytest.mark.parametrize("name", [*SMALL, "distributed_training"])
def test_examples_are_short(name: str) -> None:
    assert len((EXAMPLES / f"{name}.py").read_text().splitlines()) < 80
