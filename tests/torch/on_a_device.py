"""A device of which nothing is real: the driver executes kernels on the host, and any tensor lies there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cvxpylayers.torch import CvxpyLayer, _addresses
from problems.families import SMALL

_BUILT = Path(__file__).parents[2] / "build/dev/libcvxl_fake_cuda.so"
DRIVER = Path(os.environ.get("CVXPYLAYERS_FAKE_CUDA", _BUILT))  # made by `make test`, with the C++ tests

BATCH = 3

needs_driver = pytest.mark.skipif(not DRIVER.exists(), reason="the driver of the C++ tests is not built: make test")


@contextmanager
def device(number: int = 0, driver: str = str(DRIVER)) -> Iterator[None]:
    """Tensors are on the device with this number in here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CVXPYLAYERS_CUDA_DRIVER", driver)
        patch.setattr(_addresses, "ordinal", lambda tensor: number)
        yield


def sample(name: str, batch: int = BATCH) -> tuple[CvxpyLayer, list[torch.Tensor]]:
    """A layer and parameters, some shared, that want gradients."""
    layer = CvxpyLayer(*SMALL[name].make())
    return layer, [torch.from_numpy(np.asarray(a)).requires_grad_() for a in SMALL[name].sample(batch, 0)]


def close(found: Any, wanted: Any, tolerance: float) -> None:
    """Equal tensors, one by one."""
    for a, b in zip(found, wanted, strict=True):
        assert a.shape == b.shape
        assert a.dtype == b.dtype
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance, equal_nan=True)
