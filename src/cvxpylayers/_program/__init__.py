"""The vocabulary every stage shares: cone programs, their compiled form, and solutions.

A *cone program* is

    minimize    ½ xᵀP x + qᵀx + d
    subject to  A x + s = b,   s ∈ K = {0}ᵉ × ℝ₊ᵏ × second-order × PSD × exponential × power,

with primal x (n), slack s (m) and dual z (m) in the dual cone K*. A compiled problem is the fixed structure of a family of
such programs plus two constant sparse maps: M takes parameters to the numbers of the program, R takes (x, z) to the outputs.
"""

from __future__ import annotations

from cvxpylayers._program.batch import Batch, Solution, Tape
from cvxpylayers._program.cones import Block, Cones
from cvxpylayers._program.problem import CompiledProblem, Form, OutputSpec, ParameterSpec, Pattern, Structure
from cvxpylayers._program.status import USABLE, Status

__all__ = [
    "USABLE",
    "Batch",
    "Block",
    "CompiledProblem",
    "Cones",
    "Form",
    "OutputSpec",
    "ParameterSpec",
    "Pattern",
    "Solution",
    "Status",
    "Structure",
    "Tape",
]
