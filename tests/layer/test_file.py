"""A layer in a file is the layer: the same results to the last bit in every front end; what is no layer is refused."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cvxpy as cp
import numpy as np
import pytest
import torch

import cvxpylayers
from cvxpylayers import _file
from cvxpylayers.errors import InputError
from cvxpylayers.numpy import CvxpyLayer
from cvxpylayers.torch import CvxpyLayer as TorchLayer
from problems.layers import LAYERS, rewritten

MAKE = [pytest.param(make, id=name) for name, make in LAYERS.items()]


@pytest.mark.parametrize("make", MAKE)
def test_a_layer_comes_back_as_it_was(make: Callable[[], tuple[CvxpyLayer, list[Any]]], tmp_path: Path) -> None:
    layer, values = make()
    layer.save(tmp_path / "layer")
    found = cvxpylayers.load(tmp_path / "layer")
    assert repr(found) == repr(layer)
    assert found.explain() == layer.explain()
    for ours, theirs in zip(found(*values), layer(*values), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert _file.dumps(found._layer) == (tmp_path / "layer").read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["layer"]


def test_every_front_end_reads_what_any_wrote(ridge: TorchLayer, tmp_path: Path) -> None:
    ridge.save(tmp_path / "layer")
    rng = np.random.default_rng(0)
    values = [rng.standard_normal((5, 3, 2)), rng.standard_normal((5, 3)), rng.random(5), rng.random((5, 2)) + 1]
    expected = ridge(*map(torch.from_numpy, values))[0].numpy()
    for name in ("torch", "jax", "mlx", "numpy"):
        if importlib.util.find_spec(name) is None:
            continue
        layer = importlib.import_module(f"cvxpylayers.{name}").CvxpyLayer.load(tmp_path / "layer")
        given = [torch.from_numpy(v) for v in values] if name == "torch" else values
        if name == "mlx":
            mx = importlib.import_module("mlx.core")
            given = [mx.array(v.astype(np.float32)) for v in values]
        np.testing.assert_allclose(np.asarray(layer(*given)[0]), expected, atol=1e-5 if name in ("mlx", "jax") else 0, rtol=0)
        layer.save(tmp_path / name)
        assert (tmp_path / name).read_bytes() == (tmp_path / "layer").read_bytes()


def test_loading_and_solving_needs_no_cvxpy(tmp_path: Path) -> None:
    layer, values = LAYERS["quadratic"]()
    layer.save(tmp_path / "layer")
    np.savez(tmp_path / "values.npz", *values)
    code = (
        "import sys; sys.modules['cvxpy'] = None\nimport cvxpylayers, numpy as np\n"
        f"values = np.load({str(tmp_path / 'values.npz')!r}).values()\n"
        f"np.save({str(tmp_path / 'x.npy')!r}, cvxpylayers.load({str(tmp_path / 'layer')!r})(*values)[0])"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    np.testing.assert_array_equal(np.load(tmp_path / "x.npy"), layer(*values)[0])


def test_a_function_as_engine_is_refused_with_the_remedy(tmp_path: Path) -> None:
    x, b = cp.Variable(name="x"), cp.Parameter(name="b")
    layer = CvxpyLayer(cp.Problem(cp.Minimize(cp.square(x - b))), [b], [x], solver=lambda *_: None)
    with pytest.raises(InputError, match="give solver= the name of one"):
        layer.save(tmp_path / "layer")
    assert not list(tmp_path.iterdir())


def _edit(change: Callable[[dict[str, Any]], None]) -> bytes:
    layer, _ = LAYERS["quadratic"]()
    data = _file.dumps(layer._layer)
    return rewritten(data, change)


def _problem(header: dict[str, Any]) -> dict[str, Any]:
    problem: dict[str, Any] = dict(header["layer"][1])["problem"][1]
    return problem


def _set(header: dict[str, Any], name: str, value: Any) -> None:
    next(pair for pair in header["layer"][1] if pair[0] == name)[1] = value


REFUSED: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "another engine": (lambda h: _set(h, "engine", "os.system"), "which is not here"),
    "a class that is none of ours": (lambda h: _set(h, "problem", ["Popen", {}]), "does not read"),
    "another class of ours": (lambda h: _set(h, "problem", ["Cones", {}]), "not a CompiledProblem"),
    "an unknown option": (lambda h: _set(h, "options", ["dict", [["tolerence", 1e-9]]]), "did you mean"),
    "an option out of range": (lambda h: _set(h, "options", ["dict", [["tolerance", -1.0]]]), "between 0 and 1"),
    "a mode": (lambda h: _set(h, "on_failure", "explode"), "on_failure"),
    "too many variables": (lambda h: _problem(h)["structure"][1].update(n=10**6), "does not fit"),
    "huge counts": (lambda h: _problem(h)["structure"][1].update(m=2**40), "not a count"),
    "a boolean as a count": (lambda h: _problem(h)["structure"][1].update(n=True), "not a count"),
    "cones of other rows": (lambda h: _problem(h)["structure"][1]["cones"][1].update(nonneg=10**6), "another number of rows"),
    "a negative cone": (lambda h: _problem(h)["structure"][1]["cones"][1].update(zero=-1), "not a count"),
    "P and A exchanged": (
        lambda h: _problem(h)["structure"][1].update(P=_problem(h)["structure"][1]["A"], A=_problem(h)["structure"][1]["P"]),
        "lower triangle",
    ),
    "a parameter that is larger": (lambda h: _problem(h)["parameters"][1][0][1].update(shape=["tuple", [4, 2]]), "is not"),
    "an array that is longer": (lambda h: h["arrays"][0][1].__setitem__(0, 10**9), "longer than the file"),
    "an array of objects": (lambda h: h["arrays"][0].__setitem__(0, "|O"), "type or shape"),
    "a deep tree": (lambda h: _set(h, "options", json.loads("[" * 900 + "]" * 900)), "does not read"),
}


@pytest.mark.parametrize(("change", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_what_contradicts_itself_is_refused(change: Callable[[dict[str, Any]], None], words: str) -> None:
    with pytest.raises(cvxpylayers.CvxpyLayersError, match=words):
        _file.loads(_edit(change))


def test_accidents_and_later_versions_are_named() -> None:
    layer, _ = LAYERS["quadratic"]()
    data = _file.dumps(layer._layer)
    for damaged in (data[:-1], data[: len(data) // 2], data[:200] + bytes([data[200] ^ 1]) + data[201:]):
        with pytest.raises(InputError, match="damaged"):
            _file.loads(damaged)
    with pytest.raises(InputError, match="does not begin"):
        _file.loads(b"PK\3\4" + data)
    with pytest.raises(InputError, match="does not begin"):
        _file.loads(b"")
    with pytest.raises(InputError, match="format 2"):
        _file.loads(data[:8] + b"\2" + data[9:])
