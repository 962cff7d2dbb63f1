"""The native engine: the compiled kernel, with PIQP or Clarabel as the last resort of single instances."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

import numpy as np

from cvxpylayers import _core
from cvxpylayers._engines.defaults import ALMOST, DEFAULTS, SMOOTHING, TOLERANCE
from cvxpylayers._engines.engine import Capabilities, Engine
from cvxpylayers._engines.judge.judge import NO_SOLUTION, Outcome
from cvxpylayers._engines.judge.margin import margin
from cvxpylayers._engines.judge.program import Assembler, switch_off
from cvxpylayers._engines.judge.resort import last_resort, takes_minutes
from cvxpylayers._engines.native.kernel import domain, make_kernel
from cvxpylayers._program import USABLE, Batch, CompiledProblem, Solution, Status, Tape
from cvxpylayers._typing import Bool, Exchanged, Float64, NDArray, Shaped
from cvxpylayers.errors import InputError, OptionError

# By status code: whether another solver is asked as well.
UNRESOLVED = np.zeros(len(Status), dtype=np.bool_)
UNRESOLVED[[Status.ALMOST_SOLVED, Status.MAX_ITERATIONS, Status.INSUFFICIENT_PROGRESS, Status.NUMERICAL_ERROR]] = True
_SOLVED: Final = int(Status.SOLVED)  # a plain int, as for USABLE


class NativeEngine(Engine):
    """Cone programs in SIMD lanes: quadratic programs by path following with polish, other cones by the homogeneous embedding.

    Options: ``tolerance`` (residuals and gap that make an instance solved), ``target`` (accuracy that the loop goes on to while
    it makes progress), ``max_iterations``, ``threads`` (0: the default; derivatives use the constructor's), ``polish``,
    ``equilibrate``, ``regularization``, ``step_fraction``, ``infeasibility_tolerance``, ``fallback`` (hand what stays unsolved to
    PIQP, where it is installed and all cones are rows, and then to Clarabel, which is not asked of what is almost solved where it
    would take minutes), ``lane_width`` (2, 4 or 8 instances side by side,
    or 1 by itself, for large ones without cones; constructor only), ``derivative``, ``smoothing``, and ``device`` ("cpu" or "cuda"
    where PyTorch's tensors on a device shall be solved on the host, or must not; ``_engines.native.device`` decides).

    ``derivative="smoothed"`` (constructor only; "exact" is the default) gives the derivatives of the point of the central path
    with s∘z = ``smoothing`` in the user's units, smooth in the parameters, in place of those of the solution, which is what outputs
    stay. Its tape holds that point. Linear programs get useful gradients from it, and solutions at a kink.
    """

    name: ClassVar[str] = "NATIVE"
    capabilities: ClassVar[Capabilities] = Capabilities(batched=True, warm_start=True, derivative=True, watchful=True)

    def __init__(self, compiled: CompiledProblem, options: Mapping[str, Any]) -> None:
        super().__init__(compiled, options)
        self._smoothed: bool = self.options.get("derivative", "exact") == "smoothed"
        self._kernel = make_kernel(compiled, self.options.get("lane_width", 0), smoothed=self._smoothed)
        self._settings = _core.Settings(self.options)
        self._threads: int = self.options.get("threads", 0)
        structure = compiled.structure
        self._on_devices: dict[tuple[str | None, int], _core.DeviceKernel] = {}
        self._three_dimensional = bool(structure.cones.exp or structure.cones.power)

    def __getstate__(self) -> dict[str, Any]:
        return {"compiled": self.compiled, "options": self.options}

    def __setstate__(self, state: dict[str, Any]) -> None:
        NativeEngine.__init__(self, state["compiled"], state["options"])

    @classmethod
    def option_names(cls) -> frozenset[str]:
        """Those of the loop, and of what stands around it."""
        return frozenset({*DEFAULTS, "fallback", "lane_width", "derivative", "device"})

    def settings(self, options: Mapping[str, Any], *, there: bool = False) -> dict[str, Any]:
        """The options of the constructor, overridden by those of a call, of data that are on a device or not (``there``)."""
        settings = {**self.options, **options}
        if not there and settings.get("device") == "cuda":
            raise InputError("device='cuda' is for tensors of PyTorch on a device: move the parameters there, value.cuda().")
        if "smoothing" in settings and not self._smoothed:
            raise OptionError('Option \'smoothing\' needs solver_args={"derivative": "smoothed"} in the constructor.')
        return settings

    def solve(self, batch: Batch, options: Mapping[str, Any], *, tape: bool) -> Solution:
        """Solve every instance; what the loop cannot settle goes to another solver, one by one."""
        settings = self.settings(options) if options or "device" in self.options else self.options
        how = _core.Settings(settings) if options else self._settings
        given = (batch.arrays, batch.shape, how, batch.rounding, batch.invalid, batch.infinite, batch.start)
        outputs, points, facts, worst = self._kernel.solve(*given, tape)
        unresolved = worst > _SOLVED or self._three_dimensional
        recorded = None if points is None else Tape(points, self.compiled.structure.n)
        solution = Solution.of(outputs, facts, recorded, not unresolved)
        if unresolved and settings.get("fallback", True):
            self._fall_back(batch, solution, settings)
        return solution

    @property
    def smoothed(self) -> bool:
        """Whether derivatives are those of the central path."""
        return self._smoothed

    def on_device(self, device: int) -> _core.DeviceKernel:
        """The kernel on a device, by its number; made when it is first wanted."""
        if not self.is_on_device(device):
            self._on_devices[_driver(), device] = _core.DeviceKernel(self._kernel, device)
        return self._on_devices[_driver(), device]

    def is_on_device(self, device: int) -> bool:
        """Whether that kernel has been made."""
        return (_driver(), device) in self._on_devices

    def _left(self, solution: Solution, rounded: bool, settings: Mapping[str, Any]) -> NDArray[np.intp]:
        """Instances that another solver may do better on, which it cannot where rounded data contradict themselves (engine.cpp).

        Where exponential and power cones keep the polish from its target, what is solved may be far from the solution in its small
        parts: a gap bounds the sum of all terms. What is usable is not worth minutes.
        """
        left = UNRESOLVED[solution.status]
        if rounded:
            worst = np.maximum(solution.dual_residual, solution.gap)
            left &= (solution.status != Status.ALMOST_SOLVED) | ~(worst <= settings.get("tolerance", TOLERANCE))
        elif settings.get("polish", True) and self._three_dimensional:
            left |= (solution.status == Status.SOLVED) & (_worst(solution) > settings.get("target", DEFAULTS["target"]))
        if left.any() and takes_minutes(self.compiled.structure):
            left &= solution.status > USABLE
        return np.flatnonzero(left)

    def _fall_back(self, batch: Batch, solution: Solution, settings: Mapping[str, Any]) -> None:
        """Overwrite the rows of instances that are left with another solver's answers, refined, where those are better."""
        rounded = any(batch.rounding)
        rows = self._left(solution, rounded, settings)
        if not len(rows):
            return
        values = np.ascontiguousarray((self.compiled.M @ batch.theta(rows).T).T)
        worst = _worst(solution)
        off = switch_off(self.compiled.structure, values) if batch.infinite else np.zeros(1, dtype=np.bool_)
        tape, outputs, replaced = solution.tape, solution.rows, []
        assemble = Assembler(self.compiled.structure)
        for k, (row, numbers) in enumerate(zip(rows, values, strict=True)):
            found = last_resort(assemble(numbers), settings.get("tolerance", TOLERANCE))
            if found.status >= solution.status[row] and not found.sharper(worst[row]):
                solution.fallback[row] = UNRESOLVED[solution.status[row]]
                almost = solution.status[row] == Status.ALMOST_SOLVED and not rounded  # which residuals are made of
                if almost and found.status not in NO_SOLUTION and not _bounded(solution, row, found):
                    solution.status[row] = Status.INSUFFICIENT_PROGRESS
                    if tape is not None:
                        tape.rows[row] = np.nan
                continue
            solution.fallback[row] = True
            if off.any():
                found = found.without(off[k])
            solution.status[row] = found.status
            solution.iterations[row] += found.iterations
            solution.primal_residual[row] = found.primal_residual
            solution.dual_residual[row] = found.dual_residual
            solution.gap[row] = found.gap
            solution.objective[row] = self.compiled.objective_sign * found.objective
            solution.margin[row] = margin(self.compiled.structure.cones, found.s, found.z)
            outputs[row] = self.compiled.R @ np.concatenate([found.x, found.z])
            replaced.append(row)
            if tape is not None:
                tape.rows[row] = np.concatenate([found.x, found.z, found.s]) if found.status <= USABLE else np.nan
        if tape is not None and self._smoothed:
            fresh = Tape(np.full_like(tape.rows, np.nan), tape.n)
            fresh.points[replaced] = tape.rows[replaced]
            self.centre(batch, fresh, settings.get("smoothing", SMOOTHING))
            tape.rows[replaced] = fresh.points[replaced]

    def centre(self, batch: Batch, tape: Tape, smoothing: float = SMOOTHING) -> None:
        """Move the solved instances of ``tape``, in place, to the point of the central path with s∘z = ``smoothing``."""
        self._kernel.centre(batch.arrays, batch.shape, tape.rows, smoothing, self._threads)

    def vjp(
        self, batch: Batch, tape: Tape, outputs: Exchanged, wanted: Sequence[bool]
    ) -> tuple[list[Exchanged | None], Shaped[Bool, " B"]]:
        """One factorization per instance, one refined solve per direction; parameters without batch axes receive sums.

        Gradients are of the library of the parameters, and where that is not NumPy, have the shapes in which those came.
        """
        directions = len(outputs) if len(outputs.shape) > 2 else None
        found = self._kernel.vjp(batch.arrays, batch.shape, tape.points, directions, outputs, wanted, self._threads)
        return _reduced(batch, directions, *found)

    def jvp(
        self, batch: Batch, tape: Tape, arrays: Sequence[Float64 | None], *, directions: int | None = None
    ) -> tuple[Shaped[Float64, "*K B outputs"], Shaped[Bool, " B"]]:
        """One factorization per instance, one refined solve per direction."""
        lead = () if directions is None else (directions,)
        outputs = np.empty((*lead, batch.size, self.compiled.R.shape[0]))
        degenerate = np.zeros(batch.size, dtype=np.bool_)
        tangents = [None if a is None else batch.align(a, directions) for a in arrays]
        self._kernel.jvp(batch.arrays, batch.shape, tape.points, math.prod(lead), tangents, outputs, degenerate, self._threads)
        return outputs, degenerate

    def hvp(
        self,
        batch: Batch,
        tape: Tape,
        outputs: Shaped[Float64, "*K B outputs"],
        arrays: Sequence[Float64 | None],
        wanted: Sequence[bool],
        *,
        directions: int | None = None,
    ) -> tuple[list[Exchanged | None], Shaped[Bool, " B"]]:
        """One factorization per instance, three refined solves per direction.

        Where all inequalities are rows, the active set of a solution does not move: all curvature is that of the products of data
        and solution. Other cones, and the central path (``derivative="smoothed"``), add their own.
        """
        lead = () if directions is None else (directions,)
        cotangents = np.broadcast_to(outputs, (*lead, *outputs.shape[-2:]))
        tangents = [None if a is None else batch.align(a, directions) for a in arrays]
        found = self._kernel.hvp(batch.arrays, batch.shape, tape.points, directions, cotangents, tangents, wanted, self._threads)
        return _reduced(batch, directions, *found)

    def publish(self, tolerances: tuple[float, float, float, float]) -> int:
        """Let compiled XLA programs find this kernel by the number returned, which equal kernels share.

        ``tolerances`` are those of ``_layer.inputs``, for signs, eigenvalues and asymmetry, and what counts as infinite.
        """
        key: int = self.compiled.fingerprint ^ self.options.get("lane_width", 0) ^ 16 * self._smoothed
        self._kernel.publish(key, [domain(spec) for spec in self.compiled.parameters], tolerances)
        return key

    def describe(self) -> Mapping[str, Any]:
        """What was compiled: instruction set, lane width, ordering, sizes of the factor, working memory of a thread."""
        return {"name": self.name, **self._kernel.describe()}


def _reduced(
    batch: Batch, directions: int | None, gradients: list[Exchanged | None], apart: Sequence[int], degenerate: Bool
) -> tuple[list[Exchanged | None], Bool]:
    """What the kernel found, the gradients at the positions ``apart`` summed along the axes that their parameters lack."""
    for i in apart:
        rows: Any = gradients[i]
        gradients[i] = batch.reduce(i, rows, () if directions is None else (directions,))
    return gradients, degenerate


def _driver() -> str | None:
    """What is to be taken for the driver of devices; None: the system's."""
    return os.environ.get("CVXPYLAYERS_CUDA_DRIVER")


def _bounded(solution: Solution, row: np.intp, other: Outcome) -> bool:
    """Whether the error of an objective is as small as `almost solved` says, by the multipliers of another failed attempt.

    f* - f(x) ≤ |z*|ᵀ|r_p|, and an attempt that has stopped early has seen too little of z* (cpp/src/ipm/relative.hpp).
    """
    error = np.abs(other.z).sum() * solution.primal_residual[row]
    return not np.isfinite(other.z).all() or bool(error <= ALMOST * max(1.0, abs(solution.objective[row])))


def _worst(solution: Solution) -> Shaped[Float64, " B"]:
    """The largest of both residuals and the gap, NaN where one is."""
    return np.maximum(np.maximum(solution.primal_residual, solution.dual_residual), solution.gap)
