"""The contract suite for every engine whose package is here."""

from __future__ import annotations

import pytest

from cvxpylayers.testing import EngineContract


class TestNative(EngineContract):
    solver = None


class TestClarabel(EngineContract):
    solver = "CLARABEL"


class TestScs(EngineContract):
    solver = "SCS"


class TestOsqp(EngineContract):
    solver = "OSQP"


class TestQoco(EngineContract):
    solver = "QOCO"
    certificates = False


class TestPiqp(EngineContract):
    solver = "PIQP"


class TestDaqp(EngineContract):
    solver = "DAQP"


class TestHighs(EngineContract):
    solver = "HIGHS"


class TestEcos(EngineContract):
    solver = "ECOS"


class TestByCvxpy(EngineContract):
    """The interface to CVXPY's solvers, here to one that we have an adapter for."""

    from cvxpylayers._engines.foreign.cvxpy_solver import cvxpy_engine

    solver = cvxpy_engine("CLARABEL")


class TestMoreau(EngineContract):
    solver = "MOREAU"

    @pytest.fixture(autouse=True)
    def _installed(self) -> None:
        pytest.importorskip("moreau")


class TestDiffcp(EngineContract):
    solver = "DIFFCP"

    @pytest.fixture(autouse=True)
    def _installed(self) -> None:
        pytest.importorskip("diffcp")


class TestMpax(EngineContract):
    solver = "MPAX"
    certificates = False  # of linear programs alone

    @pytest.fixture(autouse=True)
    def _installed(self) -> None:
        pytest.importorskip("mpax")
