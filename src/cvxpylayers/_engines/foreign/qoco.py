"""QOCO (interior point): quadratic programs over second-order cones."""

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

_STATUS: Final[Mapping[str, Status]] = {
    "QOCO_SOLVED": Status.SOLVED,
    "QOCO_SOLVED_INACCURATE": Status.SOLVED,
    "QOCO_MAX_ITER": Status.MAX_ITERATIONS,
}


class QocoEngine(Adapter):
    """Linear, quadratic and second-order cone programs. It has no certificates: infeasible instances end by other statuses."""

    name: ClassVar[str] = "QOCO"
    capabilities: ClassVar[Capabilities] = Capabilities(cones=POLYHEDRAL | {"soc"})
    package: ClassVar[str] = "qoco"
    install: ClassVar[str] = "pip install qoco"
    common: ClassVar[Mapping[str, str]] = {"max_iterations": "max_iters"}
    own: ClassVar[frozenset[str]] = words(
        """
        abstol abstol_inacc algebra bisect_iters iter_ref_iters kkt_dynamic_reg kkt_static_reg max_iters reltol
        reltol_inacc ruiz_iters verbose
        """
    )
    preset: ClassVar[Mapping[str, Any]] = {"verbose": False, "abstol": 1e-9, "reltol": 1e-9}

    def claim(self, program: ConeProgram, settings: dict[str, Any]) -> Claim:
        cones, n, m = program.cones, len(program.q), len(program.b)
        (A, b), (G, h) = program.equalities(), program.inequalities()
        solver = self._solver.QOCO(**({"algebra": settings.pop("algebra")} if "algebra" in settings else {}))
        P = program.P_upper if program.P_upper.nnz else None
        rows = m - cones.zero
        solver.setup(
            n, rows, cones.zero, P, program.q, A if cones.zero else None, b, G if rows else None, h,
            cones.nonneg, len(cones.soc), np.array(cones.soc, dtype=np.int32), **settings,
        )  # fmt: skip
        found = solver.solve()
        status = _STATUS.get(found.status, Status.NUMERICAL_ERROR)
        z = np.concatenate([np.asarray(found.y)[: cones.zero], np.asarray(found.z)[:rows]])
        return Claim(np.array(found.x), z, status, int(found.iters))
