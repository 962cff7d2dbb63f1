"""Data flows one way: no module imports from above it in ARCHITECTURE.md, and none imports a framework that is not its own."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import cvxpylayers

ROOT = Path(cvxpylayers.__file__).parent
FRONT_ENDS = ("torch", "jax", "mlx", "numpy")
# From the top of the arrow to its bottom. Groups of one row do not see each other.
ARROW = [
    [*({name} for name in FRONT_ENDS), {"ray"}],
    [{"_tables"}],
    [{"_file"}],
    [{"_layer"}],
    [{"_assembly"}],
    [{"_arrays", "_columns", "_explain", "_failure", "_info", "_options"}, {"_canon"}, {"_engines"}],
    [{"_program", "_verify", "_codec", "_legacy", "errors", "_typing"}],
]
PLACE = {name: (row, column) for row, groups in enumerate(ARROW) for column, group in enumerate(groups) for name in group}
OUTSIDE = {"__init__", "__main__", "engines", "utils"}  # faces and self-check look everywhere below the front ends
FRAMEWORKS = {"torch", "jax", "jaxlib", "mlx", "tensorflow"}
MODULES = sorted(path.relative_to(ROOT) for path in ROOT.rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    """Absolute dotted names that a module imports, at any depth of its code."""
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def stage(path: Path) -> str:
    return path.parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_no_import_points_up(path: Path) -> None:
    here = stage(path)
    assert here in PLACE or here in OUTSIDE or here.startswith("_native"), f"{here} has no place in the arrow"
    for name in imports(path):
        package, *rest = name.split(".")
        if package in FRAMEWORKS:
            assert here == {"jaxlib": "jax"}.get(package, package), f"{path} imports {name}"
        if package != "cvxpylayers" or not rest:
            continue
        if here in OUTSIDE:
            reaches = here == "__main__" or (here, rest[0]) == ("__init__", "numpy")  # for load
            assert reaches or rest[0] not in FRONT_ENDS, f"{path} imports {name}"
        elif rest[0] in PLACE:
            (row, column), (row_to, column_to) = PLACE[here], PLACE[rest[0]]
            assert row < row_to or (row, column) == (row_to, column_to), f"{path} imports {name}, which is above or beside it"


def test_only_the_bridge_and_the_edges_know_cvxpy() -> None:
    caller = Path("_engines/cvxpy_solver.py")  # its engine is whatever CVXPY can call
    knowing = {stage(path) for path in MODULES if path != caller and any(name.split(".")[0] == "cvxpy" for name in imports(path))}
    assert knowing <= {"_canon", "_layer", "_assembly", *FRONT_ENDS, *OUTSIDE}


def test_importing_the_package_imports_no_framework_that_cvxpy_does_not() -> None:
    code = (
        f"import sys, cvxpy\nfound = lambda: {FRAMEWORKS!r} & sys.modules.keys()\nbefore = found()\n"
        "import cvxpylayers._layer, cvxpylayers.numpy; print(*found() - before)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert found == []


def test_a_layer_out_of_a_file_needs_no_cvxpy_and_no_arrow() -> None:
    code = "import sys, cvxpylayers.numpy, cvxpylayers._file; print(*{'cvxpy', 'pyarrow'} & sys.modules.keys())"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert found == []


def test_a_missing_framework_is_named_with_its_extra() -> None:
    code = "import sys; sys.modules['torch'] = None\ntry: import cvxpylayers.torch\nexcept ImportError as e: print(e)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "pip install 'cvxpylayers[torch]'" in found
