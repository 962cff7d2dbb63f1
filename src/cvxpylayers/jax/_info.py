"""What a solve reports, as arrays that live inside compiled code."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import jax
import numpy as np

from cvxpylayers._layer import info
from cvxpylayers._program import USABLE

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class WarmStart(NamedTuple):
    """Points to start from, one per instance; a pytree without tangents, fit to be carried by ``scan``.

    Doubles are kept as pairs of uint32, which exist whether or not x64 is enabled: points (x, z, s), (*batch, 2 (n + 2 m)). A point
    never changes which solution is found, only how soon. Where it is NaN the solve starts cold: ``layer.cold_start`` makes such.
    """

    points: jax.Array


class SolveInfo(NamedTuple):
    """Outcome of a batch; a pytree of arrays of the batch shape, usable under ``jit``.

    ``status`` holds codes: compare with members of ``cvxpylayers.Status``, whose ``help`` says what to do. Residuals and gap are
    relative, ``objective`` is in the user's sense, ``margin`` says how far the solution is from one that is not differentiable, as
    in ``cvxpylayers.SolveInfo``; no derivative flows through any of them. ``degenerate`` marks instances where the solution is not
    differentiable, if that was asked for; ``warm_start`` is where the next solve may start, if this one was given such points.
    """

    status: jax.Array
    iterations: jax.Array
    primal_residual: jax.Array
    dual_residual: jax.Array
    gap: jax.Array
    objective: jax.Array
    margin: jax.Array
    degenerate: jax.Array | None = None
    warm_start: WarmStart | None = None

    @property
    def solved(self) -> jax.Array:
        """Which instances have a solution that can be used and differentiated."""
        return self.status <= USABLE

    def plot(self) -> Figure:
        """Iterations, residuals and gap of every instance, as ``cvxpylayers.SolveInfo.plot``, outside of compiled code."""
        return self.concrete().plot()

    def _repr_html_(self) -> str | None:
        return None if isinstance(self.status, jax.core.Tracer) else self.concrete()._repr_html_()

    def concrete(self) -> info.SolveInfo:
        """The same as NumPy arrays with statuses in words, outside of compiled code."""
        codes = np.asarray(self.status)
        numbers = (self.primal_residual, self.dual_residual, self.gap, self.objective, self.margin)
        primal, dual, gap, objective, margin = (np.asarray(a, dtype=np.float64) for a in numbers)
        fallback = np.zeros(codes.shape, dtype=np.bool_)
        degenerate = fallback.copy() if self.degenerate is None else np.array(self.degenerate)
        return info.SolveInfo(codes, np.asarray(self.iterations), primal, dual, gap, objective, fallback, degenerate, margin)
