"""Layer files that somebody has tampered with: each is refused with one of our errors, or is a layer that solves.

    python -m benchmarks.campaigns.fuzz_layers [--count 10000] [--seed 0]

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
from typing import Any

import numpy as np

from cvxpylayers import _file
from cvxpylayers.errors import CvxpyLayersError
from problems.layers import HEAD, LAYERS, rewritten, sealed

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
        return sealed(bytes(content))
    if kind == 1:
        (length,) = struct.unpack_from("<I", data, 12)
        content, begin = bytearray(data[:-16]), HEAD + _file._up(length)
        for _ in range(rng.randint(1, 3)):
            word = rng.choice([0, 1, 2, 3, 5, 2**31 - 1, 2**32 - 1, rng.randrange(2**32)])
            struct.pack_into("<I", content, begin + 4 * rng.randrange((len(content) - begin) // 4), word)
        return sealed(bytes(content))
    if kind == 2:
        cut = rng.randrange(len(data))
        return sealed(data[:cut] + data[cut + rng.randint(1, 64) : -16])

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
