"""Every Python example of README.md and docs/ runs as it stands, top to bottom of its page, and does what its comments say."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import cvxpylayers

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SHAPE = re.compile(r"# (\w+) shape: (\(.*\))$", re.MULTILINE)
WORD = re.compile(r"[\w.]+")  # torch.Size([8]) may be written (8,)
PRINTED = re.compile(r"^ *print\(.*\) +# (.*)$", re.MULTILINE)


def examples(page: Path) -> Iterator[tuple[int, str]]:
    """Line number and code of each block whose front end exists."""
    text = page.read_text(encoding="utf-8")
    for block in FENCE.finditer(text):
        code = block[1]
        if all(importlib.util.find_spec(name) for name in re.findall(r"^from (cvxpylayers\.\w+)", code, re.MULTILINE)):
            yield text.count("\n", 0, block.start(1)), code


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
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
    for page in (*PAGES, *ROOT.glob("*.md")):
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8")):
            if target.startswith("gallery/"):  # made of the examples with the pages
                assert (ROOT / "examples" / target).parent.is_dir()
                continue
            assert (page.parent / target).exists(), f"{page.name} → {target}"


def public_modules() -> Iterator[ModuleType]:
    """Modules that say what is public; those of packages that are not installed are left out."""
    yield cvxpylayers
    for found in pkgutil.walk_packages(cvxpylayers.__path__, "cvxpylayers.", onerror=lambda name: None):
        if "._" not in found.name:
            try:
                module = importlib.import_module(found.name)
            except ImportError:
                continue
            if "__all__" in vars(module):
                yield module


def test_the_reference_has_every_public_name() -> None:
    pages = "\n".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs" / "api").glob("*.md"))
    whole = set(re.findall(r"automodule:: (\S+)\n   :members:", pages))
    for module in public_modules():
        for public, value in ((name, getattr(module, name)) for name in module.__all__):
            owners = {module.__name__, getattr(value, "__module__", module.__name__)}
            directive = rf"auto(class|function):: (\S+\.)?{public}$"
            assert owners & whole or re.search(directive, pages, re.MULTILINE) or isinstance(value, ModuleType), (
                f"{module.__name__}.{public}"
            )


def test_docstrings_are_plain_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path, str(ROOT / "docs" / "extensions")])
    from plain_docstrings import reread

    given = [
        "Shape (*batch, n) with |s - z|, ``*kept``, d_ and a_b.",
        "",
        "    layer(*code)",
        "",
        "* an *item*",
        "Args:",
        "    x: one *row*.",
    ]
    plain = r"Shape (\*batch, n) with \|s - z\|, ``*kept``, d\_ and a_b."
    assert list(reread(given)) == [plain, "", "::", "", "    layer(*code)", "", r"* an \*item\*", "Args:", r"    x: one \*row\*."]
