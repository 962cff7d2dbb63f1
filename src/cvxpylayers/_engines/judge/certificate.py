"""Proofs that an instance has no solution, and what they must show to be believed.

    primal infeasible:  z ∈ K*, Aᵀz = 0, bᵀz < 0            (Farkas: A x + s = b would make bᵀz = sᵀz ≥ 0)
    dual infeasible:    P x = 0, A x + s = 0, s ∈ K, qᵀx < 0

Membership is made exact by projecting. Let v be what should be zero and g the gain, -bᵀz or -qᵀx. A feasible point x̄ has
g ≤ |v|ᵀ|x̄|, so that v excludes all points smaller than g/‖v‖: v must be small against g in units of the data. That alone does
not do where data have wide ranges. So v must also be small against the certificate itself, with rows and columns scaled to norm 1:
then data are infeasible that differ from these by rounding. And g must exceed the rounding of its own terms.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg as spla

from cvxpylayers._engines.judge.program import ConeProgram
from cvxpylayers._engines.judge.projections import Projection
from cvxpylayers._program import Status
from cvxpylayers._typing import Float64

TOLERANCE: Final = 1e-8
_NEAR: Final = 1e-4  # distance of certificates that are worth sharpening
_BOUNDARY: Final = 1e-6  # entries of a certificate below this, and slacks relative to the terms of their row, are taken for 0
_STEPS: Final = 1000  # of the least squares
_ROUNDING: Final = 1e-12  # of a gain, relative to its terms


def proves(program: ConeProgram, verdict: Status, x: Any, z: Any) -> bool:
    """Whether ``z`` (m) proves ``verdict`` PRIMAL_INFEASIBLE, or ``x`` (n) DUAL_INFEASIBLE; None proves nothing."""
    ray, size = (z, len(program.b)) if verdict == Status.PRIMAL_INFEASIBLE else (x, len(program.q))
    if ray is None:
        return False
    ray = np.asarray(ray, dtype=np.float64)
    if ray.shape != (size,) or not np.isfinite(ray).all() or not ray.any():
        return False
    ray = ray / np.abs(ray).max()
    with np.errstate(all="ignore"):
        distance = _distance(program, verdict, ray)
        if TOLERANCE < distance <= _NEAR:
            distance = _distance(program, verdict, _sharper(program, verdict, ray))
    return distance <= TOLERANCE


def _sharper(program: ConeProgram, verdict: Status, ray: Float64) -> Float64:
    """``ray`` moved by least squares to where its violation vanishes, entries in proportion to themselves.

    Solvers stop where a certificate is right to their own tolerance, in their own units. What they leave of entries that should be
    0 is cleared; the others so moved keep their signs, and cones with curvature are met again by the projection that follows.
    """
    rows, columns = _norms(program)
    size = np.abs(ray) * (rows if verdict == Status.PRIMAL_INFEASIBLE else columns)
    ray = np.where(size > _BOUNDARY * size.max(), ray, 0.0)
    if verdict == Status.PRIMAL_INFEASIBLE:
        K = sp.csr_array(program.A.T)
    else:
        Ax = program.A @ ray
        at_boundary = np.abs(Projection(program.cones)(-Ax)) <= _BOUNDARY * (abs(program.A) @ np.abs(ray))
        K = sp.csr_array(sp.vstack([program.P, program.A.tocsr()[at_boundary]]))
    move = spla.lsqr(K @ sp.diags_array(np.abs(ray)), -(K @ ray), atol=1e-15, btol=1e-15, conlim=0.0, iter_lim=_STEPS)[0]
    return np.asarray(ray + np.abs(ray) * move, dtype=np.float64)


def _distance(program: ConeProgram, verdict: Status, ray: Float64) -> float:
    if not ray.any():
        return np.inf
    project, rows, columns = Projection(program.cones), *_norms(program)
    if verdict == Status.PRIMAL_INFEASIBLE:
        z = ray + project(-ray)
        if not z.any():
            return np.inf
        v = program.A.T @ z
        return _relative(v, program.b, z, _largest(v / columns) / _largest(z * rows))
    Px, Ax = program.product(ray), program.A @ ray
    ray_residual = Ax + project(-Ax)
    curvature = np.zeros(len(ray))
    P = program.P.tocoo()
    np.maximum.at(curvature, P.row, np.abs(P.data) / columns[P.col])
    size = _largest(ray * columns)
    backward = max(_largest(Px / np.where(curvature > 0.0, curvature, 1.0)), _largest(ray_residual / rows)) / size
    return _relative(np.concatenate([Px, ray_residual]), program.q, ray, backward)


def _relative(v: Float64, data: Float64, ray: Float64, backward: float) -> float:
    """The larger of both relative errors; inf where nothing is gained."""
    terms = data * ray
    gain = -float(terms.sum())
    if not gain > _ROUNDING * float(np.abs(terms).sum()):
        return np.inf
    return max(_largest(v) * max(1.0, _largest(data)) / gain, backward)


def _norms(program: ConeProgram) -> tuple[Float64, Float64]:
    """The largest entry of every row of A, then of every column once rows are scaled to 1; 1 where all are 0."""
    A = abs(program.A).tocoo()
    rows, columns = np.zeros(A.shape[0]), np.zeros(A.shape[1])
    np.maximum.at(rows, A.row, A.data)
    rows[rows == 0.0] = 1.0
    np.maximum.at(columns, A.col, A.data / rows[A.row])
    columns[columns == 0.0] = 1.0
    return rows, columns


def _largest(v: Float64) -> float:
    return float(np.abs(v).max(initial=0.0))
