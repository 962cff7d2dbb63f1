"""Options of a solve and their defaults, as the kernel has them (``cpp/include/cvxl/settings.hpp``); other engines share them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from cvxpylayers import _core

_options, _almost = _core.defaults()
DEFAULTS: Final[Mapping[str, Any]] = MappingProxyType(_options)
TOLERANCE: Final[float] = _options["tolerance"]  # residuals and gap up to which an instance is solved
ALMOST: Final[float] = _almost  # and almost solved
SMOOTHING: Final[float] = _options["smoothing"]  # s∘z of the central path that is differentiated
