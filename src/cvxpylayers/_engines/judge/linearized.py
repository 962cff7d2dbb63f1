"""The optimality conditions of one instance, linearized at w and factored sparsely, with second-order cones of any size.

With D = Π'(w) and a scale σ > 0 the system in (dx, dz) is

    P dx + Aᵀdz = r,    A dx + ds = h,    ds = D dw,    dz = (D - I) dw / σ,

which E = (I - D)^½ and dz = E y make symmetric, [P, AᵀE; E A, -σ D] (dx, y) = (r, E h). In the frames of D (``judge.frames``) it
stays sparse: on a second-order cone dz = e y + γ v₋, where y is orthogonal to v₊ and v₋ by multipliers α and β,

    [ P     AᵀTᵀe   Aᵀv₋   0     0  ]  dx     r
    [ e T A  -σ c    0    -v₊   -v₋ ]  y      e T h
    [ v₋ᵀA    0      0     0     0  ]  γ   =  v₋ᵀh
    [  0    -v₊ᵀ     0     0     0  ]  α      0
    [  0    -v₋ᵀ     0     0     0  ]  β      0

and where single variables are the rows of a semidefinite cone they are turned as well (``judge.turn``).
All entries are bounded, and with ρ on the diagonals of dx, α, β and -ρ on those of y, γ the matrix is quasi-definite: it can be
factored in any order. ρ is refined away; what is applied depends on the matrix alone and is symmetric, so that derivatives in
both modes stay adjoint: a probe, always the same, tells how many steps that takes. Where refinement shows that the matrix is
singular, its null space (which is one of dx, α, β and one of y, γ, so that the ρ do not mix it with the rest) is filtered from
both sides, which leaves the solution of least norm, in equilibrated units.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg as spla

from cvxpylayers._engines.judge.frames import Frames
from cvxpylayers._engines.judge.program import ConeProgram
from cvxpylayers._engines.judge.turn import Turn
from cvxpylayers._typing import Float64, Shaped

# ρ in equilibrated units, and steps of refinement.
_REGULAR: Final = 1e-8
_REGULAR_STEPS: Final = 6  # at most
_SINGULAR: Final = 1e-5
_SINGULAR_STEPS: Final = 4
_FILTER_STEPS: Final = 4
_PRECISE_STEPS: Final = 3
_ROUNDED: Final = 1e-13  # relative residual that further steps leave as it is
_EXACT: Final = 1e-9  # relative residual of a regular system's solution
_CONSISTENT: Final = 1e-6  # that of a singular one's, where it has one
_ILL: Final = 1e3  # size of the inverse beyond which residuals are formed in more than double precision
_NORMS: Final = 32.0  # spread of the norms of rows that is left alone


class Linearized:
    """The system at w, of the scale σ; ``solve`` as often as wanted."""

    def __init__(self, program: ConeProgram, w: Shaped[Float64, " m"], scale: float = 1.0) -> None:
        self._frames = frames = Frames.at(program.cones, w)
        n, m = program.A.shape[1], len(w)
        pairs = frames.plus.shape[1]
        P, A = sp.csr_array(program.P), sp.csr_array(program.A)
        A.sort_indices()
        self._turn = Turn.at(program.cones, P, A, frames)
        A, rows = self._turn.enter_matrix(A, frames)
        slopes = sp.csr_array(frames.minus.T @ A)
        K: Any = sp.block_array(
            [
                [P, rows.T, slopes.T, None, None],
                [rows, sp.diags_array(-scale * frames.c), None, -frames.plus, -frames.minus],
                [slopes, None, None, None, None],
                [None, -frames.plus.T, None, None, None],
                [None, -frames.minus.T, None, None, None],
            ],
            format="csc",
        )
        self._cuts = np.cumsum([n, m, pairs])
        signs = np.repeat([1.0, -1.0, 1.0], [n, m + pairs, 2 * pairs])
        self._units = units = _equilibration(K)
        self._K = sp.csc_array(sp.diags_array(units) @ K @ sp.diags_array(units))
        self._signs = signs
        self._exact, self._singular, self._steps = self._K, False, 0
        probe = np.random.default_rng(0).normal(size=(K.shape[0], 1))
        try:
            self._factor = self._factorize(_REGULAR)
            found = self._probed(probe)
            self._singular = not self._residual(probe, found) <= _EXACT
        except RuntimeError:  # a pivot that rounding has made 0
            self._singular = True
        if self._singular:
            self._factor = self._factorize(_SINGULAR)
            self._exact = sp.csr_array(self._K + sp.diags_array(_SINGULAR * signs)).astype(np.longdouble)
        elif np.abs(found).max(initial=0.0) > _ILL:
            self._exact, self._steps = self._K.astype(np.longdouble), _REGULAR_STEPS

    def solve(self, r: Shaped[Float64, "k n"], h: Shaped[Float64, "k m"]) -> tuple[Float64, Float64, bool]:
        """dx (k, n) and dz (k, m), and whether a part of the right-hand sides had no solution and was left out."""
        rest = np.zeros((len(self._units) - self._cuts[-1], len(r)))
        parts = np.concatenate([self._turn.enter(r.T), self._frames.enter(h.T), self._frames.minus.T @ h.T, rest])
        right = self._units[:, None] * parts
        found = self._least(right) if self._singular else self._regular(right)
        lost = self._singular and not self._residual(right, found) <= _CONSISTENT
        dx, y, gamma, _ = np.split(self._units[:, None] * found, self._cuts)
        return self._turn.leave(dx).T, (self._frames.leave(y) + self._frames.minus @ gamma).T, lost

    def _factorize(self, rho: float) -> Any:
        """LU factors of K_ρ, pivots on its diagonal. Minimum degree is slow where some rows are dense, which COLAMD sets aside."""
        longest, size = np.diff(self._K.indptr).max(initial=0), self._K.shape[0]
        return spla.splu(
            sp.csc_array(self._K + sp.diags_array(rho * self._signs)),
            permc_spec="COLAMD" if longest > 10 * math.sqrt(size) else "MMD_AT_PLUS_A",
            diag_pivot_thresh=0.0,
            options={"SymmetricMode": True, "Equil": False},
        )

    def _probed(self, right: Float64) -> Float64:
        """``_regular``, which takes as many steps as it took here until the residual was that of rounding, and one more."""
        found = np.asarray(self._factor.solve(right))
        while self._steps < _REGULAR_STEPS:
            rounded = self._residual(right, found) <= _ROUNDED
            found += self._factor.solve(right - self._K @ found)
            self._steps += 1
            if rounded:
                break
        return found

    def _regular(self, right: Float64) -> Float64:
        """K⁻¹ right: K_ρ⁻¹ right, refined."""
        found = self._factor.solve(right)
        for _ in range(self._steps):
            found += self._factor.solve((right - self._exact @ found).astype(np.float64))
        return np.asarray(found)

    def _least(self, right: Float64) -> Float64:
        """Σ (K_ρ⁻¹R)ʲ K_ρ⁻¹, R = K_ρ - K, between I - (K_ρ⁻¹R)⁴ and its transpose: K⁻¹, but 0 for eigenvalues far below ρ."""
        R = _SINGULAR * self._signs[:, None]
        inconsistent = right
        for _ in range(_FILTER_STEPS):
            inconsistent = R * self._precisely(inconsistent)
        found = np.zeros_like(right)
        for _ in range(_SINGULAR_STEPS):
            found = self._precisely(right - inconsistent + R * found)
        lost = found
        for _ in range(_FILTER_STEPS):
            lost = self._precisely(R * lost)
        return found - lost

    def _precisely(self, right: Float64) -> Float64:
        """K_ρ⁻¹ right; residuals in more than double precision, so that rounding is not amplified by 1/ρ in the null space."""
        found = np.asarray(self._factor.solve(right))
        for _ in range(_PRECISE_STEPS):
            found += self._factor.solve((right - self._exact @ found).astype(np.float64))
        return found

    def _residual(self, right: Float64, found: Float64) -> float:
        size = float(np.abs(right).max(initial=0.0))
        return float(np.abs(right - self._K @ found).max(initial=0.0)) / size if size else 0.0


def _equilibration(K: sp.csc_array) -> Shaped[Float64, " size"]:
    """What to multiply rows and columns with, so that the largest entry of each is about 1; ones where they already are."""
    units = np.ones(K.shape[0])
    magnitudes = abs(sp.csc_array(K))
    magnitudes.eliminate_zeros()
    filled = np.flatnonzero(np.diff(magnitudes.indptr))
    if not len(filled):
        return units

    def norms(entries: Float64) -> Float64:
        return np.maximum.reduceat(entries, magnitudes.indptr[filled])

    column = np.repeat(np.arange(len(units)), np.diff(magnitudes.indptr))
    entries, found = magnitudes.data, norms(magnitudes.data)
    if found.max() <= _NORMS * found.min():
        return units
    for _ in range(8):
        units[filled] /= np.sqrt(norms(entries))
        entries = magnitudes.data * units[magnitudes.indices] * units[column]
    return units
