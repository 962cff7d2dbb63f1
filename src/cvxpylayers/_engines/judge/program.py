"""One instance as a cone program in SciPy's matrices, the form that solvers take."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import scipy.sparse as sp

from cvxpylayers._program import Cones, Structure
from cvxpylayers._typing import Bool, Float64, NDArray, Shaped


@dataclass(frozen=True, eq=False)
class ConeProgram:
    """minimize ½ xᵀP x + qᵀx + d subject to A x + s = b, s ∈ K, one instance.

    ``P_upper`` (n, n) is the upper triangle; ``A`` (m, n) has its rows in the order of ``cones``: zero rows (equalities) first,
    then inequalities A x ≤ b, then the other cones. Explicit zeros are stored wherever a parameter can reach.
    """

    P_upper: sp.csc_matrix
    q: Shaped[Float64, " n"]
    A: sp.csc_matrix
    b: Shaped[Float64, " m"]
    d: float
    cones: Cones

    @cached_property
    def P(self) -> sp.csc_matrix:
        """P with both triangles."""
        off = sp.triu(self.P_upper, 1, format="csc")
        return sp.csc_matrix(self.P_upper + off.T)

    def product(self, x: Shaped[Float64, " n"]) -> Shaped[Float64, " n"]:
        """P x."""
        U = self.P_upper
        return np.asarray(U @ x + U.T @ x - U.diagonal() * x)

    def moved(self, origin: Shaped[Float64, " n"]) -> ConeProgram:
        """The program in x - origin, its cost without the constant that this brings."""
        return replace(self, q=self.q + self.product(origin), b=self.b - self.A @ origin)

    def equalities(self) -> tuple[sp.csc_matrix, Float64]:
        """The zero rows of A and b."""
        return self.A[: self.cones.zero], self.b[: self.cones.zero]

    def inequalities(self) -> tuple[sp.csc_matrix, Float64]:
        """The rows of A and b after the zero rows."""
        return self.A[self.cones.zero :], self.b[self.cones.zero :]


class Assembler:
    """Value vectors → programs of one structure; the conversion of patterns is done once."""

    def __init__(self, structure: Structure) -> None:
        self._structure = structure
        n, m, A = structure.n, structure.m, structure.A
        numbered = sp.csr_matrix((np.arange(A.nnz, dtype=np.float64), A.indices, A.indptr), shape=(m, n)).tocsc()
        self._order: NDArray[np.intp] = numbered.data.astype(np.intp)
        self._indices, self._indptr = numbered.indices, numbered.indptr

    def __call__(self, values: Shaped[Float64, " values"]) -> ConeProgram:
        """The program with the value vector [P, q, A, b, d]."""
        st = self._structure
        P, q, A, b, d = st.split(values)
        # Copies of the patterns: solvers convert indices in place.
        upper = sp.csc_matrix((P, st.P.indices.copy(), st.P.indptr.copy()), shape=(st.n, st.n))
        columns = sp.csc_matrix((A[self._order], self._indices.copy(), self._indptr.copy()), shape=(st.m, st.n))
        return ConeProgram(upper, q, columns, b, float(d), st.cones)

    def make_convex(self, values: Shaped[Float64, " values"], rounding: float) -> bool:
        """Whether P is positive semidefinite up to rounding of its data; what they lack is added to its diagonal, in place."""
        st = self._structure
        lower = sp.csr_array((st.split(values)[0], st.P.indices, st.P.indptr), shape=(st.n, st.n))
        used: NDArray[np.int32] = np.union1d(st.P.rows, st.P.indices)
        eigenvalues = np.linalg.eigvalsh(lower[used][:, used].toarray())
        size = max(1.0, eigenvalues[-1])
        if -rounding * size <= eigenvalues[0] < -1e-9 * size:
            values[: st.P.nnz][st.P.rows == st.P.indices] -= eigenvalues[0]
            return True
        return bool(eigenvalues[0] >= -1e-9 * size)

    def reconcile(self, values: Shaped[Float64, " values"], rounding: float) -> float:
        """Move b of equalities that disagree by no more than rounding to the range of their rows, in place; returns by how much."""
        zero = self._structure.cones.zero
        if not zero or not rounding:
            return 0.0
        A, b = self(values).equalities()
        dense = A.toarray()
        residual = b - dense @ np.linalg.lstsq(dense, b, rcond=1e-12)[0]
        if not 1e-28 * (b @ b) < residual @ residual <= rounding * np.abs(b * residual).sum():
            return 0.0
        values[-self._structure.m - 1 :][:zero] -= residual
        return float(np.abs(residual).max())


def switch_off(structure: Structure, values: Shaped[Float64, "k values"], above: float = np.inf) -> Shaped[Bool, "k m"]:
    """Turn nonnegative rows with an infinite b into 0·x + s = 1, which says nothing, in place; returns which rows these are.

    So are those with a b of at least ``above`` in units of the other data: q, other rows, and bounds below 0.
    """
    st = structure
    q, A, b = values[:, st.P.nnz : st.P.nnz + st.n], values[:, st.P.nnz + st.n : -st.m - 1], values[:, -st.m - 1 : -1]
    bounds = np.zeros(st.m, dtype=np.bool_)
    bounds[st.cones.orthant] = True
    given = np.where(bounds & (b > 0), 0.0, np.abs(b)).max(axis=1, initial=1.0)
    off = bounds & (np.isinf(b) | (b >= above * np.maximum(given, np.abs(q).max(axis=1, initial=1.0))[:, None]))
    A[off[:, st.A.rows]] = 0.0
    b[off] = 1.0
    return np.asarray(off, dtype=np.bool_)


def active(program: ConeProgram, x: Shaped[Float64, " n"], slack: float) -> Bool:
    """Which rows of a polyhedral program hold with equality at x, to ``slack`` relative to the size of the row's terms."""
    size = 1.0 + np.abs(program.b) + abs(program.A) @ np.abs(x)
    on = np.abs(program.b - program.A @ x) <= slack * size
    on[: program.cones.zero] = True
    return np.asarray(on, dtype=np.bool_)
