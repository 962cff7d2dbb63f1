"""The cone program behind a problem, evaluated for whole batches, and reference solutions and derivatives from it.

Everything here comes from CVXPY and Clarabel and is independent of this package's own canonicalization and engine, so that a
mistake there cannot hide in the benchmark. A program is minimize ½xᵀPx + qᵀx subject to b - Ax ∈ {0}ᵉ × ℝ₊ᵏ; its numbers are
affine in the parameters: values = [P, q, A, b] = maps @ [θ; 1], with θ in the order and layout of CVXPY.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import clarabel
import cvxpy as cp
import numpy as np
import scipy.sparse as sp

from problems.families import Array, Arrays, Parametrized

PARTS = ("P", "q", "A", "b")


@dataclass(frozen=True)
class Canonical:
    """Structure and maps; the entries of P (both triangles) and of A are row-major."""

    n: int
    m: int
    zero: int  # rows in the zero cone; they come first
    patterns: dict[str, sp.csr_array]  # P (n, n) and A (m, n) with data 1 … nnz in row-major order
    maps: dict[str, sp.csr_array]  # part → (len(part), p + 1)
    parameters: tuple[slice, ...]  # place of each parameter in θ, flattened in Fortran order
    variables: tuple[tuple[slice, tuple[int, ...]], ...]  # place of each variable in x and its shape, Fortran order

    def theta(self, values: Arrays, shapes: list[tuple[int, ...]]) -> Array:
        """θ with the trailing 1 for every instance (B, p + 1), or (1, p + 1) if all parameters are shared."""
        batch = max((v.shape[0] for v, s in zip(values, shapes, strict=True) if v.ndim > len(s)), default=1)
        theta = np.ones((batch, self.maps["q"].shape[1]))
        for value, shape, place in zip(values, shapes, self.parameters, strict=True):
            lead = value.ndim - len(shape)
            fortran = value.transpose(*range(lead), *reversed(range(lead, value.ndim)))
            theta[:, place] = fortran.reshape(*value.shape[:lead], -1)
        return theta

    def split(self, x: Array) -> Arrays:
        """Cut x (B, n) into the variables, each (B, *shape)."""
        return tuple(_from_fortran(x[:, place], shape) for place, shape in self.variables)

    def join(self, outputs: Arrays) -> Array:
        """Adjoint of ``split``: cotangents of the variables as one of x."""
        x = np.zeros((outputs[0].shape[0], self.n))
        for value, (place, _) in zip(outputs, self.variables, strict=True):
            x[:, place] = value.transpose(0, *reversed(range(1, value.ndim))).reshape(value.shape[0], -1)
        return x

    def pull(self, cotangents: dict[str, Array], like: Arrays, shapes: list[tuple[int, ...]]) -> Arrays:
        """Pull cotangents of P, q, A, b, each (B, len(part)), back to the parameters; shared ones get the sum over the batch."""
        theta = sum((self.maps[part].T @ value.T).T for part, value in cotangents.items())
        gradients = [_from_fortran(theta[:, place], shape) for place, shape in zip(self.parameters, shapes, strict=True)]
        return tuple(g if v.ndim > len(s) else g.sum(0) for g, v, s in zip(gradients, like, shapes, strict=True))


def _from_fortran(flat: Array, shape: tuple[int, ...]) -> Array:
    full = flat.reshape(flat.shape[0], *reversed(shape))
    return np.ascontiguousarray(full.transpose(0, *reversed(range(1, full.ndim))))


def _row_major(rows: Any, columns: Any, shape: tuple[int, int]) -> tuple[sp.csr_array, Any]:
    """The pattern with these entries, data 1 … nnz in row-major order, and the permutation that sorts the entries so."""
    order = np.lexsort((columns, rows))
    entries = (np.arange(1.0, len(order) + 1), (rows[order], columns[order]))
    return sp.csr_array(sp.coo_array(entries, shape=shape)), order


def canonicalize(problem: Parametrized) -> Canonical:
    """Compile with CVXPY's Clarabel reduction; the problem must be an LP or a QP without bounds kept outside of A."""
    data, _, _ = problem.problem.get_problem_data(cp.CLARABEL)
    program, dims = data[cp.settings.PARAM_PROB], data["dims"]
    if dims.soc or dims.psd or dims.exp or dims.p3d or data.get("lower_bound") is not None or data.get("upper_bound") is not None:
        raise ValueError("only zero and nonnegative rows are supported")
    indices, indptr, (m, columns) = program.reduced_A.problem_data_index
    m, n, size = int(m), int(columns) - 1, program.total_param_size + 1
    column = np.repeat(np.arange(columns), np.diff(indptr))
    stacked, matrix = sp.csr_array(program.reduced_A.reduced_mat), column < n
    A, order = _row_major(indices[matrix], column[matrix], (m, n))
    b = sp.csr_array((np.ones((~matrix).sum()), (indices[~matrix], np.flatnonzero(~matrix))), shape=(m, len(column))) @ stacked
    P, P_map = sp.csr_array((n, n)), sp.csr_array((0, size))
    if program.reduced_P.problem_data_index is not None and program.reduced_P.reduced_mat.nnz:
        rows, indptr, _ = program.reduced_P.problem_data_index
        P, P_order = _row_major(rows, np.repeat(np.arange(n), np.diff(indptr)), (n, n))
        P_map = sp.csr_array(program.reduced_P.reduced_mat)[P_order]
    starts = program.param_id_to_col
    return Canonical(
        n,
        m,
        int(dims.zero),
        {"P": P, "A": A},
        {"P": P_map, "q": sp.csr_array(program.q)[:n], "A": -stacked[np.flatnonzero(matrix)[order]], "b": b},
        tuple(slice(starts[p.id], starts[p.id] + p.size) for p in problem.parameters),
        tuple((slice(s := program.var_id_to_col[v.id], s + v.size), v.shape) for v in problem.variables),
    )


