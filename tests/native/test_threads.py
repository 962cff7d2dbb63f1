"""The number of threads: an option, else CVXPYLAYERS_NUM_THREADS, OMP_NUM_THREADS, quota and affinity; one count for all."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import cvxpy as cp
import numpy as np
import pytest

from cvxpylayers import _core
from cvxpylayers._engines.foreign import per_instance
from cvxpylayers._engines.native.threads import thread_count
from cvxpylayers._layer.layer import Layer

OURS, OMP = "CVXPYLAYERS_NUM_THREADS", "OMP_NUM_THREADS"
ASK = "from cvxpylayers._engines.native.threads import default_threads; print(*default_threads())"
ONE_CORE = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); "
LAYER = (
    "import cvxpy as cp; from cvxpylayers.numpy import CvxpyLayer; "
    "x = cp.Variable(); CvxpyLayer(cp.Problem(cp.Minimize(x**2)), [], [x])"
)


def python(code: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name not in (OURS, OMP)}
    return subprocess.run([sys.executable, "-c", code], env=environment | variables, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({OURS: "3", OMP: "5"}, f"3 {OURS}"),
        ({OMP: "5"}, f"5 {OMP}"),
        ({OMP: " 4 , 2"}, f"4 {OMP}"),  # one number a level of nesting
        ({OURS: "", OMP: "5"}, f"5 {OMP}"),  # empty is unset
        ({OURS: "", OMP: ""}, "1 affinity"),
        ({}, "1 affinity"),
    ],
)
@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity here")
def test_order(variables: dict[str, str], expected: str) -> None:
    assert python(ONE_CORE + ASK, **variables).stdout.strip() == expected


def test_nonsense_in_our_variable_raises_when_a_layer_is_built() -> None:
    """Every time: a process remembers sense alone."""
    values = ["0", "-2", "two", "3.5", "99999999999"]
    code = f"""
import os, cvxpy as cp
from cvxpylayers import OptionError
from cvxpylayers.numpy import CvxpyLayer
x = cp.Variable()
for value in {values}:
    os.environ["{OURS}"] = value
    try: CvxpyLayer(cp.Problem(cp.Minimize(x**2)), [], [x])
    except OptionError as error: print(str(error).splitlines()[0])
"""
    said = [f"The environment variable {OURS} must be an integer ≥ 1; got '{value}'." for value in values]
    assert python(code).stdout.splitlines() == said


def test_nonsense_in_openmps_variable_is_ignored_with_one_warning() -> None:
    found = python(f"{LAYER}; {LAYER}", **{OMP: "0"})
    assert found.returncode == 0
    assert found.stderr.count("OMP_NUM_THREADS='0' is no number of threads and is ignored") == 1


def test_the_option_comes_first() -> None:
    assert thread_count({"threads": 7}) == 7
    assert thread_count({"threads": 0}) == thread_count({}) == _core.default_threads()[0]


@pytest.mark.parametrize(("given", "expected"), [({}, 3), ({"threads": 2}, 2)])
def test_engines_of_single_instances_ask_the_same_owner(
    given: dict[str, Any], expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_core, "default_threads", lambda: (3, "a test", ""))
    pools = []
    executor = per_instance.ThreadPoolExecutor
    monkeypatch.setattr(per_instance, "ThreadPoolExecutor", lambda count: pools.append(count) or executor(count))
    b, x = cp.Parameter(2), cp.Variable(2)
    layer = Layer(cp.Problem(cp.Minimize(cp.sum_squares(x - b))), [b], [x], solver="CLARABEL", solver_args=given)
    layer.solve([np.ones((8, 2))])
    assert pools == [expected]


# As many threads as packs at most: a batch that keeps many busy, and what /proc counts while it runs.
BUSY = """
import threading, os, numpy as np, cvxpy as cp
from cvxpylayers._layer.layer import Layer
A, x = cp.Parameter((30, 20)), cp.Variable(20)
layer = Layer(cp.Problem(cp.Minimize(cp.sum_squares(A @ x - 1)), [x >= 0]), [A], [x])
point = [np.random.default_rng(0).standard_normal((4000, 30, 20))]
before = len(os.listdir("/proc/self/task"))
layer.solve(point)
print(len(os.listdir("/proc/self/task")) - before + 1)
"""


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads are counted in /proc")
def test_the_pool_has_so_many(count: int) -> None:
    assert python(BUSY, **{OURS: str(count)}).stdout.strip() == str(count)
