"""Array types used in signatures: the plain aliases say the dtype, ``Shaped[Float64, "B n"]`` adds the shape.

To a type checker ``Shaped`` is ``Annotated``. Annotations of this package are never evaluated in ordinary use (every module
has ``from __future__ import annotations``), so shapes cost nothing at run time. Under pytest, jaxtyping's import hook evaluates
them and checks each call: equal names in one signature must be equal sizes, ``...`` is any number of axes, as in jaxtyping.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Float64: TypeAlias = NDArray[np.float64]
Int8: TypeAlias = NDArray[np.int8]
Int32: TypeAlias = NDArray[np.int32]
Bool: TypeAlias = NDArray[np.bool_]
Exchanged: TypeAlias = Any  # of NumPy, or of a library whose arrays have `__dlpack_c_exchange_api__`, on the host

if TYPE_CHECKING:
    from typing import Annotated as Shaped
else:

    class Shaped:
        """``Shaped[alias, dims]``: jaxtyping's type of that dtype and shape; the bare alias where jaxtyping is missing."""

        def __class_getitem__(cls, item: tuple[object, str]) -> object:
            alias, dims = item
            try:
                import jaxtyping
            except ImportError:
                return alias
            return getattr(jaxtyping, _JAXTYPING[alias])[np.ndarray, dims]

    _JAXTYPING = {Float64: "Float64", Int8: "Int8", Int32: "Int32", Bool: "Bool"}

__all__ = ["Bool", "Exchanged", "Float64", "Int8", "Int32", "NDArray", "Shaped"]
