"""Moreau (interior point, active set): every cone, batches at once, on the CPU or a CUDA device."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Final

import numpy as np
import scipy.sparse as sp

from cvxpylayers._engines.engine import Capabilities
from cvxpylayers._engines.foreign.package import words
from cvxpylayers._engines.foreign.per_instance import BatchAdapter
from cvxpylayers._engines.judge.judge import Claim
from cvxpylayers._program import CompiledProblem, Status
from cvxpylayers._program.cones import LINEAR
from cvxpylayers._typing import Float64, NDArray, Shaped

_STATUS: Final[Mapping[str, Status]] = {
    "Solved": Status.SOLVED,
    "AlmostSolved": Status.SOLVED,
    "PrimalInfeasible": Status.PRIMAL_INFEASIBLE,
    "AlmostPrimalInfeasible": Status.PRIMAL_INFEASIBLE,
    "DualInfeasible": Status.DUAL_INFEASIBLE,
    "AlmostDualInfeasible": Status.DUAL_INFEASIBLE,
    "MaxIterations": Status.MAX_ITERATIONS,
    "MaxTime": Status.MAX_ITERATIONS,
    "InsufficientProgress": Status.INSUFFICIENT_PROGRESS,
}
_TOLERANCES: Final = ("tol_gap_abs", "tol_gap_rel", "tol_feas")


class MoreauEngine(BatchAdapter):
    """Every cone. Settings of Moreau pass under their own names, those of its interior point method inside ``ipm_settings``.

    It has threads of its own, which ``threads`` does not count. ``direct_cones=True`` hands blocks of rows -x_i + s = 0 over as
    cones of x, without rows. Only its interior point method takes them, while small quadratic programs go to its active set method,
    which is some times faster: so they are off by default.
    """

    name: ClassVar[str] = "MOREAU"
    capabilities: ClassVar[Capabilities] = Capabilities(batched=True, devices=("cpu", "cuda"))
    package: ClassVar[str] = "moreau"
    install: ClassVar[str] = "pip install moreau"
    common: ClassVar[Mapping[str, str]] = {"max_iterations": "max_iter", "time_limit": "time_limit"}
    own: ClassVar[frozenset[str]] = words(
        "active_set_settings device device_id direct_cones ipm_settings max_iter solver time_limit verbose"
    )
    preset: ClassVar[Mapping[str, Any]] = {"device": "cpu", "direct_cones": False}

    def claims(self, values: Shaped[Float64, "k values"], settings: dict[str, Any]) -> list[Claim]:
        moreau, st, form = self._solver, self.compiled.structure, self._forms[bool(settings.pop("direct_cones"))]
        ipm = settings.pop("ipm_settings", {})
        if isinstance(ipm, Mapping):
            ipm = moreau.IPMSettings(**{**dict.fromkeys(_TOLERANCES, 1e-10), **ipm})
        solver = moreau.CompiledSolver(
            st.n, len(form.rows), form.P.indptr, form.P.indices, form.A.indptr, form.A.indices, moreau.Cones(**form.cones),
            settings=moreau.Settings(batch_size=len(values), ipm_settings=ipm, **settings),
        )  # fmt: skip
        P, q, A, b = (values[:, part] for part in np.split(np.arange(st.values - 1), np.cumsum([st.P.nnz, st.n, st.A.nnz])))
        solver.setup(P[:, form.P.data], A[:, form.A.data])
        found = solver.solve(q, b[:, form.rows])
        z = np.zeros((len(values), st.m))
        z[:, form.rows], z[:, form.direct] = np.asarray(found.z), np.asarray(found.z_x)
        statuses = [_STATUS.get(str(getattr(s, "name", s)), Status.NUMERICAL_ERROR) for s in solver.info.status]
        return [Claim(*answer) for answer in zip(np.asarray(found.x), z, statuses, map(int, solver.info.iterations), strict=True)]

    @cached_property
    def _forms(self) -> tuple[_Form, _Form]:
        """Without direct cones, and with them."""
        return _form(self.compiled, False), _form(self.compiled, True)


@dataclass(frozen=True, eq=False)
class _Form:
    """How Moreau sees a structure: patterns whose data number our values, the rows that stay, and those that are direct."""

    P: sp.csr_array  # with both triangles
    A: sp.csr_array  # of ``rows`` alone
    rows: NDArray[np.intp]
    direct: NDArray[np.intp]
    cones: Mapping[str, Any]


def _form(compiled: CompiledProblem, direct: bool) -> _Form:
    st = compiled.structure
    lower = sp.csr_array((np.arange(1, st.P.nnz + 1), st.P.indices, st.P.indptr), shape=(st.n, st.n))
    P = sp.csr_array(lower + sp.tril(lower, -1).T)
    A = sp.csr_array((np.arange(1, st.A.nnz + 1), st.A.indices, st.A.indptr), shape=(st.m, st.n))
    kept: dict[str, list[Any]] = {"zero": [], "nonneg": [], "soc": [], "psd": [], "exp": [], "power": []}
    specs, rows, moved, taken, bare = [], [], [], set[int](), _bare(compiled) if direct else {}
    for kind, size, block in _blocks(compiled):
        columns = [bare[row] for row in block if row in bare]
        if kind not in ("zero", "psd") and len(set(columns) - taken) == len(block):
            taken.update(columns)
            specs.append({"kind": kind, "indices": columns} | ({"alpha": size} if kind == "power" else {}))
            moved += block
        else:
            kept[kind].append(size)
            rows += block
    cones = {
        "num_zero_cones": len(kept["zero"]), "num_nonneg_cones": len(kept["nonneg"]), "so_cone_dims": kept["soc"],
        "psd_dims": kept["psd"], "num_exp_cones": len(kept["exp"]), "power_alphas": kept["power"], "dir_cones": specs,
    }  # fmt: skip
    index = np.array(rows, dtype=np.intp)
    for pattern in (P, A := sp.csr_array(A[index])):
        pattern.sort_indices()
        pattern.data -= 1
    return _Form(P, A, index, np.array(moved, dtype=np.intp), cones)


def _blocks(compiled: CompiledProblem) -> Iterator[tuple[str, Any, list[int]]]:
    """Kind, size or exponent, and rows of every block; rows of polyhedra one by one."""
    for kind, order, alpha, rows in compiled.structure.cones.blocks():
        block = [*range(rows.start, rows.stop)]
        if kind in LINEAR:
            yield from ((kind, 1, [row]) for row in block)
        else:
            yield kind, alpha if kind == "power" else order, block


def _bare(compiled: CompiledProblem) -> dict[int, int]:
    """Rows that say -x_i + s = 0 whatever the parameters are, with their i."""
    st, M = compiled.structure, sp.csr_array(compiled.M)
    fixed, constant = np.diff(sp.csr_array(M[:, :-1]).indptr) == 0, M[:, [-1]].toarray().ravel()
    entry, offset = st.P.nnz + st.n + st.A.indptr[:-1], st.P.nnz + st.n + st.A.nnz + np.arange(st.m)
    alone = np.flatnonzero(np.diff(st.A.indptr) == 1)
    good = fixed[entry[alone]] & (constant[entry[alone]] == -1) & fixed[offset[alone]] & (constant[offset[alone]] == 0)
    return {int(row): int(st.A.indices[st.A.indptr[row]]) for row in alone[good]}
