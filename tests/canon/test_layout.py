"""Laws of the row layout over random lists of cones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from cvxpylayers._canon.layout import Block, lay_out
from cvxpylayers._program import Cones
from cvxpylayers._program.cones import CURVED, LINEAR, svec_entries, svec_order, svec_position, svec_scale, svec_size
from problems.mixes import MIXES

counts = st.integers(1, 4)
blocks = st.one_of(  # the arguments of Block
    st.tuples(st.sampled_from(["free", "zero", "nonneg"]), counts),
    st.tuples(st.sampled_from(["soc", "psd"]), counts, st.integers(1, 4)),
    st.tuples(st.just("exp"), counts, st.just(3)),
    st.lists(st.floats(0.1, 0.9), min_size=1, max_size=3).map(lambda alpha: ("power", len(alpha), 3, tuple(alpha))),
)


@given(st.lists(blocks, max_size=6))
def test_the_map_has_orthonormal_rows_and_fills_the_cones(arguments: list[tuple[Any, ...]]) -> None:
    """T Tᵀ = I: T preserves inner products of what it keeps, and no engine row is empty or shared."""
    parts = [Block(*each) for each in arguments]
    rows = lay_out(parts)
    kept = np.flatnonzero(rows.target >= 0)
    T = sp.csr_array((rows.coefficient[kept], (rows.target[kept], kept)), shape=(rows.cones.rows, len(rows.target)))
    assert len(rows.target) == sum(part.rows for part in parts)
    np.testing.assert_allclose((T @ T.T).toarray(), np.eye(rows.cones.rows), atol=1e-15)
    assert len(rows.target) - len(kept) == sum(part.rows for part in parts if part.kind == "free")
    assert np.all((rows.sign == -1) == ((rows.target >= 0) & (rows.target < rows.cones.zero)))


def test_svec_takes_the_upper_triangle_by_columns() -> None:
    rows = lay_out([Block("psd", 1, 3), Block("nonneg", 1)])
    E = np.array([[1.0, 2, 4], [2, 3, 5], [4, 5, 6]])
    s = np.zeros(7)
    np.add.at(s, rows.target, rows.coefficient * np.append(E.ravel(order="F"), 7))
    np.testing.assert_allclose(s, [7, 1, 2 * np.sqrt(2), 3, 4 * np.sqrt(2), 5 * np.sqrt(2), 6])


def test_heads_and_tails_alternate() -> None:
    rows = lay_out([Block("exp", 2, 3), Block("soc", 2, 3), Block("zero", 1)])
    assert rows.target.tolist() == [7, 10, 8, 11, 9, 12, 1, 4, 2, 3, 5, 6, 0]
    assert rows.cones.soc == (3, 3)


@pytest.mark.parametrize("cones", MIXES.values(), ids=MIXES)
def test_blocks_follow_each_other_and_say_all_of_the_cones(cones: Cones) -> None:
    rows = [row for block in cones.blocks() for row in range(block.rows.start, block.rows.stop)]
    assert rows == list(range(cones.rows))
    assert [block for kind in LINEAR + CURVED for block in cones.blocks(kind)] == list(cones.blocks())
    orders = {kind: tuple(block.order for block in cones.blocks(kind)) for kind in ("soc", "psd")}
    assert (orders["soc"], orders["psd"]) == (cones.soc, cones.psd)
    assert tuple(block.alpha for block in cones.blocks("power")) == cones.power


@pytest.mark.parametrize("k", range(5))
def test_svec_is_an_isometry_in_one_order(k: int) -> None:
    (row, column), S = svec_entries(k), np.random.default_rng(k).normal(size=(2, k, k))
    S = S + S.swapaxes(1, 2)
    a, b = S[:, row, column] * svec_scale(k)
    np.testing.assert_allclose(a @ b, (S[0] * S[1]).sum(), rtol=1e-12)
    assert (len(a), svec_order(len(a))) == (svec_size(k), k)
    for order in ((row, column), (column, row)):
        np.testing.assert_array_equal(svec_position(*order), np.arange(len(a)))
