"""Options and engines: unknown names are refused with the nearest valid one, names of 1.x are mapped or ignored aloud."""

from __future__ import annotations

import warnings
from typing import Any

import cvxpy as cp
import numpy as np
import pytest
import torch

from cvxpylayers._engines.defaults import DEFAULTS
from cvxpylayers._engines.foreign.clarabel import ClarabelEngine
from cvxpylayers._engines.native.engine import NativeEngine
from cvxpylayers._engines.registry import resolve
from cvxpylayers._layer.options import COMMON, normalize
from cvxpylayers.errors import InputTypeError, OptionError, SolverError
from cvxpylayers.torch import CvxpyLayer

VALID = frozenset({"tolerance", "max_iterations", "threads", "derivative", "polish", "lane_width"})


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, {}),
        ({"tolerance": 1e-9, "derivative": "exact"}, {"tolerance": 1e-9, "derivative": "exact"}),
        ({"eps": 1e-6, "max_iters": 100}, {"tolerance": 1e-6, "max_iterations": 100}),
        ({"n_jobs_forward": -1}, {"threads": 0}),
        ({"max_iterations": 50.0, "threads": np.int64(2)}, {"max_iterations": 50, "threads": 2}),
        ({"tolerance": np.float64(1e-9), "polish": np.True_}, {"tolerance": 1e-9, "polish": True}),
        ({"n_jobs_forward": 3, "n_jobs_backward": 1}, {"threads": 3}),
        ({"eps_abs": 1e-6, "eps_rel": 1e-8}, {"tolerance": 1e-8}),
        ({"abstol": 1e-8, "reltol": 1e-7, "feastol": 1e-9}, {"tolerance": 1e-9}),
        ({"tol_gap_abs": 1e-7, "tol_feas": 1e-6, "max_iter": 70}, {"tolerance": 1e-7, "max_iterations": 70}),
        ({"tolerance": 1e-9, "eps_abs": 1e-12}, {"tolerance": 1e-9}),
        ({"time_limit": float("inf")}, {}),
        ({"verbose": False, "raise_on_error": True, "eps": 1e-6}, {"tolerance": 1e-6}),
    ],
)
def test_names_are_mapped_without_a_word(given: dict[str, Any] | None, expected: dict[str, Any]) -> None:
    copy = None if given is None else dict(given)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert normalize(given, VALID) == expected
    assert given == copy


def test_an_explicit_name_wins_over_one_of_1x() -> None:
    assert normalize({"threads": 2, "n_jobs_backward": 4}, VALID) == {"threads": 2}
    assert normalize({"n_jobs_backward": 4, "threads": 2}, VALID) == {"threads": 2}


def test_meaningless_names_of_1x_are_ignored_with_one_warning() -> None:
    ignored = {"solve_method": "SCS", "mode": "lsqr", "acceleration_lookback": 0, "use_indirect": True}
    with pytest.warns(UserWarning, match="'solve_method', 'mode', 'acceleration_lookback', 'use_indirect'") as caught:
        found = normalize({**ignored, "eps": 1e-7}, VALID)
    assert found == {"tolerance": 1e-7}
    assert len(caught) == 1


SOLVERS = {  # a program of 1.x: the solver that it names, and options under its names
    "SCS": {**dict.fromkeys(("eps_abs", "eps_rel", "eps_infeas"), 1e-7), "scale": 0.1, "rho_x": 1e-6, "max_iters": 5000},
    "SCS, how": {"alpha": 1.5, "normalize": True, "adaptive_scale": True, "acceleration_interval": 10, "acceleration_lookback": 0},
    "SCS, no limits": {"time_limit_secs": 0.0, "eps_rel": 0.0, "eps_abs": 1e-8},
    "SCS by diffcp": {"solve_method": "SCS", "mode": "lsqr", "raise_on_error": True, "n_jobs_forward": 1, "n_jobs_backward": 1},
    "ECOS": {"solve_method": "ECOS", "abstol": 1e-8, "reltol": 1e-8, "feastol": 1e-8, "max_iters": 100},
    "Clarabel": {"solve_method": "Clarabel", "tol_gap_abs": 1e-8, "tol_gap_rel": 1e-8, "tol_feas": 1e-8, "max_iter": 100},
    "Clarabel, no limits": {"time_limit": float("inf"), "tol_ktratio": 1e-6, "presolve_enable": True, "equilibrate_enable": True},
    "Moreau": {"ipm_settings": None, "max_iter": 10_000, "verbose": False},
    "MPAX": {"algorithm": "raPDHG", "eps_abs": 1e-6, "eps_rel": 1e-6, "iteration_limit": 100000},
    "none": {"verbose": False},
}


