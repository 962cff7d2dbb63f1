"""Solutions and derivatives, first and second, transform exactly with the units of the data and with the origin.

With x = D x', rows r·(A x + s = b) and objective f·c(x) the same program has data P' = f D P D, q' = f D q, A' = r A D, b' = r b
and the solution x' = x/D, z' = f z/r; derivatives of outputs o by data θ become (o'/o)(θ/θ'). Moved by t, x' = x + t with
q' = q - P t and b' = b + A t: derivatives by q and b stay what they are. Scales are powers of two: data are not rounded.
"""

from __future__ import annotations

from typing import NamedTuple

import cvxpy as cp
import numpy as np
import pytest

from cvxpylayers import Status
from cvxpylayers._engines.native.engine import NativeEngine
from cvxpylayers._program import Batch, Cones
from cvxpylayers.numpy import CvxpyLayer
from problems.conic import random_conic
from problems.mixes import MIXES
from problems.programs import Array, Draw
from tests.checks import tape_of

COUNT, N, TOLERANCE = 6, 6, 1e-6
TABLE = {
    "qp": (Cones(zero=1, nonneg=8), N),
    "low_rank_qp": (Cones(zero=1, nonneg=8), 3),
    "lp": (Cones(zero=1, nonneg=9), 0),
    "equalities": (Cones(zero=3), N),
    **{name: (cones, N) for name, cones in MIXES.items()},
    **{f"{name}_linear": (MIXES[name], 0) for name in ("soc", "psd", "nonneg_soc", "nonneg_exp", "nonneg_psd", "all")},
}
table = pytest.mark.parametrize("case", TABLE)


class Results(NamedTuple):
    """Outputs (B, o), gradients by part, tangents (B, o) and second gradients, for fixed cotangents and tangents."""

    outputs: Array
    gradients: list[Array]
    seconds: list[Array]
    pushed: Array


def drawn(case: str) -> Draw:
    cones, rank = TABLE[case]
    return random_conic(np.random.default_rng(95), N, cones, COUNT, rank=rank)


def results(d: Draw, output_units: Array | float = 1.0, units: list[Array] | None = None) -> Results:
    """Solve and differentiate, everything taken from and given in the natural units of data (by part) and outputs."""
    native, rng = NativeEngine(d.compiled, {"fallback": False, "threads": 1}), np.random.default_rng(0)
    units = [np.ones_like(a) for a in d.batch.arrays] if units is None else units
    solution = native.solve(d.batch, {}, tape=True)
    assert not solution.status.any()
    tape, wanted = tape_of(solution), [True] * len(units)
    cotangent = rng.normal(size=solution.outputs.shape) / output_units
    tangents = [rng.normal(size=u.shape) * u for u in units]
    gradients, _ = native.vjp(d.batch, tape, cotangent, wanted)
    pushed, _ = native.jvp(d.batch, tape, tangents)
    seconds, _ = native.hvp(d.batch, tape, cotangent, tangents, wanted)
    first, second = ([g * u for g, u in zip(gs, units, strict=True) if g is not None] for gs in (gradients, seconds))
    return Results(solution.outputs / output_units, first, second, pushed / output_units)


def assert_rows(found: Array, expected: Array, what: str) -> None:
    """Each instance's entries to ``TOLERANCE`` of its largest, or of 1 where that is smaller."""
    error = np.abs(found - expected).max(axis=1, initial=0) / np.maximum(np.abs(expected).max(axis=1, initial=0), 1.0)
    assert (error <= TOLERANCE).all(), f"{what}: {error.max():.1e}"


def assert_same(found: Results, expected: Results) -> None:
    assert_rows(found.outputs, expected.outputs, "outputs")
    for part, one, other in zip("PqAbd", found.gradients, expected.gradients, strict=True):
        assert_rows(one, other, f"gradient of {part}")
    assert_rows(found.pushed, expected.pushed, "tangent")
    for part, one, other in zip("PqAbd", found.seconds, expected.seconds, strict=True):
        assert_rows(one, other, f"second derivative by {part}")


def scales(rng: np.random.Generator, decades: float, *shape: int) -> Array:
    return np.asarray(2.0 ** np.round(rng.uniform(-decades, decades, shape) * np.log2(10)))


