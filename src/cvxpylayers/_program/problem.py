"""What is compiled: the structure that all instances share, the maps M and R, and the parameters and outputs by name."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

import numpy as np
import scipy.sparse as sp

from cvxpylayers._program.cones import Cones
from cvxpylayers._typing import Float64, Int32, NDArray, Shaped

Form = Literal["value", "log"]


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
    def partly_read(self) -> frozenset[int]:
        """Positions of the parameters that have entries, or forms, of which no value is made."""
        read = np.bincount(self.M.indices, minlength=self.M.shape[1]) > 0
        ends = np.cumsum([spec.size * len(spec.forms) for spec in self.parameters])
        parts = zip(self.parameters, ends, strict=True)
        return frozenset(i for i, (p, end) in enumerate(parts) if not read[end - p.size * len(p.forms) : end].all())

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
