"""PIQP (proximal interior point): linear and quadratic programs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from cvxpylayers._engines.engine import POLYHEDRAL, Capabilities
from cvxpylayers._engines.foreign.package import words
from cvxpylayers._engines.foreign.per_instance import Adapter
from cvxpylayers._engines.judge.judge import Claim
from cvxpylayers._engines.judge.piqp import PACKAGE, claim
from cvxpylayers._engines.judge.program import ConeProgram


class PiqpEngine(Adapter):
    """Linear and quadratic programs."""

    name: ClassVar[str] = "PIQP"
    capabilities: ClassVar[Capabilities] = Capabilities(cones=POLYHEDRAL)
    package: ClassVar[str] = PACKAGE
    install: ClassVar[str] = "pip install piqp"
    common: ClassVar[Mapping[str, str]] = {"max_iterations": "max_iter"}
    own: ClassVar[frozenset[str]] = words(
        """
        check_duality_gap delta_init eps_abs eps_dual_inf eps_duality_gap_abs eps_duality_gap_rel eps_primal_inf eps_rel
        infeasibility_threshold iterative_refinement_always_enabled iterative_refinement_eps_abs
        iterative_refinement_eps_rel iterative_refinement_max_iter iterative_refinement_min_improvement_rate
        iterative_refinement_static_regularization_eps iterative_refinement_static_regularization_rel kkt_solver
        max_factor_retires max_iter num_threads preconditioner_iter preconditioner_scale_cost
        reg_finetune_dual_update_threshold reg_finetune_lower_limit reg_finetune_primal_update_threshold reg_lower_limit
        rho_init tau verbose
        """
    )
    preset: ClassVar[Mapping[str, Any]] = {"eps_abs": 1e-9, "eps_rel": 1e-9}

    def claim(self, program: ConeProgram, settings: dict[str, Any]) -> Claim:
        return claim(program, settings)