@table
@pytest.mark.parametrize("of", ["variables", "rows", "objective", "everything"])
def test_units(case: str, of: str) -> None:
    """Each variable, each row (of a cone: all its rows alike) and the objective over 1e±6."""
    d, rng = drawn(case), np.random.default_rng(96)
    st, cones = d.compiled.structure, d.compiled.structure.cones
    widths = [1] * (cones.zero + cones.nonneg) + [*cones.soc, *(k * (k + 1) // 2 for k in cones.psd)]
    widths += [3] * (cones.exp + len(cones.power))
    D, f = (scales(rng, 6 * (of in (name, "everything")), COUNT, k) for name, k in (("variables", N), ("objective", 1)))
    r = np.repeat(scales(rng, 6 * (of in ("rows", "everything")), COUNT, len(widths)), widths, axis=1)
    units = [f * D[:, st.P.rows] * D[:, st.P.indices], f * D, r[:, st.A.rows] * D[:, st.A.indices], r, f]
    scaled = replace_arrays(d, [a * u for a, u in zip(d.batch.arrays, units, strict=True)])
    assert_same(results(scaled, np.hstack([1 / D, f / r]), units), results(d))


def moved(d: Draw, by: Array) -> Draw:
    """The same programs with their solutions moved ``by`` (B, n)."""
    st, (P, q, A, b, t) = d.compiled.structure, d.batch.arrays
    dense = np.zeros((COUNT, st.n, st.n))
    dense[:, st.P.rows, st.P.indices] = dense[:, st.P.indices, st.P.rows] = P
    rows = np.zeros((COUNT, st.m, st.n))
    rows[:, st.A.rows, st.A.indices] = A
    return replace_arrays(d, [P, q - (dense @ by[..., None])[..., 0], A, b + (rows @ by[..., None])[..., 0], t])


@table
@pytest.mark.parametrize("decades", [2, 4])
def test_origin(case: str, decades: int) -> None:
    """The solution 1e2 and 1e4 away from the origin: x moves, its derivatives by q and b and the multipliers do not."""
    d = drawn(case)
    by = 10.0**decades * np.random.default_rng(97).normal(size=(COUNT, N))
    found, expected = (first_order(x) for x in (moved(d, by), d))
    found[0][:, :N] -= by
    for what, one, other in zip(("outputs", "gradient of q", "gradient of b", "tangent"), found, expected, strict=True):
        assert_rows(one, other, what)


@table
def test_far_from_the_origin_solutions_are_right_or_unsolved(case: str) -> None:
    """1e6 away, to 1e-6 and 1e-12 of x itself, Clarabel being asked too; all but one instance of a case is solved."""
    d, by = drawn(case), 1e6 * np.random.default_rng(97).normal(size=(COUNT, N))
    far, near = (NativeEngine(x.compiled, {"threads": 1}).solve(x.batch, {}, tape=False) for x in (moved(d, by), d))
    solved = far.status == 0
    assert solved.sum() >= COUNT - 1
    x, expected = far.outputs[solved, :N], (near.outputs[:, :N] + by)[solved]
    assert (np.abs(x - expected) <= TOLERANCE * np.maximum(1.0, np.abs(near.outputs[solved, :N])) + 1e-12 * np.abs(expected)).all()


def first_order(d: Draw) -> tuple[Array, ...]:
    """Outputs, gradients by q and b, and the tangents of the outputs along q and b."""
    native, rng = NativeEngine(d.compiled, {"fallback": False, "threads": 1}), np.random.default_rng(0)
    solution = native.solve(d.batch, {}, tape=True)
    assert not solution.status.any()
    cotangent = rng.normal(size=solution.outputs.shape)
    gradients, _ = native.vjp(d.batch, tape_of(solution), cotangent, [True] * 5)
    tangents = [rng.normal(size=a.shape) if k in (1, 3) else None for k, a in enumerate(d.batch.arrays)]
    pushed, _ = native.jvp(d.batch, tape_of(solution), tangents)
    assert gradients[1] is not None
    assert gradients[3] is not None
    return solution.outputs.copy(), gradients[1], gradients[3], pushed


def replace_arrays(d: Draw, arrays: list[Array]) -> Draw:
    return d._replace(batch=Batch(tuple(np.ascontiguousarray(a) for a in arrays), d.batch.shape))


def test_a_multiplier_of_any_size_leaves_the_others_exact() -> None:
    """The point of the simplex next to (-k, d), d at a kink: x = (0, 1, 0), where two multipliers are 0 and one is 2 k."""
    x, z = cp.Variable(3), cp.Parameter(3)
    layer = CvxpyLayer(cp.Problem(cp.Minimize(cp.sum_squares(x) - 2 * z @ x), [cp.sum(x) == 1, x >= 0]), [z], [x])
    sizes = np.append(10.0 ** np.arange(21), 3.158082585419075e23)
    (found,), info = layer.solve(np.stack([-sizes, np.full(22, 0.5810546875), np.full(22, -0.4189453125)], axis=1))
    assert (info.codes == Status.SOLVED).all()
    np.testing.assert_allclose(found, [[0.0, 1.0, 0.0]] * 22, atol=1e-11)
    assert np.median(info.iterations) <= 2
