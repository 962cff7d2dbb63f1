"""Array types used in signatures: jaxtyping's where it is installed (development, tests), plain NumPy's otherwise."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Float64: TypeAlias = NDArray[np.float64]
Int8: TypeAlias = NDArray[np.int8]
Int32: TypeAlias = NDArray[np.int32]
Bool: TypeAlias = NDArray[np.bool_]

__all__ = ["Bool", "Float64", "Int8", "Int32", "NDArray"]
