"""The vocabulary every stage shares: cone programs, their compiled form, and solutions.

A *cone program* is

    minimize    ½ xᵀP x + qᵀx + d
    subject to  A x + s = b,   s ∈ K = {0}ᵉ × ℝ₊ᵏ × second-order × PSD × exponential × power,

with primal x (n), slack s (m) and dual z (m) in the dual cone K*. A compiled problem is the fixed structure of a family of
such programs plus two constant sparse maps: M takes parameters to the numbers of the program, R takes (x, z) to the outputs.
"""

from __future__ import annotations

import enum
import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Final, Literal

import numpy as np
import scipy.sparse as sp

from cvxpylayers._typing import Bool, Float64, Int8, Int32, NDArray, Shaped

Form = Literal["value", "log"]


class Status(enum.IntEnum):
    """Outcome of one instance; ``str`` gives the word CVXPY and Clarabel use, ``help`` says what to do about it."""

    SOLVED = 0
    ALMOST_SOLVED = 1
    PRIMAL_INFEASIBLE = 2
    DUAL_INFEASIBLE = 3
    MAX_ITERATIONS = 4
    INSUFFICIENT_PROGRESS = 5
    NUMERICAL_ERROR = 6
    INVALID_INPUT = 7

    def __str__(self) -> str:
        return self.name.lower()

    @property
    def help(self) -> str:
        """What the status means and what a user can do."""
        return _HELP[self]

    @property
    def solved(self) -> bool:
        """Whether the instance has a solution that can be used and differentiated."""
        return self <= Status.ALMOST_SOLVED


# Instances up to this status have a solution; a plain int, because comparing an array with an enumeration's member is slow.
USABLE: Final = int(Status.ALMOST_SOLVED)

_HELP = {
    Status.SOLVED: "Optimal to the requested tolerance.",
    Status.ALMOST_SOLVED: (
        "Constraints and objective are right to 1e-5 (relative to the objective or 1; x may be further off where the objective is "
        "flat); check the scaling of the data if this is frequent."
    ),
    Status.PRIMAL_INFEASIBLE: "No point satisfies the constraints for these parameter values; relax a constraint or add a slack.",
    Status.DUAL_INFEASIBLE: "The objective is unbounded for these parameter values; bound the variables or add a convex term.",
    Status.MAX_ITERATIONS: "The iteration limit was reached; raise max_iterations or rescale the data.",
    Status.INSUFFICIENT_PROGRESS: (
        "The iterates stalled before the tolerance, and nothing is proven; the data are badly scaled or nearly infeasible."
    ),
    Status.NUMERICAL_ERROR: "A factorization broke down; look for huge or tiny entries in the data.",
    Status.INVALID_INPUT: "A parameter holds NaN or inf, or violates its declared sign or definiteness.",
}


