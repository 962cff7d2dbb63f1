"""``python -m cvxpylayers`` tells the truth about the machine, and its self-check passes under every instruction set."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from cvxpylayers import __version__, _core
from cvxpylayers.__main__ import main
from cvxpylayers._engines.native.threads import default_threads

SETS = _core.available_instruction_sets()


@pytest.mark.parametrize("isa", SETS)
def test_report(isa: str) -> None:
    environment = {**os.environ, "CVXPYLAYERS_ISA": isa, "CVXPYLAYERS_CUDA_DRIVER": "libno_driver.so"}
    found = subprocess.run([sys.executable, "-m", "cvxpylayers"], env=environment, capture_output=True, text=True, check=True)
    lines = dict(line.split(maxsplit=1) for line in found.stdout.splitlines() if len(line.split()) > 1)
    assert f"isa {isa}" in lines["engine"]
    assert __version__ in lines["versions"]
    assert lines["threads"] == "{} ({})".format(*default_threads())
    assert lines["CUDA"].startswith("there is no NVIDIA driver (libno_driver.so)")
    assert {"NATIVE", "CLARABEL"} <= {name.strip(",") for name in lines["engines"].split()}
    assert {"solved", "solution", "gradient", "speed"} <= lines.keys()


def test_instruction_sets_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--instruction-sets"]) == 0
    assert capsys.readouterr().out.split() == SETS
    assert "baseline" in SETS


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("CVXPYLAYERS_NUM_THREADS", "-2", "must be an integer ≥ 1; got '-2'."),
        ("CVXPYLAYERS_NUM_THREADS", "4,2", "must be an integer ≥ 1; got '4,2'."),
        ("CVXPYLAYERS_ISA", "sse9", f"must be one of {', '.join(SETS)}, which this machine runs, or unset; got 'sse9'."),
    ],
)
def test_what_is_wrong_in_the_environment_is_said(variable: str, value: str, words: str) -> None:
    command = [sys.executable, "-m", "cvxpylayers"]
    found = subprocess.run(command, env=os.environ | {variable: value}, capture_output=True, text=True, check=False)
    assert (found.returncode, found.stderr) == (1, "")
    assert found.stdout.endswith(f"\nFAILED: The environment variable {variable} {words}\n")
