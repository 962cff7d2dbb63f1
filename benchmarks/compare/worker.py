"""One contender in its own process: one JSON request per line on standard input, ``python -m benchmarks.compare.worker NAME``.

Requests: ``versions``, ``load`` a case, ``check`` (run once and write the arrays), ``time`` (mean seconds of ``number`` calls).
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.compare.contenders import CONTENDERS, Case, Contender, UnsupportedError

RETURN_SECONDS = 0.5  # a longer call is not made twice


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # a checkout on the path, not installed
        return "checkout"


class Worker:
    """Holds at most one contender."""

    def __init__(self, name: str) -> None:
        self.entry = CONTENDERS[name]
        self.contender: Contender | None = None

    def versions(self) -> dict[str, str]:
        """Versions of the packages behind the contender."""
        return {package: _version(package) for package in self.entry.packages}

    def load(self, path: str) -> float:
        """Build the contender for a case; seconds of construction."""
        self.contender = None
        case = Case.load(Path(path))
        start = time.perf_counter()
        self.contender = self.entry.build(case)
        return time.perf_counter() - start

    def call(self, mode: str) -> Callable[[], Any]:
        if self.contender is None:
            raise RuntimeError("no case is loaded")
        return {"forward": self.contender.forward, "gradient": self.contender.gradient}[mode]

    def check(self, mode: str, path: str) -> float:
        """Write what one call returned as arrays (npz); the call's seconds."""
        start = time.perf_counter()
        result = self.call(mode)()
        seconds = time.perf_counter() - start
        assert self.contender is not None
        np.savez(path, **(self.contender.solution(result) if mode == "forward" else self.contender.pulled(result)))
        return seconds

    def time(self, mode: str, number: int) -> float:
        """Seconds of one call. The first of a turn brings code and data back into the caches that the other contenders have used
        since; it counts only where it is too long to repeat."""
        call = self.call(mode)
        start = time.perf_counter()
        call()
        first = time.perf_counter() - start
        if first > RETURN_SECONDS:
            return first
        start = time.perf_counter()
        for _ in range(number):
            call()
        return (time.perf_counter() - start) / number


def requests() -> Iterator[dict[str, Any]]:
    for line in sys.stdin:
        yield json.loads(line)


def main() -> None:
    # Solvers print; replies go to a private copy of standard output, and whatever is printed to standard error.
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    worker = Worker(sys.argv[1])
    for request in requests():
        try:
            reply = {"value": getattr(worker, request.pop("op"))(**request)}
        except UnsupportedError as error:
            reply = {"unsupported": str(error)}
        except Exception as error:
            traceback.print_exc()
            reply = {"error": f"{type(error).__name__}: {error}".splitlines()[0][:200]}
        print(json.dumps(reply), file=replies, flush=True)


if __name__ == "__main__":
    main()
