"""Working memory belongs to threads: the peak of a call grows with the batch by what is documented to be kept, and by no more.

The peak is that of the resident size, so it sees the kernel, NumPy and PyTorch alike (``benchmarks.micro.memory`` tells how). One
fresh process measures all, since in this one other tests have left memory behind that a call could reuse unseen.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from multiprocessing.pool import Pool
from pathlib import Path

import pytest

from benchmarks.micro.memory import growth
from problems.canonical import canonicalize
from problems.families import FAMILIES

SMALL, LARGE = 1_000, 30_000
INFO = 39  # bytes of a SolveInfo for each instance: residuals, gap and objective, iterations, status, two flags
SLACK = 32  # bytes for each instance; a copy of the values of the smallest family here would be 96
LIMIT = 60.0  # seconds for one measurement


@pytest.fixture(scope="module")
def fresh() -> Iterator[Pool]:
    """A process that has done nothing yet, and that returns what it frees to the system: every call must ask for it anew."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        pytest.skip("the system does not let a process reset its peak memory")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MALLOC_MMAP_THRESHOLD_", "65536")
        pool = multiprocessing.get_context("spawn").Pool(1)
    with pool:
        yield pool


def kept(family: str, mode: str) -> int:
    """Bytes that a call may hold for each instance besides its inputs and what it returns."""
    program = canonicalize(FAMILIES[family].make())
    tape, cotangents = program.n + 2 * program.m, sum(v.size for v in FAMILIES[family].make().variables)
    return INFO + (8 * (tape + cotangents) if mode == "gradient" else 0)


@pytest.mark.parametrize("mode", ["forward", "gradient"])
@pytest.mark.parametrize("family", ["nnls_3x2", "portfolio_10", "dense_qp_20", "shared_qp_50"])
def test_the_peak_grows_with_the_batch_by_what_is_kept(fresh: Pool, family: str, mode: str) -> None:
    beyond = []
    for batch in (SMALL, LARGE):
        found = fresh.apply_async(growth, (family, batch, mode)).get(LIMIT)
        beyond.append(found["peak"] - found["returned"] - batch * kept(family, mode))
    assert beyond[1] - max(beyond[0], 0) < SLACK * (LARGE - SMALL), f"{beyond} bytes beyond what is kept"
