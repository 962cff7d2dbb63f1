"""What results are compared with: Clarabel at tight tolerances, and dense implicit derivatives in NumPy.

The derivative is that of the optimality conditions at (x, z, s) with w = s - z, D = DΠ_K(w), E = (I - D)^½:

    [ P    AᵀE ] [dx]     [ -(dP x + dq + dAᵀz) ]
    [ E A   -D ] [ζ ]  =  [ -E (dA x - db)      ],     dz = E ζ,

solved by the pseudoinverse, so that degenerate instances get the minimum-norm answer. Slow and short on purpose.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from cvxpylayers._engines.foreign.clarabel import ClarabelEngine, Outcome, solve_instance
from cvxpylayers._program import Batch, CompiledProblem, Solution, Tape
from cvxpylayers._typing import Bool, Float64
from problems.projections import project

TIGHT: Mapping[str, float] = {"tol_feas": 1e-12, "tol_gap_abs": 1e-12, "tol_gap_rel": 1e-12}


def reference(compiled: CompiledProblem, theta: Float64) -> Outcome:
    """One instance, as precisely as Clarabel can; ``theta`` (p,)."""
    return solve_instance(compiled.structure, compiled.M @ np.append(theta, 1.0), **TIGHT)


def sharpen(compiled: CompiledProblem, theta: Float64, x: Float64, z: Float64, s: Float64) -> tuple[Float64, Float64, Float64]:
    """(x, z, s) to rounding, by Newton's method on P x + q + Aᵀ(Π(w) - w) = 0, A x + Π(w) = b, from a solution found by a solver.

    Steps are least-squares ones, and taken while they help; ill-posed instances stay where they are.
    """
    cones, n = compiled.structure.cones, compiled.structure.n
    P, q, A, b = dense(compiled, compiled.M @ np.append(theta, 1.0))
    best, size, w = (x, z, s), np.inf, s - z
    for _ in range(10):
        point, D = project(cones, w, s, z)
        residual = np.concatenate([P @ x + q + A.T @ (point - w), A @ x + point - b])
        if not np.linalg.norm(residual) < 0.9 * size:
            break
        size, best, s, z = float(np.linalg.norm(residual)), (x, point - w, point), point, point - w
        J = np.block([[P, A.T @ (D - np.eye(len(b)))], [A, D]])
        step = np.linalg.lstsq(J, -residual, rcond=1e-11)[0]
        x, w = x + step[:n], w + step[n:]
    return best


def jacobian(compiled: CompiledProblem, theta: Float64, x: Float64, z: Float64, s: Float64) -> Float64:
    """∂outputs/∂θ of one instance, dense (outputs, p)."""
    st, M = compiled.structure, compiled.M
    P, _, A, _ = dense(compiled, M @ np.append(theta, 1.0))
    D = project(st.cones, s - z, s, z)[1]
    values, Q = np.linalg.eigh(np.eye(st.m) - D)
    E = Q * np.sqrt(np.maximum(values, 0.0)) @ Q.T
    K = np.block([[P, A.T @ E], [E @ A, -D]])
    top, bottom = residuals(compiled, x, z)
    right = -np.concatenate([top, E @ bottom]) @ M[:, : len(theta)]
    solution = np.linalg.pinv(K, rcond=1e-11, hermitian=True) @ right
    return np.asarray(compiled.R @ np.concatenate([solution[: st.n], E @ solution[st.n :]]))


def residuals(compiled: CompiledProblem, x: Float64, z: Float64) -> tuple[Float64, Float64]:
    """P x + q + Aᵀz and A x - b as linear maps of the value vector, dense (n, values) and (m, values)."""
    st = compiled.structure
    p, q, a, b, _ = np.split(np.arange(st.values), np.cumsum([st.P.nnz, st.n, st.A.nnz, st.m]))
    top, bottom = np.zeros((st.n, st.values)), np.zeros((st.m, st.values))
    top[st.P.rows, p], top[st.P.indices, p] = x[st.P.indices], x[st.P.rows]
    top[np.arange(st.n), q] = 1.0
    top[st.A.indices, a], bottom[st.A.rows, a] = z[st.A.rows], x[st.A.indices]
    bottom[np.arange(st.m), b] = -1.0
    return top, bottom


def dense(compiled: CompiledProblem, values: Float64) -> tuple[Float64, Float64, Float64, Float64]:
    """P, q, A, b of a value vector, P with both triangles."""
    st = compiled.structure
    p, q, a, b, _ = st.split(values)
    P, A = np.zeros((st.n, st.n)), np.zeros((st.m, st.n))
    P[st.P.rows, st.P.indices] = P[st.P.indices, st.P.rows] = p
    A[st.A.rows, st.A.indices] = a
    return P, q, A, b


class OracleEngine(ClarabelEngine):
    """Clarabel sharpened, and the dense derivative: what front ends are tested with where the native engine is not the subject."""

    name: ClassVar[str] = "ORACLE"

    def solve(self, batch: Batch, options: Mapping[str, Any], *, tape: bool) -> Solution:
        found = super().solve(batch, options, tape=True)
        assert found.tape is not None
        t, theta = found.tape, batch.theta()[:, :-1]
        for i in np.flatnonzero(found.status <= 1):
            t.x[i], t.z[i], t.s[i] = sharpen(self.compiled, theta[i], t.x[i], t.z[i], t.s[i])
        outputs = (self.compiled.R @ np.concatenate([t.x, t.z], axis=1).T).T
        return replace(found, outputs=np.ascontiguousarray(outputs), tape=t if tape else None)

    def _jacobians(self, batch: Batch, tape: Tape) -> Float64:
        c, theta = self.compiled, batch.theta()[:, :-1]
        size = (sum(o.size for o in c.outputs), theta.shape[1])
        found = [
            jacobian(c, theta[i], tape.x[i], tape.z[i], tape.s[i]) if tape.solved[i] else np.zeros(size) for i in range(batch.size)
        ]
        return np.array(found).reshape(batch.size, *size)

    def vjp(self, batch: Batch, tape: Tape, outputs: Float64, wanted: Sequence[bool]) -> tuple[list[Float64 | None], Bool]:
        full = np.einsum("...bo,bop->...bp", outputs, self._jacobians(batch, tape))
        lead = outputs.shape[:-2]
        cuts = np.cumsum([spec.size for spec in self.compiled.parameters])[:-1]
        gradients: list[Float64 | None] = []
        for part, array, want in zip(np.split(full, cuts, axis=-1), batch.arrays, wanted, strict=True):
            rows = part.reshape(math.prod(lead), *batch.shape, part.shape[-1])
            summed = np.array([unbroadcast(row, array.shape) for row in rows]).reshape(*lead, *array.shape)
            gradients.append(summed if want else None)
        return gradients, np.zeros(batch.size, dtype=np.bool_)

    def jvp(
        self, batch: Batch, tape: Tape, arrays: Sequence[Float64 | None], *, directions: int | None = None
    ) -> tuple[Float64, Bool]:
        J = self._jacobians(batch, tape)
        zero = [
            np.zeros((1, p.size)) if a is None else a if directions else a[None]
            for p, a in zip(self.compiled.parameters, arrays, strict=True)
        ]
        rows = [Batch(tuple(a[min(k, len(a) - 1)] for a in zero), batch.shape).theta()[:, :-1] for k in range(directions or 1)]
        pushed = np.einsum("bop,kbp->kbo", J, np.array(rows).reshape(-1, batch.size, J.shape[2]))
        return pushed if directions is not None else pushed[0], np.zeros(batch.size, dtype=np.bool_)

    def describe(self) -> Mapping[str, Any]:
        return {"name": self.name}


def unbroadcast(array: Float64, shape: tuple[int, ...]) -> Float64:
    """Sum ``array`` over the axes along which ``shape`` was broadcast to it."""
    lead = array.ndim - len(shape)
    axes = tuple(range(lead)) + tuple(lead + i for i, n in enumerate(shape) if n == 1 and array.shape[lead + i] != 1)
    return array.sum(axis=axes).reshape(shape)
