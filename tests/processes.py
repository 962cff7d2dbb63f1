"""Python in a process of its own; scripts in that of the tests, which has imported what they do."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

LIMIT = 60  # seconds that any one wait may take; a loaded machine is slow, a deadlock is endless
ROOT = Path(__file__).parents[1]


def python(*arguments: object, limit: int = 2 * LIMIT, **environment: str) -> subprocess.CompletedProcess[str]:
    """What a new process with these arguments printed and returned; it sees the tests."""
    paths = os.pathsep.join([str(ROOT), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    variables = {**os.environ, "PYTHONPATH": paths, **environment}
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, env=variables, capture_output=True, text=True, timeout=limit, check=False)


def run_script(monkeypatch: pytest.MonkeyPatch, path: Path, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", [str(path), *map(str, arguments)])
    runpy.run_path(str(path), run_name="__main__")
