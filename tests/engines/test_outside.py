"""The contract in somebody else's package: away from the checkout, an honest engine passes and one that is not fails."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SUITE = """
from dataclasses import replace

import scipy.sparse as sp

from cvxpylayers.engines import POLYHEDRAL, Adapter, Capabilities, Claim, Status, words
from cvxpylayers.testing import EngineContract

STATUS = {1: Status.SOLVED, -2: Status.PRIMAL_INFEASIBLE, -1: Status.DUAL_INFEASIBLE}


class Mine(Adapter):
    name, package, install, own = "MINE", "scs", "pip install scs", words("eps_abs eps_rel max_iters")
    capabilities = Capabilities(cones=POLYHEDRAL)
    preset = {"eps_abs": 1e-9, "eps_rel": 1e-9, "verbose": False}

    def claim(self, program, settings):
        data = {"P": sp.csc_matrix(sp.triu(program.P)), "c": program.q, "A": sp.csc_matrix(program.A), "b": program.b}
        found = self._solver.solve(data, {"z": program.cones.zero, "l": program.cones.nonneg}, **settings)
        status = STATUS.get(found["info"]["status_val"], Status.NUMERICAL_ERROR)
        return Claim(found["x"], found["y"], status, found["info"]["iter"])


class Crowded(Mine):
    def solve(self, batch, options, *, tape):
        found = super().solve(batch, options, tape=tape)
        return replace(found, outputs=found.outputs * (1 + 1e-15 * batch.size))


class TestMine(EngineContract):
    solver = Mine


class TestCrowded(EngineContract):
    solver = Crowded
"""


def test_an_honest_engine_passes_and_one_whose_instances_see_their_company_fails_with_its_numbers(tmp_path: Path) -> None:
    pytest.importorskip("scs")
    (tmp_path / "test_mine.py").write_text(SUITE)
    chosen = ("test_mine.py::TestMine", crowded := "test_mine.py::TestCrowded::test_an_instance_does_not_see_its_company")
    command = [sys.executable, "-m", "pytest", "-rA", "-p", "no:cacheprovider", "-c", "/dev/null", *chosen]
    said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False).stdout
    outcomes = [line.split()[:2] for line in said.splitlines() if line.startswith(("PASSED", "FAILED", "ERROR"))]
    honest = [outcome for outcome, name in outcomes if not name.startswith(crowded)]
    assert set(honest) == {"PASSED"}
    assert len(honest) > 20
    assert "FAILED" in [outcome for outcome, name in outcomes if name.startswith(crowded)]
    assert "Mismatched elements" in said