@dataclass(frozen=True)
class Cones:
    """The product cone K, its blocks in row order: zero, nonneg, soc…, psd…, exp…, power….

    ``soc`` holds dimensions, ``psd`` matrix orders k (each block has k(k+1)/2 svec rows), ``exp`` the number of
    3-row blocks, ``power`` the exponent of each 3-row block.
    """

    zero: int = 0
    nonneg: int = 0
    soc: tuple[int, ...] = ()
    psd: tuple[int, ...] = ()
    exp: int = 0
    power: tuple[float, ...] = ()

    @property
    def rows(self) -> int:
        """Number of rows m."""
        return self.zero + self.nonneg + sum(self.soc) + sum(k * (k + 1) // 2 for k in self.psd) + 3 * (self.exp + len(self.power))

    @property
    def polyhedral(self) -> bool:
        """Whether K has only zero and nonnegative blocks."""
        return self.rows == self.zero + self.nonneg


@dataclass(frozen=True)
class Pattern:
    """A sparsity pattern in compressed rows: row i owns ``indices[indptr[i]:indptr[i + 1]]``, ascending."""

    indptr: Shaped[Int32, " pointers"]
    indices: Shaped[Int32, " nnz"]

    @property
    def nnz(self) -> int:
        """Number of stored entries."""
        return len(self.indices)

    @cached_property
    def rows(self) -> NDArray[np.int32]:
        """Row index of every stored entry."""
        return np.repeat(np.arange(len(self.indptr) - 1, dtype=np.int32), np.diff(self.indptr))


@dataclass(frozen=True)
class Structure:
    """What all instances share: sizes, cones, and the patterns of P and A.

    ``P`` holds the lower triangle by rows (row i, columns j ≤ i), which is the upper triangle by columns; ``A`` is by rows.
    Explicit zeros stay: an entry that a parameter can reach is stored whatever its value.
    """

    n: int
    m: int
    cones: Cones
    P: Pattern
    A: Pattern

    @property
    def values(self) -> int:
        """Length of the value vector [P, q, A, b, d] of one instance."""
        return self.P.nnz + self.n + self.A.nnz + self.m + 1

    def split(self, values: Float64) -> tuple[Float64, Float64, Float64, Float64, Float64]:
        """Cut the last axis of ``values`` into (P, q, A, b, d); ``d`` keeps no axis."""
        cuts = np.cumsum([self.P.nnz, self.n, self.A.nnz, self.m])
        P, q, A, b, d = np.split(values, cuts, axis=-1)
        return P, q, A, b, d[..., 0]


@dataclass(frozen=True)
class ParameterSpec:
    """One parameter: its name, shape, and the domain CVXPY declares for it."""

    name: str
    shape: tuple[int, ...]
    sign: int = 0  # +1: entries must be ≥ 0, -1: entries must be ≤ 0, 0: free
    psd: int = 0  # +1: must be positive semidefinite, -1: negative semidefinite, 0: free
    symmetric: bool = False
    quadratic: bool = False  # enters P, whose definiteness engines judge as a whole
    support: tuple[int, ...] | None = None  # positions in C order of the entries that may differ from zero; None: all
    bounds: tuple[tuple[float, ...], tuple[float, ...]] | None = None  # least and largest values, of each entry or of all
    unbounded: bool = False  # enters right-hand sides of inequalities alone, where ±inf means that there is none
    forms: tuple[Form, ...] = ("value",)  # what of it is in θ, one after the other: its entries, their logarithms

    @cached_property
    def free(self) -> bool:
        """Whether it may hold any finite numbers."""
        restricted = self.sign or self.psd or self.symmetric or self.support is not None or self.bounds is not None
        return not restricted and "log" not in self.forms

    @cached_property
    def size(self) -> int:
        """Number of entries."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class OutputSpec:
    """One output, a variable or a constraint's dual: its name and shape."""

    name: str
    shape: tuple[int, ...]
    dual: bool = False
    exp: bool = False  # R gives its logarithm

    @cached_property
    def size(self) -> int:
        """Number of entries."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class CompiledProblem:
    """A parametrized problem, ready for engines; immutable, free of CVXPY objects, picklable.

    ``M``: CSR (structure.values, p + 1); values = M @ [θ; 1], θ the parameters in their forms, flattened in C order and
    concatenated in the order of ``parameters``. ``R``: CSR (outputs, n + m); outputs = R @ [x; z], flattened in C order,
    concatenated in the order of ``outputs``. Fortran order, signs, svec scaling and permutations live in these two maps and
    nowhere else. ``objective_sign`` is -1 for Maximize: the user's objective is ``objective_sign * (½ xᵀPx + qᵀx + d)``.
    ``row_sources`` names the constraint that each row of A came from, for messages.

    A geometric program (``log_space``) is posed in the logarithms of its positive quantities: parameters may enter θ as
    logarithms, ``exp`` outputs and the objective leave as exponentials. Engines know nothing of this; ``_engines.log_space``
    stands between.
    """

    structure: Structure
    M: sp.csr_array = field(repr=False)
    R: sp.csr_array = field(repr=False)
    parameters: tuple[ParameterSpec, ...]
    outputs: tuple[OutputSpec, ...]
    objective_sign: int = 1
    row_sources: tuple[str, ...] = field(default=(), repr=False)
    log_space: bool = False

    @cached_property
    def fingerprint(self) -> int:
        """64 bits that equal problems share, in every process and whatever the names, and others do not."""
        s, M, R = self.structure, self.M, self.R
        arrays = (s.P.indptr, s.P.indices, s.A.indptr, s.A.indices, M.indptr, M.indices, M.data, R.indptr, R.indices, R.data)
        digest = hashlib.blake2b(digest_size=8)
        specs = [replace(p, name="") for p in self.parameters], [replace(o, name="") for o in self.outputs]
        digest.update(repr((s.n, s.m, s.cones, specs, self.objective_sign, self.log_space)).encode())
        for array in arrays:
            digest.update(f"{array.dtype.kind}{array.shape}".encode())
            digest.update(array.astype(np.float64 if array.dtype.kind == "f" else np.int64).tobytes())
        return int.from_bytes(digest.digest(), "little", signed=True)


@dataclass(frozen=True)
class Batch:
    """Parameter values of many instances.

    ``arrays[i]`` is float64 of shape (*batch_i, parameters[i].size), its last axis contiguous; the batch_i broadcast to
    ``shape`` as in NumPy. A shared parameter has no batch axes (or axes of length or stride 0) and is never copied.
    ``invalid`` marks instances, flattened in C order, that are known to violate a declared domain. ``start`` holds points x, z, s
    to start from, (B, n), (B, m), (B, m), NaN where there is none; engines may ignore it. ``rounding`` is the relative error that
    the entries of each array may have because of the dtype in which they came; none if empty. ``infinite`` says that there are
    infinite ones: nonnegative rows with b = inf are then switched off, and an instance with b = -inf is infeasible.
    """

    arrays: tuple[Float64, ...]
    shape: tuple[int, ...]
    invalid: Bool | None = None
    start: tuple[Float64, Float64, Float64] | None = None
    rounding: tuple[float, ...] = ()
    infinite: bool = False

    @cached_property
    def size(self) -> int:
        """Number of instances B."""
        return math.prod(self.shape)

    def theta(self, instances: Sequence[int] | NDArray[np.integer] | slice = slice(None)) -> Float64:
        """Stacked parameters with the trailing constant 1, shape (len(instances), p + 1), for engines without M in the kernel."""
        flat = np.arange(self.size)[instances] if isinstance(instances, slice) else np.asarray(instances)
        index = np.unravel_index(flat, self.shape) if self.shape else ()
        columns = []
        for array in self.arrays:
            full = np.broadcast_to(array, (*self.shape, array.shape[-1]))
            columns.append(full[index] if self.shape else np.broadcast_to(full, (len(flat), array.shape[-1])))
        return np.concatenate([*columns, np.ones((len(flat), 1))], axis=1)


@dataclass(frozen=True)
class Tape:
    """What a derivative needs of a solve: primal, dual, slack, and the status codes."""

    x: Shaped[Float64, "B n"]
    z: Shaped[Float64, "B m"]
    s: Shaped[Float64, "B m"]
    status: Shaped[Int8, " B"]


@dataclass(frozen=True)
class Solution:
    """Everything a solve returns, the batch flattened to one axis of length B.

    ``outputs`` follows R; rows of instances without a solution hold the best iterate. ``tape`` is None when no
    derivative was asked for. Residuals and gap are relative, as ``_engines.judge.Quality`` says;
    ``objective`` is in the user's sense, ``margin`` that of strict complementarity (``_engines.margin``).
    ``notes`` holds a solver's own words, by instance, where it had some about a failure.
    """

    outputs: Shaped[Float64, "B outputs"]
    status: Shaped[Int8, " B"]
    iterations: Shaped[Int32, " B"]
    primal_residual: Shaped[Float64, " B"]
    dual_residual: Shaped[Float64, " B"]
    gap: Shaped[Float64, " B"]
    objective: Shaped[Float64, " B"]
    fallback: Shaped[Bool, " B"]
    margin: Shaped[Float64, " B"]
    tape: Tape | None
    notes: Mapping[int, str] = field(default_factory=dict)
