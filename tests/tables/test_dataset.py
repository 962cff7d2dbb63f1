"""Files in, files out: every row once, whole files or none, whatever happens; what does not belong together is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as pd
import pyarrow.parquet as pq
import pytest

from cvxpylayers.errors import InputError
from problems.layers import shrunken

FILES, ROWS = 4, 30


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Four files of thirty rows; one row of each has no number."""
    folder = tmp_path / "in"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for k in range(FILES):
        rows = [None if i == 7 else row.tolist() for i, row in enumerate(rng.standard_normal((ROWS, 2)))]
        pq.write_table(table(k, pa.array(rows, pa.list_(pa.float64(), 2))), folder / f"{k}.parquet")
    return folder


def table(k: int, b: Any) -> Any:
    return pa.table({"id": np.arange(k * ROWS, (k + 1) * ROWS), "b": b})


def solved(source: Path, target: Path, **options: Any) -> Any:
    return shrunken().solve_dataset(source, target, id="id", progress=False, **options)


def read(target: Path) -> Any:
    return pd.dataset(target).to_table().sort_by("id")


@pytest.mark.parametrize("rows", [1, 7, 65_536])
def test_results_are_those_of_one_table(source: Path, tmp_path: Path, rows: int) -> None:
    report = solved(source, tmp_path / "out", rows=rows)
    assert read(tmp_path / "out").equals(shrunken().on_tables(keep=["id"])(read(source)))
    assert (report.rows, report.files, report.solved) == (FILES * ROWS, FILES, FILES * ROWS)
    assert report.statuses == {"solved": FILES * (ROWS - 1), "invalid_input": FILES}
    manifest = json.loads((tmp_path / "out" / "_manifest.json").read_text())
    assert manifest["state"] == "finished"
    assert manifest["statuses"] == report.statuses
    assert manifest["key"] == shrunken().on_tables(keep=["id"]).key
    assert sorted(manifest["files"]) == sorted(path.name for path in (tmp_path / "out").glob("*.parquet"))