@pytest.mark.parametrize("arguments", SOLVERS.values(), ids=SOLVERS)
@pytest.mark.parametrize("engine", [None, "CLARABEL", "SCS", "ECOS", "DIFFCP", "OSQP"])
@pytest.mark.parametrize("where", ["constructor", "call"])
def test_options_of_every_solver_of_1x_are_understood(arguments: dict[str, Any], engine: str | None, where: str) -> None:
    """By every engine: passed on, mapped, or ignored with at most one warning; the solution is the solution."""
    if where == "call" and engine == "DIFFCP" and "mode" in arguments:
        pytest.skip("there it chooses the derivative, and belongs to the constructor")
    x, b = cp.Variable(2), cp.Parameter(2)
    problem = cp.Problem(cp.Minimize(cp.norm1(x - b)), [x >= 0])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if where == "constructor":
            (found,) = CvxpyLayer(problem, [b], [x], solver=engine, solver_args=arguments)(torch.tensor([1.0, -1.0]))
        else:
            (found,) = CvxpyLayer(problem, [b], [x], solver=engine)(torch.tensor([1.0, -1.0]), solver_args=arguments)
    torch.testing.assert_close(found, torch.tensor([1.0, 0.0]), atol=1e-3, rtol=0)
    assert sum("version 1.x" in str(w.message) for w in caught) <= 1


def test_verbose_among_the_options_is_the_layers(nnls: CvxpyLayer, capfd: pytest.CaptureFixture[str]) -> None:
    data = torch.randn(3, 2), torch.ones(3)
    nnls(*data, solver_args={"verbose": False})
    assert capfd.readouterr().out == ""
    nnls(*data, solver_args={"verbose": True})
    assert "SolveInfo(1 solved; " in capfd.readouterr().out
    x, b = cp.Variable(2), cp.Parameter(2)
    loud = CvxpyLayer(cp.Problem(cp.Minimize(cp.sum_squares(x - b))), [b], [x], solver_args={"verbose": True})
    loud(torch.ones(2))
    assert capfd.readouterr().out.count("SolveInfo(") == 1
    loud(torch.ones(2), solver_args={"verbose": False})
    assert capfd.readouterr().out == ""


def test_verbose_in_jax(capsys: pytest.CaptureFixture[str]) -> None:
    from cvxpylayers.jax import CvxpyLayer as JaxLayer

    x, b = cp.Variable(2), cp.Parameter(2)
    layer = JaxLayer(cp.Problem(cp.Minimize(cp.sum_squares(x - b))), [b], [x])
    layer(np.ones(2), solver_args={"verbose": True})
    assert capsys.readouterr().out.count("SolveInfo(") == 1


