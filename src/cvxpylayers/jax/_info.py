"""What a solve reports, as arrays that live inside compiled code."""

from __future__ import annotations

from typing import NamedTuple

import jax
import numpy as np

from cvxpylayers import _info
from cvxpylayers._program import Status


class SolveInfo(NamedTuple):
    """Outcome of a batch; a pytree of arrays of the batch shape, usable under ``jit``.

    ``status`` holds codes: compare with members of ``cvxpylayers.Status``, whose ``help`` says what to do. Residuals and gap are
    relative, ``objective`` is in the user's sense; no derivative flows through any of them. ``degenerate`` marks instances where
    the solution is not differentiable, if that was asked for.
    """

    status: jax.Array
    iterations: jax.Array
    primal_residual: jax.Array
    dual_residual: jax.Array
    gap: jax.Array
    objective: jax.Array
    degenerate: jax.Array | None = None

    @property
    def solved(self) -> jax.Array:
        """Which instances have a solution that can be used and differentiated."""
        return self.status <= int(Status.ALMOST_SOLVED)

    def concrete(self) -> _info.SolveInfo:
        """The same as NumPy arrays with statuses in words, outside of compiled code."""
        codes = np.asarray(self.status)
        primal, dual, gap, objective = (np.asarray(a, dtype=np.float64) for a in self[2:6] if a is not None)
        fallback = np.zeros(codes.shape, dtype=np.bool_)
        degenerate = fallback.copy() if self.degenerate is None else np.array(self.degenerate)
        return _info.SolveInfo(
            codes, np.asarray(self.iterations), primal, dual, gap, objective, fallback, degenerate, np.full(codes.shape, np.nan)
        )
