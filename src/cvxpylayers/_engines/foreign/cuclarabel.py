"""CuClarabel: Clarabel on CUDA devices, through Julia and the interface that CVXPY has to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from cvxpylayers._engines.engine import EVERY_CONE, Capabilities
from cvxpylayers._engines.foreign.chunks import OURS
from cvxpylayers._engines.foreign.cvxpy_solver import CvxpyEngine
from cvxpylayers._engines.foreign.package import require
from cvxpylayers._program import CompiledProblem


class CuclarabelEngine(CvxpyEngine):
    """Every cone but semidefinite ones. CVXPY hands none of the solver's own settings on, so there are none here."""

    name: ClassVar[str] = "CUCLARABEL"
    capabilities: ClassVar[Capabilities] = Capabilities(cones=EVERY_CONE - {"psd"}, devices=("cuda",))
    packages: ClassVar[tuple[str, ...]] = ("juliacall", "cupy")
    install: ClassVar[str] = (
        "pip install juliacall cupy-cuda12x, and CUDA and Clarabel (its branch CuClarabel) in Julia's package manager"
    )

    def __init__(self, compiled: CompiledProblem, options: Mapping[str, Any]) -> None:
        super().__init__(compiled, options)
        for package in self.packages:
            require(self.name, package, self.install)

    @classmethod
    def option_names(cls) -> frozenset[str] | None:
        """The common ones that are ours."""
        return OURS

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.compiled, self.options)
