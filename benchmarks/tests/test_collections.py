"""The campaign over collections: each format of file is read as what it says, and a short run keeps its promises."""

from __future__ import annotations

import json
from pathlib import Path

import cvxpy as cp
import numpy as np
import pytest
import scipy.io
import scipy.sparse as sp

from benchmarks.campaigns.collections import report
from benchmarks.campaigns.collections.__main__ import main
from benchmarks.campaigns.collections.files import read
from benchmarks.campaigns.collections.model import without_bound, without_points
from benchmarks.campaigns.collections.report import Trials, cells, promises, verdict

# min x² + y² - 2 x - 5 y with x + y = 2, y - x ≤ 1, 0 ≤ x, y ≤ 1.75 and the constant 3: -3 at (0.5, 1.5)
QPS = """\
NAME          SMALL
ROWS
 N  COST
 E  SUM
 L  LESS
COLUMNS
    X         COST              -2.0   SUM                1.0
    X         LESS              -1.0
    Y         COST              -5.0   SUM                1.0
    Y         LESS               1.0
RHS
    RHS       COST              -3.0   SUM                2.0
    RHS       LESS               1.0
BOUNDS
 UP BND       Y                 1.75
 MI BND       Y
QUADOBJ
    X         X                  2.0
    Y         Y                  2.0
ENDATA
"""
# min 2 x₁ + x₂ with [[x₁, 1], [1, x₂]] ⪰ 0 and 10 - x₁ ≥ 0: 2 √2
SDPA = """\
"a comment
2 = m
2 = blocks
(2, -1)
{2.0, 1.0}
0 1 1 2 -1.0
1 1 1 1 1.0
2 1 2 2 1.0
0 2 1 1 -10.0
1 2 1 1 -1.0
"""
# min ⟨I, X⟩ + t + u + v with X₂₁ = 1, |(3, 4)| ≤ t, exp(1) ≤ u, v ½ ≥ 2²/2 and [[w, 2], [2, 1]] ⪰ 0 with w in the objective
CBF = """\
# a comment
VER
2

OBJSENSE
MIN

PSDVAR
1
2

VAR
4 1
F 4

PSDCON
1
2

CON
10 4
L= 1
Q 3
EXP 3
QR 3

OBJFCOORD
2
0 0 0 1.0
0 1 1 1.0

OBJACOORD
4
0 1.0
1 1.0
2 1.0
3 1.0

FCOORD
1
0 0 1 0 0.5

ACOORD
3
1 0 1.0
4 1 1.0
7 2 1.0

BCOORD
7
0 -1.0
2 3.0
3 4.0
5 1.0
6 1.0
8 0.5
9 2.0

HCOORD
1
0 3 0 0 1.0

DCOORD
2
0 1 0 2.0
0 1 1 1.0
"""
OPTIMA = {"small.mat": -3.0, "small.qps": -3.0, "small.mps": -3.0, "small.dat-s": 2 * np.sqrt(2), "small.cbf": 15 + np.e}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One small problem in every format."""
    folder = tmp_path_factory.mktemp("collections")
    for name, text in {"small.qps": QPS, "small.mps": QPS, "small.dat-s": SDPA, "small.cbf": CBF}.items():
        (folder / name).write_text(text)
    A = sp.csc_matrix(np.array([[1.0, 1.0], [-1.0, 1.0], [1.0, 0.0], [0.0, 1.0]]))
    bounds = {"l": np.array([[2.0], [-1e20], [0.0], [-1e20]]), "u": np.array([[2.0], [1.0], [1e20], [1.75]])}
    data = {"P": sp.csc_matrix(2 * np.eye(2)), "q": np.array([[-2.0], [-5.0]]), "r": np.array([[3.0]]), "A": A, **bounds}
    scipy.io.savemat(folder / "small.mat", data)
    return folder


@pytest.mark.parametrize("name", OPTIMA)
def test_a_file_is_read_as_the_problem_it_states(folder: Path, name: str) -> None:
    """The optimum of each file, by CVXPY."""
    problem = read(folder / name).problem().problem
    problem.solve(solver=cp.CLARABEL)
    assert problem.value == pytest.approx(OPTIMA[name], rel=1e-6)


@pytest.mark.parametrize("name", OPTIMA)
def test_variants_have_no_solution(folder: Path, name: str) -> None:
    """No feasible point; a direction in which nothing but the cost changes, which falls, whatever the costs are."""
    model, rng = read(folder / name), np.random.default_rng(0)
    constraints = without_points(model, rng).problem().problem.constraints
    assert cp.Problem(cp.Minimize(0), constraints).solve(solver=cp.CLARABEL) == np.inf
    unbounded = without_bound(model, rng)
    assert unbounded.ray is not None
    ray = np.append(-unbounded.ray[0], 1.0)
    for matrix in (unbounded.P, *(rows.A for rows in unbounded.rows)):
        np.testing.assert_allclose(matrix @ ray, 0.0, atol=1e-12)
    assert (unbounded.costs(3, rng) @ ray < 0.0).all()


@pytest.mark.parametrize("words", ["INT\n1\n0\n", "VER\n2\nCHANGE\n", "VER\n2\nCON\n1 1\nSPHERE 1\n"])
def test_what_is_not_known_is_refused(tmp_path: Path, words: str) -> None:
    """Integers, sections and cones."""
    (tmp_path / "other.cbf").write_text(words)
    with pytest.raises(ValueError, match=r"integer|not known"):
        read(tmp_path / "other.cbf")


def test_a_campaign_keeps_its_promises_and_its_records(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run over all of it, resumed, with a picture and a page; then a record that says something wrong breaks a promise.

    How long building takes is not asked.
    """
    monkeypatch.setattr(report, "lateness", lambda _: None)
    page, records = tmp_path / "page.md", tmp_path / "records"
    page.write_text("<!-- benchmark:begin -->\n<!-- benchmark:end -->\n")
    words = [str(folder), "--out", str(records), "--problem", "small.dat-s", "small.qps"]
    assert main([*words, "--write", str(page), "--picture", str(tmp_path / "profile.png")]) == 0
    assert "| collections" in page.read_text()
    assert (tmp_path / "profile.png").stat().st_size > 0
    record = next(path for path in records.iterdir() if path.name.endswith("small.qps.json"))
    facts = json.loads(record.read_text())
    assert verdict(facts, "native") == "right"
    facts["runs"]["native"]["objective"][0] += 1e-3
    record.write_text(json.dumps(facts))
    assert main(words) == 1


