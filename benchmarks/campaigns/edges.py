"""Does a layer tell the truth where scales are wide? ``python -m benchmarks.edges``: values, gradients, and what marks them.

Every instance has a known solution and derivative (closed form or rational arithmetic). A value is right within 1e-6 of its unit
(and 1e-12 of itself), a gradient within 1e-4 of its row: all derivatives of one output by one parameter, in their units. What is
not right must be marked: a value by its status, a gradient by ``info.degenerate``. The exit code is 1 if a promise is broken.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import chain
from pathlib import Path
from zlib import crc32

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.campaigns.edge_cones import CONES, ENGINES, SMOOTHED
from benchmarks.campaigns.edge_distances import DISTANCES
from benchmarks.campaigns.edge_families import PENALTIES, TIES, Edge, Truth, flat
from benchmarks.campaigns.edge_scales import BOUNDS, FADING, SHIFTS, UNITS
from benchmarks.campaigns.edge_weights import KINKS, WEIGHTS
from benchmarks.text import insert
from cvxpylayers._engines.native.engine import NativeEngine
from cvxpylayers._layer.layer import Layer
from cvxpylayers._program import CompiledProblem, Status
from cvxpylayers.numpy import CvxpyLayer, Linearization
from problems.families import Array, Arrays

EDGES: tuple[Edge, ...] = (
    *PENALTIES, *TIES, *KINKS, *WEIGHTS, *FADING, *SHIFTS, *DISTANCES, *BOUNDS, *UNITS, *CONES, *SMOOTHED, *ENGINES,
)  # fmt: skip
CHUNK = 128  # instances of a call
VALUE, GRADIENT = 1e-6, 1e-4
CURVED = ("weights", "cones")  # groups of closed forms, whose second derivatives are compared too
ROUNDING = 1e-6  # of VALUE: errors of 1e-12 of an entry are its rounding, however far it is from the origin
FLOOR = 1e-3  # of GRADIENT: rows smaller than this are compared with it, in their units


@dataclass
class Tally:
    """Counts of instances; ``+`` joins groups. The derivative exists where all outputs have one."""

    instances: int = 0
    solved: int = 0
    unsolved: int = 0  # marked by a status, `almost_solved` among them
    value_wrong: int = 0  # solved, and wrong
    right: int = 0  # gradients, of solved instances with right values
    right_marked: int = 0
    wrong_marked: int = 0
    wrong: int = 0
    smooth: int = 0  # instances whose derivative exists, and of these, unsolved ones, and marked ones
    smooth_unsolved: int = 0
    smooth_marked: int = 0
    value_error: float = 0.0  # worst of solved ones
    gradient_error: float = 0.0  # worst of unmarked ones

    def __add__(self, other: Tally) -> Tally:
        worst = ("value_error", "gradient_error")
        return Tally(
            *((max if f.name in worst else int.__add__)(getattr(self, f.name), getattr(other, f.name)) for f in fields(self))
        )

    @property
    def marked_share(self) -> float:
        """Of instances whose derivative exists: unsolved or marked."""
        return (self.smooth_unsolved + self.smooth_marked) / max(1, self.smooth)


# ---- one batch -----------------------------------------------------------------------------------------------------------------


def pulled(point: Linearization, row: int) -> tuple[Array, Array]:
    """The gradient (B, p) of output ``row``, and its marks (B,)."""
    point.info.degenerate[...] = False
    B = len(point.info.codes)
    unit = np.zeros((B, sum(o[0].size for o in point.outputs)))
    unit[:, row] = 1.0
    cuts = np.cumsum([o[0].size for o in point.outputs])[:-1]
    parts = [part.reshape(o.shape) for part, o in zip(np.split(unit, cuts, axis=1), point.outputs, strict=True)]
    gradient = flat(*point.vjp(*parts))
    return gradient, point.info.degenerate.copy()


def pushed(point: Linearization, values: Arrays, tangent: Array) -> tuple[Array, Array]:
    """The tangent (B, o) of the outputs along ``tangent`` (B, p), and its marks (B,)."""
    point.info.degenerate[...] = False
    cuts = np.cumsum([v[0].size for v in values])[:-1]
    parts = [part.reshape(v.shape) for part, v in zip(np.split(tangent, cuts, axis=1), values, strict=True)]
    return flat(*point.jvp(*parts)), point.info.degenerate.copy()


def row_error(found: Array, true: Array, widths: Sequence[int]) -> Array:
    """Largest error (B,) of gradients (B, p) in natural units, each parameter's relative to its largest entry or ``FLOOR``."""
    cuts = np.cumsum(widths)[:-1]
    errors = [
        np.abs(f - t).max(axis=1) / np.maximum(np.abs(t).max(axis=1), FLOOR)
        for f, t in zip(np.split(found, cuts, axis=1), np.split(true, cuts, axis=1), strict=True)
    ]
    return np.max(errors, axis=0)


