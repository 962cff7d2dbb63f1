"""Tables in, tables out: the numbers of a call on arrays, to the last bit, whatever the layout; data never raise, mistakes do."""

from __future__ import annotations

import pickle
from concurrent.futures import ProcessPoolExecutor
from decimal import Decimal
from multiprocessing import get_context
from typing import Any

import cvxpy as cp
import numpy as np
import pyarrow as pa
import pytest

from cvxpylayers.errors import CvxpyLayersError, InputError, InputTypeError, OptionError
from cvxpylayers.numpy import CvxpyLayer

N = 40


def interval_layer(**options: Any) -> CvxpyLayer:
    """min |A x - b|² + lam |x|² over x ≤ u, sum(x) = 1, with a dual variable as second output; infeasible where sum(u) < 1."""
    x = cp.Variable(2, name="x")
    A, b = cp.Parameter((3, 2), name="A"), cp.Parameter(3, name="b")
    lam, u = cp.Parameter(nonneg=True, name="lam"), cp.Parameter(2, name="u")
    problem = cp.Problem(cp.Minimize(cp.sum_squares(A @ x - b) + (lam + 0.1) * cp.sum_squares(x)), [x <= u, cp.sum(x) == 1])
    return CvxpyLayer(problem, [A, b, lam, u], [x], **options)


def values(seed: int = 0) -> dict[str, np.ndarray[Any, Any]]:
    rng = np.random.default_rng(seed)
    shapes = {"A": (3, 2), "b": (3,), "lam": (), "u": (2,)}
    return {name: rng.random((N, *shape)) + (name == "u") for name, shape in shapes.items()}


def fixed(array: np.ndarray[Any, Any]) -> Any:
    if array.ndim == 1:
        return pa.array(array)
    return pa.FixedSizeListArray.from_arrays(pa.array(array.reshape(-1)), array[0].size)


def nested(array: np.ndarray[Any, Any]) -> Any:
    found = pa.array(array.reshape(-1))
    for width in reversed(array.shape[1:]):
        found = pa.FixedSizeListArray.from_arrays(found, width)
    return found


def tensor(array: np.ndarray[Any, Any]) -> Any:
    return pa.FixedShapeTensorArray.from_numpy_ndarray(array) if array.ndim > 1 else pa.array(array)


LAYOUTS = {
    "fixed": fixed,
    "nested": nested,
    "tensor": tensor,
    "lists": lambda a: pa.array(a.reshape(len(a), -1).tolist() if a.ndim > 1 else a),
    "large lists": lambda a: pa.array(a.reshape(len(a), -1).tolist(), pa.large_list(pa.float64())) if a.ndim > 1 else pa.array(a),
    "lists of lists": lambda a: pa.array(a.tolist()),
    "chunks": lambda a: pa.chunked_array([fixed(a[:7]), fixed(a[7:8]), fixed(a[8:])]),
    "sliced": lambda a: fixed(np.concatenate([a[:3] + 9, a, a[:2]])).slice(3, len(a)),
    "sliced lists": lambda a: LAYOUTS["lists"](np.concatenate([a[:3] + 9, a, a[:2]])).slice(3, len(a)),
}


def table(layout: str = "fixed", **changes: Any) -> Any:
    columns = {"id": pa.array([f"row {k}" for k in range(N)]), **{name: LAYOUTS[layout](a) for name, a in values().items()}}
    return pa.table({**columns, **changes})


def arrays(result: Any, name: str) -> np.ndarray[Any, Any]:
    """A column of lists as an array, NaN where null."""
    rows = result[name].to_pylist()
    size = len(next(row for row in rows if row is not None))
    return np.array([row if row is not None else [np.nan] * size for row in rows])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_rows_are_what_a_call_gives(layout: str) -> None:
    layer, given = interval_layer(), values()
    result = layer.on_tables(keep=["id"])(table(layout))
    (x,), info = layer.solve(*given.values())
    np.testing.assert_array_equal(arrays(result, "x"), x)
    np.testing.assert_array_equal(result["objective"].to_numpy(), info.objective)
    np.testing.assert_array_equal(result["iterations"].to_numpy(), info.iterations)
    assert result["status"].to_pylist() == [str(status) for status in info.status]
    assert result["id"].to_pylist() == table()["id"].to_pylist()


