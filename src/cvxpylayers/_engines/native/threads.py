"""How many threads a call gets: the option, else what the environment or the machine says, which the kernel finds out for all."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from cvxpylayers import _core
from cvxpylayers.errors import OptionError


def thread_count(settings: Mapping[str, Any]) -> int:
    """The option ``threads`` of ``settings`` or, where that is 0 or not given, the default of this process."""
    return settings.get("threads", 0) or default_threads()[0]


def default_threads() -> tuple[int, str]:
    """Threads of a call that names no number, and who says so: CVXPYLAYERS_NUM_THREADS, else OMP_NUM_THREADS, else the lesser of
    the process's CPU quota and its affinity.

    Raises:
        OptionError: CVXPYLAYERS_NUM_THREADS is no integer ≥ 1. (What is wrong with OMP_NUM_THREADS is warned of and ignored.)
    """
    try:
        count, source, ignored = _core.default_threads()
    except ValueError as error:
        raise OptionError(str(error)) from None
    if ignored:
        _warn(ignored)
    return count, source


@lru_cache(maxsize=1)
def _warn(ignored: str) -> None:
    warnings.warn(f"{ignored} is no number of threads and is ignored; use an integer ≥ 1.", RuntimeWarning, stacklevel=2)
