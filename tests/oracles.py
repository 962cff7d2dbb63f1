"""What results are compared with: Clarabel at tight tolerances, and dense implicit derivatives in NumPy.

The derivative is that of the optimality conditions at (x, z, s) with w = s - z, D = DΠ_K(w), E = (I - D)^½:

    [ P    AᵀE ] [dx]     [ -(dP x + dq + dAᵀz) ]
    [ E A   -D ] [ζ ]  =  [ -E (dA x - db)      ],     dz = E ζ,

solved by the pseudoinverse, so that degenerate instances get the minimum-norm answer. Slow and short on purpose.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from cvxpylayers._engines.clarabel import ClarabelEngine, Outcome, solve_instance
from cvxpylayers._program import Batch, CompiledProblem, Cones, Tape
from cvxpylayers._typing import Bool, Float64

TIGHT: Mapping[str, float] = {"tol_feas": 1e-12, "tol_gap_abs": 1e-12, "tol_gap_rel": 1e-12}


def reference(compiled: CompiledProblem, theta: Float64) -> Outcome:
    """One instance, as precisely as Clarabel can; ``theta`` (p,)."""
    return solve_instance(compiled.structure, compiled.M @ np.append(theta, 1.0), **TIGHT)


def projection_derivative(cones: Cones, s: Float64, z: Float64) -> Float64:
    """D = DΠ_K(s - z), dense (m, m); ties of a nonnegative row count as active."""
    D = np.zeros((len(s), len(s)))
    row = cones.zero
    for i in range(row, row + cones.nonneg):
        D[i, i] = s[i] > z[i]
    row += cones.nonneg
    blocks = [(k, _soc(k)) for k in cones.soc] + [(k * (k + 1) // 2, _psd(k)) for k in cones.psd]
    blocks += [(3, _surface(_exp_bulge))] * cones.exp + [(3, _surface(_power_bulge(alpha))) for alpha in cones.power]
    for width, block in blocks:
        at = slice(row, row + width)
        D[at, at] = block(s[at], z[at])
        row += width
    return D


Bulge = Callable[[Float64], tuple[Float64, Float64]]


def _surface(bulge: Bulge) -> Callable[[Float64, Float64], Float64]:
    """A cone {g ≥ 0}, g concave and smooth where s and z both lie on the boundary: there z = ν ∇g(s), so that w = s - ν ∇g(s) and

    [ I - ν ∇²g   -∇g ] [ds]   [dw]
    [   ∇gᵀ        0  ] [dν] = [ 0 ].
    """

    def block(s: Float64, z: Float64) -> Float64:
        if np.linalg.norm(z) < 1e-6 * np.linalg.norm(s):
            return np.eye(3)
        if np.linalg.norm(s) < 1e-6 * np.linalg.norm(z):
            return np.zeros((3, 3))
        slope, curvature = bulge(s)
        nu = z @ slope / (slope @ slope)
        system = np.block([[np.eye(3) - nu * curvature, -slope[:, None]], [slope[None], np.zeros((1, 1))]])
        return np.asarray(np.linalg.solve(system, np.eye(4, 3))[:3])

    return block


def _exp_bulge(s: Float64) -> tuple[Float64, Float64]:
    """Gradient and Hessian of w - y exp(x/y)."""
    x, y, _ = s
    e, r = np.exp(x / y), np.array([1.0, -x / y, 0.0])
    return np.array([-e, -e * (1 - x / y), 1.0]), -e / y * np.outer(r, r)


def _power_bulge(alpha: float) -> Bulge:
    """Gradient and Hessian of x^α y^(1-α) - |w|."""

    def bulge(s: Float64) -> tuple[Float64, Float64]:
        x, y, w = s
        top, r = x**alpha * y ** (1 - alpha), np.array([1 / x, -1 / y, 0.0])
        return np.array([alpha * top / x, (1 - alpha) * top / y, -np.sign(w)]), -alpha * (1 - alpha) * top * np.outer(r, r)

    return bulge


def _soc(k: int) -> Callable[[Float64, Float64], Float64]:
    return lambda s, z: _soc_derivative(s - z, k)


def _psd(k: int) -> Callable[[Float64, Float64], Float64]:
    return lambda s, z: _psd_derivative(s - z, k)


def _soc_derivative(w: Float64, k: int) -> Float64:
    t, u = w[0], w[1:]
    norm = np.linalg.norm(u)
    if abs(t) >= norm:
        return np.eye(k) * (t > 0)
    h = u / norm
    return 0.5 * np.block([[np.ones((1, 1)), h[None]], [h[:, None], (1 + t / norm) * np.eye(k - 1) - t / norm * np.outer(h, h)]])


def _psd_derivative(w: Float64, k: int) -> Float64:
    column, row = np.tril_indices(k)  # the upper triangle by columns
    off = np.where(row == column, 1.0, np.sqrt(2))
    W = np.zeros((k, k))
    W[row, column] = W[column, row] = w / off
    values, Q = np.linalg.eigh(W)
    positive = np.maximum(values, 0.0)
    gap = values[:, None] - values[None]
    equal = np.abs(gap) < 1e-12
    mask = np.where(equal, (values[:, None] > 0) * 1.0, (positive[:, None] - positive[None]) / np.where(equal, 1.0, gap))
    D = np.empty((len(w), len(w)))
    for j in range(len(w)):
        H = np.zeros((k, k))
        H[row[j], column[j]] = H[column[j], row[j]] = 1 / off[j]
        D[:, j] = (Q @ (mask * (Q.T @ H @ Q)) @ Q.T)[row, column] * off
    return D


def jacobian(compiled: CompiledProblem, theta: Float64, x: Float64, z: Float64, s: Float64) -> Float64:
    """∂outputs/∂θ of one instance, dense (outputs, p)."""
    st, p = compiled.structure, len(theta)
    M = compiled.M.toarray()
    programs = [_dense(compiled, M @ np.append(theta, 1.0)), *(_dense(compiled, column) for column in M[:, :p].T)]
    P, _, A, _ = programs[0]
    D = projection_derivative(st.cones, s, z)
    values, Q = np.linalg.eigh(np.eye(st.m) - D)
    E = Q * np.sqrt(np.maximum(values, 0.0)) @ Q.T
    K = np.block([[P, A.T @ E], [E @ A, -D]])
    right = [np.concatenate([-(dP @ x + dq + dA.T @ z), -E @ (dA @ x - db)]) for dP, dq, dA, db in programs[1:]]
    solution = np.linalg.pinv(K, rcond=1e-11, hermitian=True) @ np.array(right).reshape(p, st.n + st.m).T
    return np.asarray(compiled.R @ np.concatenate([solution[: st.n], E @ solution[st.n :]]))


def _dense(compiled: CompiledProblem, values: Float64) -> tuple[Float64, Float64, Float64, Float64]:
    """(P, q, A, b) of a value vector, P with both triangles."""
    st = compiled.structure
    p, q, a, b, _ = st.split(values)
    P, A = np.zeros((st.n, st.n)), np.zeros((st.m, st.n))
    P[st.P.rows, st.P.indices] = P[st.P.indices, st.P.rows] = p
    A[st.A.rows, st.A.indices] = a
    return P, q, A, b


class OracleEngine(ClarabelEngine):
    """Clarabel forward and the dense derivative: what front ends are tested with where the native engine is not the subject."""

    name: ClassVar[str] = "ORACLE"

    def _jacobians(self, batch: Batch, tape: Tape) -> Float64:
        c, theta = self.compiled, batch.theta()[:, :-1]
        size = (sum(o.size for o in c.outputs), theta.shape[1])
        found = [
            jacobian(c, theta[i], tape.x[i], tape.z[i], tape.s[i]) if tape.status[i] <= 1 else np.zeros(size)
            for i in range(batch.size)
        ]
        return np.array(found).reshape(batch.size, *size)

    def vjp(self, batch: Batch, tape: Tape, outputs: Float64, wanted: Sequence[bool]) -> tuple[list[Float64 | None], Bool]:
        full = np.einsum("...bo,bop->...bp", outputs, self._jacobians(batch, tape))
        lead = outputs.shape[:-2]
        cuts = np.cumsum([spec.size for spec in self.compiled.parameters])[:-1]
        gradients: list[Float64 | None] = []
        for part, array, want in zip(np.split(full, cuts, axis=-1), batch.arrays, wanted, strict=True):
            rows = part.reshape(-1, *batch.shape, part.shape[-1])
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
