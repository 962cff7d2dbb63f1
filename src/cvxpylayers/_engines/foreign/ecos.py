"""ECOS (interior point): linear objectives over second-order and exponential cones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

import numpy as np

from cvxpylayers._engines.engine import POLYHEDRAL, Capabilities
from cvxpylayers._engines.foreign.package import words
from cvxpylayers._engines.foreign.per_instance import Adapter
from cvxpylayers._engines.judge.judge import Claim
from cvxpylayers._engines.judge.program import ConeProgram
from cvxpylayers._program import Status

_STATUS: Final[Mapping[int, Status]] = {
    0: Status.SOLVED,
    10: Status.SOLVED,
    1: Status.PRIMAL_INFEASIBLE,
    11: Status.PRIMAL_INFEASIBLE,
    2: Status.DUAL_INFEASIBLE,
    12: Status.DUAL_INFEASIBLE,
    -1: Status.MAX_ITERATIONS,
}


class EcosEngine(Adapter):
    """Linear objectives; a cone of ours with rows (x, y, t), y exp(x/y) ≤ t, has the rows (x, t, y) there."""

    name: ClassVar[str] = "ECOS"
    capabilities: ClassVar[Capabilities] = Capabilities(cones=POLYHEDRAL | {"soc", "exp"}, quadratic=False)
    package: ClassVar[str] = "ecos"
    install: ClassVar[str] = "pip install ecos"
    common: ClassVar[Mapping[str, str]] = {"max_iterations": "max_iters"}
    own: ClassVar[frozenset[str]] = words("abstol feastol max_iters reltol verbose")
    preset: ClassVar[Mapping[str, Any]] = {"verbose": False, "abstol": 1e-9, "reltol": 1e-9, "feastol": 1e-9}

    def claim(self, program: ConeProgram, settings: dict[str, Any]) -> Claim:
        cones, m = program.cones, len(program.b)
        before = m - 3 * cones.exp
        order = np.arange(m)
        order[before:] = np.arange(before, m).reshape(-1, 3)[:, [0, 2, 1]].ravel()
        own = order[cones.zero :] - cones.zero
        (A, b), (G, h) = program.equalities(), program.inequalities()
        dims = {"l": cones.nonneg, "q": list(cones.soc), "e": cones.exp}
        equalities = {"A": A, "b": b} if cones.zero else {}
        inequalities = (G[own], h[own], dims) if len(own) else (None, None, {"l": 0, "q": [], "e": 0})
        found = self._solver.solve(program.q, *inequalities, **equalities, **settings)
        z = np.zeros(m)
        if cones.zero:
            z[: cones.zero] = found["y"]
        if len(own):
            z[order[cones.zero :]] = found["z"]
        info = found["info"]
        return Claim(found["x"], z, _STATUS.get(info["exitFlag"], Status.NUMERICAL_ERROR), int(info["iter"]))
