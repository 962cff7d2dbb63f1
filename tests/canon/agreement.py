"""Compiled problems against CVXPY: what Clarabel makes of M, R and the structure alone, and what ``problem.solve()`` says."""

from __future__ import annotations

from typing import Any

import clarabel
import cvxpy as cp
import numpy as np
import pytest
import scipy.sparse as sp

from cvxpylayers._canon import compile_problem
from cvxpylayers._program import CompiledProblem
from problems.models import Case

TIGHT = {"tol_gap_abs": 1e-10, "tol_gap_rel": 1e-10, "tol_feas": 1e-10}


def solve(compiled: CompiledProblem, values: list[np.ndarray]) -> tuple[float, list[np.ndarray]]:
    """Objective and outputs of one instance, from nothing but the compiled problem."""
    structure, cones = compiled.structure, compiled.structure.cones
    theta = np.concatenate([*(np.ravel(value) for value in values), [1.0]])
    P, q, A, b, d = structure.split(compiled.M @ theta)
    upper = sp.csc_matrix((P, structure.P.indices, structure.P.indptr), shape=(structure.n, structure.n))
    rows = sp.csr_matrix((A, structure.A.indices, structure.A.indptr), shape=(structure.m, structure.n))
    blocks = [
        *([clarabel.ZeroConeT(cones.zero)] if cones.zero else []),
        *([clarabel.NonnegativeConeT(cones.nonneg)] if cones.nonneg else []),
        *map(clarabel.SecondOrderConeT, cones.soc),
        *map(clarabel.PSDTriangleConeT, cones.psd),
        *(clarabel.ExponentialConeT() for _ in range(cones.exp)),
        *map(clarabel.PowerConeT, cones.power),
    ]
    settings = clarabel.DefaultSettings()
    settings.verbose = False
    for name, value in TIGHT.items():
        setattr(settings, name, value)
    found = clarabel.DefaultSolver(upper, q, rows.tocsc(), b, blocks, settings).solve()
    outputs = compiled.R @ np.concatenate([found.x, found.z])
    cuts = np.cumsum([output.size for output in compiled.outputs])[:-1]
    shaped = [part.reshape(output.shape) for part, output in zip(np.split(outputs, cuts), compiled.outputs, strict=True)]
    return compiled.objective_sign * (found.obj_val + d), shaped


def dense(value: Any) -> np.ndarray:
    return value.toarray() if sp.issparse(value) else np.asarray(value)


def agrees_with_cvxpy(made: Case, seed: int) -> None:
    compiled = compile_problem(made.problem, made.parameters, made.outputs)
    values = made.draw(seed)
    objective, outputs = solve(compiled, values)
    for parameter, value in zip(made.parameters, values, strict=True):
        parameter.value = value
    made.problem.solve(solver=cp.CLARABEL, **TIGHT)
    assert made.problem.status == cp.OPTIMAL
    assert objective == pytest.approx(made.problem.value, abs=1e-6)
    # On a curved boundary both solvers' points err by the square root of their gap.
    near = 1e-6 if compiled.structure.cones.polyhedral else 2e-5
    for output, spec, wanted in zip(outputs, compiled.outputs, made.outputs, strict=True):
        assert output.shape == wanted.shape
        np.testing.assert_allclose(output, dense(wanted.value).reshape(wanted.shape), atol=near, err_msg=spec.name)
