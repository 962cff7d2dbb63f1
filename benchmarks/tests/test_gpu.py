"""``python -m benchmarks.gpu`` on a driver without a device."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DRIVER = ROOT / "build/dev/libcvxl_fake_cuda.so"  # of the C++ tests


def run(driver: Path, out: Path) -> subprocess.CompletedProcess[str]:
    """A process of its own, for a driver stays where it was loaded."""
    command = [sys.executable, "-m", "benchmarks.micro.gpu", "--pretend", str(driver), "--out", str(out)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)


@pytest.mark.skipif(not DRIVER.exists(), reason="the driver of the C++ tests is not built: make test")
def test_promises_are_kept_and_written_down(tmp_path: Path) -> None:
    found = run(DRIVER, tmp_path / "gpu.json")
    assert found.returncode == 0, found.stdout + found.stderr
    report = json.loads((tmp_path / "gpu.json").read_text(encoding="utf-8"))
    assert len(report["promises"]) == 5
    assert all(promise["kept"] for promise in report["promises"])
    assert {row["family"] for row in report["timings"]} < {family["family"] for family in report["families"]}


def test_a_broken_promise_is_an_exit_code(tmp_path: Path) -> None:
    """Without a driver the host solves."""
    found = run(tmp_path / "no_driver.so", tmp_path / "gpu.json")
    assert found.returncode == 1, found.stdout + found.stderr
    assert "BROKEN all was solved on the device" in found.stdout
