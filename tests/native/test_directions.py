"""Several directions at one linearization: what one call gives for all of them is what single calls give for each, bit by bit."""

from __future__ import annotations

import cvxpy as cp
import numpy as np
import pytest

from cvxpylayers._layer.layer import Layer
from cvxpylayers._program import Batch
from problems.kinds import KINDS
from problems.programs import PARTS, Array, batch_of, draw
from tests.checks import engine, same_bits, tape_of

K = 3


def assert_stacked(found: list[Array | None], single: list[list[Array | None]], batch: Batch) -> None:
    """Gradients of K directions, in the shapes of parameters, are those of single calls."""
    for p, (together, array) in enumerate(zip(found, batch.arrays, strict=True)):
        assert together is not None
        assert together.shape == (K, *array.shape)
        assert same_bits(together, np.array([gradients[p] for gradients in single]))


@pytest.mark.parametrize("shared", ["", "q", "Pb", "PqAbd"])
@pytest.mark.parametrize("kind", ["dense_qp", "lp_face"])
def test_directions_are_single_calls(kind: str, shared: str) -> None:
    problem, programs = draw(KINDS[kind], 11, seed=50)
    native, batch = engine(problem), batch_of(problem, programs[:1] * 11 if shared else programs, shared)
    tape, rng = tape_of(native.solve(batch, {}, tape=True)), np.random.default_rng(0)
    cotangents = rng.normal(size=(K, 11, problem.R.shape[0]))
    together, flags = native.vjp(batch, tape, cotangents, [True] * 5)
    single = [native.vjp(batch, tape, u, [True] * 5) for u in cotangents]
    assert_stacked(together, [gradients for gradients, _ in single], batch)
    assert np.array_equal(flags, np.any([f for _, f in single], axis=0))
    tangents = [rng.normal(size=(K, *a.shape)) for a in batch.arrays]
    curved, _ = native.hvp(batch, tape, cotangents, tangents, [True] * 5, directions=K)
    along = [[t[k] for t in tangents] for k in range(K)]
    assert_stacked(curved, [native.hvp(batch, tape, u, t, [True] * 5)[0] for u, t in zip(cotangents, along, strict=True)], batch)
    tangents[0] = tangents[0][:1]  # one direction for all
    pushed, flags = native.jvp(batch, tape, tangents, directions=K)
    alone = [native.jvp(batch, tape, [t[min(k, len(t) - 1)] for t in tangents]) for k in range(K)]
    assert same_bits(pushed, np.array([outputs for outputs, _ in alone]))
    assert np.array_equal(flags, np.any([f for _, f in alone], axis=0))


def test_directions_with_several_batch_axes() -> None:
    """Tangents of parameters with some of the batch axes, the axis of the directions in front of them."""
    problem, programs = draw(KINDS["dense_qp"], 6, seed=51)
    native, (P, q, A, b, d) = engine(problem), batch_of(problem, programs).arrays
    batch = Batch((P[0], q.reshape(2, 3, -1), A[None, 0], b[:3], d[:2, None]), (2, 3))
    tape, rng = tape_of(native.solve(batch, {}, tape=True)), np.random.default_rng(0)
    tangents = [rng.normal(size=(K, *a.shape)) for a in batch.arrays]
    pushed, _ = native.jvp(batch, tape, tangents, directions=K)
    assert same_bits(pushed, np.array([native.jvp(batch, tape, [t[k] for t in tangents])[0] for k in range(K)]))
    gradients, _ = native.vjp(batch, tape, pushed, [True] * 5)
    assert [g.shape for g in gradients if g is not None] == [(K, *a.shape) for a in batch.arrays]


@pytest.mark.parametrize("count", [0, 5])
def test_no_directions_and_no_instances(count: int) -> None:
    problem, programs = draw(KINDS["dense_qp"], 5, seed=52)
    native, full = engine(problem), batch_of(problem, programs, "A")
    batch = Batch(tuple(a[:count] if a.ndim == 2 else a for a in full.arrays), (count,))
    tape = tape_of(native.solve(batch, {}, tape=True))
    for lead in (0, 2):
        gradients, _ = native.vjp(batch, tape, np.ones((lead, count, problem.R.shape[0])), [True] * len(PARTS))
        assert [g.shape for g in gradients if g is not None] == [(lead, *a.shape) for a in batch.arrays]
        pushed, _ = native.jvp(batch, tape, [None] * 5, directions=lead)
        assert pushed.shape == (lead, count, problem.R.shape[0])


def test_directions_through_the_layer() -> None:
    x, parameters = cp.Variable(2), [cp.Parameter((3, 2)), cp.Parameter(3)]
    layer = Layer(cp.Problem(cp.Minimize(cp.sum_squares(parameters[0] @ x - parameters[1])), [x >= 0]), parameters, [x])
    A, b = (np.random.default_rng(0).normal(size=s) for s in ((4, 3, 2), (3,)))
    call, rng = layer.solve([A, b], tape=True), np.random.default_rng(1)

    def pull(cotangent: Array, directions: int | None) -> list[Array | None]:
        return layer.vjp(call.point, [cotangent], [True, True], directions=directions)

    cotangents = rng.normal(size=(K, *call.outputs[0].shape))
    together, alone = pull(cotangents, K), [pull(c, None) for c in cotangents]
    assert all(same_bits(g, np.array([a[p] for a in alone])) for p, g in enumerate(together) if g is not None)
    tangents = [rng.normal(size=(K, *a.shape)) for a in (A, b)]
    (pushed,) = layer.jvp(call.point, tangents, directions=K)
    single = [layer.jvp(call.point, [t[k] for t in tangents])[0] for k in range(K)]
    assert same_bits(pushed, np.array(single))
