"""The program that looks at the pages sees what is wrong with one; it needs a Chromium."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

PROGRAM = Path(__file__).parents[2] / "docs" / "look.py"
PAGE = "<!doctype html><meta name=viewport content='width=device-width'><body style='margin:0'>{}</body>"
SQUARE = "<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'></svg>"


@pytest.fixture
def look() -> ModuleType:
    spec = importlib.util.spec_from_file_location("look", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_faults_of_pages_are_found(look: ModuleType, tmp_path: Path) -> None:
    browser = look.found_browser()
    if browser is None:
        pytest.skip("no Chromium")
    (tmp_path / "square.svg").write_text(SQUARE)
    (tmp_path / "good.html").write_text(PAGE.format("<p>short</p><img src='square.svg'>"))
    (tmp_path / "wide.html").write_text(PAGE.format("<div class='bar' style='width:500px'>x</div>"))
    (tmp_path / "bare.html").write_text(PAGE.format("<img src='nothing.svg'>"))
    assert look.faults(browser, tmp_path, ["good.html"]) == []
    wide = look.faults(browser, tmp_path, ["wide.html"])
    assert [line.partition(":")[0] for line in wide] == ["wide.html at 390, light", "wide.html at 390, dark"]
    assert all("DIV.bar" in line for line in wide)
    bare = look.faults(browser, tmp_path, ["bare.html"])
    assert [line[-20:] for line in bare] == ["no image nothing.svg"] * len(look.WIDTHS) * len(look.THEMES)
