"""``layer.explain()``: a table to read, a mapping to use; and how the default engine is chosen."""

from __future__ import annotations

import sys
from dataclasses import replace

import cvxpy as cp
import numpy as np
import pytest

from cvxpylayers._engines.registry import automatic
from cvxpylayers._program import Cones, Pattern, Structure
from cvxpylayers.numpy import CvxpyLayer
from cvxpylayers.testing._cases import quadratic, second_order
from cvxpylayers.testing._contract import compiled


def test_the_table_has_what_decides_a_solve() -> None:
    found = CvxpyLayer(*quadratic()[:3]).explain()
    assert (found["engine"], found["variables"], found["rows"]) == ("NATIVE", 10, 15)
    assert found["cones"] == "zero 7; nonneg 8"
    assert found["why"] == "the default: batches in SIMD lanes"
    assert found["lane width"] in (4, 8)
    assert found["flops a factorization"] > 0
    assert {"fill", "memory a thread", "predicted time", "isa"} <= found.keys()
    assert list(found) == [name for facts in found.sections.values() for name in facts]
    assert len(found) == len(list(found))
    with pytest.raises(KeyError, match="'colour'; known are parameters, outputs"):
        found["colour"]


def test_it_prints_with_rich_and_without(monkeypatch: pytest.MonkeyPatch) -> None:
    found = CvxpyLayer(*second_order()[:3], solver="QOCO").explain()
    for text in (repr(found), found.plain()):
        for words in ("problem", "cones", "soc", "engine", "QOCO", "named by the user", "parameter entries"):
            assert words in text
        assert max(map(len, text.splitlines())) < 200
    monkeypatch.setitem(sys.modules, "rich.console", None)
    assert repr(found) == found.plain()


def test_a_very_large_problem_goes_to_clarabel() -> None:
    small = compiled(quadratic())
    assert automatic(small, {})[0].name == "NATIVE"
    n = 250_000
    empty = Pattern(np.zeros(n + 1, np.int32), np.zeros(0, np.int32))
    large = replace(small, structure=Structure(n, 0, Cones(), empty, Pattern(np.zeros(1, np.int32), np.zeros(0, np.int32))))
    kind, why = automatic(large, {})
    assert kind.name == "CLARABEL"
    assert why.startswith("250000 unknowns and rows are more than")


def test_a_large_layer_keeps_the_options_that_mean_something(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cvxpylayers._engines.native.costs.LARGE", 3)
    case = quadratic()
    layer = CvxpyLayer(*case[:3], solver="auto", solver_args={"tolerance": 1e-7, "equilibrate": False})
    assert layer.explain()["engine"] == "CLARABEL"
    assert layer.solve(*case.values)[1].solved.all()
    assert CvxpyLayer(*case[:3], solver="native").explain()["engine"] == "NATIVE"
    assert CvxpyLayer(*case[:3], solver="auto", solver_args={"solver": cp.OSQP}).explain()["engine"] == "OSQP"