def test_a_problem_that_ended_before_it_was_read_has_a_row() -> None:
    """Though its optimum is known."""
    facts = {"seconds": {}, "runs": {}, "part": "reading", "name": "control1", "variant": "", "ended": "more than 50 s"}
    assert verdict(facts, "native") == "unsolved"
    assert cells(facts)[-1] == "more than 50 s in reading"


@pytest.mark.parametrize(
    ("canonicalization", "clarabel", "kept"), [(0.3, 0.0, True), (0.2, 0.7, False), (0.2, 0.9, True), (0.2, None, False)]
)
def test_building_is_promised(canonicalization: float, clarabel: float | None, kept: bool) -> None:
    """Compiling and planning in 0.4 s, against CVXPY and Clarabel; what was not measured, and a variant, promise nothing."""
    seconds = {"canonicalization": canonicalization, "compilation": 0.3, "plan": 0.1}
    if clarabel is not None:
        seconds["Clarabel, one"] = clarabel
    facts = {"seconds": seconds, "runs": {}, "collection": "own", "name": "mine", "variant": ""}
    trials = Trials([facts, facts | {"seconds": {"compilation": 9.0, "plan": 9.0}}, facts | {"variant": "no bound"}])
    (found,) = [(result, holds) for promise, result, holds in promises(trials) if "Clarabel" in promise]
    assert found == (f"{int(kept)} of 1, at most {0.4 / max(1.5 * canonicalization, 0.5 * (clarabel or 0.0)):.2f} of it", kept)
