"""A solved batch → why its gradients are zero, large or flagged: a report to read, arrays to use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

import numpy as np

from cvxpylayers._layer.findings import MARGIN, SMOOTHED, SPREAD, STEEP, Finding
from cvxpylayers._layer.info import SolveInfo
from cvxpylayers._layer.table import Table, page
from cvxpylayers._program import Status
from cvxpylayers._typing import Bool, Float64, Int32, Shaped

_SHOWN: Final = 12  # instances of the table
_LISTED: Final = 8  # instances that a finding names
_NOTHING: Final = 1e-10  # relative gradient that counts as zero


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """Why the gradients of a batch are as they are; every array has the batch shape. Printing it gives a report.

    ``findings`` maps each ``Finding`` to the instances it holds for. ``info`` is that of the solve, its flags set. By parameter
    name, ``gradient`` is the norm of its gradient: of the loss whose cotangents were given, else the Frobenius norm of the Jacobian
    of all outputs (an estimate from 16 random directions beyond 16 entries); ``relative`` that of a relative change, (norm of the
    parameter or 1) / (norm of the outputs or 1) times as much. ``idle`` says where a parameter enters nothing that binds.

    Of every instance: ``active`` inequalities and rows of cones, ``rank``, the number of independent active rows, and
    ``dependent`` ones, equalities and those of CVXPY's auxiliary variables included, ``free`` directions in which they let the
    outputs move, ``flat`` ones among them that have no curvature (of flagged instances also those that outputs do not see), the
    least ``curvature`` of the others (inf where there is none), ``angle``, the least singular value of the independent rows, each
    of length 1, and ``spread``, the largest norm of a row of [P Aᵀ; A 0] by the least. Numbers are -1 or NaN where there is no
    solution, or the cone program has more than 2000 unknowns and rows. ``binding`` counts the active rows of each constraint.
    """

    info: SolveInfo
    smoothed: bool
    gradient: Mapping[str, Shaped[Float64, "*batch"]]
    relative: Mapping[str, Shaped[Float64, "*batch"]]
    idle: Mapping[str, Shaped[Bool, "*batch"]]
    active: Shaped[Int32, "*batch"]
    rank: Shaped[Int32, "*batch"]
    dependent: Shaped[Int32, "*batch"]
    free: Shaped[Int32, "*batch"]
    flat: Shaped[Int32, "*batch"]
    curvature: Shaped[Float64, "*batch"]
    angle: Shaped[Float64, "*batch"]
    spread: Shaped[Float64, "*batch"]
    binding: Mapping[str, Shaped[Int32, "*batch"]] = field(repr=False)

    @cached_property
    def findings(self) -> Mapping[Finding, Shaped[Bool, "*batch"]]:
        """Where each finding holds, in the order in which they are worth reading."""
        flagged, solved, margin = self.info.degenerate, self.info.solved, self.info.margin
        flat, dependent = self.flat > 0, self.dependent > 0
        kink = flagged & ~self.smoothed & ((margin <= MARGIN) | ~(flat | dependent))
        steep = np.any([relative > STEEP for relative in self.relative.values()], axis=0)
        return {
            Finding.UNSOLVED: ~solved,
            Finding.OFF_PATH: flagged & self.smoothed,
            Finding.CORNER: self.free == 0,
            Finding.FLAT: flat,
            Finding.KINK: kink,
            Finding.DEPENDENT: dependent,
            Finding.STEEP: np.asarray(steep),
            Finding.SCALE: self.spread > SPREAD,
            Finding.IDLE: np.any(list(self.idle.values()), axis=0) & solved,
        }

    def zero(self, name: str) -> Shaped[Bool, "*batch"]:
        """Where the gradient of the parameter is zero, to rounding."""
        return np.asarray(self.relative[name] <= _NOTHING)

    def _shown(self, name: str) -> Shaped[Float64, "*batch"]:
        """The gradient's norm without rounding where it is zero."""
        return np.where(self.zero(name), 0.0, self.gradient[name])

    def of(self, *index: int) -> tuple[Finding, ...]:
        """The findings of one instance."""
        return tuple(finding for finding, where in self.findings.items() if where[index])

    def counts(self) -> dict[Finding, int]:
        """How many instances each finding holds for, of those that occur."""
        return {finding: int(where.sum()) for finding, where in self.findings.items() if where.any()}

    def tables(self, most: int = _SHOWN) -> tuple[Table, ...]:
        """The report: gradients by parameter, at most ``most`` instances, those with findings first, and what the findings mean."""
        return tuple(table for table in (self._gradients(), self._instances(most), self._constraints(), self._meanings()) if table)

    def __str__(self) -> str:
        return "\n\n".join(table.text() for table in self.tables())

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return page(*self.tables())

    def _gradients(self) -> Table:
        count = self.info.codes.size
        found = ", ".join(f"{n} {finding}" for finding, n in self.counts().items()) or "nothing conspicuous"
        kind = "smoothed derivative, findings of the exact one" if self.smoothed else "exact derivative"
        rows = []
        for name in self.gradient:
            usable = self._shown(name)[self.info.solved]
            zero, idle = int(self.zero(name).sum()), int(self.idle[name].sum())
            middle, most = (f"{f(usable):.3g}" if usable.size else "-" for f in (np.median, np.max))
            rows.append((name, middle, most, f"{zero} of {count}" + f" (idle in {idle})" * bool(idle)))
        title = f"Diagnosis of {count} instance{'s' * (count != 1)}, {kind}: {found}"
        return Table(title, ("gradient", "median", "largest", "zero"), rows)

    def _instances(self, most: int) -> Table:
        shape = self.info.codes.shape
        rows = sorted(np.ndindex(shape), key=lambda i: (not self.of(*i), i))
        head = ("instance", "status", "active", "rank", "free", "flat", "curvature", "margin", "gradient", "flag", "findings")
        lines = []
        for i in rows[:most]:
            norm = np.sqrt(sum(self._shown(name)[i] ** 2 for name in self.gradient))
            counts = [str(a[i]) if a[i] >= 0 else "-" for a in (self.active, self.rank, self.free, self.flat)]
            sizes = [f"{v:.2g}" if np.isfinite(v) else "-" for v in (self.curvature[i], self.info.margin[i], norm)]
            place, status = ", ".join(map(str, i)) or "-", str(Status(int(self.info.codes[i])))
            flag = "degenerate" if self.info.degenerate[i] else "-"
            lines.append((place, status, *counts, *sizes, flag, ", ".join(map(str, self.of(*i))) or "-"))
        return Table("", head, lines, f"… {len(rows) - most} more" if len(rows) > most else "")

    def _constraints(self) -> Table | None:
        rows = [
            (words, f"{int(count.max())}", f"{int((count > 0).sum())}")
            for words, count in self.binding.items()
            if (count > 0).any()
        ]
        return Table("", ("binding constraint", "rows at most", "instances"), rows[:_SHOWN]) if rows else None

    def _meanings(self) -> Table | None:
        shape, lines = self.info.codes.shape, []
        for finding, count in self.counts().items():
            which = [", ".join(map(str, i)) for i in np.argwhere(self.findings[finding])[:_LISTED].tolist()]
            where = f" at {'; '.join(which)}{', …' * (count > _LISTED)}" if shape else ""
            remedy = "The derivative is smoothed already." if self.smoothed and SMOOTHED in finding.remedy else finding.remedy
            lines.append((f"{finding}{where}: {finding.meaning} → {remedy}",))
        return Table("", (), lines) if lines else None
