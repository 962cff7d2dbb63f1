"""The examples run, at small size, and show what they promise to show."""

from __future__ import annotations

import ast
import io
import re
import subprocess
import sys
import tokenize
from pathlib import Path

import numpy as np
import pytest

import distributed_training
from tests.processes import run_script

EXAMPLES = Path(__file__).parents[2] / "examples"
SMALL = {
    "denoising": (["--n", "16", "--steps", "60"], r"test error ([\d.]+)"),
    "decision_focused": (["--epochs", "25", "--samples", "200"], r"test regret ([\d.]+) %"),
}


GALLERY = sorted((EXAMPLES / "gallery").glob("*.py"))
LAYOUT = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}


@pytest.mark.parametrize("name", SMALL)
def test_the_second_way_is_better(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments, pattern = SMALL[name]
    run_script(monkeypatch, EXAMPLES / f"{name}.py", *arguments, "--out", tmp_path)
    first, second = map(float, re.findall(pattern, capsys.readouterr().out))
    assert second < first
    assert (tmp_path / f"{name}.png").stat().st_size > 10_000


def test_two_processes_learn_what_one_learns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The one is this process."""
    distributed_training.train(0, 1, str(tmp_path / "store"), 20)
    script = [sys.executable, str(EXAMPLES / "distributed_training.py"), "--steps", "20", "--workers", "2"]
    found = capsys.readouterr().out, subprocess.run(script, capture_output=True, text=True, check=True, timeout=120).stdout
    one, two = (np.array([float(number) for number in re.findall(r"\d+\.\d+", text)]) for text in found)
    assert len(one) == 2
    np.testing.assert_allclose(two, one, rtol=1e-9)


@pytest.mark.parametrize("name", [*SMALL, "distributed_training"])
def test_examples_are_short(name: str) -> None:
    assert len((EXAMPLES / f"{name}.py").read_text().splitlines()) < 80


def lines_of_code(text: str) -> int:
    """How many lines of a module are code: neither blank, nor prose of comments and docstrings."""
    scopes = [n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Module | ast.ClassDef | ast.FunctionDef)]
    prose = {k for n in scopes if ast.get_docstring(n) for k in range(n.body[0].lineno, (n.body[0].end_lineno or 0) + 1)}
    tokens = [t for t in tokenize.generate_tokens(io.StringIO(text).readline) if t.type not in LAYOUT]
    return len({k for t in tokens for k in range(t.start[0], t.end[0] + 1)} - prose)


@pytest.mark.parametrize("path", GALLERY, ids=lambda path: path.stem)
def test_a_page_of_the_gallery_is_short_checks_itself_and_draws_one_picture(path: Path) -> None:
    """The pages are executed where they are built, with the documentation."""
    text = path.read_text()
    assert path.name.startswith("plot_")
    title, underline, *_ = (ast.get_docstring(ast.parse(text)) or "").splitlines()
    assert underline == "=" * len(title)
    assert lines_of_code(text) < 80
    assert re.search(r"^assert ", text, re.MULTILINE)
    assert re.search(r"^print\(|^    print\(", text, re.MULTILINE)
    assert len(re.findall(r"(?:plt\.(?:subplots|figure|subplot_mosaic)|layer\.plot_\w+|info\.plot)\(", text)) == 1
    assert text.endswith("plt.show()\n")


def test_the_gallery_has_sixteen_pages_at_least() -> None:
    assert len(GALLERY) >= 16