@pytest.mark.parametrize("lists", ["fixed", "list", "tensor"])
def test_results_leave_in_the_layout_that_is_asked_for(lists: str) -> None:
    layer = interval_layer()
    gradients = {"gradients_of": {"x": "up"}, "lists": lists, "report": ["gap", "fallback", "margin"]}
    given = table(up=fixed(np.ones((N, 2))), lam=pa.array([None, *values()["lam"][1:]]))
    solver = layer.on_tables(keep=["id"], **gradients)
    result = solver(given)
    result.validate(full=True)
    assert result.schema == solver.schema(given.schema) == solver(given.slice(0, 0)).schema
    assert result["x"].null_count == result["d_A"].null_count == 1
    expected, pull = layer.vjp(*(array[1:] for array in values().values()))
    kept = result.slice(1)
    np.testing.assert_array_equal(arrays(kept, "x"), expected[0])
    for name, gradient in zip(("A", "b", "lam", "u"), pull(np.ones((N - 1, 2))), strict=True):
        column = arrays(kept, f"d_{name}") if gradient.ndim > 1 else kept[f"d_{name}"].to_numpy()
        np.testing.assert_array_equal(column.reshape(gradient.shape), gradient)


def test_threads_change_neither_rows_nor_the_key() -> None:
    solver, given = interval_layer(solver_args={"threads": 2}).on_tables(solver_args={"threads": 1}), table()
    other = solver.with_threads(3)
    assert other(given).equals(solver(given))
    assert other.key == solver.key
    assert other.layer.engine.options["threads"] == 3
    assert "threads" not in other.arguments


def test_a_solver_travels_and_takes_tables_batches_and_streams() -> None:
    solver, given = interval_layer().on_tables(keep=["id"], outputs={"x": "best"}), table()
    expected = solver(given)
    batches = given.to_batches(max_chunksize=7)
    assert pa.Table.from_batches(pickle.loads(pickle.dumps(solver))(iter(batches))) == expected
    assert pa.concat_tables([solver(batch) for batch in batches]) == expected
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        assert pa.concat_tables(pool.map(solver, batches)) == expected


def test_joblib_maps_it() -> None:
    joblib = pytest.importorskip("joblib")
    solver, given = interval_layer().on_tables(keep=["id"]), table()
    parts = joblib.Parallel(n_jobs=2)(joblib.delayed(solver)(batch) for batch in given.to_batches(max_chunksize=20))
    assert pa.concat_tables(parts) == solver(given)


def test_shared_values_and_other_names() -> None:
    layer, given = interval_layer(), values()
    A = given["A"][0]
    renamed = table().rename_columns({"b": "target"}).drop_columns(["A"])
    solver = layer.on_tables(shared={"A": A}, columns={"b": "target"}, gradients_of=["x"])
    result = solver(renamed.append_column("d_x", fixed(np.ones((N, 2)))))
    outputs, pull = layer.vjp(A, *(given[name] for name in ("b", "lam", "u")))
    np.testing.assert_array_equal(arrays(result, "x"), outputs[0])
    np.testing.assert_allclose(arrays(result, "d_A").sum(axis=0).reshape(3, 2), pull(np.ones((N, 2)))[0], rtol=1e-12)


def test_single_precision_is_taken_as_such() -> None:
    layer, given = interval_layer(), {name: a.astype(np.float32) for name, a in values().items()}
    result = layer.on_tables()(pa.table({name: fixed(a) for name, a in given.items()}))
    np.testing.assert_array_equal(arrays(result, "x").astype(np.float32), layer(*given.values())[0])


def _with(array: list[Any], value: Any) -> list[Any]:
    return [value if k == 3 else row for k, row in enumerate(array)]


B, LAM = values()["b"].tolist(), values()["lam"].tolist()
BROKEN = {
    "null": {"b": pa.array(_with(B, None))},
    "null in a fixed list": {"b": pa.array(_with(B, None), pa.list_(pa.float64(), 3))},
    "null entry": {"b": pa.array(_with(B, [1.0, None, 2.0]))},
    "null number": {"lam": pa.array(_with(LAM, None))},
    "null integer": {"lam": pa.array([None if k == 3 else 1 for k in range(N)])},
    "short list": {"b": pa.array(_with(B, [1.0]))},
    "long list": {"b": pa.array(_with(B, [1.0] * 9))},
    "empty list": {"b": pa.array(_with(B, []))},
    "null inside a matrix": {"A": pa.array(_with(values()["A"].tolist(), [None, [1.0, 2.0], [1.0, 2.0]]))},
    "ragged matrix": {"A": pa.array(_with(values()["A"].tolist(), [[1.0], [1.0, 2.0], [1.0, 2.0]]))},
    "NaN": {"lam": pa.array(_with(LAM, float("nan")))},
    "a number out of its domain": {"lam": pa.array(_with(LAM, -1.0))},
}


