"""Pictures of what others have computed, by matplotlib, which is imported when the first is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
import scipy.sparse as sp

from cvxpylayers._typing import Bool, Float64, Int32, NDArray
from cvxpylayers.errors import MissingPackageError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BLUE, _RED, _GRAY = "#1f5fa8", "#c8442f", "#8a8f98"
_FLOOR: Final = 1e-17  # what is drawn of a residual of 0 on a logarithmic axis
_ROUNDING: Final = 1e-9  # relative range of a curve that is no change
_LEGEND: Final = 8  # curves that are named
_MARKS: Final = ("o", "s", "^")


def _figure(columns: int, height: float) -> tuple[Figure, Sequence[Axes]]:
    try:
        import matplotlib.pyplot as plt
    except ImportError:
        raise MissingPackageError("Pictures need matplotlib; install it with: pip install 'cvxpylayers[plots]'") from None
    figure, axes = plt.subplots(1, columns, figsize=(5.2 * columns, height), layout="constrained", squeeze=False)
    for ax in axes[0]:
        ax.spines[["top", "right"]].set_visible(False)
    return figure, tuple(axes[0])


def outcomes(iterations: Int32, measured: Mapping[str, Float64], failed: NDArray[np.intp], title: str) -> Figure:
    """Iterations of every instance, ``failed`` ones marked in red; residuals by name of the others, on a logarithmic axis."""
    figure, (left, right) = _figure(2, 3.6)
    where, size = np.arange(len(iterations)), max(1.5, min(6.0, 300.0 / max(len(iterations), 1)))
    solved = np.setdiff1d(where, failed)
    left.plot(where, iterations, "o", ms=size, color=_BLUE)
    left.plot(failed, iterations[failed], "x", ms=size + 3, color=_RED, label="no solution")
    left.set(xlabel="instance", ylabel="iterations", ylim=(0, None))
    for (name, values), mark, color in zip(measured.items(), _MARKS, (_BLUE, _GRAY, "#d9912b"), strict=True):
        right.semilogy(solved, np.maximum(values[solved], _FLOOR), mark, ms=size, color=color, label=name, alpha=0.8)
    right.set(xlabel="instance", ylabel="relative to their terms, where solved", xlim=left.get_xlim())
    right.legend(frameon=False, fontsize="small", ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0), markerscale=4.0 / size)
    if len(failed):
        left.legend(frameon=False, fontsize="small")
    figure.suptitle(title, fontsize="medium")
    return figure


def sparsity(K: sp.csc_array, factor: sp.csc_array, old: Bool, parts: Mapping[str, int], words: str) -> Figure:
    """K, cut into ``parts`` of so many rows each, beside its factor, where ``old`` marks the entries that K has, too."""
    figure, (left, right) = _figure(2, 5.0)
    size = max(0.3, min(8.0, 260.0 / K.shape[0]))
    entries, filled = K.tocoo(), factor.tocoo()
    left.plot(entries.col, entries.row, "s", ms=size, mew=0, color=_BLUE)
    right.plot(filled.col[old], filled.row[old], "s", ms=size, mew=0, color=_BLUE, label="entries of K")
    right.plot(filled.col[~old], filled.row[~old], "s", ms=size, mew=0, color=_RED, label="fill")
    for ax in (left, right):
        ax.set(xlim=(-0.5, K.shape[0] - 0.5), ylim=(K.shape[0] - 0.5, -0.5), aspect="equal")
    cuts = np.cumsum([0, *parts.values()])
    for cut in cuts[1:-1]:
        left.axhline(cut - 0.5, color=_GRAY, lw=0.6)
        left.axvline(cut - 0.5, color=_GRAY, lw=0.6)
    left.set_yticks(0.5 * (cuts[:-1] + cuts[1:]) - 0.5, [f"{name} ({count})" for name, count in parts.items()], fontsize="small")
    left.set_title(f"K: {K.nnz} entries", fontsize="medium")
    fill = int((~old).sum())
    right.set_title(f"factor, minimum degree: {factor.nnz} entries, {fill} of them fill", fontsize="medium")
    left.set_xticks([])
    right.set(xticks=[], yticks=[])
    right.legend(frameon=False, fontsize="small", loc="upper right", markerscale=6.0 / size)
    figure.suptitle(words, fontsize="medium")
    return figure


def path(t: Float64, curves: Mapping[str, Float64], changes: Float64, failed: Float64) -> Figure:
    """One axis for every output, (T, entries), over t; dotted lines at ``changes``, red marks where there is no solution."""
    figure, axes = _figure(len(curves), 3.6)
    for ax, (name, values) in zip(axes, curves.items(), strict=True):
        for k, curve in enumerate(values.T):
            ax.plot(t, curve, lw=1.5, label=f"{name}[{k}]" if values.shape[1] > 1 else name)
        for at in changes:
            ax.axvline(at, color=_GRAY, lw=0.8, ls=":")
        if len(failed):
            ax.plot(failed, np.zeros(len(failed)), "|", color=_RED, transform=ax.get_xaxis_transform(), ms=12, label="no solution")
        ax.set(xlabel="t, from start to end", title=name)
        _name_curves(ax, values.shape[1])
        _hide_rounding(ax)
    return figure


def _name_curves(ax: Axes, count: int) -> None:
    """A legend where it can be read."""
    if count <= _LEGEND:
        ax.legend(frameon=False, fontsize="small")


def _hide_rounding(ax: Axes) -> None:
    """A constant is drawn as one."""
    low, high = ax.get_ylim()
    if high - low < _ROUNDING * max(1.0, abs(low), abs(high)):
        ax.set_ylim(low - 0.5, high + 0.5)
