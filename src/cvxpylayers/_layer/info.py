"""What a solve reports about every instance of its batch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from cvxpylayers._layer.table import Table
from cvxpylayers._program import USABLE, Solution, Status
from cvxpylayers._typing import Bool, Float64, Int8, Int32, NDArray, Shaped
from cvxpylayers.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_NOTEBOOK: Final = 10  # instances of the table in a notebook


class Statuses:
    """The statuses of a batch: indexed like an array of its shape, each entry a ``Status``, made when asked for.

    ``statuses == Status.SOLVED`` compares per instance. A single instance without batch axes is entry 0.
    """

    __slots__ = ("codes",)

    def __init__(self, codes: Int8) -> None:
        self.codes = codes

    @property
    def shape(self) -> tuple[int, ...]:
        """The batch shape."""
        return self.codes.shape

    def __getitem__(self, index: Any) -> Any:
        """A ``Status``, or the ``Statuses`` of a part of the batch, as for an array."""
        entry = np.atleast_1d(self.codes)[index]
        return Statuses(entry) if isinstance(entry, np.ndarray) else Status(int(entry))

    def __len__(self) -> int:
        return len(np.atleast_1d(self.codes))

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))

    def __eq__(self, other: object) -> Bool:  # type: ignore[override]  # compares as an array does
        codes = other.codes if isinstance(other, Statuses) else other
        return np.asarray(self.codes == codes, dtype=bool)

    def counts(self) -> dict[Status, int]:
        """How many instances have each status that occurs, most favourable first."""
        return {Status(code): count for code, count in sorted(Counter(self.codes.ravel().tolist()).items())}

    def __repr__(self) -> str:
        return ", ".join(f"{count} {status}" for status, count in self.counts().items()) or "empty batch"


@dataclass(frozen=True, eq=False, slots=True)
class WarmStart:
    """Points to start from, one per instance: x (*batch, n), z and s (*batch, m), plain arrays in the units of the cone program.

    ``WarmStart()`` has none. A point never changes which solution is found, only how soon. Instance i in C order starts from
    point i; the rest, and those whose point is NaN, start cold. A single point serves a whole batch.
    """

    x: Float64 | None = field(default=None, repr=False)
    z: Float64 | None = field(default=None, repr=False)
    s: Float64 | None = field(default=None, repr=False)

    @classmethod
    def of(cls, solution: Solution, shape: tuple[int, ...]) -> WarmStart:
        """The points that a solve has found; none where it failed."""
        assert solution.tape is not None
        tape = solution.tape
        return cls(*(part.reshape(*shape, part.shape[-1]) for part in (tape.x, tape.z, tape.s)))

    def points(self, count: int, n: int, m: int) -> Shaped[Float64, "B point"] | None:
        """A point (x, z, s) for each of ``count`` instances of a problem with n variables and m rows; None if there is none.

        Raises:
            InputError: the points are those of another problem.
        """
        if self.x is None or self.z is None or self.s is None:
            return None
        if [part.shape[-1] for part in (self.x, self.z, self.s)] != [n, m, m]:
            raise InputError("This WarmStart belongs to another problem: start again with cvxpylayers.WarmStart().")
        return np.concatenate([_rows(part, count) for part in (self.x, self.z, self.s)], axis=1)


def _rows(points: Float64, count: int) -> Float64:
    flat = points.reshape(-1, points.shape[-1])
    if len(flat) == 1:
        return np.broadcast_to(flat, (count, flat.shape[-1]))
    missing = np.full((max(count - len(flat), 0), flat.shape[-1]), np.nan)
    return np.concatenate([flat[:count], missing])


@dataclass(eq=False, repr=False, slots=True)
class SolveInfo:
    """Outcome of a batch; every array has the batch shape.

    ``primal_residual``, ``dual_residual`` and ``gap`` are relative (the termination test of Clarabel, arXiv 2405.12762, sec. 2),
    ``objective`` is in the user's sense, ``fallback`` marks instances that a second solver finished. ``degenerate`` is False until
    a derivative of this call has been taken; then it marks the instances where the solution is not differentiable (smoothed: the
    central path was not reached) and a regularized derivative was given. ``margin`` says how far, in the units of slacks and
    multipliers, the solution is from such a point: the least |s - z| over inequalities, for other cones the least spectral value of
    s - z (inf without inequalities).
    ``warm_start`` is there if the call asked for one: where the next one may start.
    """

    codes: Shaped[Int8, "*batch"]
    iterations: Shaped[Int32, "*batch"]
    primal_residual: Shaped[Float64, "*batch"]
    dual_residual: Shaped[Float64, "*batch"]
    gap: Shaped[Float64, "*batch"]
    objective: Shaped[Float64, "*batch"]
    fallback: Shaped[Bool, "*batch"]
    degenerate: Shaped[Bool, "*batch"]
    margin: Shaped[Float64, "*batch"]
    warm_start: WarmStart | None = None

    @classmethod
    def of(cls, solution: Solution, shape: tuple[int, ...], *, warm_start: bool = False) -> SolveInfo:
        """Give the flat arrays of ``solution`` the batch shape."""
        return cls(
            solution.status.reshape(shape),
            solution.iterations.reshape(shape),
            solution.primal_residual.reshape(shape),
            solution.dual_residual.reshape(shape),
            solution.gap.reshape(shape),
            solution.objective.reshape(shape),
            solution.fallback.reshape(shape),
            np.zeros(shape, dtype=np.bool_),
            solution.margin.reshape(shape),
            WarmStart.of(solution, shape) if warm_start else None,
        )

    @property
    def status(self) -> Statuses:
        """A ``Status`` for each instance, ``status[i]``; its ``str`` is its word, its ``help`` what to do."""
        return Statuses(self.codes)

    @property
    def solved(self) -> Shaped[Bool, "*batch"]:
        """Which instances have a solution that can be used and differentiated."""
        return np.asarray(self.codes <= USABLE)

    @property
    def failed(self) -> NDArray[np.intp]:
        """Positions of the instances without a solution, in the batch flattened in C order."""
        return (self.codes > USABLE).reshape(-1).nonzero()[0]

    def record(self, degenerate: Shaped[Bool, " B"]) -> None:
        """Note the flags (B,) of a derivative of this call; flags of several derivatives are united."""
        self.degenerate[...] |= degenerate.reshape(self.degenerate.shape)

    def table(self, most: int = 20) -> str:
        """One line per instance, at most ``most`` of them, those without a solution first."""
        return self._table(most).text()

    def _table(self, most: int, title: str = "") -> Table:
        rows = sorted(np.ndindex(self.codes.shape), key=lambda i: (bool(self.solved[i]), i))
        lines = []
        for i in rows[:most]:
            place, status = ", ".join(map(str, i)) or "-", str(Status(int(self.codes[i])))
            errors = (f"{residual[i]:.1e}" for residual in (self.primal_residual, self.dual_residual, self.gap))
            lines.append((place, status, str(self.iterations[i]), *errors, f"{self.objective[i]:.6g}"))
        head = ("instance", "status", "iterations", "primal", "dual", "gap", "objective")
        return Table(title, head, lines, f"… {len(rows) - most} more" if len(rows) > most else "")

    def plot(self) -> Figure:
        """Iterations, residuals and gap of every instance, in C order, as a figure of matplotlib; failures are marked.

        Raises:
            MissingPackageError: matplotlib is not installed.
        """
        from cvxpylayers._layer.pictures import outcomes

        measured = {"primal residual": self.primal_residual, "dual residual": self.dual_residual, "gap": self.gap}
        return outcomes(self.iterations.ravel(), {name: a.ravel() for name, a in measured.items()}, self.failed, repr(self))

    def _repr_html_(self) -> str:
        return self._table(_NOTEBOOK, repr(self)).html()

    def __repr__(self) -> str:
        parts = [repr(self.status)]
        if (solved := self.solved).any():
            iterations = self.iterations[solved]
            parts.append(f"iterations median {np.median(iterations):g}, max {iterations.max()}")
            residual = np.maximum(self.primal_residual, self.dual_residual)[solved].max()
            parts.append(f"residuals ≤ {residual:.1e}, gap ≤ {self.gap[solved].max():.1e}")
        marks = ((self.fallback, "by fallback"), (self.degenerate, "degenerate"))
        parts += [f"{int(flags.sum())} {word}" for flags, word in marks if flags.any()]
        return f"SolveInfo({'; '.join(parts)})"
