"""Pictures show what was computed: curves, marks and entries are counted in the figure, by matplotlib's own account."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import cvxpy as cp
import numpy as np
import pytest

from cvxpylayers import InputError, MissingPackageError
from cvxpylayers._layer.path import solution_path
from cvxpylayers._layer.sparsity import Sparsity
from cvxpylayers.numpy import CvxpyLayer
from problems.families import FAMILIES

plt = pytest.importorskip("matplotlib.pyplot")
LO = [0.0, 0.0]


@pytest.fixture(autouse=True)
def _headless() -> Iterator[None]:
    plt.switch_backend("Agg")
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def clipped() -> CvxpyLayer:
    """x = max(c, lo), the second entry below hi = 1, y = c."""
    x, y, lo, c = cp.Variable(2, name="x"), cp.Variable(name="y"), cp.Parameter(2, name="lo"), cp.Parameter(name="c")
    return CvxpyLayer(cp.Problem(cp.Minimize(cp.sum_squares(x - c) + cp.square(y - c)), [x >= lo, x[1] <= 1]), [lo, c], [x, y])


def test_a_path_is_a_batch_and_its_changes_are_kinks(clipped: CvxpyLayer) -> None:
    """c runs from -1 to 3 past lo = (0, 0) at t = 1/4, and past hi = 1 at t = 1/2."""
    found = solution_path(clipped._layer, [np.zeros(2), np.array(-1.0)], [np.zeros(2), np.array(3.0)], steps=200)
    c = -1.0 + 4.0 * found.t
    np.testing.assert_allclose(found.outputs[0], np.stack([np.maximum(c, 0), np.clip(c, 0, 1)], axis=1), atol=1e-7)
    np.testing.assert_allclose(found.outputs[1], c, atol=1e-7)
    assert found.changes == pytest.approx([0.25, 0.5], abs=0.5 / 199)


def test_a_path_is_drawn_with_its_gaps(clipped: CvxpyLayer) -> None:
    """lo passes hi at t = ½: from there on there is no solution."""
    figure = clipped.plot_path([[0.0, 0.0], 0.5], [[0.0, 2.0], 0.5], steps=101)
    left, right = figure.axes
    assert [ax.get_title() for ax in figure.axes] == ["x", "y"]
    assert {"x[0]", "x[1]", "no solution"} == {text.get_text() for text in left.get_legend().get_texts()}
    marks = next(line for line in left.lines if line.get_label() == "no solution")
    assert np.all(np.asarray(marks.get_xdata()) > 0.5)
    assert np.isnan(np.asarray(left.lines[0].get_ydata(), dtype=float)).sum() == len(marks.get_xdata()) == 50
    assert np.diff(right.get_ylim())[0] >= 1e-3  # y is constant, to rounding


def test_outcomes_are_drawn(clipped: CvxpyLayer) -> None:
    lo = np.stack([np.zeros(40), np.linspace(-1.0, 2.0, 40)], axis=1).reshape(4, 10, 2)
    info = clipped.solve(lo, 0.5, on_failure="nan")[1]
    left, right = info.plot().axes
    assert len(left.lines[0].get_xdata()) == 40
    assert np.asarray(left.lines[1].get_xdata()).tolist() == info.failed.tolist()
    assert [line.get_label() for line in right.lines] == ["primal residual", "dual residual", "gap"]
    assert all(len(line.get_xdata()) == 40 - len(info.failed) for line in right.lines)
    assert len(clipped.solve(np.zeros(2), 0.5)[1].plot().axes) == 2


def test_outcomes_without_a_solution_or_an_instance(clipped: CvxpyLayer) -> None:
    for lo, count in ((np.full((3, 2), 2.0), 3), (np.zeros((0, 2)), 0)):
        info = clipped.solve(lo, 0.5, on_failure="nan")[1]
        left, right = info.plot().axes
        assert len(left.lines[0].get_xdata()) == len(left.lines[1].get_xdata()) == count
        assert not any(len(line.get_xdata()) for line in right.lines)


def test_outcomes_of_jax() -> None:
    """Outside of compiled code: inside there is nothing to show."""
    jax = pytest.importorskip("jax")
    from cvxpylayers.jax import CvxpyLayer as JaxLayer

    layer, seen = JaxLayer(*FAMILIES["nnls_3x2"].make()), []
    A, b = jax.numpy.ones((4, 3, 2)) + jax.numpy.arange(24).reshape(4, 3, 2), jax.numpy.ones(3)
    info = layer.solve(A, b)[1]
    assert len(info.plot().axes[0].lines[0].get_xdata()) == 4
    assert "iterations" in info._repr_html_()
    jax.jit(lambda b: seen.append(layer.solve(A, b)[1]._repr_html_()))(b)
    assert seen == [None]


@pytest.mark.parametrize("name", ["nnls_3x2", "portfolio_10", "mpc_30"])
def test_the_factor_has_what_cholesky_fills(name: str) -> None:
    """Fill by elimination of one column after the other, on sets; every entry of K is in the factor."""
    layer = CvxpyLayer(*FAMILIES[name].make())
    K, factor, old, parts = Sparsity.of(layer._layer.compiled.structure)
    structure = layer._layer.compiled.structure
    assert sum(parts.values()) == K.shape[0] == structure.n + structure.m
    assert (K != K.T).nnz == 0
    size = K.shape[0]
    assert int(old.sum()) == (K.nnz - size) // 2 + size
    below = [
        set(factor.indices[a:b].tolist()) - {j} for j, (a, b) in enumerate(zip(factor.indptr, factor.indptr[1:], strict=False))
    ]
    for column in below:
        if column:
            parent = min(column)
            assert column - {parent} <= below[parent]


def test_a_structure_is_drawn() -> None:
    figure = CvxpyLayer(*FAMILIES["portfolio_10"].make()).plot_structure()
    left, right = figure.axes
    assert next(text.get_text() for text in left.get_yticklabels()).startswith("variables (")
    assert "of them fill" in right.get_title()
    x = cp.Variable(3)
    cone = CvxpyLayer(cp.Problem(cp.Minimize(cp.sum(x)), [cp.norm(x) <= 1, cp.sum(x) == 0]), [], [x])
    words = [text.get_text() for text in cone.plot_structure().axes[0].get_yticklabels()]
    assert any(word.startswith("second-order cones (4)") for word in words)


def test_without_matplotlib_the_message_says_what_to_install(clipped: CvxpyLayer, monkeypatch: pytest.MonkeyPatch) -> None:
    info = clipped.solve(np.zeros(2), 0.5)[1]
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    for draw in (info.plot, clipped.plot_structure, lambda: clipped.plot_path([LO, 0.0], [LO, 1.0])):
        with pytest.raises(MissingPackageError, match=r"pip install 'cvxpylayers\[plots\]'"):
            draw()


@pytest.mark.parametrize(
    ("start", "end", "steps", "words"),
    [
        (
            [LO],
            [LO, 1.0],
            9,
            r"start must hold one value for each parameter, without batch axes \(lo: \(2,\), c: \(\)\); got \(2,\)",
        ),
        ([LO, 0.0], [LO, [1.0]], 9, r"end must hold .* got \(2,\), \(1,\)"),
        ([], [LO, 1.0], 9, "got none"),
        ([LO, 0.0], [LO, 1.0], 1, "two steps at least; got steps=1"),
    ],
)
def test_mistakes_say_what_is_wrong(clipped: CvxpyLayer, start: Any, end: Any, steps: int, words: str) -> None:
    with pytest.raises(InputError, match=words):
        clipped.plot_path(start, end, steps=steps)