def bent(edge: Edge, point: Linearization, values: Arrays, truth: Truth, rng: np.random.Generator) -> tuple[Array, Array]:
    """Errors (B,) of second derivatives against differences of the true Jacobian, where two steps agree on them, and marks (B,)."""
    point.info.degenerate[...] = False
    data, widths = flat(*values), [v[0].size for v in values]
    cuts = np.cumsum(widths)[:-1]
    up, cotangent = np.broadcast_to(truth.parameter_units, data.shape), rng.normal(size=truth.outputs.shape) / truth.output_units
    tangent = rng.uniform(-1, 1, data.shape) * np.minimum(up, np.abs(data))

    def split(rows: Array) -> list[Array]:
        return [part.reshape(v.shape) for part, v in zip(np.split(rows, cuts, axis=1), values, strict=True)]

    def difference(step: float) -> Array:
        ahead, behind = (edge.truth(*split(data + h * tangent)).jacobian for h in (step, -step))
        return np.asarray(np.einsum("bop,bo->bp", ahead - behind, cotangent) * up / (2 * step))

    true, coarse = difference(1e-4), difference(2e-4)
    outputs = np.split(cotangent, np.cumsum([o[0].size for o in point.outputs])[:-1], axis=1)
    parts = [c.reshape(o.shape) for c, o in zip(outputs, point.outputs, strict=True)]
    arguments = (point._point, parts, split(tangent), [True] * len(values))
    found = flat(*(g for g in point._layer.hvp(*arguments) if g is not None)) * up
    known = row_error(coarse, true, widths) <= 0.1 * GRADIENT
    return np.where(
        known & ~np.broadcast_to(truth.free, known.shape), row_error(found, true, widths), 0.0
    ), point.info.degenerate.copy()


def checked(point: Linearization, values: Arrays, truth: Truth, rng: np.random.Generator) -> Iterator[tuple[Array, Array]]:
    """Errors and marks (B,) of the gradient of each output, and of all tangents along a random direction.

    The error is infinite where there is no derivative: a mark is the one right answer.
    """
    shape, widths = truth.outputs.shape, [v[0].size for v in values]
    uo, up = np.broadcast_to(truth.output_units, shape), np.broadcast_to(truth.parameter_units, flat(*values).shape)
    natural = truth.jacobian * up[:, None] / uo[..., None]
    exists, tangent = ~np.isnan(natural).any(axis=2), rng.normal(size=up.shape)
    found, flags = pushed(point, values, tangent * up)
    size = np.einsum("bop,bp->bo", np.abs(natural), np.abs(tangent))
    off = np.abs(found / uo - np.einsum("bop,bp->bo", natural, tangent)) / np.maximum(size, FLOOR)
    yield np.where(exists, off, np.inf).max(axis=1), flags
    for k in range(shape[1]):
        gradient, flags = pulled(point, k)
        off = row_error(gradient * up / uo[:, [k]], np.nan_to_num(natural[:, k]), widths)
        yield np.where(exists[:, k], off, np.inf), flags


def judge(point: Linearization, truth: Truth, checks: Iterable[tuple[Array, Array]]) -> Tally:
    """Count one solved batch: its values, and its derivatives by the errors and marks (B,) of each check."""
    (outputs, solved), B = (flat(*point.outputs), point.info.codes == Status.SOLVED), len(truth.outputs)
    error = np.abs(outputs - truth.outputs) / (truth.output_units + ROUNDING * np.abs(truth.outputs))
    error = np.nan_to_num(error, nan=0.0).max(axis=1)
    good = solved & (error <= VALUE)
    smooth = ~np.isnan(truth.jacobian).any(axis=(1, 2)) & ~np.broadcast_to(truth.free, (B,))
    off, marks = (np.stack(rows) for rows in zip(*checks, strict=True))
    off = np.where(np.isnan(off), np.inf, off)
    bad, quiet = (off > GRADIENT).any(axis=0), ((off > GRADIENT) & ~marks).any(axis=0)
    flagged = (marks & ((off <= GRADIENT) | smooth)).any(axis=0)
    worst = np.where(marks, 0, off).max(axis=0)
    return Tally(
        instances=B, solved=int(solved.sum()), unsolved=int((~solved).sum()), value_wrong=int((solved & ~good).sum()),
        right=int((good & ~bad & ~flagged).sum()), right_marked=int((good & ~bad & flagged).sum()),
        wrong_marked=int((good & bad & ~quiet).sum()), wrong=int((good & quiet).sum()),
        smooth=int(smooth.sum()), smooth_unsolved=int((smooth & ~solved).sum()), smooth_marked=int((smooth & good & flagged).sum()),
        value_error=float(error[solved].max(initial=0)), gradient_error=float(worst[good & np.isfinite(worst)].max(initial=0)),
    )  # fmt: skip


def layer_of(edge: Edge) -> CvxpyLayer:
    """The layer of a family, whose problem may be a compiled one."""
    made = edge.make()
    if not isinstance(made, CompiledProblem):
        return CvxpyLayer(*made, solver=edge.solver, on_failure="nan", solver_args=edge.options)
    layer = CvxpyLayer.__new__(CvxpyLayer)
    layer._layer = Layer.of(made, NativeEngine, edge.options, on_failure="nan")
    return layer


