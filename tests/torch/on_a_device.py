"""A device of which nothing is real: the driver executes kernels on the host, and any tensor lies there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cvxpylayers.torch import _addresses

_BUILT = Path(__file__).parents[2] / "build/dev/libcvxl_fake_cuda.so"
DRIVER = Path(os.environ.get("CVXPYLAYERS_FAKE_CUDA", _BUILT))  # made by `make test`, with the C++ tests

needs_driver = pytest.mark.skipif(not DRIVER.exists(), reason="the driver of the C++ tests is not built: make test")


@contextmanager
def device(number: int = 0, driver: str = str(DRIVER)) -> Iterator[None]:
    """Tensors are on the device with this number in here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CVXPYLAYERS_CUDA_DRIVER", driver)
        patch.setattr(_addresses, "ordinal", lambda tensor: number)
        yield
