"""What a solve reports, as arrays that live inside compiled code."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import numpy as np

from cvxpylayers import _info
from cvxpylayers._program import Status


class SolveInfo(NamedTuple):
    """Outcome of a batch; a pytree of arrays of the batch shape, usable under ``jit``.

    ``status`` holds codes: compare with members of ``cvxpylayers.Status``, whose ``help`` says what to do. Residuals and gap are
    relative, ``objective`` is in the user's sense; no derivative flows through any of them.
    """

    status: jax.Array
    iterations: jax.Array
    primal_residual: jax.Array
    dual_residual: jax.Array
    gap: jax.Array
    objective: jax.Array

    @property
    def solved(self) -> jax.Array:
        """Which instances have a solution that can be used and differentiated."""
        return self.status <= int(Status.ALMOST_SOLVED)

    def concrete(self) -> _info.SolveInfo:
        """The same as NumPy arrays with statuses in words, outside of compiled code."""
        codes = np.asarray(self.status)
        numbers: list[Any] = [np.asarray(a, dtype=np.float64) for a in self[2:]]
        nowhere = np.zeros((2, *codes.shape), dtype=np.bool_)
        return _info.SolveInfo(codes, np.asarray(self.iterations), *numbers, *nowhere)