def test_what_is_finished_is_not_solved_again(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "out"
    solved(source, target)
    expected, first, *others = read(target), *sorted(target.glob("*.parquet"))
    dates = [path.stat().st_mtime_ns for path in others]
    first.unlink()
    (target / f".{first.name}.partial").write_bytes(b"what a killed process left")
    reports: list[Any] = []
    report = shrunken().solve_dataset(source, target, id="id", progress=reports.append)
    assert (report.rows, report.solved, len(reports)) == (FILES * ROWS, ROWS, 1)
    assert read(target).equals(expected)
    assert [path.stat().st_mtime_ns for path in others] == dates
    assert not list(target.glob(".*.partial"))
    assert [r["rows"] for r in json.loads((target / "_manifest.json").read_text())["runs"]] == [FILES * ROWS, ROWS]
    assert solved(source, target).solved == 0


def test_new_files_of_the_source_are_added(source: Path, tmp_path: Path) -> None:
    solved(source, tmp_path / "out")
    pq.write_table(table(FILES, pq.read_table(source / "0.parquet")["b"]), source / "a.parquet")
    assert solved(source, tmp_path / "out").solved == ROWS
    assert read(tmp_path / "out")["id"].to_pylist() == list(range((FILES + 1) * ROWS))


def test_partitions_are_columns(source: Path, tmp_path: Path) -> None:
    pd.write_dataset(
        read(source), tmp_path / "parts", format="parquet", partitioning=["id"], partitioning_flavor="hive", max_partitions=999
    )
    parts = pd.dataset(tmp_path / "parts", partitioning="hive")
    report = shrunken().solve_dataset(parts, tmp_path / "out", id="id", progress=False)
    assert report.files == FILES * ROWS
    found = read(tmp_path / "out")
    expected = shrunken().on_tables(keep=["id"])(read(source))
    assert found.drop_columns("id").equals(expected.drop_columns("id"))
    assert found["id"].to_pylist() == expected["id"].to_pylist()


def test_a_target_of_something_else_is_refused_and_untouched(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "out"
    solved(source, target)
    before = {path: path.read_bytes() for path in target.iterdir()}
    for other, settings in (
        (shrunken(weight=2.0), {"id": "id"}),
        (shrunken(), {"id": []}),
        (shrunken(), {"id": "id", "solver_args": {"tolerance": 1e-6}}),
        (shrunken(), {"id": "id", "resume": False}),
    ):
        with pytest.raises(InputError, match="empty folder"):
            other.solve_dataset(source, target, progress=False, **settings)
    assert {path: path.read_bytes() for path in target.iterdir()} == before
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "x.parquet").write_bytes(b"")
    with pytest.raises(InputError, match="no _manifest"):
        solved(source, tmp_path / "other")


def _grown(source: Path) -> None:
    pq.write_table(pa.concat_tables([read(source)] * 2), source / "1.parquet")


def _gone(source: Path) -> None:
    (source / "1.parquet").unlink()


@pytest.mark.parametrize(("change", "words"), [(_grown, "has changed"), (_gone, "the source has not")])
def test_a_source_that_changes_is_noticed(source: Path, tmp_path: Path, change: Any, words: str) -> None:
    solved(source, tmp_path / "out")
    change(source)
    with pytest.raises(InputError, match=words):
        solved(source, tmp_path / "out")


def test_a_target_that_holds_the_source_is_refused(source: Path) -> None:
    before = sorted(source.parent.rglob("*"))
    for target in (source, source.parent, f"{source}/", source / ".." / "in"):
        with pytest.raises(InputError, match="of the source"):
            solved(source, Path(target))
    assert sorted(source.parent.rglob("*")) == before


CHANGES = {
    "a type": lambda t: t.set_column(1, "b", t["b"].cast(pa.list_(pa.float32(), 2))),
    "a size": lambda t: t.set_column(1, "b", pa.array([[1.0, 2.0, 3.0]] * ROWS, pa.list_(pa.float64(), 3))),
    "a name": lambda t: t.rename_columns(["id", "c"]),
    "the id": lambda t: t.set_column(0, "id", t["id"].cast(pa.string())),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_schema_that_changes_between_files_is_refused_before_work(source: Path, tmp_path: Path, change: Any) -> None:
    pq.write_table(change(pq.read_table(source / "3.parquet")), source / "3.parquet")
    with pytest.raises(InputError, match=r"3\.parquet"):
        solved(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_no_files_and_no_folder_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no files"):
        solved(tmp_path / "empty", tmp_path / "out")
    with pytest.raises(OSError, match="nowhere"):
        solved(tmp_path / "nowhere", tmp_path / "out")
    with pytest.raises(InputError, match="must be files"):
        shrunken().solve_dataset(pd.dataset(pa.table({"b": pa.array([[1.0, 2.0]])})), tmp_path / "out")


def test_a_full_disk_ends_the_run_and_keeps_what_is_finished(source: Path, tmp_path: Path) -> None:
    """The third file is larger than what the process may write."""
    rng = np.random.default_rng(1)
    many = 20_000
    b = pa.FixedSizeListArray.from_arrays(pa.array(rng.standard_normal(2 * many)), 2)
    pq.write_table(pa.table({"id": np.arange(many) + 10**6, "b": b}), source / "2.parquet")
    target = tmp_path / "out"

    shrunken().save(tmp_path / "layer")
    command = [str(w) for w in (sys.executable, "-m", "cvxpylayers", "solve", tmp_path / "layer", source, target, "--id", "id")]
    limited = ["bash", "-c", "trap '' XFSZ; ulimit -f 100; exec \"$@\"", "bash", *command]
    failed = subprocess.run(limited, capture_output=True, text=True, check=False)
    assert failed.returncode == 1
    assert "File too large" in failed.stderr
    assert len(list(target.glob("*.parquet"))) == 2
    assert not list(target.glob(".*.partial"))
    again = subprocess.run(command, capture_output=True, text=True, check=True)
    assert f"{many + ROWS:,} of them now" in again.stdout
    assert read(target).equals(shrunken().on_tables(keep=["id"])(read(source)))


def test_the_command_line_says_what_is_wrong(source: Path, tmp_path: Path) -> None:
    def command(*arguments: Any) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-m", "cvxpylayers", "solve", *map(str, arguments)]
        return subprocess.run(line, capture_output=True, text=True, check=False)

    shrunken().save(tmp_path / "layer")
    good = command(tmp_path / "layer", source, tmp_path / "out", "--column", "b=b", "--quiet", "--threads", 1)
    assert (good.returncode, good.stderr) == (0, "")
    assert "120 rows in 4 files (116 solved, 4 invalid_input)" in good.stdout
    again = command(tmp_path / "layer", source, tmp_path / "out", "--no-resume")
    assert again.returncode == 1
    assert again.stderr.startswith("InputError: ")
    assert "Traceback" not in command(source / "0.parquet", source, tmp_path / "out").stderr
