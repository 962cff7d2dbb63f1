"""Units of a program in which slack and multiplier of each block are of like size.

A linear map T of a cone onto itself makes A x + s = b, s ∈ K, the same constraint T A x + T s = T b, T s ∈ K, of multipliers
T⁻ᵀz ∈ K*, and keeps sᵀz. In a product of cones each block may have its own. Multiples are maps of every cone; the exponential cone
also has (x, y, w) → (x - ρ y, y, e^-ρ w), the power cone (x, y, w) → (x/a, a y, a^(1-2α) w): by these a solution on a boundary
comes to lie where y = w and x = y, at which the cone curves as much as it does anywhere.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import scipy.sparse as sp

from cvxpylayers._engines.defaults import TOLERANCE
from cvxpylayers._engines.judge.program import ConeProgram
from cvxpylayers._engines.judge.projections import maps
from cvxpylayers._engines.judge.quality import largest
from cvxpylayers._program import Block
from cvxpylayers._program.cones import CURVED
from cvxpylayers._typing import Float64, Shaped

_UNBALANCED: Final = 1e3  # ratio of s and z from which on a block has a multiple of its own
_COMPLEMENTARY: Final = 0.1  # cosine between s and z of a block up to which they tell where on the boundary it lies


@dataclass(frozen=True, eq=False)
class Units:
    """A map T (m, m) of a product cone onto itself, and its inverse."""

    T: sp.csr_array
    inverse: sp.csr_array
    flat: bool = False  # whether a cone hardly curves there: s is far larger than z

    @staticmethod
    def at(program: ConeProgram, s: Shaped[Float64, " m"], z: Shaped[Float64, " m"]) -> Units:
        """Those of a point near a solution: one multiple for most rows, and maps of cones."""
        inequalities = slice(program.cones.zero, None)
        size = (1.0 + np.abs(z[inequalities]).max(initial=0.0)) / (1.0 + np.abs(s[inequalities]).max(initial=0.0))
        diagonal, shears, backs, flattest = np.full(len(s), math.sqrt(size)), [], [], 0.0
        for block in program.cones.blocks(*CURVED):
            ratio = _ratio(block, s[block.rows], z[block.rows])
            flattest = max(flattest, ratio)
            if block.kind in ("soc", "psd") and not 1.0 / _UNBALANCED <= ratio <= _UNBALANCED:
                diagonal[block.rows] = ratio**-0.5
        for block in program.cones.blocks("exp", "power"):
            found = _centring(block, s[block.rows], z[block.rows])
            if found is not None:
                diagonal[block.rows], shear = found
                i = block.rows.start
                shears.append((i, diagonal[i] * shear))
                backs.append((i, -shear / diagonal[i + 1]))
        return Units(_matrix(diagonal, shears), _matrix(1.0 / diagonal, backs), flattest > _UNBALANCED)

    def enter(self, program: ConeProgram) -> ConeProgram:
        """The program in these units."""
        return replace(program, A=sp.csc_matrix(self.T @ program.A), b=self.T @ program.b)


def _ratio(block: Block, s: Float64, z: Float64) -> float:
    """|s|/|z| where s and z lie opposite to each other on the boundaries and both are more than an error of the solver, else 1."""
    sizes = math.sqrt(s @ s), math.sqrt(z @ z)
    if not (min(sizes) > TOLERANCE and max(sizes) < math.inf):
        return 1.0
    s, z = s / sizes[0], z / sizes[1]
    return sizes[0] / sizes[1] if largest(maps(block).project(s - z) - s) <= _COMPLEMENTARY else 1.0


def _matrix(diagonal: Shaped[Float64, " m"], shears: list[tuple[int, float]]) -> sp.csr_array:
    """The diagonal, and entries (i, i + 1)."""
    rows, values, m = [i for i, _ in shears], [value for _, value in shears], len(diagonal)
    entries = np.concatenate([diagonal, values]), (np.r_[:m, rows].astype(int), np.r_[:m, rows].astype(int))
    entries[1][1][m:] += 1
    return sp.csr_array(entries, shape=(m, m))


def _centring(block: Block, s: Shaped[Float64, " 3"], z: Shaped[Float64, " 3"]) -> tuple[Float64, float] | None:
    """(d, l) of T v = (d₀(v₀ + l v₁), d₁v₁, d₂v₂); None where s and z do not lie opposite to each other on the boundaries."""
    with np.errstate(all="ignore"):
        if block.kind == "exp":
            a = np.sqrt((s[1] / s[2]) * (-z[2] / z[0]))
            d, shear = np.array([1.0, 1.0, a]), np.log(a)
        else:
            a = ((s[0] / s[1]) * (z[1] / z[0])) ** 0.25
            d, shear = np.array([1.0 / a, a, a ** (1.0 - 2.0 * block.alpha)]), np.float64(0.0)
        p, q = d * s, z / d
        p[0] += d[0] * shear * s[1]
        q[1] -= shear * z[0] / d[1]
        sizes = math.sqrt(p @ p), math.sqrt(q @ q)
        size = np.sqrt(sizes[1] / sizes[0])
        usable = np.isfinite(shear) and np.isfinite(size) and size > 0.0 and abs(p @ q) <= _COMPLEMENTARY * sizes[0] * sizes[1]
    return (size * d, float(shear)) if usable else None
