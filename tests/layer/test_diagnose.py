"""``layer.diagnose``: what is found agrees with what the derivative does, and is said so that it can be acted on."""

from __future__ import annotations

from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import cvxpy as cp
import numpy as np
import pytest

from cvxpylayers import Finding, InputError, Status
from cvxpylayers._engines.native.engine import NativeEngine
from cvxpylayers._layer.diagnose import diagnose
from cvxpylayers._layer.diagnosis import Diagnosis
from cvxpylayers._layer.layer import Layer
from cvxpylayers.numpy import CvxpyLayer
from problems.kinds import KINDS
from problems.models import CASES as CASES_OF_CVXPY
from problems.programs import batch_of, draw

SMOOTHED = {"derivative": "smoothed", "smoothing": 1e-2}


def simplex(**options: Any) -> CvxpyLayer:
    w, price = cp.Variable(3, name="w"), cp.Parameter(3, name="price")
    return CvxpyLayer(cp.Problem(cp.Minimize(price @ w), [cp.sum(w) == 1, w >= 0]), [price], [w], **options)


def box(**options: Any) -> CvxpyLayer:
    """min |x - c|² over lo ≤ x ≤ hi."""
    x = cp.Variable(2, name="x")
    lo, hi, c = (cp.Parameter(2, name=name) for name in ("lo", "hi", "c"))
    return CvxpyLayer(cp.Problem(cp.Minimize(cp.sum_squares(x - c)), [x >= lo, x <= hi]), [lo, hi, c], [x], **options)


def corner() -> CvxpyLayer:
    """y ≤ r of two variables and of their sum: the third follows from the others at r = (1, 1, 2)."""
    y, r = cp.Variable(2, name="y"), cp.Parameter(3, name="r")
    problem = cp.Problem(cp.Minimize(cp.sum_squares(y - [3, 2])), [y <= r[:2], cp.sum(y) <= r[2]])
    return CvxpyLayer(problem, [r], [y])


def weak(weight: float) -> Callable[[], CvxpyLayer]:
    """min weight x² - a x: x = a / (2 weight)."""

    def make() -> CvxpyLayer:
        x, a = cp.Variable(name="x"), cp.Parameter(name="a")
        return CvxpyLayer(cp.Problem(cp.Minimize(weight * cp.square(x) - a * x)), [a], [x])

    return make


def scaled() -> CvxpyLayer:
    """min x² + y² with x + 1e9 y = b."""
    x, b = cp.Variable(2, name="x"), cp.Parameter(name="b")
    return CvxpyLayer(cp.Problem(cp.Minimize(cp.sum_squares(x)), [x[0] + 1e9 * x[1] == b]), [b], [x])


def disc() -> CvxpyLayer:
    """The projection onto the unit disc, whose boundary is curved."""
    x, p = cp.Variable(2, name="x"), cp.Parameter(2, name="p")
    return CvxpyLayer(cp.Problem(cp.Minimize(cp.sum_squares(x - p)), [cp.norm(x) <= 1]), [p], [x])


