"""What is needed to write an engine: a solver for layers, in the order of effort.

* A function ``solve(program, **settings)`` that returns x, (x, z) or a ``Claim``, passed as ``solver=``.
* An ``Adapter`` subclass, for a package that solves one ``ConeProgram`` at a time; a ``BatchAdapter``, for one that solves many.
* An ``Engine`` subclass, for a solver that takes whole batches, or has a derivative of its own.

The first two share failures per instance, the judgement and refinement of answers, and the native derivative.
"""

from __future__ import annotations

from cvxpylayers._engines.engine import EVERY_CONE, POLYHEDRAL, Capabilities, Engine
from cvxpylayers._engines.foreign.package import words
from cvxpylayers._engines.foreign.per_instance import Adapter, BatchAdapter, PerInstance
from cvxpylayers._engines.judge.judge import Claim, Outcome, settle
from cvxpylayers._engines.judge.program import ConeProgram
from cvxpylayers._engines.native.derivative import NativeDerivative
from cvxpylayers._engines.registry import names
from cvxpylayers._program import Batch, CompiledProblem, Cones, Solution, Status, Structure, Tape

__all__ = [
    "EVERY_CONE",
    "POLYHEDRAL",
    "Adapter",
    "Batch",
    "BatchAdapter",
    "Capabilities",
    "Claim",
    "CompiledProblem",
    "ConeProgram",
    "Cones",
    "Engine",
    "NativeDerivative",
    "Outcome",
    "PerInstance",
    "Solution",
    "Status",
    "Structure",
    "Tape",
    "names",
    "settle",
    "words",
]
