"""What is measured: one class per way of solving and differentiating a batch, each in its best published mode.

Contenders are built inside worker processes, one per virtual environment, from the arrays of a ``Case``. ``forward`` and
``gradient`` are the timed user calls; what they return becomes arrays for the check outside of the timing. Layers get the
parameters; the others get the evaluated cone program (P, q, A, b of every instance), so that canonicalization is free for them.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]  # float64, or the integers of a pattern


class UnsupportedError(Exception):
    """The contender cannot take this family; the message says why."""


@dataclass(frozen=True)
class Case:
    """One family at one batch size, as the runner wrote it.

    ``arrays`` holds param0 …, cotangent0 … (of the variables), x_cotangent (B, n), and the evaluated P, q, A, b with the patterns
    P_indptr, P_indices, A_indptr, A_indices; parts in ``constant`` depend on no parameter, parts without a batch axis are shared.
    """

    family: str
    batch: int
    n: int
    m: int
    zero: int
    constant: tuple[str, ...]
    arrays: dict[str, Array]

    def save(self, path: Path) -> None:
        """Write to ``path`` (npz)."""
        facts = {k: v for k, v in vars(self).items() if k != "arrays"}
        np.savez(path, facts=np.array(json.dumps(facts)), **self.arrays)

    @classmethod
    def load(cls, path: Path) -> Case:
        """Read what ``save`` wrote."""
        with np.load(path) as file:
            return cls(arrays={k: file[k] for k in file.files if k != "facts"}, **json.loads(str(file["facts"])))

    def numbered(self, prefix: str) -> list[Array]:
        """The arrays prefix0, prefix1, …"""
        return [self.arrays[f"{prefix}{i}"] for i in range(len(self.arrays)) if f"{prefix}{i}" in self.arrays]

    def dense(self, part: str, rows: slice) -> Array:
        """P or A as (B, rows, n), or (rows, n) if shared."""
        values, indptr, indices = (self.arrays[key] for key in (part, f"{part}_indptr", f"{part}_indices"))
        full = np.zeros((*values.shape[:-1], len(indptr) - 1, self.n))
        full[..., np.repeat(np.arange(len(indptr) - 1), np.diff(indptr)), indices] = values
        return np.ascontiguousarray(full[..., rows, :])

    def sparse(self, part: str, dense: Array) -> Array:
        """The entries of P or A (…, rows, n) that the pattern stores."""
        indptr, indices = self.arrays[f"{part}_indptr"], self.arrays[f"{part}_indices"]
        return dense[..., np.repeat(np.arange(len(indptr) - 1), np.diff(indptr)), indices]


class Contender(ABC):
    """Built once per case, untimed."""

    @abstractmethod
    def forward(self) -> Any:
        """Solve the batch without preparing a derivative."""

    @abstractmethod
    def gradient(self) -> Any:
        """Solve the batch and pull the cotangent back to all parameters."""

    @abstractmethod
    def solution(self, result: Any) -> dict[str, Array]:
        """What ``forward`` returned as arrays: output0, … (variables), or x of the cone program."""

    @abstractmethod
    def pulled(self, result: Any) -> dict[str, Array]:
        """What ``gradient`` returned as arrays: gradient0, … (parameters), or P, q, A, b of the cone program."""


class Layer(Contender):
    """``cvxpylayers.torch.CvxpyLayer`` of whichever release the environment holds, called as users call it."""

    def __init__(self, case: Case, **options: Any) -> None:
        import torch

        from cvxpylayers.torch import CvxpyLayer
        from problems.conic_families import EVERY_SIZE

        self.torch = torch
        family = EVERY_SIZE[case.family]
        problem, parameters, variables = family.make()
        self.layer = CvxpyLayer(problem, parameters=parameters, variables=variables, gp=family.gp, **options)
        self.parameters = [torch.from_numpy(a) for a in case.numbered("param")]
        self.cotangents = [torch.from_numpy(a) for a in case.numbered("cotangent")]

    def forward(self) -> Any:
        with self.torch.no_grad():
            return self.layer(*self.parameters)

    def gradient(self) -> Any:
        leaves = [p.detach().requires_grad_() for p in self.parameters]
        # The gradient of Σ ⟨cotangent, output⟩, without the cost of that sum, which no other contender pays.
        self.torch.autograd.backward(self.layer(*leaves), self.cotangents)
        return leaves

    def solution(self, result: Any) -> dict[str, Array]:
        return {f"output{i}": o.numpy() for i, o in enumerate(result)}

    def pulled(self, result: Any) -> dict[str, Array]:
        return {f"gradient{i}": p.grad.numpy() for i, p in enumerate(result)}


class Moreau(Contender):
    """``moreau.CompiledSolver`` on NumPy arrays with its own backward; P and A are set up once if no parameter reaches them.

    ``auto_tune`` lets it pick its factorization in the first, untimed call.
    """

    def __init__(self, case: Case, solver: str) -> None:
        import moreau

        if not case.n:
            raise UnsupportedError("measured through layers alone")
        self.case, values = case, case.arrays
        # Both shared or both batched: a mixture is not accepted.
        lead = () if values["P"].ndim == values["A"].ndim == 1 else (case.batch,)
        self.matrices = tuple(np.ascontiguousarray(np.broadcast_to(values[k], (*lead, values[k].shape[-1]))) for k in "PA")
        self.vectors = tuple(np.ascontiguousarray(np.broadcast_to(values[k], (case.batch, values[k].shape[-1]))) for k in "qb")
        self.fixed = {"P", "A"} <= set(case.constant)
        structure = {
            "n": case.n,
            "m": case.m,
            "P_row_offsets": values["P_indptr"].astype(np.int64),
            "P_col_indices": values["P_indices"].astype(np.int64),
            "A_row_offsets": values["A_indptr"].astype(np.int64),
            "A_col_indices": values["A_indices"].astype(np.int64),
            "cones": moreau.Cones(num_zero_cones=case.zero, num_nonneg_cones=case.m - case.zero),
        }
        self.solvers = []
        for grad in (False, True):
            settings = moreau.Settings(solver=solver, device="cpu", batch_size=case.batch, enable_grad=grad, auto_tune=True)
            self.solvers.append(moreau.CompiledSolver(**structure, settings=settings))
            self.solvers[-1].setup(*self.matrices)

    def _solve(self, solver: Any) -> Any:
        if not self.fixed:
            solver.setup(*self.matrices)
        return solver.solve(*self.vectors)

    def forward(self) -> Any:
        return self._solve(self.solvers[0])

    def gradient(self) -> Any:
        self._solve(self.solvers[1])
        return self.solvers[1].backward(self.case.arrays["x_cotangent"])

    def solution(self, result: Any) -> dict[str, Array]:
        return {"x": np.asarray(result.x)}

    def pulled(self, result: Any) -> dict[str, Array]:
        names = {"P": "dP_values", "q": "dq", "A": "dA_values", "b": "db"}
        return {part: np.asarray(result[name]) for part, name in names.items()}


class Qpth(Contender):
    """``qpth.qp.QPFunction`` on dense tensors; it needs P ≻ 0.

    Shared matrices are expanded first: given without a batch axis, qpth would return the mean of their gradients, not the sum.
    """

    def __init__(self, case: Case) -> None:
        import torch
        from qpth.qp import QPFunction

        if not case.n:
            raise UnsupportedError("qpth solves quadratic programs")
        equal, unequal = slice(0, case.zero), slice(case.zero, case.m)
        P, q, b = case.dense("P", slice(None)), case.arrays["q"], case.arrays["b"]
        if P.ndim != 2 or np.linalg.eigvalsh(P)[0] < 1e-9:
            raise UnsupportedError("qpth needs a positive definite P")
        data = (P, q, case.dense("A", unequal), b[..., unequal], case.dense("A", equal), b[..., equal])
        self.case, self.torch, self.solve = case, torch, QPFunction(verbose=-1, check_Q_spd=False)
        self.data = [torch.from_numpy(np.ascontiguousarray(a)) if a.size else torch.zeros(0, dtype=torch.float64) for a in data]
        self.varying = [part not in case.constant for part in "PqAbAb"]
        self.cotangent = torch.from_numpy(case.arrays["x_cotangent"])

    def _expand(self, leaves: list[Any]) -> list[Any]:
        ranks = (3, 2, 3, 2, 3, 2)
        shared = [a.numel() > 0 and a.ndim < rank for a, rank in zip(leaves, ranks, strict=True)]
        return [a.expand(self.case.batch, *a.shape) if expand else a for a, expand in zip(leaves, shared, strict=True)]

    def forward(self) -> Any:
        with self.torch.no_grad():
            return self.solve(*self._expand(self.data))

    def gradient(self) -> Any:
        leaves = [a.detach().requires_grad_(varies) for a, varies in zip(self.data, self.varying, strict=True)]
        self.torch.autograd.backward(self.solve(*self._expand(leaves)), self.cotangent)
        return leaves

    def solution(self, result: Any) -> dict[str, Array]:
        return {"x": result.numpy()}

    def pulled(self, result: Any) -> dict[str, Array]:
        P, q, G, h, A, b = (np.zeros(a.shape) if a.grad is None else a.grad.numpy() for a in result)
        if A.size:
            G, h = np.concatenate([A, G], axis=-2), np.concatenate([b, h], axis=-1)
        return {"P": self.case.sparse("P", P), "q": q, "A": self.case.sparse("A", G), "b": h}


@dataclass(frozen=True)
class Entry:
    """A contender: where it runs (a folder with bin/python), how it is built, which packages to report, how it is named."""

    environment: str
    build: Callable[[Case], Contender]
    packages: tuple[str, ...]
    title: str
    standard: bool = True  # measured if nothing else is asked for


def _in_jax(build: str, *arguments: Any, **options: Any) -> Callable[[Case], Contender]:
    """A contender of ``benchmarks.compare.jax_contenders``, imported by the worker that builds it."""

    def make(case: Case) -> Contender:
        from benchmarks import jax_contenders

        contender: Contender = getattr(jax_contenders, build)(case, *arguments, **options)
        return contender

    return make


OURS = "ours"
CONTENDERS = {
    OURS: Entry(".venv", Layer, ("cvxpylayers", "torch", "cvxpy"), "this package"),
    "1x": Entry(".venvs/peers", Layer, ("cvxpylayers", "diffcp", "torch"), "cvxpylayers 1.x (default)"),
    "1x-clarabel": Entry(
        ".venvs/peers",
        lambda case: Layer(case, solver_args={"solve_method": "Clarabel"}),
        ("cvxpylayers", "diffcp", "clarabel"),
        "cvxpylayers 1.x, Clarabel",
    ),
    "1x-moreau": Entry(
        ".venvs/peers",
        lambda case: Layer(case, solver="MOREAU"),
        ("cvxpylayers", "moreau"),
        "cvxpylayers 1.x, Moreau",
    ),
    "moreau-auto": Entry(".venvs/peers", lambda case: Moreau(case, "auto"), ("moreau",), "Moreau, auto"),
    "moreau-ipm": Entry(".venvs/peers", lambda case: Moreau(case, "ipm"), ("moreau",), "Moreau, IPM"),
    "qpth": Entry(".venvs/qpth", Qpth, ("qpth", "torch"), "qpth"),
    "ours-jax": Entry(".venv", _in_jax("JaxLayer", compiled=True), ("cvxpylayers", "jax"), "this package, JAX", standard=False),
    "1x-jax": Entry(
        ".venvs/jax", _in_jax("JaxLayer", compiled=False), ("cvxpylayers", "diffcp", "jax"), "cvxpylayers 1.x, JAX", standard=False
    ),
    "1x-jax-moreau": Entry(
        ".venvs/jax",
        _in_jax("JaxLayer", compiled=True, solver="MOREAU"),
        ("cvxpylayers", "moreau", "jax"),
        "cvxpylayers 1.x, JAX, Moreau",
        standard=False,
    ),
    "qpax": Entry(".venvs/jax", _in_jax("JaxQp", "qpax"), ("qpax", "jax"), "qpax", standard=False),
    "jaxopt-osqp": Entry(".venvs/jax", _in_jax("JaxQp", "osqp"), ("jaxopt", "jax"), "jaxopt, OSQP", standard=False),
    "jaxopt-box": Entry(".venvs/jax", _in_jax("JaxQp", "box-osqp"), ("jaxopt", "jax"), "jaxopt, BoxOSQP", standard=False),
}
