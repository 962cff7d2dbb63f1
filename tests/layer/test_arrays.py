"""Arrays → batch: shapes, broadcasting without copies, types, and the declared domains."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cvxpylayers._layer.inputs import reasons, screen, to_batch
from cvxpylayers._program import Batch, ParameterSpec
from cvxpylayers.errors import InputError, InputTypeError

MATRIX, VECTOR, SCALAR = ParameterSpec("A", (3, 2)), ParameterSpec("b", (3,)), ParameterSpec("t", ())
SPECS = (MATRIX, VECTOR, SCALAR)


@pytest.mark.parametrize(
    ("axes", "shape"),
    [
        (((), (), ()), ()),
        (((4,), (), ()), (4,)),
        (((), (4,), (1,)), (4,)),
        (((1,), (), ()), (1,)),
        (((2, 1), (3,), ()), (2, 3)),
        (((5, 2, 3), (3,), (2, 1)), (5, 2, 3)),
        (((0,), (), (1,)), (0,)),
        (((2, 0), (1, 1), ()), (2, 0)),
    ],
)
def test_batch_axes_broadcast_as_in_numpy(axes: tuple[tuple[int, ...], ...], shape: tuple[int, ...]) -> None:
    arrays = [np.random.default_rng(i).normal(size=(*a, *s.shape)) for i, (a, s) in enumerate(zip(axes, SPECS, strict=True))]
    batch = to_batch(SPECS, arrays)
    assert batch.shape == shape
    theta = batch.theta()
    assert theta.shape == (int(np.prod(shape)), 11)
    full = [np.broadcast_to(a, (*shape, *s.shape)).reshape(len(theta), s.size) for a, s in zip(arrays, SPECS, strict=True)]
    np.testing.assert_array_equal(theta, np.concatenate([*full, np.ones((len(theta), 1))], axis=1))


@settings(max_examples=60, deadline=None)
@given(
    order=st.permutations(range(4)),
    steps=st.tuples(*[st.sampled_from([1, 2, -1])] * 4),
    dtype=st.sampled_from(["f8", "f4", "f2", "i4", ">f8"]),
    repeat=st.booleans(),
)
def test_every_memory_layout_gives_the_same_values(order: list[int], steps: tuple[int, ...], dtype: str, repeat: bool) -> None:
    sizes = np.array([4, 5, 3, 2])
    storage = np.empty([int(sizes[i]) * 2 for i in order], dtype=dtype)
    array = storage.transpose(np.argsort(order))[tuple(slice(None, None, step) for step in steps)]
    array = array[tuple(slice(n) for n in sizes)]
    array[...] = np.arange(array.size).reshape(array.shape) % 97
    if repeat:
        array = np.broadcast_to(array[:, :1], array.shape)
    flat = to_batch([MATRIX], [array]).arrays[0]
    assert flat.dtype == np.float64
    assert flat.dtype.isnative
    assert flat.strides[-1] == 8
    np.testing.assert_array_equal(flat, np.ascontiguousarray(array, dtype=np.float64).reshape(4, 5, 6))
    assert not repeat or flat.strides[1] == 0


def test_float64_is_never_copied() -> None:
    array = np.random.default_rng(0).normal(size=(4, 2, 3, 2))
    for view in (array, array[::2], array[:, ::-1], array[0, 0], array.swapaxes(0, 1), np.broadcast_to(array, (9, 4, 2, 3, 2))):
        assert np.shares_memory(to_batch([MATRIX], [view]).arrays[0], array)


def test_doubles_between_the_addresses_of_doubles_are_copied() -> None:
    """Fields of packed records, and arrays that lie anywhere in a message that came from another process."""
    numbers = np.random.default_rng(0).normal(size=(4, 3, 2))
    records = np.empty(4, dtype=[("kind", "i1"), ("A", "f8", (3, 2))])
    records["A"] = numbers
    message = np.frombuffer(b"head" + numbers.tobytes(), dtype=np.float64, offset=4).reshape(numbers.shape)
    for array in (records["A"], message):
        flat = to_batch([MATRIX], [array]).arrays[0]
        assert flat.flags.aligned
        np.testing.assert_array_equal(flat, numbers.reshape(4, 6))


def test_shared_data_are_converted_once() -> None:
    single = np.ones((3, 2), dtype=np.float32)
    flat = to_batch([MATRIX], [np.broadcast_to(single, (10**9, 3, 2))]).arrays[0]
    assert flat.shape == (10**9, 6)
    assert flat.strides == (0, 8)


@pytest.mark.parametrize(
    ("arrays", "error", "words"),
    [
        ([np.ones((3, 2)), np.ones(3)], InputError, ["takes 3 parameters", "A: (3, 2)", "got 2"]),
        ([np.ones((2, 3)), np.ones(3), np.ones(())], InputError, ["'A'", "(3, 2)", "(*batch, 3, 2)", "(2, 3)", "value.mT"]),
        ([np.ones(2), np.ones(3), np.ones(())], InputError, ["'A'", "got (2,)."]),
        ([np.ones((3, 2, 5)), np.ones(3), np.ones(())], InputError, ["'A'", "(3, 2, 5)", "Batch axes come first."]),
        ([np.ones(3), np.ones((3, 2)), np.ones(())], InputError, ["fits 'b'", "order of the parameters is A, b, t"]),
        ([np.ones((3, 2)), np.ones(()), np.ones(3)], InputError, ["fits 't'"]),
        ([np.ones((3, 2)), np.ones((4, 3, 1)), np.ones(())], InputError, ["'b'", "Drop its last axis"]),
        ([np.ones((4, 3, 2)), np.ones((5, 3)), np.ones(())], InputError, ["broadcast", "A: (4,)", "b: (5,)"]),
        ([np.ones((3, 2)), np.ones(3, dtype=complex), np.ones(())], InputTypeError, ["'b'", "complex128", "float64"]),
        ([np.ones((3, 2)), np.ones(3, dtype=bool), np.ones(())], InputTypeError, ["'b'", "bool"]),
    ],
)
def test_mistakes_name_the_parameter_what_was_expected_and_what_came(
    arrays: list[np.ndarray], error: type[Exception], words: list[str]
) -> None:
    with pytest.raises(error) as caught:
        to_batch(SPECS, arrays)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def judged(spec: ParameterSpec, array: np.ndarray) -> tuple[list[bool] | None, list[str]]:
    batch = to_batch([spec], [array])
    invalid = screen([spec], batch).invalid
    if invalid is None:
        return None, []
    return invalid.tolist(), reasons([spec], batch, int(np.flatnonzero(invalid)[0]))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_inf_mark_their_instance(value: float) -> None:
    array = np.ones((3, 3))
    array[1, 2] = value
    assert judged(VECTOR, array) == ([False, True, False], ["parameter 'b' holds NaN or inf"])


def test_huge_values_are_not_mistaken_for_infinite_ones() -> None:
    assert judged(VECTOR, np.full((2, 3), 1.7e308)) == (None, [])


@pytest.mark.parametrize(("sign", "word"), [(1, "negative"), (-1, "positive")])
def test_signs(sign: int, word: str) -> None:
    spec = ParameterSpec("t", (2,), sign=sign)
    assert judged(spec, sign * np.array([[1.0, 0.0], [2.0, 3.0]])) == (None, [])
    assert judged(spec, sign * np.array([[1.0, 0.0], [2.0, -1e-3]])) == ([False, True], [f"parameter 't' is {word}"])


def test_symmetry() -> None:
    spec = ParameterSpec("S", (2, 2), psd=1, symmetric=True)
    good, skew = np.eye(2), np.array([[1.0, 0.5], [0.4, 1.0]])
    assert judged(spec, good) == (None, [])
    assert judged(spec, np.stack([good, skew])) == ([False, True], ["parameter 'S' is not symmetric"])


@pytest.mark.parametrize(("sign", "word", "extreme"), [(1, "positive", "smallest"), (-1, "negative", "largest")])
def test_definiteness(sign: int, word: str, extreme: str) -> None:
    spec = ParameterSpec("S", (2, 2), psd=sign, symmetric=True)
    semidefinite, indefinite, opposite = np.ones((2, 2)), np.array([[1.0, 2.0], [2.0, 1.0]]), -np.eye(2)
    said = [f"parameter 'S' is not {word} semidefinite: its {extreme} eigenvalue is {-sign}"]
    assert judged(spec, sign * semidefinite) == (None, [])
    assert judged(spec, sign * np.stack([indefinite, semidefinite, opposite])) == ([True, False, True], said)
    assert judged(spec, np.stack([semidefinite * np.nan, sign * semidefinite]))[0] == [True, False]


def test_engines_judge_what_makes_the_quadratic_term() -> None:
    spec = ParameterSpec("S", (2, 2), psd=1, symmetric=True, quadratic=True)
    batch = to_batch([spec], [np.array([[[1.0, 2.0], [2.0, 1.0]], [[1.0, 1.0], [1.0, 1.0]]])])
    assert screen([spec], batch).invalid is None
    assert reasons([spec], batch, 0) == ["parameter 'S' is not positive semidefinite: its smallest eigenvalue is -1"]
    assert reasons([spec], batch, 1) == []
    assert judged(spec, -np.eye(2)[None])[0] == [True]


def test_bounds_and_structure() -> None:
    spec = ParameterSpec("t", (2,), bounds=((-1.0,), (1.0, np.inf)))
    assert judged(spec, np.array([[1.0, 5.0], [-1.1, 0.0], [1.1, 0.0]])) == (
        [False, True, True],
        ["parameter 't' leaves its bounds"],
    )
    spec = ParameterSpec("D", (2, 2), support=(0, 3))
    assert judged(spec, np.diag([1.0, 2.0])) == (None, [])
    words = ["parameter 'D' has nonzero entries where its attributes want zeros"]
    assert judged(spec, np.stack([np.diag([1.0, 2.0]), np.ones((2, 2))])) == ([False, True], words)


def test_single_precision_rounding_is_no_asymmetry() -> None:
    root = np.random.default_rng(0).normal(size=(7, 5, 5)).astype(np.float32)
    product = np.einsum("bij,bkj->bik", root, root)
    product[:, 0, 1] = np.nextafter(product[:, 0, 1], np.float32(9))
    assert judged(ParameterSpec("S", (5, 5), psd=1, symmetric=True), product) == (None, [])


def test_a_shared_bad_value_spoils_every_instance_and_an_empty_batch_none() -> None:
    bad, other = np.full(3, np.nan), np.ones((2, 3, 2))
    assert screen([VECTOR, MATRIX], to_batch([VECTOR, MATRIX], [bad, other])).invalid.tolist() == [True, True]
    assert screen([VECTOR], Batch((np.ones((0, 3)),), (0,))).invalid is None
