"""Spark on two local cores: ``mapInArrow`` and a pandas function give what one local call gives, to the last bit."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from problems.layers import shrunken

sql = pytest.importorskip("pyspark.sql")
pytestmark = pytest.mark.skipif(shutil.which("java") is None, reason="Spark needs Java")

N = 500


@pytest.fixture(scope="module")
def spark() -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYSPARK_PYTHON", sys.executable)
        yield from _session()


def _session() -> Iterator[Any]:
    builder = sql.SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false")
    session = builder.config("spark.driver.host", "127.0.0.1").config("spark.sql.shuffle.partitions", "2").getOrCreate()
    yield session
    session.stop()


def table() -> Any:
    rows = np.random.default_rng(0).standard_normal((N, 2)).tolist()
    return pa.table({"id": np.arange(N), "b": pa.array([None if k == 7 else row for k, row in enumerate(rows)])})


def frame(spark: Any) -> Any:
    return spark.createDataFrame(list(zip(*table().to_pydict().values(), strict=True)), "id long, b array<double>").repartition(4)


def test_map_in_arrow(spark: Any) -> None:
    solver = shrunken().on_tables(keep=["id"], lists="list", solver_args={"threads": 1})
    schema = "id long, x array<double>, status string, objective double, iterations int"
    found = frame(spark).mapInArrow(solver, schema).orderBy("id").collect()
    assert [row.asDict() for row in found] == solver(table()).to_pylist()


def test_a_function_of_pandas_frames(spark: Any) -> None:
    solver = shrunken().on_tables(keep=["id"], outputs=["x"], report=[], lists="list", solver_args={"threads": 1})

    def solve(frames: Any) -> Any:
        for each in frames:
            yield solver(pa.Table.from_pandas(each, preserve_index=False)).to_pandas()

    found = frame(spark).mapInPandas(solve, "id long, x array<double>, status string").orderBy("id").collect()
    assert [row.asDict() for row in found] == solver(table()).to_pylist()
