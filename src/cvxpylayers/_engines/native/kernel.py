"""A compiled problem as the extension takes it."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from cvxpylayers import _core
from cvxpylayers._engines.native.whole import whole_cones
from cvxpylayers._program import CompiledProblem, ParameterSpec
from cvxpylayers._program.cones import CURVED
from cvxpylayers._typing import Int32
from cvxpylayers.errors import OptionError

# Kinds of blocks beyond the orthant, as cvxl::Cone::Kind numbers them.
_KINDS: Final = {kind: number for number, kind in enumerate(CURVED)}
_WHOLE: Final = len(CURVED)  # semidefinite cones that leave K as a whole (cpp/src/plan/whole_cone.hpp)


def make_kernel(compiled: CompiledProblem, lane_width: int, *, smoothed: bool) -> _core.Kernel:
    """The kernel of a problem. Raises OptionError: the lane width, or the environment's instruction set, is none."""
    structure, M, R = compiled.structure, compiled.M, compiled.R
    whole = whole_cones(structure)

    def pattern(of: Any) -> tuple[Int32, Int32]:
        return np.ascontiguousarray(of.indptr, dtype=np.int32), np.ascontiguousarray(of.indices, dtype=np.int32)

    off_diagonal = structure.P.rows != structure.P.indices
    driven = M.indices[: M.indptr[structure.P.nnz]] < M.shape[1] - 1
    entry = np.repeat(np.arange(structure.P.nnz), np.diff(M.indptr[: structure.P.nnz + 1]))
    try:
        return _core.Kernel(
            n=structure.n,
            m=structure.m,
            zero=structure.cones.zero,
            cones=[
                (_WHOLE if block.rows.start in whole else _KINDS[block.kind], block.order, block.alpha)
                for block in structure.cones.blocks(*_KINDS)
            ],
            P=pattern(structure.P),
            A=pattern(structure.A),
            M=(*pattern(M), np.ascontiguousarray(M.data, dtype=np.float64)),
            R=(*pattern(R), np.ascontiguousarray(R.data, dtype=np.float64)),
            parameter_sizes=[p.size for p in compiled.parameters],
            # A diagonal P is convex where its signs are, which CVXPY's rules already guarantee for declared signs.
            check_convexity=bool(off_diagonal[entry[driven]].any()),
            objective_sign=float(compiled.objective_sign),
            smoothed=smoothed,
            lane_width=lane_width,
        )
    except ValueError as error:  # of lane_width, or of CVXPYLAYERS_ISA in the environment
        raise OptionError(str(error)) from None


def domain(spec: ParameterSpec) -> tuple[Any, ...]:
    """What the kernel screens a parameter for where Python does not."""
    side = spec.shape[0] if spec.symmetric or spec.psd else 0
    zeros = [] if spec.support is None else np.setdiff1d(np.arange(spec.size), spec.support).tolist()
    low, high = ([] if spec.bounds is None else np.broadcast_to(b, spec.size).tolist() for b in spec.bounds or ((), ()))
    return spec.sign, spec.psd, spec.symmetric, spec.quadratic, spec.unbounded, side, zeros, low, high
