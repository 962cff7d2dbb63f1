"""The layer as a guest in a process: memory, threads, forks, pickles, programs of other processes."""

from __future__ import annotations

import os
import pickle
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.jax.cases import FAMILIES, Case, case
from tests.processes import LIMIT, python


@pytest.fixture
def qp() -> Case:
    return case("qp")


def everything(qp: Case) -> Any:
    """Solutions and gradients, compiled."""
    return jax.jit(jax.value_and_grad(lambda *p: jnp.sum(qp.layer(*p)[0] ** 2), (0, 1, 2)))


def resident() -> float:
    """Memory of this process in MB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
def test_memory_stays_flat(qp: Case) -> None:
    """10⁴ compiled calls with gradients, of batches of many sizes."""
    function = everything(qp)
    data = [qp.sample((size,), (size,), (), dtype="float32") for size in (1, 3, 8, 17, 32)]
    for _ in range(200):
        for arrays in data:
            function(*arrays)
    before = resident()
    for _ in range(2000):
        for arrays in data:
            function(*arrays)
    jax.block_until_ready(function(*data[0]))
    assert resident() - before < 8


def test_rebuilt_layers_cost_no_compilation(qp: Case) -> None:
    """Nor memory for kernels: the program found is that of the first, whichever layer it was."""
    arrays = qp.sample((), dtype="float32")
    problem, parameters, variables, _ = FAMILIES["qp"]()
    rebuilt = type(qp.layer)(problem, parameters, variables)
    function = jax.jit(lambda layer, *p: layer(*p)[0])
    np.testing.assert_array_equal(function(qp.layer, *arrays), function(rebuilt, *arrays))
    assert function._cache_size() == 1


def test_threads_of_the_user(qp: Case) -> None:
    function = everything(qp)
    data = [qp.sample((size,), (size,), (), dtype="float32", seed=size) for size in (1, 5, 16, 33)]
    expected = [jax.device_get(function(*arrays)) for arrays in data]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda k: jax.device_get(function(*data[k % 4])), range(64), timeout=LIMIT))
    for k, result in enumerate(found):
        jax.tree.map(np.testing.assert_array_equal, result, expected[k % 4])


FORK = """
import os, signal, sys
import jax, numpy as np
from tests.jax.cases import case
qp = case("qp")
arrays = qp.sample((64,), (64,), (), dtype="float32")
for use in (lambda: None, lambda: qp.layer._layer.solve(arrays)):
    use()
    child = os.fork()
    if child == 0:
        signal.alarm(int(sys.argv[1]))
        x = jax.jit(qp.layer.__call__)(*arrays)[0]
        os._exit(0 if np.isfinite(x).all() else 1)
    if os.waitpid(child, 0)[1]:
        sys.exit(1)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_layers_survive_a_fork() -> None:
    """Built, then its kernel used, before the fork; JAX itself must be started after it."""
    assert python("-c", FORK, LIMIT).returncode == 0


PICKLED = """
import pickle, sys, jax, numpy as np
layer, arrays, expected = pickle.load(open(sys.argv[1], "rb"))
found = jax.jit(layer.__call__)(*arrays)
print(all(np.array_equal(f, e) for f, e in zip(found, expected)), hash(layer._program.key))
"""


def test_pickles_travel(qp: Case, tmp_path: Path) -> None:
    arrays = qp.sample((4,), dtype="float32")
    path = tmp_path / "layer.pkl"
    path.write_bytes(pickle.dumps((qp.layer, arrays, [np.asarray(o) for o in jax.jit(qp.layer.__call__)(*arrays)])))
    assert python("-c", PICKLED, str(path)).stdout.split() == ["True", str(hash(qp.layer._program.key))]


PERSISTENT = """
import sys, jax
jax.config.update("jax_compilation_cache_dir", sys.argv[1])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)
import logging; logging.basicConfig(level=logging.DEBUG)
from tests.jax.cases import case
qp = case("qp")
print(float(jax.jit(qp.layer.__call__)(*qp.sample((), dtype="float32"))[0].sum()))
"""


def test_compiled_programs_are_found_again_by_other_processes(tmp_path: Path) -> None:
    """Programs name a problem by its content: JAX's persistent cache serves every process."""
    first, second = (python("-c", PERSISTENT, str(tmp_path)) for _ in range(2))
    assert first.stdout == second.stdout != ""
    hits = re.findall(r"cache hit for '(\w*)'", second.stderr, re.IGNORECASE)
    assert hits, second.stderr[-2000:]


UNKNOWN = """
import sys, jax, numpy as np
import cvxpylayers.jax
target = jax.ffi.ffi_call("cvxpylayers_solve", [jax.ShapeDtypeStruct(s, d) for s, d in
    (((3,), np.float32), ((), np.int8), ((), np.int32), ((4,), np.float32))])
try: jax.jit(lambda x: target(x, key=np.int64(1), nan=True))(np.ones(2, np.float32))
except Exception as error: print(error)
"""


def test_a_program_without_its_layer_says_so() -> None:
    assert "build the same layer first" in python("-c", UNKNOWN).stdout


REFUSED = """
import warnings, jax
def refuse(*_, **__): raise RuntimeError("handler's API version (0.3) is incompatible")
jax.ffi.register_ffi_target = refuse
import cvxpy as cp, numpy as np
from cvxpylayers.jax import CvxpyLayer
from cvxpylayers import __main__
b, x = cp.Parameter(2), cp.Variable(2)
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    for k in range(2):
        layer = CvxpyLayer(cp.Problem(cp.Minimize(cp.sum_squares(x - b)), [x <= k]), [b], [x])
        np.testing.assert_allclose(jax.jit(layer)(np.full(2, 5.0))[0], k, atol=1e-6)
print([w.category.__name__ for w in said if "Compiled JAX programs will call Python" in str(w.message)])
print(layer)
__main__._BATCH = 8
__main__.main([])
"""


def test_a_jaxlib_that_refuses_the_handlers_is_told_of() -> None:
    found = python("-c", REFUSED).stdout
    assert found.startswith("['RuntimeWarning']\n")
    reason = r"jaxlib \S+ does not take the handlers of this build of cvxpylayers: handler's API version \(0\.3\) is incompatible"
    assert re.search(rf"compiled programs call Python: {reason}", found)
    assert re.search(rf"^compiled JAX +calls Python: {reason}$", found, re.MULTILINE)
