"""A batch that is spread over devices is solved and differentiated where it lies: calls see their share, nothing is gathered."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.processes import LIMIT, python


@pytest.mark.parametrize("partitioner", ["shardy", "gspmd"])
def test_every_device_works_on_its_own_instances(partitioner: str) -> None:
    done = python("-m", "tests.jax.sharded", partitioner, limit=10 * LIMIT)
    assert done.returncode == 0, done.stderr[-2000:]
    report: dict[str, Any] = json.loads(done.stdout)
    assert report
    for name, row in report.items():
        assert row["calls"], name
        assert all(sizes == [row["share"]] for sizes in row["calls"].values()), (name, row)
        assert not row["gathered"], name
        assert row["signed"], name  # or caches take programs of different layers for one
        assert row["error"] < 1e-5, (name, row)
