"""The plot of a run: time per instance against batch size, one panel per family, log scales."""

from __future__ import annotations

import math
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullFormatter

from benchmarks.compare.contenders import CONTENDERS, OURS
from benchmarks.compare.report import Results

# Color-blind safe; ours is the one strong color.
COLORS = {
    OURS: "#d1495b",
    "1x": "#4d4d4d",
    "1x-clarabel": "#9a9a9a",
    "1x-moreau": "#8cb369",
    "moreau-auto": "#00798c",
    "moreau-ipm": "#66b2c2",
    "qpth": "#edae49",
    "ours-jax": "#8d1f33",
    "1x-jax": "#4d4d4d",
    "qpax": "#00798c",
    "jaxopt-osqp": "#66b2c2",
    "jaxopt-box": "#8cb369",
}
MARKERS = {OURS: "o", "1x": "s", "1x-clarabel": "s", "1x-moreau": "D", "moreau-auto": "^", "moreau-ipm": "v", "qpth": "P"}
MARKERS |= {"ours-jax": "o", "1x-jax": "s", "qpax": "^", "jaxopt-osqp": "v", "jaxopt-box": "D"}


def _duration(value: float, _: object = None) -> str:
    for factor, unit in ((1e6, "s"), (1e3, "ms"), (1.0, "µs")):
        if value >= factor:
            return f"{value / factor:g} {unit}"
    return f"{value * 1e3:g} ns"


def plot(results: Results, path: Path) -> None:
    """Write a PNG: forward + backward solid, forward thin; contenders that are wrong on a family are left out of its panel."""
    families = results.families
    columns = min(4, len(families))
    rows = math.ceil(len(families) / columns)
    figure = Figure(figsize=(3.4 * columns, 2.7 * rows + 0.9), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.flat[len(families) :]:
        axis.set_axis_off()
    for axis, family in zip(axes.flat, families, strict=False):
        for contender in results.contenders:
            for mode, width, alpha in (("forward", 1.0, 0.45), ("gradient", 2.0, 1.0)):
                points = [(b, t) for b in results.batches if (t := results.time(family, b, contender, mode)) is not None]
                if points and results.correct(family, contender, mode):
                    style = {"color": COLORS[contender], "lw": width, "alpha": alpha, "zorder": 3 if contender == OURS else 2}
                    marker = {"marker": MARKERS[contender], "ms": 4.5} if mode == "gradient" else {}
                    axis.plot(*zip(*points, strict=True), **style, **marker)
        axis.set(xscale="log", yscale="log")
        axis.set_title(family.replace("_", " "), fontsize=10, loc="left", fontweight="bold")
        axis.set_xticks(results.batches, [str(b) for b in results.batches])
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.minorticks_off()
        axis.yaxis.set_major_formatter(FuncFormatter(_duration))
        axis.grid(visible=True, which="major", color="#e6e6e6", lw=0.8)
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=8, length=0)
    machine = results.facts["machine"]
    handles = [Line2D([], [], color=COLORS[c], marker=MARKERS[c], lw=2, label=CONTENDERS[c].title) for c in results.contenders]
    handles += [Line2D([], [], color="#777777", lw=w, label=t) for w, t in ((2, "forward + backward"), (1, "forward"))]
    figure.legend(handles=handles, loc="outside lower center", ncols=5, fontsize=8, frameon=False)
    where = f"{machine['processor']}, {machine['cores']} cores, {results.facts['date'][:10]}"
    figure.suptitle(f"Time per instance against instances per call: whole user calls, medians · {where}", fontsize=10)
    figure.savefig(path, dpi=150)