def evaluate(program: Canonical, theta: Array) -> dict[str, Array]:
    """P, q, A, b of every instance: (B, len(part)); a part that is the same for all instances is (len(part),)."""
    values = {part: (matrix @ theta.T).T for part, matrix in program.maps.items()}
    varies = np.flatnonzero(np.ptp(theta, axis=0) > 0)
    return {part: v if program.maps[part][:, varies].nnz else v[0] for part, v in values.items()}


def reference(program: Canonical, theta: Array, cotangents: Array) -> tuple[Array, dict[str, Array]]:
    """Exact solutions x (B, n), and cotangents of P, q, A, b by implicit differentiation, in dense linear algebra.

    Clarabel at 1e-10 finds the active rows. With strict complementarity they stay active nearby, so that x follows from
    K (x, y) = (-q, b_active), K = [P Aᵀ; A 0] on those rows. For a cotangent c and K (u, v) = (c, 0):
    q̄ = -u, b̄ = v, P̄ = -u xᵀ, Ā = -(v xᵀ + y uᵀ); inactive rows get zero.
    """
    rows = {part: np.repeat(np.arange(p.shape[0]), np.diff(p.indptr)) for part, p in program.patterns.items()}
    columns = {part: p.indices for part, p in program.patterns.items()}
    solutions, result = [], {part: np.zeros((len(theta), matrix.shape[0])) for part, matrix in program.maps.items()}
    for i, values in enumerate(_instances(program, theta)):
        active, K, x, y, _ = _active_rows(program, values)
        solution = np.linalg.solve(K, np.r_[cotangents[i], np.zeros(len(active))])
        u, v = solution[: program.n], np.zeros(program.m)
        v[active] = solution[program.n :]
        result["q"][i], result["b"][i] = -u, v
        result["P"][i] = -u[rows["P"]] * x[columns["P"]]
        result["A"][i] = -(v[rows["A"]] * x[columns["A"]] + y[rows["A"]] * u[columns["A"]])
        solutions.append(x)
    return np.stack(solutions), result


def margins(program: Canonical, theta: Array) -> Array:
    """Distance to the nearest kink (B): the smallest, over inequalities, of the larger of slack and multiplier."""
    found = (_active_rows(program, values) for values in _instances(program, theta))
    return np.array([np.min(np.maximum(y, s)[program.zero :], initial=np.inf) for _, _, _, y, s in found])


def _instances(program: Canonical, theta: Array) -> Iterator[dict[str, Array]]:
    values = {part: np.atleast_2d(v) for part, v in evaluate(program, theta).items()}
    return ({part: v[min(i, len(v) - 1)] for part, v in values.items()} for i in range(len(theta)))


def _active_rows(program: Canonical, values: dict[str, Array]) -> tuple[Any, Array, Array, Array, Array]:
    """Active rows of the solution, the matrix K on them, and the exact x, y (m) and slacks (m).

    Where Clarabel leaves a row in doubt (a slack and a multiplier both near its tolerance), rows with y < 0 are dropped and
    violated ones added until the optimality conditions hold. Raises RuntimeError if that does not settle, LinAlgError if the
    active rows are dependent.
    """
    P, A = (sp.csr_array((values[k], p.indices, p.indptr), shape=p.shape) for k, p in program.patterns.items())
    equality = np.arange(program.m) < program.zero
    z, s = _clarabel(program, P, values["q"], A, values["b"])
    chosen = equality | (z > s)
    for _ in range(10):
        active = np.flatnonzero(chosen)
        dense = A[active].toarray()
        K = np.block([[P.toarray(), dense.T], [dense, np.zeros((len(active), len(active)))]])
        solution = np.linalg.solve(K, np.r_[-values["q"], values["b"][active]])
        x, y = solution[: program.n], np.zeros(program.m)
        y[active] = solution[program.n :]
        slack = values["b"] - A @ x
        wrong = ~equality & ((y < -1e-12) | (slack < -1e-12))
        if not wrong.any():
            return active, K, x, y, slack
        chosen = chosen ^ wrong
    raise RuntimeError("no consistent active set: the instance is degenerate")


def _clarabel(program: Canonical, P: sp.csr_array, q: Array, A: sp.csr_array, b: Array) -> tuple[Array, Array]:
    settings = clarabel.DefaultSettings()
    settings.verbose = False
    settings.tol_gap_abs = settings.tol_gap_rel = settings.tol_feas = 1e-10
    cones = [clarabel.ZeroConeT(program.zero), clarabel.NonnegativeConeT(program.m - program.zero)]
    solution = clarabel.DefaultSolver(sp.csc_matrix(sp.triu(P)), q, sp.csc_matrix(A), b, cones, settings).solve()
    if "Solved" not in str(solution.status):
        raise RuntimeError(f"Clarabel: {solution.status}")
    return np.array(solution.z), np.array(solution.s)