@pytest.mark.parametrize("changes", BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_row_has_its_status_and_harms_no_other(changes: dict[str, Any]) -> None:
    solver, given = interval_layer().on_tables(keep=["id"]), table(**changes)
    result = solver(given)
    row = result.slice(3, 1).to_pylist()[0]
    assert row["status"] == "invalid_input"
    assert row["x"] is None
    assert row["objective"] is None
    rest = [k for k in range(N) if k != 3]
    assert result.take(rest)["status"].to_pylist() == ["solved"] * (N - 1)
    assert result.take(rest).equals(solver(given.take(rest)))


def test_a_row_without_a_solution_has_nulls() -> None:
    u = values()["u"]
    u[5] = 0.1
    result = (
        interval_layer().on_tables(gradients_of=["x"])(table(u=fixed(u), d_x=fixed(np.ones((N, 2))))).slice(5, 1).to_pylist()[0]
    )
    assert result["status"] == "primal_infeasible"
    assert (result["x"], result["objective"], result["d_A"], result["d_lam"]) == (None,) * 4


REFUSED: dict[str, tuple[Any, type[Exception], str]] = {
    "missing": (lambda: table().drop_columns(["lam"]), InputError, "'lam' is missing"),
    "misspelt": (lambda: table().rename_columns({"lam": "lamb"}), InputError, "did you mean 'lamb'"),
    "twice": (lambda: table().append_column("b", fixed(values()["b"])), InputError, "there twice"),
    "another size": (lambda: table(b=fixed(values()["A"])), InputError, "lists of 3 numbers"),
    "a number for a vector": (lambda: table(b=fixed(values()["lam"])), InputError, "lists of 3 numbers"),
    "a vector for a number": (lambda: table(lam=fixed(values()["u"])), InputError, "one number"),
    "a transposed tensor": (lambda: table(A=tensor(values()["A"].swapaxes(1, 2).copy())), InputError, "tensors of shape"),
    "words": (lambda: table(lam=table()["id"]), InputTypeError, "must hold numbers"),
    "dictionary": (lambda: table(lam=pa.array(LAM).dictionary_encode()), InputTypeError, "dictionary_decode"),
    "decimal": (lambda: table(lam=pa.array([Decimal("1.5")] * N)), InputTypeError, "cast it to float64"),
    "booleans": (lambda: table(lam=pa.array([True] * N)), InputTypeError, "must hold numbers"),
    "no table": (lambda: values(), InputTypeError, "pyarrow.Table"),
}


@pytest.mark.parametrize(("make", "kind", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_a_wrong_table_is_refused_before_work(make: Any, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words):
        interval_layer().on_tables()(make())


MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "an output that is none": ({"outputs": ["y"]}, "no output 'y'"),
    "a word for a list": ({"keep": "id"}, r"\['id'\]"),
    "a parameter that is none": ({"columns": {"c": "b"}}, "no parameter 'c'"),
    "a report that is none": ({"report": ["time"]}, "no report 'time'"),
    "one name twice": ({"keep": ["x"]}, "named 'x'"),
    "the name of a column of ours": ({"outputs": {"x": "status"}}, "named 'status'"),
    "a shared value of another shape": ({"shared": {"b": 1.0}}, r"shape \(3,\)"),
    "all shared": ({"shared": {name: a[0] for name, a in values().items()}}, "all rows are one instance"),
    "another layout": ({"lists": "large"}, "'fixed', 'list' or 'tensor'"),
    "an option that is none": ({"solver_args": {"tolerence": 1e-9}}, "did you mean"),
}


@pytest.mark.parametrize(("settings", "words"), MISTAKES.values(), ids=MISTAKES.keys())
def test_mistakes_are_met_where_the_solver_is_made(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(CvxpyLayersError, match=words):
        interval_layer().on_tables(**settings)


def test_keys_tell_apart_what_gives_other_results() -> None:
    def key(settings: dict[str, Any] | None = None, **options: Any) -> str:
        return interval_layer(**options).on_tables(**(settings or {})).key

    others = [{"keep": ["id"]}, {"shared": {"b": np.ones(3)}}, {"shared": {"b": np.zeros(3)}}, {"solver_args": {"tolerance": 1e-6}}]
    keys = [key(), *map(key, others), key(solver_args={"tolerance": 1e-6}), key(solver="CLARABEL")]
    assert len(set(keys)) == len(keys)
    assert key(solver_args={"threads": 2}) == key({"solver_args": {"threads": 1}}) == key()
    assert str(interval_layer().signature) == "A (3, 2), b (3,), lam (), u (2,) -> x (2,)"
    with pytest.raises(OptionError):
        key({"solver_args": {"lane_width": 4}})