def examine(edge: Edge, count: int) -> Tally:
    """``count`` instances of one family."""
    layer, tally, seed = layer_of(edge), Tally(), crc32(edge.name.encode())
    rng, other = np.random.default_rng(seed), np.random.default_rng(seed + 1)  # of instances, of directions
    while tally.instances < count:
        values, truth = edge.sample(rng, min(CHUNK, count - tally.instances))
        point = layer.linearize(*values)
        second = [bent(edge, point, values, truth, other)] if edge.group in CURVED and edge not in FADING else []
        tally += judge(point, truth, chain(checked(point, values, truth, other), second))
    return tally


# ---- the report ----------------------------------------------------------------------------------------------------------------

COLUMNS = (
    "", "instances", "values: right", "unsolved", "wrong", "max", "gradients: right", "but marked", "wrong, marked", "wrong", "max",
    "marked %", "s",
)  # fmt: skip


def cells(t: Tally) -> list[str]:
    return [
        str(t.instances), str(t.solved - t.value_wrong), str(t.unsolved), str(t.value_wrong), f"{t.value_error:.0e}",
        str(t.right), str(t.right_marked), str(t.wrong_marked), str(t.wrong), f"{t.gradient_error:.0e}",
        f"{100 * t.marked_share:.1f}",
    ]  # fmt: skip


def promises(t: Tally) -> list[tuple[str, str, bool]]:
    """What must hold, what was found, and whether it does."""
    return [
        ("at least 20 000 instances", str(t.instances), t.instances >= 20_000),
        ("no value wrong and unmarked", str(t.value_wrong), t.value_wrong == 0),
        ("no gradient wrong and unmarked", str(t.wrong), t.wrong == 0),
        ("at most 3 % marked where the derivative exists", f"{100 * t.marked_share:.2f} %", t.marked_share <= 0.03),
    ]


def markdown(groups: dict[str, Tally], promised: Sequence[tuple[str, str, bool]]) -> str:
    """The table of a page, one row a group."""
    heads = (
        "instances",
        "values right",
        "unsolved",
        "wrong",
        "gradients right",
        "marked",
        "wrong, unmarked",
        "marked where smooth",
    )
    lines = [f"| edge | {' | '.join(heads)} |", "|---|" + "--:|" * len(heads)]
    for name, t in groups.items():
        marked = t.right_marked + t.wrong_marked
        numbers = (t.instances, t.solved - t.value_wrong, t.unsolved, t.value_wrong, t.right, marked, t.wrong)
        lines.append(f"| {name} | " + " | ".join(map(str, numbers)) + f" | {100 * t.marked_share:.1f} % |")
    return "\n".join([*lines, "", f"{time.strftime('%Y-%m-%d')}. " + "; ".join(f"{p}: {r}" for p, r, _ in promised) + "."])


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.edges", description=__doc__)
    parser.add_argument("--count", type=int, default=512, help="instances of each family (default 512; of other engines a quarter)")
    parser.add_argument("--quick", action="store_true", help="48 instances of each family; their number is not judged")
    parser.add_argument("--family", default="", help="families whose group or name contains this; no promises are judged")
    parser.add_argument("--json", type=Path, help="where to write the counts")
    parser.add_argument("--write", type=Path, help="page with a pair of marker lines, for the table of groups")
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore", UserWarning)
    console, groups, rows = Console(width=170), dict[str, Tally](), dict[str, Tally]()
    table = Table(*COLUMNS, title="truth where scales are wide")
    for edge in (e for e in EDGES if options.family in f"{e.group}: {e.name}"):
        start, name = time.perf_counter(), f"{edge.group}: {edge.name}"
        count = 48 if options.quick else options.count
        rows[name] = examine(edge, count // 4 if edge.group == "engines" else count)
        groups[edge.group] = groups.get(edge.group, Tally()) + rows[name]
        table.add_row(name, *cells(rows[name]), f"{time.perf_counter() - start:.1f}")
        print(name, *cells(rows[name]), f"{time.perf_counter() - start:.1f}", sep="\t", file=sys.stderr, flush=True)
    everything = sum(rows.values(), Tally())
    for name, tally in {**groups, "all": everything}.items():
        table.add_row(name, *cells(tally), style="bold")
    console.print(table)
    judged = promises(everything)[1 if options.quick else 0 :]
    if options.json:
        options.json.write_text(json.dumps({name: asdict(tally) for name, tally in rows.items()}, indent=1))
    if options.write:
        options.write.write_text(insert(options.write.read_text(), markdown({**groups, "all": everything}, judged)))
    if options.family:
        return 0
    for promise, result, holds in judged:
        console.print(f"{'kept  ' if holds else 'BROKEN'} {promise}: {result}")
    return 0 if all(holds for _, _, holds in judged) else 1


if __name__ == "__main__":
    sys.exit(main())
