"""Every Python example of README.md and docs/ runs as it stands, top to bottom of its page, and does what its comments say."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SHAPE = re.compile(r"# (\w+) shape: (\(.*\))$", re.MULTILINE)
WORD = re.compile(r"[\w.]+")  # torch.Size([8]) may be written (8,)
PRINTED = re.compile(r"^print\(.*\) +# (.*)$", re.MULTILINE)


def examples(page: Path) -> Iterator[tuple[int, str]]:
    """Line number and code of each block whose front end exists."""
    text = page.read_text(encoding="utf-8")
    for block in FENCE.finditer(text):
        code = block[1]
        if all(importlib.util.find_spec(name) for name in re.findall(r"^from (cvxpylayers\.\w+)", code, re.MULTILINE)):
            yield text.count("\n", 0, block.start(1)), code


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_examples_run(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    namespace: dict[str, Any] = {"__name__": page.stem}
    for line, code in examples(page):
        exec(compile("\n" * line + code, str(page), "exec"), namespace)
        for name, shape in SHAPE.findall(code):
            assert str(tuple(namespace[name].shape)) == shape, f"{page.name}: {name}"
        printed, promised = capsys.readouterr().out.splitlines(), PRINTED.findall(code)
        for words, promise in zip(printed, promised, strict=True):
            tokens = WORD.findall(promise)
            assert WORD.findall(words)[-len(tokens) :] == tokens, f"{page.name}: {words!r} is not {promise!r}"


def test_relative_links_lead_somewhere() -> None:
    for page in (*PAGES, ROOT / "CONTRIBUTING.md"):
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} → {target}"
