"""A module is one noun of at most 300 lines, a function fits a screen of 40."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILE, FUNCTION = 300, 40
FOLDERS = ("src", "problems", "tests", "benchmarks", "examples")
SOURCES = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
# What is longer, and why. An entry that is no longer needed fails, too.
LONG: dict[str, str] = {
    "problems/models.py": "one table of problems",
    "tests/layer/test_advice.py": "one table of messages",
    "tests/canon/test_advice.py": "one table of messages",
    "tests/laws/test_front_ends.py": "one suite over all front ends",
    "tests/laws/test_geometric.py": "its problems stand beside its laws",
    "tests/torch/test_recorders.py": "what PyTorch records, traces and exports has a table of its own",
    "tests/problems/test_oracles.py:_exact": "decimal arithmetic of one formula after the other",
    "examples/decision_focused.py:main": "examples read from top to bottom",
    "examples/portfolio_demo.py:main": "examples read from top to bottom",
    "examples/portfolio_report.py:plot": "examples read from top to bottom",
}


def too_long() -> Iterator[str]:
    """Files, and file:function, beyond their limit."""
    for path in SOURCES:
        text, name = path.read_text(), path.relative_to(ROOT).as_posix()
        if text.count("\n") > FILE:
            yield name
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (node.end_lineno or 0) - node.lineno >= FUNCTION:
                yield f"{name}:{node.name}"


def test_what_is_too_long_has_a_reason() -> None:
    assert sorted(too_long()) == sorted(LONG)


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="no checkout")
def test_every_source_that_is_kept_is_measured() -> None:
    listed = subprocess.run(["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    measured = {path.relative_to(ROOT).as_posix() for path in SOURCES}
    assert {name for name in listed if (ROOT / name).exists()} <= measured
