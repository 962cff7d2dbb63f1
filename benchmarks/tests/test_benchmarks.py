"""The benchmark's own judgements: its reference derivatives, its comparisons, its tables, and its workers' failures."""

from __future__ import annotations

from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import benchmarks
from benchmarks import jax_rows
from benchmarks.campaigns.digest import digest
from benchmarks.compare.branch import Cell as Turns
from benchmarks.compare.cases import Cases, layer_case
from benchmarks.compare.conic_cases import ConicCases
from benchmarks.compare.contenders import OURS, Case
from benchmarks.compare.pictures import NAMES, PAGE, draw, rows
from benchmarks.compare.report import Results, geometric_mean, mean, table
from benchmarks.compare.runner import Accuracy, Cell, Remote, WorkerError
from benchmarks.compare.table import markdown
from benchmarks.micro.jax_overhead import Line
from benchmarks.text import BEGIN, END, insert
from problems.canonical import margins, reference
from problems.conic_families import CONIC_SMALL
from problems.families import FAMILIES, SMALL, Family

small = pytest.mark.parametrize("family", SMALL.values(), ids=SMALL)


@small
def test_reference_gradient_is_the_derivative_of_the_reference_solution(family: Family) -> None:
    """Central difference along a random direction of all parameters at once."""
    cases, step = Cases(family), 1e-6
    draw = cases.draw_check(3)
    values, cotangents = draw
    rng = np.random.default_rng(0)
    direction = [rng.normal(size=v.shape) for v in values]
    weights = cases.program.join(cotangents)

    def loss(t: float) -> float:
        moved = tuple(v + t * d for v, d in zip(values, direction, strict=True))
        return float(np.sum(weights * reference(cases.program, cases.program.theta(moved, cases.shapes), weights)[0]))

    _, gradients = cases.reference(draw)
    slope = sum(float(np.sum(g * d)) for g, d in zip(gradients, direction, strict=True))
    assert slope == pytest.approx((loss(step) - loss(-step)) / (2 * step), rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_benchmark_instances_keep_away_from_kinks(family: Family) -> None:
    cases = Cases(family)
    assert np.all(margins(cases.program, cases.program.theta(cases.draw(8).values, cases.shapes)) > 1e-7)


@pytest.mark.parametrize("family", CONIC_SMALL.values(), ids=CONIC_SMALL)
def test_references_of_the_benchmark(family: Family) -> None:
    """Gradient of the solution against differences of it, along one direction."""
    cases, h = ConicCases(family), 1e-6
    draw = cases.draw_check(2)
    solution, gradient = cases.reference(draw)
    rng = np.random.default_rng(0)
    steps = [h * rng.normal(size=v.shape) * np.abs(v) for v in draw.values]
    moved = [tuple(v + sign * s for v, s in zip(draw.values, steps, strict=True)) for sign in (1, -1)]
    ends = [cases.reference(draw._replace(values=values))[0] for values in moved]
    slope = sum(float(np.sum(c * (a - b))) / 2 for c, a, b in zip(draw.cotangents, *ends, strict=True))
    assert sum(float(np.sum(g * s)) for g, s in zip(gradient, steps, strict=True)) == pytest.approx(slope, rel=1e-5, abs=1e-6 * h)
    assert cases.solution_error({f"output{i}": a for i, a in enumerate(solution)}, solution) == 0.0
    assert cases.gradient_error({f"gradient{i}": a for i, a in enumerate(gradient)}, gradient, draw) == 0.0


@small
def test_cases_survive_the_disk(family: Family, tmp_path: Path) -> None:
    cases = Cases(family)
    case = cases.case(cases.draw(2))
    case.save(tmp_path / "case.npz")
    again = Case.load(tmp_path / "case.npz")
    assert (again.family, again.batch, again.n, again.m, again.zero, tuple(again.constant)) == (
        (case.family, case.batch, case.n, case.m, case.zero, case.constant)
    )
    assert again.arrays.keys() == case.arrays.keys()
    assert all(np.array_equal(again.arrays[k], a) for k, a in case.arrays.items())


@pytest.fixture
def results() -> Results:
    """Two families: on the first Moreau is the best correct peer; on the second the fastest peer is wrong."""

    def cell(family: str, contender: str, forward: float, gradient: float) -> Cell:
        return Cell(family, 128, contender, times={"forward": [forward] * 3, "gradient": [gradient] * 3})

    cells = [cell("a", OURS, 1e-3, 2e-3), cell("a", "moreau-auto", 2e-3, 8e-3), cell("a", "1x", 1.0, 2.0)]
    cells += [cell("b", OURS, 1e-3, 2e-3), cell("b", "moreau-auto", 1e-4, 1e-4), cell("b", "1x", 1.0, 3.2)]
    accuracies = [Accuracy(c.family, c.contender, 1e-7, 1e-6) for c in cells]
    accuracies[4].solution = 0.5
    facts = {
        "date": "2026-01-01T00:00:00+00:00",
        "machine": {"processor": "p", "cores": 2},
        "versions": {"1x": {"cvxpylayers": "1.2.0"}, OURS: {"cvxpylayers": "2"}},
    }
    return Results(facts, cells, accuracies)


def test_a_wrong_peer_is_nobodys_best(results: Results) -> None:
    assert results.best("a", 128, "gradient") == ("moreau-auto", pytest.approx(8e-3 / 128 * 1e6))
    assert results.best("b", 128, "forward") == ("1x", pytest.approx(1.0 / 128 * 1e6))
    assert results.ratio("a", 128, "gradient") == pytest.approx(4)
    assert results.ratio("b", 128, "gradient", ["moreau-auto"]) is None
    assert results.ratio_to_default("b", 128, "gradient") == pytest.approx(1600)
    assert geometric_mean([4.0, None, 9.0]) == pytest.approx(6)
    assert geometric_mean([None]) is None
    assert mean([4.0, None, 9.0], "×") == "6× (2 of 3)"


def test_results_survive_the_disk_and_become_tables(results: Results, tmp_path: Path) -> None:
    results.save(tmp_path / "results.json")
    again = Results.load(tmp_path / "results.json")
    assert again == results
    assert table(again).row_count == 2 * (1 + 3)
    text = markdown(again, 128)
    assert "| a | 15.6 | 62.5 Moreau, auto | 4 | 1000 |" in text
    assert "cvxpylayers 1.2.0" in text


def test_runs_of_one_machine_are_joined_family_by_family(results: Results) -> None:
    cone = "entropy_30"
    times = {"forward": [1e-3] * 3, "gradient": [1e-3] * 3}
    again = Results(results.facts, [Cell(f, 128, OURS, times=times) for f in ("a", cone)], [])
    again.accuracies.extend(Accuracy(c.family, OURS, 1e-7, 1e-6) for c in again.cells)
    joined = Results.joined([results, again])
    assert joined.families == ["a", "b", cone]
    assert joined.contenders == results.contenders
    assert joined.ratio("a", 128, "forward") is None  # the later run had no peers
    assert joined.ratio("b", 128, "forward") == results.ratio("b", 128, "forward")
    text = markdown(joined, 128)
    assert text.index("| b |") < text.index("geometric mean, linear and quadratic programs") < text.index("| entropy 30 |")
    assert "geometric mean, other cones" in text
    elsewhere = Results(results.facts | {"machine": {"processor": "q", "cores": 2}}, [], [])
    with pytest.raises(ValueError, match="runs of one machine"):
        Results.joined([results, elsewhere])
    other = Results(results.facts | {"versions": {OURS: {"cvxpylayers": "3"}}}, [], [])
    with pytest.raises(ValueError, match="one version of each package"):
        Results.joined([results, other])


def test_the_rows_of_jax(results: Results) -> None:
    """The same run with its contenders renamed: ratios are those of this package in JAX, wrong answers stand in brackets."""
    renamed = {OURS: jax_rows.JAX, "moreau-auto": "1x-jax-moreau", "1x": jax_rows.DEFAULT_1X}
    for entry in (*results.cells, *results.accuracies):
        entry.contender = renamed[entry.contender]
    results.facts["machine"]["load"] = 0.0
    text = jax_rows.markdown(results, [Line("a", 1, (10.0, 20.0), (15.0, 21.0), (60.0, 100.0))])
    assert "| a | 1 | 10.0 / 20.0 | 15.0 / 21.0 | 60.0 / 100.0 | 5.0 / 1.0 | 4.00 / 4.76 |" in text
    assert "| a | 7.81 / 15.6 | 7812 / 15625 | 15.6 / 62.5 | - / - | 2 / 4 | 1000 / 1000 |" in text
    assert "(0.781) / (0.781)" in text
    assert "- b, cvxpylayers 1.x, JAX, Moreau: solution off by 5e-01; gradient off by 1e-06" in text


def test_the_table_goes_between_the_markers() -> None:
    text = f"# Title\n{BEGIN}\nold\n{END}\nrest\n"
    assert insert(text, "new") == f"# Title\n{BEGIN}\nnew\n{END}\nrest\n"
    with pytest.raises(ValueError, match="needs one line"):
        insert("nothing here", "new")


def test_a_worker_is_killed_when_late_and_survives_failures(tmp_path: Path) -> None:
    remote = Remote(OURS, tmp_path / "log")
    try:
        with pytest.raises(WorkerError, match="more than 0 s"):  # it has not even started
            remote.ask("time", 0.0, mode="forward", number=1)
        assert remote.process is None
        for _ in range(2):
            with pytest.raises(WorkerError, match="no case is loaded"):
                remote.ask("time", 60.0, mode="forward", number=1)
    finally:
        remote.close()


def test_a_process_takes_the_build_that_it_is_told_to(tmp_path: Path) -> None:
    (package := tmp_path / "cvxpylayers").mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('another build')")
    layer_case(SMALL["nnls_3x2"], 2).save(tmp_path / "case.npz")
    for build in (None, tmp_path):
        remote = Remote(OURS, tmp_path / "log", build)
        try:
            with pytest.raises(WorkerError, match="another build") if build else nullcontext():
                remote.ask("load", 60.0, path=str(tmp_path / "case.npz"))
        finally:
            remote.close()


def test_a_family_is_slower_where_medians_and_the_fastest_turns_say_so() -> None:
    cell = Turns("a", 128, [(1.0, 1.0), (2.0, 1.0), (3.0, 1.0), (4.0, 2.0), (8.0, 2.0)])
    assert cell.ratios == (2.0, 2.0, 3.0)
    assert (cell.best, cell.slower(1.02)) == (1.0, False)
    cell.turns[0] = (1.1, 1.0)
    assert cell.slower(1.02)


def test_programs_may_be_called_without_their_folder() -> None:
    files = [
        path for folder in ("compare", "micro", "campaigns") for path in (Path(benchmarks.__file__).parent / folder).glob("*.py")
    ]
    short = [find_spec(f"benchmarks.{path.stem}") for path in files]
    assert [spec and spec.origin for spec in short] == [str(path) for path in files], "one name stands in two folders"


def test_a_digest_is_that_of_the_bits() -> None:
    """Equal for equal results, another one for another sign of zero, another order or something missing."""
    zero, one = np.zeros(2), np.ones(2)
    parts = [(zero, (one,)), (-zero, (one,)), (one, (zero,)), (zero, (None, one)), (zero,)]
    found = [digest(iter(part)) for part in parts]
    assert len(set(found)) == len(parts)
    assert found[0] == digest(iter([[zero.copy()], one.copy()]))


@pytest.mark.parametrize("name", NAMES)
def test_pictures_are_those_of_the_table(name: str) -> None:
    root = Path(__file__).parents[2]
    text = (root / PAGE).read_text(encoding="utf-8")
    assert (root / PAGE).with_name(name).read_text(encoding="utf-8") == draw(text, NAMES[name])


def test_rows_of_a_picture() -> None:
    table = f"""{BEGIN}
| µs | a | best peer | × | × 1.x | b | best peer | × | × 1.x |
|---|--:|:--|--:|--:|--:|:--|--:|--:|
| tiny | 2 | 6 qpth | 3 | 100 | 1 | - | - | - |
| geometric mean |  |  | **3** | **100** |  |  | **-** | **-** |
{END}"""
    assert list(rows(table, 0)) == [("tiny", (2.0, 6.0, 200.0), "3", False), ("geometric mean", (None,) * 3, "3", True)]
    assert next(rows(table, 1)) == ("tiny", (1.0, None, None), "-", False)