LO, HI = np.zeros(2), np.ones(2)
CASES: dict[str, tuple[Callable[[], CvxpyLayer], list[Any], set[str]]] = {
    "regular": (box, [LO, HI, [0.5, -2.0]], {"idle"}),
    "all free": (box, [LO, HI, [0.5, 0.5]], {"idle"}),
    "at a corner": (simplex, [[1.0, 2.0, 3.0]], {"corner"}),
    "an edge of solutions": (simplex, [[1.0, 1.0, 3.0]], {"flat"}),
    "at a kink": (box, [LO, HI, [0.0, 0.5]], {"kink", "idle"}),
    "dependent rows": (corner, [[1.0, 1.0, 2.0]], {"corner", "dependent"}),
    "infeasible": (box, [HI, LO, LO], {"unsolved"}),
    "NaN": (box, [[np.nan, 0.0], HI, LO], {"unsolved"}),
    "an infinite bound": (box, [[-np.inf, 0.0], [np.inf, 1.0], [0.5, -2.0]], {"idle"}),
    "little curvature": (weak(1e-6), [0.0], {"steep"}),
    "bad scale": (scaled, [1.0], {"scale"}),
    "a curved boundary": (disc, [[3.0, 4.0]], set()),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_findings(case: tuple[Callable[[], CvxpyLayer], list[Any], set[str]]) -> None:
    make, values, expected = case
    found = make().diagnose(*values)
    assert {str(finding) for finding in found.of()} == expected
    for finding in found.of():
        assert finding.remedy in " ".join(str(found).split())


def test_numbers_of_a_batch() -> None:
    found = box().diagnose(LO, HI, [[0.5, -2.0], [0.5, 0.5], [2.0, -2.0]])
    assert found.active.tolist() == [1, 0, 2]
    assert found.free.tolist() == [1, 2, 0]
    assert found.rank.tolist() == [3, 2, 4]  # CVXPY writes x - c as two variables more
    assert found.curvature.tolist() == pytest.approx([1.0, 1.0, np.inf])  # 2 dx² over dx² + d(x - c)²
    assert found.gradient["c"].tolist() == pytest.approx([1.0, np.sqrt(2.0), 0.0], abs=1e-9)
    assert found.zero("c").tolist() == [False, False, True]
    assert found.idle["hi"].tolist() == [True, True, False]
    assert {words: count.tolist() for words, count in found.binding.items()} == {"lo <= x": [1, 0, 1], "x <= hi": [0, 0, 1]}
    assert found.counts() == {Finding.CORNER: 1, Finding.IDLE: 2}
    disc_at = disc().diagnose([3.0, 4.0])
    assert disc_at.gradient["p"] == pytest.approx(0.2)  # the tangent is divided by |p|


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_flagged_is_explained(kind: str) -> None:
    """A flag of the derivative has one of its three reasons, and a corner of a program gives its linear cost no gradient."""
    problem, programs = draw(KINDS[kind], 5, seed=94)
    found = diagnose(Layer.of(problem, NativeEngine, {}), batch_of(problem, programs).arrays)
    assert found.info.solved.all()
    reasons = found.findings[Finding.KINK] | found.findings[Finding.FLAT] | found.findings[Finding.DEPENDENT]
    assert reasons[found.info.degenerate].all()
    primal = [np.ones((5, problem.structure.n)), None]
    moved = diagnose(Layer.of(problem, NativeEngine, {}), batch_of(problem, programs).arrays, _cut(problem, primal)).relative["q"]
    assert np.all(moved[found.findings[Finding.CORNER]] <= 1e-7)


@pytest.mark.filterwarnings("ignore:.*sparse CVXPY expression", "ignore:.*dimension greater than 2")
@pytest.mark.parametrize("name", [name for name, make in CASES_OF_CVXPY.items() if make().parameters])
def test_findings_of_every_kind_of_problem(name: str) -> None:
    """An idle parameter has no gradient; what is flagged and has no other reason is at a kink."""
    made = CASES_OF_CVXPY[name]()
    values = [np.stack(column) for column in zip(*(made.draw(seed) for seed in range(6)), strict=True)]
    found = diagnose(Layer(made.problem, made.parameters, made.outputs), values)
    assert found.info.solved.all()
    for parameter, idle in found.idle.items():
        assert found.zero(parameter)[idle].all()
    others = found.findings[Finding.FLAT] | found.findings[Finding.DEPENDENT]
    assert np.all(found.info.margin[found.info.degenerate & ~others] <= 1e-6)


def _cut(problem: Any, primal: list[Any]) -> list[Any]:
    """The first cotangent for the first output, none for the others."""
    return [primal[0], *[None] * (len(problem.outputs) - 1)]


def test_the_gradient_is_that_of_the_jacobian_or_of_the_loss() -> None:
    layer, values = box(), [np.zeros((4, 2)), HI, np.random.default_rng(0).normal(size=(4, 2))]
    found, blocks = layer.diagnose(*values), layer.jacobian(*values)
    for name, block in zip(("lo", "hi", "c"), blocks[0], strict=True):
        np.testing.assert_allclose(found.gradient[name], np.linalg.norm(block.reshape(4, -1), axis=1), atol=1e-12)
    cotangent = np.array([1.0, -2.0])
    lost = layer.diagnose(*values, cotangents=[cotangent])
    for name, block in zip(("lo", "hi", "c"), blocks[0], strict=True):
        np.testing.assert_allclose(lost.gradient[name], np.linalg.norm(cotangent @ block, axis=-1), atol=1e-12)
    assert not any(g.any() for g in layer.diagnose(*values, cotangents=[None]).gradient.values())


def test_many_outputs_are_estimated() -> None:
    """√Σ|Jᵀu|² over 16 directions: within a factor of 2 of |J| = √n on the identity of 60 entries."""
    x, p = cp.Variable(60), cp.Parameter(60, name="p")
    layer = CvxpyLayer(cp.Problem(cp.Minimize(cp.sum_squares(x - p))), [p], [x])
    assert 0.5 < layer.diagnose(np.zeros(60)).gradient["p"] / np.sqrt(60.0) < 2.0


def test_the_smoothed_derivative_is_measured_and_the_solution_explained() -> None:
    found = simplex(solver_args=SMOOTHED).diagnose([[1.0, 2.0, 3.0], [1.0, 1.1, 3.0]])
    assert found.smoothed
    assert np.all(found.gradient["price"] > 1e-3)
    assert [f.tolist() for f in (found.free, found.info.degenerate)] == [[0, 0], [False, False]]
    assert "smoothed derivative, findings of the exact one" in str(found)
    assert "The derivative is smoothed already." in str(found)
    met = box(solver_args=SMOOTHED).diagnose(HI, HI, LO)
    assert met.findings[Finding.OFF_PATH]
    assert met.info.degenerate


@pytest.mark.parametrize("solver", ["CLARABEL", "SCS"])
def test_every_engine(solver: str) -> None:
    native, other = (box(solver=s).diagnose(LO, HI, [[0.5, -2.0], [2.0, -2.0]]) for s in (None, solver))
    assert {f: w.tolist() for f, w in native.findings.items()} == {f: w.tolist() for f, w in other.findings.items()}
    assert other.info.status[0] is Status.SOLVED


def test_geometric_programs() -> None:
    """x = max(lo, a): at the bound the solution does not see a."""
    x, lo, a = cp.Variable(pos=True, name="x"), cp.Parameter(pos=True, name="lo"), cp.Parameter(pos=True, name="a")
    layer = CvxpyLayer(cp.Problem(cp.Minimize(x / a + a / x), [x >= lo]), [lo, a], [x], gp=True)
    found = layer.diagnose([1.0, 4.0], 2.0)
    assert found.idle["lo"].tolist() == [True, False]
    assert found.gradient["lo"].tolist() == pytest.approx([0.0, 1.0], abs=1e-6)
    assert found.gradient["a"].tolist() == pytest.approx([1.0, 0.0], abs=1e-6)


def test_what_is_too_large_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cvxpylayers._layer.diagnose._LARGE", 3)
    found = box().diagnose(LO, HI, [0.5, -2.0])
    assert (found.free, found.active) == (-1, -1)
    assert found.gradient["c"] == pytest.approx(1.0)
    assert found.of() == ()


class Cells(HTMLParser):
    """Every tag is closed in turn, and the words between them."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def cells(shown: Any) -> list[str]:
    """The words of what a notebook shows."""
    parser = Cells()
    parser.feed(shown._repr_html_())
    assert not parser.open
    return parser.words


def report() -> Diagnosis:
    return box().diagnose(LO, HI, np.random.default_rng(0).normal(size=(20, 2)))


def test_notebooks_show_tables() -> None:
    layer = box()
    info = layer.solve(np.zeros((30, 2)), HI, LO)[1]
    for shown, words in ((report(), ("lo <= x", "idle", "curvature")), (info, ("instance", repr(info), "… 20 more"))):
        assert set(words) <= set(cells(shown))
    facts = layer.explain()
    assert {"problem", "cones", "zero 2; nonneg 4", "NATIVE"} <= set(cells(facts))


def test_the_report_fits_a_screen() -> None:
    assert max(map(len, str(report()).splitlines())) <= 132
    assert "… 8 more" in str(report())
    assert str(box().diagnose(np.zeros((0, 2)), HI, LO)).startswith("Diagnosis of 0 instances")


def test_mistakes_say_what_is_wrong() -> None:
    with pytest.raises(InputError, match="takes 3 parameters"):
        box().diagnose(LO)
    with pytest.raises(InputError, match="One cotangent per output is needed, None for zero: 1; got 2"):
        box().diagnose(LO, HI, LO, cotangents=[LO, LO])
    with pytest.raises(InputError, match=r"The cotangent of 'x' must have shape \(2,\); got \(3,\)"):
        box().diagnose(LO, HI, LO, cotangents=[np.ones(3)])
