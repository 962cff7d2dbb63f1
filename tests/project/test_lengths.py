"""A module is one noun of at most 300 lines, a function fits a screen: 40 lines of Python, 50 of C++."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILE, FUNCTION, CPP_FUNCTION = 300, 40, 50
FOLDERS = ("src", "problems", "tests", "benchmarks", "examples", "docs")
COPIES = ROOT / "docs" / "gallery"  # that building the pages makes
PYTHON = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py")) if COPIES not in path.parents]
CPP = sorted((ROOT / "cpp").rglob("*.[ch]pp"))
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


# Comments, strings, characters, and what the preprocessor reads.
NOISE = re.compile(r"""(?sm)//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])'|^[ \t]*\#(?:\\\n|[^\n])*""")


def python_functions(text: str) -> Iterator[tuple[str, int]]:
    """The name of every function of a module and its number of lines."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, (node.end_lineno or 0) - node.lineno + 1


def cpp_functions(text: str) -> Iterator[tuple[str, int]]:
    """The same of a C++ source; a lambda belongs to the function that it stands in.

    Outside of functions, a brace after a parameter list opens one. What else opens there is a scope, a concept, or, in the list of
    a constructor, the value of a member.
    """
    text = NOISE.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), text)
    begin = at = 0
    while mark := re.compile(r"[;{}]|\b(?:public|private|protected):").search(text, at):
        head, at = text[begin : mark.start()], mark.end()
        if mark[0] == "{":
            if re.search(r"\)\s*:(?!:).*\w\s*$", head, re.DOTALL):
                at = _closing(text, mark.start())
                continue
            if "(" in head and not re.search(r"\b(concept|namespace)\b", head):
                at = _closing(text, mark.start())
                name = re.search(r"TEST\((\w+)|(operator\W+?|~?\w+)\s*\(", head)
                yield (name[1] or name[2] if name else head), text.count("\n", begin + len(head) - len(head.lstrip()), at) + 1
        begin = at


def _closing(text: str, opening: int) -> int:
    """Behind the brace that closes the one at ``opening``."""
    depth = 0
    for brace in re.compile("[{}]").finditer(text, opening):
        depth += 1 if brace[0] == "{" else -1
        if depth == 0:
            return brace.end()
    raise ValueError("a brace is not closed")


def too_long() -> Iterator[str]:
    """Files, and file:function, beyond their limit."""
    for paths, functions, limit in ((PYTHON, python_functions, FUNCTION), (CPP, cpp_functions, CPP_FUNCTION)):
        for path in paths:
            text, name = path.read_text(), path.relative_to(ROOT).as_posix()
            if text.count("\n") > FILE:
                yield name
            yield from (f"{name}:{function}" for function, lines in functions(text) if lines > limit)


def test_functions_of_cpp_are_found() -> None:
    source = """
    namespace a { template <class V> struct B : C<V> {
     public:
      B(int n) : x_{n}, y_(n) {
        f([&] { g(); });
      }  // {
      auto operator()(int k) const -> V { return k ? '{' : "}"[0]; }
      int x_{0}, y_{};
    };
    TEST(of_a_name) {

    } }"""
    assert list(cpp_functions(source)) == [("B", 3), ("operator()", 1), ("of_a_name", 3)]


def test_what_is_too_long_has_a_reason() -> None:
    assert sorted(too_long()) == sorted(LONG)


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="no checkout")
def test_every_source_that_is_kept_is_measured() -> None:
    command = ["git", "ls-files", "*.py", "*.?pp"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    measured = {path.relative_to(ROOT).as_posix() for path in PYTHON + CPP}
    assert {name for name in listed if (ROOT / name).exists()} <= measured
