"""Layer files that somebody has tampered with: each is refused with one of our errors, or is a layer that solves.

    python -m benchmarks.fuzz_layers [--count 10000] [--seed 0]

Digests are made to fit, so that mutations get past them. A crash ends the process, any other exception is a failure.
"""

from __future__ import annotations

import argparse
import json
import random
import struct
import sys
import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any

import cvxpy as cp
import numpy as np

from cvxpylayers import _file
from cvxpylayers.errors import CvxpyLayersError
from cvxpylayers.numpy import CvxpyLayer

_HEAD = 16
_VALUES = (
    0,
    -1,
    1,
    2,
    3,
    2**31 - 1,
    2**31,
    2**63,
    10**30,
    0.5,
    -0.0,
    1e308,
    True,
    None,
    "",
    "NATIVE",
    [],
    ["tuple", []],
    ["array", 0],
)


def _quadratic() -> tuple[CvxpyLayer, list[Any]]:
    x, A, b = cp.Variable(2, name="x"), cp.Parameter((3, 2), name="A"), cp.Parameter(3, name="b")
    layer = CvxpyLayer(cp.Problem(cp.Minimize(cp.sum_squares(A @ x - b)), [x >= 0]), [A, b], [x], solver_args={"tolerance": 1e-9})
    rng = np.random.default_rng(0)
    return layer, [rng.standard_normal((7, 3, 2)), rng.standard_normal((7, 3))]


def _conic() -> tuple[CvxpyLayer, list[Any]]:
    x, X = cp.Variable(3, name="x"), cp.Variable((2, 2), PSD=True, name="X")
    c, r = cp.Parameter(3, name="c"), cp.Parameter(nonneg=True, name="r")
    cones = [cp.norm(x) <= r, cp.trace(X) == 1, X[0, 1] == x[0] / 4, cp.exp(x[1]) <= 2, cp.power(x[2] + 3, 0.3, approx=False) >= 1]
    return CvxpyLayer(cp.Problem(cp.Minimize(c @ x + X[0, 0]), cones), [c, r], [x, X]), [np.eye(3), np.ones(3)]


def _geometric() -> tuple[CvxpyLayer, list[Any]]:
    x, a = cp.Variable(2, pos=True, name="x"), cp.Parameter(2, pos=True, name="a")
    problem = cp.Problem(cp.Minimize(a[0] * x[0] + a[1] / (x[0] * x[1])), [x[1] <= 2])
    return CvxpyLayer(problem, [a], [x], gp=True), [np.array([[1.0, 2.0], [3.0, 0.5]])]


def _declared() -> tuple[CvxpyLayer, list[Any]]:
    x = cp.Variable(2, name="x")
    S, u = cp.Parameter((2, 2), PSD=True, name="S"), cp.Parameter(2, bounds=[0, 3], name="u")
    problem = cp.Problem(cp.Maximize(cp.sum(x) - cp.quad_form(x, S)), [x <= u])
    return CvxpyLayer(problem, [S, u], [x], on_failure="nan", solver="CLARABEL"), [np.eye(2) + 1, np.ones((3, 2))]


LAYERS: dict[str, Callable[[], tuple[CvxpyLayer, list[Any]]]] = {
    "quadratic": _quadratic,
    "conic": _conic,
    "geometric": _geometric,
    "declared": _declared,
}


def rewritten(data: bytes, change: Callable[[dict[str, Any]], None]) -> bytes:
    """The file with another header, and a digest that fits."""
    (length,) = struct.unpack_from("<I", data, 12)
    header = json.loads(data[_HEAD : _HEAD + length])
    change(header)
    text = json.dumps(header).encode()
    return _sealed(data[:12] + struct.pack("<I", len(text)) + _file._padded(text) + data[_HEAD + _file._up(length) : -16])


def trial(data: bytes) -> str:
    """What became of a file: "refused", "solved", or the name of an exception that must not be."""
    try:
        layer = _file.loads(data)
        specs = layer.compiled.parameters
        if sum(spec.size for spec in specs) < 10**5:
            layer.solve([np.ones((2, *spec.shape)) for spec in specs], on_failure="nan")
    except CvxpyLayersError:
        return "refused"
    except Exception as error:  # what is looked for
        return f"{type(error).__name__}: {error}"
    return "solved"


def _sealed(content: bytes) -> bytes:
    return content + _file._digest(content)


def _nodes(tree: Any) -> list[tuple[Any, Any]]:
    """Every place (container, key) of a tree."""
    found, todo = [], [tree]
    while todo:
        node = todo.pop()
        places = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
        for key, child in places:
            found.append((node, key))
            todo.append(child)
    return found


def _mutated(data: bytes, rng: random.Random) -> bytes:
    """One to three changes: of bytes anywhere, of words of an array, or of values of the header."""
    kind = rng.randrange(4)
    if kind == 0:
        content = bytearray(data[:-16])
        for _ in range(rng.randint(1, 3)):
            content[rng.randrange(len(content))] = rng.randrange(256)
        return _sealed(bytes(content))
    if kind == 1:
        (length,) = struct.unpack_from("<I", data, 12)
        content, begin = bytearray(data[:-16]), _HEAD + _file._up(length)
        for _ in range(rng.randint(1, 3)):
            word = rng.choice([0, 1, 2, 3, 5, 2**31 - 1, 2**32 - 1, rng.randrange(2**32)])
            struct.pack_into("<I", content, begin + 4 * rng.randrange((len(content) - begin) // 4), word)
        return _sealed(bytes(content))
    if kind == 2:
        cut = rng.randrange(len(data))
        return _sealed(data[:cut] + data[cut + rng.randint(1, 64) : -16])

    def change(header: dict[str, Any]) -> None:
        for _ in range(rng.randint(1, 3)):
            container, key = rng.choice(_nodes(header))
            other, place = rng.choice(_nodes(header))
            container[key] = rng.choice(_VALUES) if rng.random() < 0.7 else json.loads(json.dumps(other[place]))

    return rewritten(data, change)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    rng, files = random.Random(given.seed), [_file.dumps(make()[0]._layer) for make in LAYERS.values()]
    counts = Counter(trial(_mutated(rng.choice(files), rng)) for _ in range(given.count))
    for outcome, count in counts.most_common():
        print(f"{count:7} {outcome}")
    return int(bool(counts.keys() - {"refused", "solved"}))


if __name__ == "__main__":
    sys.exit(main())
