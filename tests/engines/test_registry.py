"""Which engine a layer gets: by name, by entry point, from CVXPY, per call; and what is said where there is none."""

from __future__ import annotations

import importlib.util
import sys
from importlib.metadata import EntryPoint
from types import SimpleNamespace
from typing import Any

import cvxpy as cp
import numpy as np
import pytest

from cvxpylayers import MissingPackageError, OptionError, SolverError, UnsupportedConeError
from cvxpylayers._engines import registry
from cvxpylayers._engines.foreign.cvxpy_solver import CvxpyEngine
from cvxpylayers._engines.foreign.osqp import OsqpEngine
from cvxpylayers.numpy import CvxpyLayer
from cvxpylayers.testing._cases import exponential, linear, quadratic
from cvxpylayers.testing._contract import compiled


def test_every_name_leads_to_an_engine_of_that_name() -> None:
    for name in registry.names():
        assert registry.resolve(name.lower())[0].name == name
    assert registry.resolve(None) == registry.resolve("auto")


def test_solvers_of_cvxpy_without_an_adapter_are_engines_too() -> None:
    kind = registry.resolve(cp.SCIPY)[0]
    assert issubclass(kind, CvxpyEngine)
    assert kind is registry.resolve("scipy")[0]
    case = linear()
    outputs, info = CvxpyLayer(*case[:3], solver=cp.SCIPY, solver_args={"scipy_options": {"method": "highs-ds"}}).solve(
        *case.values
    )
    assert info.solved.all()
    np.testing.assert_allclose(outputs[0], CvxpyLayer(*case[:3])(*case.values)[0], atol=1e-8)


def test_what_cvxpy_misses_is_named() -> None:
    words = "CVXPY knows the solver 'MOSEK', but finds no package for it; install it with: pip install mosek"
    with pytest.raises(MissingPackageError, match=words):
        CvxpyLayer(*quadratic()[:3], solver=cp.MOSEK)
    with pytest.raises(OptionError, match=r"No engine 'CLARABLE'; .* Did you mean 'CLARABEL'\?"):
        CvxpyLayer(*quadratic()[:3], solver="clarable")


@pytest.mark.parametrize("name", sorted(set(registry.names()) - {"NATIVE", "CLARABEL"}))  # which come with the package
def test_a_missing_package_comes_with_its_install_line(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = registry.resolve(name)[0]
    monkeypatch.setattr(importlib.util, "find_spec", lambda package: None)
    with pytest.raises(MissingPackageError, match=rf"Engine '{name}' needs the package '\w+'; install it with: pip install \w+"):
        kind(compiled(linear()), {})


def test_the_words_of_a_solver_reach_the_user() -> None:
    """As those about a licence would: CVXPY's or the solver's exception is quoted."""
    with pytest.raises(SolverError, match="The solver: SolverError: The solver SCIPY cannot solve this problem"):
        CvxpyLayer(*exponential()[:3], solver=cp.SCIPY)(*exponential().values)


def test_the_constraint_that_an_engine_cannot_take_is_named() -> None:
    words = r"Engine 'OSQP' cannot solve .* exponential cones \(first for .*entr.*\)\. Engines that would do: .*'SCS'"
    with pytest.raises(UnsupportedConeError, match=words):
        CvxpyLayer(*exponential()[:3], solver=cp.OSQP)
    with pytest.raises(UnsupportedConeError, match=r"Engine 'ECOS' .* has a quadratic objective\. Engines that would do: .*'OSQP'"):
        CvxpyLayer(*quadratic()[:3], solver="ECOS")


def test_another_package_announces_an_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint(name="theirs", value="their_package:TheirEngine", group=registry.GROUP)

    class TheirEngine(OsqpEngine):
        name = "THEIRS"

    monkeypatch.setitem(sys.modules, "their_package", SimpleNamespace(TheirEngine=TheirEngine))
    monkeypatch.setattr(registry, "_announced", lambda: {"THEIRS": point})
    assert "THEIRS" in registry.names()
    assert repr(CvxpyLayer(*quadratic()[:3], solver="theirs")).count("engine: THEIRS") == 1


@pytest.mark.parametrize("where", ["constructor", "call"])
def test_a_solver_among_the_arguments_as_in_1x(where: str) -> None:
    case, arguments = quadratic(), {"solver": cp.OSQP, "max_iters": 3, "polish": False}
    layer = CvxpyLayer(*case[:3], solver_args=arguments if where == "constructor" else None)
    _, info = layer.solve(*case.values, solver_args=None if where == "constructor" else arguments, on_failure="nan")
    assert [str(status) for status in info.status] == ["max_iterations"] * 3
    assert arguments == {"solver": cp.OSQP, "max_iters": 3, "polish": False}
    if where == "call":
        assert layer.solve(*case.values)[1].solved.all()
        with pytest.raises(OptionError, match="Unknown solver option 'lane_width'"):
            layer(*case.values, solver_args={"solver": cp.OSQP, "lane_width": 4})


def test_a_call_can_be_differentiated_whoever_solved_it() -> None:
    case = quadratic()
    layer = CvxpyLayer(*case[:3])
    ours, theirs = layer.linearize(*case.values), layer.linearize(*case.values, solver_args={"solver": "QOCO"})
    cotangents = [np.ones_like(o) for o in ours.outputs]
    for a, b in zip(ours.vjp(*cotangents), theirs.vjp(*cotangents), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)


def test_functions_take_options_by_their_own_names() -> None:
    case, seen = quadratic(), []

    def solve(program: Any, steps: int = 10, *, rate: float = 0.1) -> Any:
        seen.append((steps, rate))
        raise RuntimeError

    layer = CvxpyLayer(*case[:3], solver=solve, solver_args={"steps": 3}, on_failure="nan")
    layer(*case.values, solver_args={"rate": 0.5, "threads": 1})
    assert seen == [(3, 0.5)] * 3
    assert "engine: solve" in repr(layer)
    with pytest.raises(OptionError, match="Unknown solver option 'step'; did you mean 'steps'"):
        layer(*case.values, solver_args={"step": 3})


@pytest.mark.parametrize("solver", ["CLARABEL", "SCS", "OSQP", "HIGHS"])
def test_a_time_limit_ends_instances_not_batches(solver: str) -> None:
    case = linear()
    layer = CvxpyLayer(*case[:3], solver=solver, solver_args={"polish": False})
    _, info = layer.solve(*case.values, solver_args={"time_limit": 1e-7}, on_failure="nan")
    assert [str(status) for status in info.status] == ["max_iterations"] * 3
    assert layer.solve(*case.values, solver_args={"time_limit": 60.0})[1].solved.all()
