"""Options of version 1.x, with those of its solvers, and what they mean here: the one table of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

# Our name → theirs, of 1.x itself, SCS, ECOS, Clarabel, Moreau and MPAX. Tolerances are many: the smallest counts.
_MEANINGS: Final[Mapping[str, str]] = {
    "tolerance": "eps eps_abs eps_rel abstol reltol feastol tol_gap_abs tol_gap_rel tol_feas",
    "infeasibility_tolerance": "eps_infeas tol_infeas_abs tol_infeas_rel eps_primal_infeasible eps_dual_infeasible",
    "max_iterations": "max_iters max_iter iteration_limit",
    "time_limit": "time_limit time_limit_secs time_sec_limit",
    "threads": "n_jobs_forward n_jobs_backward max_threads",
    "step_fraction": "max_step_fraction",
    "equilibrate": "equilibrate_enable",
}

# How they solve, which is not how it is done here.
_OBSOLETE: Final = """
    solve_method mode use_indirect warm_start warm_starts derivative_kwargs
    acceleration_lookback acceleration_interval scale adaptive_scale alpha rho_x normalize linear_solver gpu mkl
    write_data_filename log_csv_filename
    abstol_inacc reltol_inacc feastol_inacc nitref
    tol_ktratio reduced_tol_feas reduced_tol_gap_abs reduced_tol_gap_rel reduced_tol_infeas_abs reduced_tol_infeas_rel
    reduced_tol_ktratio chordal_decomposition_compact chordal_decomposition_complete_dual chordal_decomposition_enable
    chordal_decomposition_merge_method direct_kkt_solver direct_solve_method dynamic_regularization_delta
    dynamic_regularization_enable dynamic_regularization_eps equilibrate_max_iter equilibrate_max_scaling
    equilibrate_min_scaling input_sparse_dropzeros iterative_refinement_abstol iterative_refinement_enable
    iterative_refinement_max_iter iterative_refinement_reltol iterative_refinement_stop_ratio linesearch_backtrack_step
    min_switch_step_length min_terminate_step_length pardiso_iparm pardiso_verbose presolve_enable
    static_regularization_constant static_regularization_enable static_regularization_proportional
    device device_id active_set_settings ipm_settings direct_cones
    algorithm initial_primal_solution initial_dual_solution unroll jit termination_evaluation_frequency
"""

MEANING: Final[Mapping[str, str | None]] = {
    **dict.fromkeys(_OBSOLETE.split()),
    **{theirs: ours for ours, names in _MEANINGS.items() for theirs in names.split()},
}
SPOKEN: Final = ("verbose", "raise_on_error")  # what a layer does with the outcome, whichever solver it was
_SMALLEST: Final = ("tolerance", "infeasibility_tolerance")


def translated(given: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Options under names that ``MEANING`` knows as ours, and the names of those that mean nothing here.

    Of several that mean the same the first counts, but of tolerances the smallest.
    """
    found: dict[str, Any] = {}
    ignored = []
    for name, value in given.items():
        ours = MEANING[name]
        if ours is None or _unlimited(ours, value):
            ignored.append(name)
        elif ours in _SMALLEST and ours in found and _number(value) and _number(found[ours]):
            found[ours] = min(found[ours], value)
        else:
            found.setdefault(ours, 0 if ours == "threads" and value == -1 else value)  # -1 was "all cores"
    return found, ignored


def spoken(given: Any) -> tuple[bool | None, str | None]:
    """Whether the options ask for a line about the outcome, and for which ``on_failure``; None where they say nothing of it."""
    if given is None or not isinstance(given, Mapping):
        return None, None
    verbose, strict = given.get("verbose"), given.get("raise_on_error")
    return None if verbose is None else bool(verbose), None if strict is None else "raise" if strict else "nan"


def _unlimited(ours: str, value: Any) -> bool:
    """Whether the value says "as exact as can be", or "for ever"."""
    return _number(value) and ((ours in (*_SMALLEST, "time_limit") and value == 0) or value == float("inf"))


def _number(value: Any) -> bool:
    return isinstance(value, int | float)
