"""Data flows one way: no module imports from above it, none what ARCHITECTURE.md says that it must not know, none in a circle."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import cvxpylayers

ROOT = Path(cvxpylayers.__file__).parent
FRONT_ENDS = ("torch", "jax", "mlx", "numpy", "cvxpy")
# Each from the top of its arrow to the bottom. What stands in one row does not see each other; modules beside a folder are files.
ARROWS = {
    "": (
        ("testing",),
        (*FRONT_ENDS, "ray"),
        ("_tables",),
        ("_file",),
        ("_layer",),
        ("_canon", "_engines"),
        ("_verify",),
        ("_program",),
        ("_typing", "errors"),
    ),
    "_engines": (("registry", "log_space"), ("foreign",), ("native",), ("judge",), ("engine", "defaults")),
}
# Faces and self-check look everywhere below the front ends.
OUTSIDE = {"__init__", "__main__", "_gone", "engines", "interfaces", "utils"}
FRAMEWORKS = {"torch", "jax", "jaxlib", "mlx", "tensorflow"}
MODULES = sorted(path.relative_to(ROOT) for path in ROOT.rglob("*.py"))
CALLER = Path("_engines/foreign/cvxpy_solver.py")  # its engine is whatever CVXPY can call
TABLE = Path(__file__).parents[2] / "ARCHITECTURE.md"
# Folders of the checkout, and what each must not import; the package imports none of them.
BESIDE = {
    "src": {"problems", "tests", "benchmarks"},
    "problems": {"tests", "benchmarks"},
    "tests": {"benchmarks"},
    "benchmarks": {"tests"},
}
MADE = {"build/site", ".venv/bin/python", "dist/"}  # paths that the documents name and that are built
# What the words of the table's last column forbid to import; names in backticks are folders and modules of the package.
FORBIDDEN = {"tensors": FRAMEWORKS, "CVXPY": {"cvxpy"}}


def imports(path: Path) -> Iterator[str]:
    """Absolute dotted names that a module, by its path in the package or a full one, imports at any depth of its code."""
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def place(folder: str, inside: str) -> int | None:
    """The row of a name in the arrow of ``folder``."""
    rows = [k for k, row in enumerate(ARROWS[folder]) if inside in row]
    return rows[0] if rows else None


@pytest.mark.parametrize("folder", ARROWS)
@pytest.mark.parametrize("path", MODULES, ids=str)
def test_no_import_points_up(path: Path, folder: str) -> None:
    parts = path.with_suffix("").parts
    if folder and parts[0] != folder:
        return
    here, prefix = parts[bool(folder)], f"cvxpylayers.{folder}".rstrip(".") + "."
    row = place(folder, here)
    assert row is not None or here in OUTSIDE, f"{here} has no place in the arrow"
    for name in imports(path):
        if not name.startswith(prefix):
            continue
        there = name.removeprefix(prefix).split(".")[0]
        below = place(folder, there)
        if row is None:
            reaches = here == "__main__" or (here, there) == ("__init__", "numpy")  # for load
            assert reaches or there not in FRONT_ENDS, f"{path} imports {name}"
        elif below is not None:
            assert here == there or row < below, f"{path} imports {name}, which is above or beside it"


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_a_framework_is_imported_by_its_front_end_alone(path: Path) -> None:
    for name in imports(path):
        package = name.split(".")[0]
        if package in FRAMEWORKS:
            assert path.parts[0] in ({"jaxlib": "jax"}.get(package, package), "testing"), f"{path} imports {name}"


@pytest.mark.parametrize(("folder", "others"), BESIDE.items(), ids=BESIDE)
def test_folders_beside_the_package_import_only_what_is_below(folder: str, others: set[str]) -> None:
    """Subprocesses count: a module that is run by name is imported there."""
    files = sorted((TABLE.parent / folder).rglob("*.py"))
    assert files
    for path in files:
        run = re.findall(r'"-m", "(\w+)[."]', path.read_text(encoding="utf-8"))
        assert not others & {*run, *(name.split(".")[0] for name in imports(path))}, f"{path} sees {others}"


def test_no_test_imports_from_a_test() -> None:
    """What several tests need has a module of its own."""
    for path in sorted((TABLE.parent / "tests").rglob("*.py")):
        assert not [name for name in imports(path) if name.startswith("tests.") and ".test_" in name], path


def test_no_modules_import_each_other() -> None:
    dotted = {path: ".".join(("cvxpylayers", *path.with_suffix("").parts)).removesuffix(".__init__") for path in MODULES}
    known = set(dotted.values())
    graph = {here: {name if name in known else name.rpartition(".")[0] for name in imports(path)} for path, here in dotted.items()}
    faces = {"cvxpylayers"}  # is imported before any module below it, and imports front ends when it is called
    circle = TopologicalSorter({here: (names & known) - {here} - faces for here, names in graph.items()})
    circle.prepare()  # raises CycleError, which names it


def rows() -> list[tuple[str, str, str]]:
    """The owners of ARCHITECTURE.md's stages, what each must not know, and that as a word or a name."""
    lines = TABLE.read_text(encoding="utf-8").split("| must not know |", 1)[1].split("\n\n", 1)[0].splitlines()[2:]
    cells = [line.strip("| ").split(" | ") for line in lines]
    return [
        (owner, unknown.strip(" `"), unknown.strip())
        for _, owners, _, forbidden in cells
        for owner in re.findall(r"`([^`]+)`", owners)
        for unknown in forbidden.split(",")
    ]


