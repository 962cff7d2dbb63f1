"""Laws of canonicalization over a table of problems: evaluated at any θ and solved, M and R agree with ``problem.solve()``."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from cvxpylayers._canon import compile_problem
from problems.models import CASES, Case
from tests.canon.agreement import agrees_with_cvxpy

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*sparse CVXPY expression.*:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore:.*dimension greater than 2.*:UserWarning"),
]


@pytest.mark.parametrize("build", CASES.values(), ids=CASES)
@pytest.mark.parametrize("seed", [0, 1])
def test_agrees_with_cvxpy(build: Callable[[], Case], seed: int) -> None:
    agrees_with_cvxpy(build(), seed)


@pytest.mark.parametrize("build", CASES.values(), ids=CASES)
def test_shapes_and_orders(build: Callable[[], Case]) -> None:
    made = build()
    compiled = compile_problem(made.problem, made.parameters, made.outputs)
    structure = compiled.structure
    assert structure.m == structure.cones.rows == len(compiled.row_sources)
    assert all(compiled.row_sources)
    assert compiled.M.shape == (structure.values, 1 + sum(spec.size for spec in compiled.parameters))
    assert compiled.R.shape == (sum(spec.size for spec in compiled.outputs), structure.n + structure.m)
    for pattern, height in ((structure.P, structure.n), (structure.A, structure.m)):
        assert len(pattern.indptr) == height + 1
        assert pattern.indptr[-1] == pattern.nnz
        cells = pattern.rows.astype(np.int64) * structure.n + pattern.indices
        assert np.all(np.diff(cells) > 0), "rows in order, columns ascending, none twice"
    assert np.all(structure.P.indices <= structure.P.rows)
    assert compiled.M.has_sorted_indices
    assert np.isfinite(compiled.M.data).all()
