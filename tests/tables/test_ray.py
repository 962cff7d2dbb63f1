"""Ray Data on two local workers: what one local call gives, to the last bit, also where a worker dies."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cvxpylayers.errors import InputError, InputTypeError
from problems.layers import shrunken

ray = pytest.importorskip("ray")
pytest.importorskip("ray.data")
ours = pytest.importorskip("cvxpylayers.ray")

N = 1000


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    ray.data.DataContext.get_current().enable_progress_bars = False
    yield
    ray.shutdown()


@pytest.fixture
def source(tmp_path: Path) -> tuple[Any, Any]:
    """A data set of four files, and the results of all of its rows."""
    rows = np.random.default_rng(0).standard_normal((N, 2))
    table = pa.table({"id": np.arange(N), "b": pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1)), 2)})
    for k in range(4):
        pq.write_table(table.slice(k * N // 4, N // 4), tmp_path / f"{k}.parquet")
    return ray.data.read_parquet(str(tmp_path)), shrunken().on_tables(keep=["id"])(table)


def rows(dataset: Any) -> list[Any]:
    return sorted(dataset.take_all(), key=lambda row: row["id"])


def same(found: Any, expected: Any) -> None:
    found = rows(found)
    assert [row["id"] for row in found] == expected["id"].to_pylist()
    np.testing.assert_array_equal(np.array([row["x"] for row in found]), np.array(expected["x"].to_pylist()))
    assert [row["status"] for row in found] == expected["status"].to_pylist()


def test_two_actors_give_what_one_call_gives(source: tuple[Any, Any], tmp_path: Path) -> None:
    dataset, expected = source
    shrunken().save(tmp_path / "layer.cvxl")
    same(ours.solve(dataset, tmp_path / "layer.cvxl", concurrency=2, batch_size=100, keep=["id"]), expected)


def test_plain_map_batches_gives_the_same(source: tuple[Any, Any]) -> None:
    dataset, expected = source
    same(dataset.map_batches(shrunken().on_tables(keep=["id"]), batch_format="pyarrow"), expected)


def test_a_worker_that_dies_is_replaced(source: tuple[Any, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset, expected = source
    marker, parent = str(tmp_path / "killed"), ours.Actor

    class Mortal(parent):
        """Kills its process in the first block that any worker gets."""

        def __call__(self, table: Any) -> Any:
            import os
            import signal

            try:
                os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                return super().__call__(table)
            os.kill(os.getpid(), signal.SIGKILL)
            return None

    monkeypatch.setattr(ours, "Actor", Mortal)
    same(ours.solve(dataset, shrunken(), concurrency=2, batch_size=100, keep=["id"]), expected)
    assert Path(marker).exists()


def test_mistakes_are_met_before_work(source: tuple[Any, Any]) -> None:
    dataset, _ = source
    with pytest.raises(InputError, match="'b' is missing"):
        ours.solve(dataset.drop_columns(["b"]), shrunken())
    with pytest.raises(InputTypeError, match="needed"):
        ours.solve(dataset, object())