def test_raise_on_error_is_on_failure() -> None:
    x, lo = cp.Variable(), cp.Parameter()
    problem = cp.Problem(cp.Minimize(x), [x >= lo, x <= 0])
    lenient = CvxpyLayer(problem, [lo], [x], solver_args={"raise_on_error": False})
    (found,) = lenient(torch.tensor([-1.0, 1.0]))
    assert found.isnan().tolist() == [False, True]
    for call in ({"on_failure": "raise"}, {"solver_args": {"raise_on_error": True}}):
        with pytest.raises(SolverError):
            lenient(torch.tensor(1.0), **call)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"tolerence": 1e-8}, ["'tolerence'", "did you mean 'tolerance'?"]),
        ({"max_iteration": 10}, ["did you mean 'max_iterations'?"]),
        ({"eps_abss": 1e-8}, ["did you mean 'tolerance'?"]),
        ({"zzz": 1}, ["valid are derivative, lane_width, max_iterations, polish, threads, tolerance"]),
        ({"tolerance": 0}, ["'tolerance'", "between 0 and 1", "got 0"]),
        ({"eps": "small"}, ["'tolerance'", "got 'small'"]),
        ({"max_iters": 0}, ["'max_iterations'", "integer ≥ 1"]),
        ({"threads": 1.5}, ["'threads'", "got 1.5"]),
        ({"n_jobs_forward": -2}, ["'threads'", "≥ 0", "got -2"]),
        ({"tolerance": "1e-9"}, ["'tolerance'", "got '1e-9'"]),
        ({"tolerance": float("nan")}, ["'tolerance'", "got nan"]),
        ({"polish": "yes"}, ["'polish' must be True or False; got 'yes'"]),
        ({"lane_width": 5}, ["'lane_width' must be 1, 2, 4 or 8"]),
    ],
)
def test_mistakes_say_what_to_type(given: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(OptionError) as caught:
        normalize(given, VALID)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_options_are_a_mapping() -> None:
    with pytest.raises(InputTypeError, match=r"solver_args must be a dict.*got list"):
        normalize(["tolerance"], VALID)


def test_what_decides_the_kernel_belongs_to_the_constructor() -> None:
    with pytest.raises(OptionError, match="'lane_width' belongs to the constructor"):
        normalize({"lane_width": 4}, VALID, call=True)


def test_engines_are_found_by_name_class_or_instance(nnls: CvxpyLayer) -> None:
    assert resolve("clarabel") == resolve(cp.CLARABEL) == resolve(ClarabelEngine) == (ClarabelEngine, {})
    instance = ClarabelEngine(nnls._layer.compiled, {"tolerance": 1e-9})
    assert resolve(instance) == (ClarabelEngine, {"tolerance": 1e-9})
    with pytest.raises(OptionError, match=r"No engine 'SIMPLEX'; use solver=None .* 'CLARABEL'"):
        resolve("simplex")


def test_options_of_the_layer_hold_until_a_call_overrides_them(nnls: CvxpyLayer) -> None:
    data = torch.tensor([[1.0, -1.0], [2.0, 1.0], [1.0, -3.0]]), torch.ones(3)
    with pytest.raises(OptionError, match="did you mean 'max_iterations'"):
        nnls(*data, solver_args={"max_iteration": 3})
    alone = {"fallback": False, "polish": False} if "fallback" in nnls._layer.engine.option_names() else {}
    arguments = {"max_iterations": 1, **alone}
    copy = dict(arguments)
    _, info = nnls.solve(*data, solver_args=arguments, on_failure="nan")
    assert str(info.status[0]) == "max_iterations"
    assert arguments == copy
    _, info = nnls.solve(*data)
    assert info.solved


def test_a_solver_setting_reaches_clarabel_under_its_own_name() -> None:
    x, b = cp.Variable(2), cp.Parameter(2)
    problem = cp.Problem(cp.Minimize(cp.sum_squares(x - b)), [x >= 0])
    layer = CvxpyLayer(problem, [b], [x], solver=cp.CLARABEL, solver_args={"max_iter": 1})
    _, info = layer.solve(torch.ones(2), on_failure="nan")
    assert str(info.status[0]) == "max_iterations"
    with pytest.raises(OptionError, match="Clarabel refuses"):
        layer(torch.ones(2), solver_args={"tol_feas": "small"})


@pytest.mark.parametrize("where", ["constructor", "call"])
def test_on_failure_is_checked(where: str) -> None:
    x, b = cp.Variable(2), cp.Parameter(2)
    problem = cp.Problem(cp.Minimize(cp.sum_squares(x - b)))
    constructor, call = ({"on_failure": "ignore"}, {}) if where == "constructor" else ({}, {"on_failure": "ignore"})
    with pytest.raises(OptionError, match="'raise', 'nan', 'warn'; got 'ignore'"):
        CvxpyLayer(problem, [b], [x], solver="CLARABEL", **constructor)(torch.ones(2), **call)


def test_a_layer_that_keeps_nothing_says_how_to_start_warm(nnls: CvxpyLayer) -> None:
    arrays = [np.ones((3, 2)), np.ones(3)]
    with pytest.warns(UserWarning, match="start cold here, warm_start=True has no effect"):
        nnls._layer.solve(arrays, warm_start=True)


def test_verbose_prints_one_line_per_call(capsys: pytest.CaptureFixture[str]) -> None:
    x, b = cp.Variable(2), cp.Parameter(2)
    layer = CvxpyLayer(cp.Problem(cp.Minimize(cp.sum_squares(x - b))), [b], [x], solver="CLARABEL", verbose=True)
    layer(torch.ones(5, 2))
    printed = capsys.readouterr().out
    assert printed.startswith("SolveInfo(5 solved; iterations median")
    assert printed.count("\n") == 1


def test_every_option_of_the_kernel_has_a_rule_that_its_default_keeps() -> None:
    assert DEFAULTS.keys() <= COMMON.keys()
    assert normalize(DEFAULTS, NativeEngine.option_names()) == dict(DEFAULTS)
