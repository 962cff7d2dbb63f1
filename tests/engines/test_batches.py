"""Engines that take batches: Moreau with its direct cones, and whose fault it is when a whole batch raises."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import cvxpy as cp
import numpy as np
import pytest

from cvxpylayers import SolverError
from cvxpylayers.engines import BatchAdapter, Claim, Structure
from cvxpylayers.numpy import CvxpyLayer
from cvxpylayers.testing._cases import Case, quadratic, rng
from cvxpylayers.testing._contract import truth


def simplex() -> Case:
    x, c = cp.Variable(4), cp.Parameter(4)
    above = x >= 0
    problem = cp.Problem(cp.Minimize(cp.sum_squares(x - c)), [cp.sum(x) == 1, above])
    return Case(problem, [c], [x, above.dual_variables[0]], [rng().normal(size=(3, 4))])


def ball() -> Case:
    t, x, c = cp.Variable(), cp.Variable(3), cp.Parameter(3)
    cone = cp.SOC(t, x)
    return Case(cp.Problem(cp.Minimize(c @ x), [cone, t == 2]), [c], [x], [rng().normal(size=(3, 3))])


def exponential() -> Case:
    x, y, z, c = cp.Variable(), cp.Variable(), cp.Variable(), cp.Parameter()
    rows = [cp.constraints.ExpCone(x, y, z), y == 1]
    return Case(cp.Problem(cp.Minimize(cp.square(x - c) + z), rows), [c], [x, z], [np.array([-1.0, 0.3, 2.0])])


def power() -> Case:
    x, c = cp.Variable(3), cp.Parameter(3)
    rows = [cp.PowCone3D(x[0], x[1], x[2], 0.3), cp.sum(x[:2]) <= 2]
    return Case(cp.Problem(cp.Minimize(cp.sum_squares(x - c)), rows), [c], [x], [rng().normal(size=(3, 3)) + np.array([0, 0, 3.0])])


@pytest.mark.parametrize(("make", "kind"), [(simplex, "nonneg"), (ball, "soc"), (exponential, "exp"), (power, "power")])
def test_direct_cones_of_moreau(make: Callable[[], Case], kind: str) -> None:
    pytest.importorskip("moreau")
    case = make()
    layer = CvxpyLayer(*case[:3], solver="MOREAU", solver_args={"direct_cones": True, "polish": False})
    forms = layer._layer.engine._forms
    assert {spec["kind"] for spec in forms[1].cones["dir_cones"]} == {kind}
    assert len(forms[1].rows) + len(forms[1].direct) == len(forms[0].rows)
    outputs, info = layer.solve(*case.values)
    assert info.solved.all()
    for found, true in zip(outputs, truth(case), strict=True):
        np.testing.assert_allclose(found, true, atol=1e-5)  # unrefined


class Nervous(BatchAdapter):
    """Right about every instance, but for one that makes the whole batch raise."""

    name, package, install = "NERVOUS", "numpy", ""

    def claims(self, values: Any, settings: Mapping[str, Any]) -> list[Claim]:
        structure: Structure = self.compiled.structure
        if any((structure.split(row)[3] == 13.0).any() for row in values):
            raise ArithmeticError("thirteen")
        from cvxpylayers._engines.judge.clarabel import solve_instance

        found = [solve_instance(structure, row) for row in values]
        return [Claim(one.x, one.z, one.status, one.iterations) for one in found]


def test_a_batch_that_raises_is_one_instances_failure() -> None:
    case = quadratic()
    layer = CvxpyLayer(*case[:3], solver=Nervous, on_failure="nan")
    healthy, info = layer.solve(*case.values)
    assert info.solved.all()
    last = case.values[-1].copy()
    last[1] = 13.0
    outputs, info = layer.solve(*case.values[:-1], last)
    assert info.solved.tolist() == [True, False, True]
    for before, after in zip(healthy, outputs, strict=True):
        np.testing.assert_array_equal(after[[0, 2]], before[[0, 2]])
    with pytest.raises(SolverError, match="The solver: ArithmeticError: thirteen"):
        layer(*case.values[:-1], last, on_failure="raise")