@pytest.mark.parametrize(("owner", "unknown", "word"), rows())
def test_no_stage_imports_what_it_must_not_know(owner: str, unknown: str, word: str) -> None:
    forbidden = FORBIDDEN.get(word) or {f"cvxpylayers.{unknown.replace('/', '.')}"}
    assert word in FORBIDDEN or (ROOT / unknown).exists() or (ROOT / f"{unknown}.py").exists(), f"there is no {unknown}"
    mine = [path for path in MODULES if path.with_suffix("").as_posix().startswith(owner) and path != CALLER]
    assert mine, f"there is no {owner}"
    for path in mine:
        for name in imports(path):
            assert not any(f"{name}.".startswith(f"{prefix}.") for prefix in forbidden), f"{path} imports {name}"


@pytest.mark.parametrize("document", ["ARCHITECTURE.md", "CONTRIBUTING.md"])
def test_paths_in_the_documents_exist(document: str) -> None:
    """Paths in backticks are below the checkout, the package, the C++ sources or the tests, without the ending .py if they like."""
    folders = TABLE.parent, ROOT, TABLE.parent / "cpp" / "src", TABLE.parent / "tests"
    paths = set(re.findall(r"`((?:[\w*.]+/)+[\w*.]*)`", (TABLE.parent / document).read_text(encoding="utf-8"))) - MADE
    missing = [p for p in paths if not any([*folder.glob(p.rstrip("/")), *folder.glob(f"{p}.py")] for folder in folders)]
    assert paths
    assert not missing


def test_importing_the_package_imports_no_framework_that_cvxpy_does_not() -> None:
    code = (
        f"import sys, cvxpy\nfound = lambda: {FRAMEWORKS!r} & sys.modules.keys()\nbefore = found()\n"
        "import cvxpylayers._layer.layer, cvxpylayers.numpy; print(*found() - before)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert found == []


def test_a_layer_in_pytorch_imports_no_compiler() -> None:
    """Which takes as long as PyTorch itself."""
    code = "import sys, cvxpylayers.torch; print('torch._dynamo' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split() == ["False"]


def test_a_layer_out_of_a_file_needs_no_cvxpy_and_no_arrow() -> None:
    code = "import sys, cvxpylayers.numpy, cvxpylayers._file; print(*{'cvxpy', 'pyarrow'} & sys.modules.keys())"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert found == []


def test_a_missing_framework_is_named_with_its_extra() -> None:
    code = "import sys; sys.modules['torch'] = None\ntry: import cvxpylayers.torch\nexcept ImportError as e: print(e)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "pip install 'cvxpylayers[torch]'" in found


# What the sources of a directory of cpp/src include, besides their own; `engine` reaches `batch` by pointers to its functions.
NUMERIC = {"plan", "lanes", "kkt", "cones"}
INCLUDED = {
    "plan": set(),
    "lanes": set(),
    "kkt": {"plan", "lanes"},
    "cones": {"plan", "lanes"},
    "ipm": NUMERIC,
    "adjoint": NUMERIC,
    "batch": {*NUMERIC, "ipm", "adjoint", "engine"},
    "engine": {"plan", "lanes"},
    "team": {*NUMERIC, "ipm", "adjoint", "engine"},
    "cuda": {"plan", "lanes", "team", "engine"},
    "../bindings": {"cuda"},
}


@pytest.mark.parametrize("directory", INCLUDED)
def test_no_directory_of_cpp_includes_another_upstream(directory: str) -> None:
    sources = sorted((TABLE.parent / "cpp" / "src" / directory).glob("*.[ch]*"))
    assert sources
    for path in sources:
        found = set(re.findall(r'^#include "(\w+)/', path.read_text(encoding="utf-8"), re.MULTILINE))
        assert found <= {"cvxl", directory, *INCLUDED[directory]}, path


def test_every_directory_of_cpp_is_in_the_arrow() -> None:
    listed = {path.name for path in (TABLE.parent / "cpp" / "src").iterdir()}
    assert listed == {directory for directory in INCLUDED if "/" not in directory}
