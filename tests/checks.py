"""What a call of the native engine returns, by name, and laws of it that several tests assert."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pytest

from cvxpylayers._engines.engine import Engine
from cvxpylayers._engines.native.engine import NativeEngine
from cvxpylayers._program import Batch, CompiledProblem, Solution, Status, Tape
from problems.oracles import OracleEngine
from problems.programs import PARTS, Array, pick

Rows = dict[str, Array]
Tried = tuple[type[Engine], Mapping[str, Any]]
ENGINES: dict[str, Tried] = {"NATIVE": (NativeEngine, {"fallback": False, "threads": 1}), "ORACLE": (OracleEngine, {})}
engines = pytest.mark.parametrize(
    "tried", [pytest.param(e, id=n, marks=[pytest.mark.isa] * (n == "NATIVE")) for n, e in ENGINES.items()]
)


def engine(compiled: CompiledProblem, **options: Any) -> NativeEngine:
    """The native engine, alone: no fallback."""
    return NativeEngine(compiled, {"fallback": False, "threads": 1, **options})


def made(tried: Tried, compiled: CompiledProblem) -> Engine:
    kind, options = tried
    return kind(compiled, options)


def tape_of(solution: Solution) -> Tape:
    """The tape, which must have been recorded."""
    assert solution.tape is not None
    return solution.tape


def fields(solution: Solution) -> dict[str, Array]:
    """Everything a solve returns, by name."""
    tape = {} if solution.tape is None else {name: getattr(solution.tape, name) for name in ("x", "z", "s")}
    names = ("outputs", "status", "iterations", "primal_residual", "dual_residual", "gap", "objective")
    return {**{name: getattr(solution, name) for name in names}, **tape}


def same_bits(a: Array, b: Array) -> bool:
    """Equality of representations: NaN equals itself, −0 differs from 0."""
    return a.shape == b.shape and a.dtype == b.dtype and np.ascontiguousarray(a).tobytes() == np.ascontiguousarray(b).tobytes()


def everything(native: NativeEngine, batch: Batch, seeds: Array) -> Rows:
    """All results of a batch, instance by instance; ``seeds`` fix the cotangent and the tangents of each instance."""
    solution = native.solve(batch, {}, tape=True)
    tape = tape_of(solution)
    full = batch._replace(arrays=tuple(np.broadcast_to(a, (batch.size, a.shape[-1])) for a in batch.arrays))
    rngs = [np.random.default_rng(seed) for seed in seeds]
    cotangent = np.array([rng.normal(size=solution.outputs.shape[1]) for rng in rngs]).reshape(solution.outputs.shape)
    tangents = [np.array([rng.normal(size=a.shape[1]) for rng in rngs]).reshape(a.shape) for a in full.arrays]
    wanted = [True] * len(PARTS)
    gradients, flags = native.vjp(full, tape, cotangent, wanted)
    pushed, same_flags = native.jvp(full, tape, tangents)
    curved, _ = native.hvp(full, tape, cotangent, tangents, wanted)
    named = {"gradient": gradients, "second derivative": curved}
    parts = {f"{k} of {name}": g for k, found in named.items() for name, g in zip(PARTS, found, strict=True) if g is not None}
    return {**fields(solution), **parts, "flags": flags, "tangent": pushed, "flags again": same_flags}


def assert_rows(
    found: Rows, expected: Rows, rows: Array | list[int] | slice = slice(None), of: Array | list[int] | slice = slice(None)
) -> None:
    """Rows ``rows`` of ``found`` are, bit by bit, rows ``of`` of ``expected``."""
    for name, array in expected.items():
        assert same_bits(found[name][rows], array[of]), name


class Case(NamedTuple):
    """A solved batch, a cotangent, tangents, and both derivatives with their flags."""

    native: Engine
    batch: Batch
    cotangent: Array
    tangents: list[Array]
    gradients: list[Array]
    pushed: Array
    flags: tuple[Array, Array]


def differentiate(native: Engine, batch: Batch, seed: int = 0, primal_only: bool = False) -> Case:
    rng = np.random.default_rng(seed)
    solution = native.solve(batch, {}, tape=True)
    assert not solution.status.any()
    cotangent = rng.normal(size=solution.outputs.shape)
    if primal_only:
        cotangent[:, native.compiled.structure.n :] = 0.0
    tangents = [rng.normal(size=(batch.size, a.shape[-1])) for a in batch.arrays]
    full = batch._replace(arrays=tuple(np.broadcast_to(a, t.shape) for a, t in zip(batch.arrays, tangents, strict=True)))
    gradients, backward = native.vjp(full, tape_of(solution), cotangent, [True] * len(tangents))
    pushed, forward = native.jvp(full, tape_of(solution), tangents)
    return Case(native, full, cotangent, tangents, [g for g in gradients if g is not None], pushed, (backward, forward))


def settled(native: Engine, batch: Batch) -> Batch:
    """The instances that the engine solves: most, of what is at the edge of the precision."""
    keep = np.flatnonzero(native.solve(batch, {}, tape=False).status == Status.SOLVED)
    assert len(keep) >= batch.size / 2
    return pick(batch, keep)


def assert_close(found: Array, true: Array, tolerance: float) -> None:
    assert np.max(np.abs(found - true), initial=0.0) <= tolerance * max(1.0, np.max(np.abs(true), initial=0.0))


def assert_adjoint(case: Case) -> None:
    """⟨Jv, u⟩ = ⟨v, Jᵀu⟩ in every instance, to rounding of the terms that are summed (at a vertex J is zero, to rounding)."""
    left = case.pushed * case.cotangent
    right = np.concatenate([g * v for g, v in zip(case.gradients, case.tangents, strict=True)], axis=1)
    size = np.maximum(np.abs(left).sum(1) + np.abs(right).sum(1), np.linalg.norm(case.cotangent, axis=1))
    assert np.max(np.abs(left.sum(1) - right.sum(1)) / size) < 1e-12


def given(native: NativeEngine, batch: Batch, seed: int = 0) -> tuple[Batch, Array, list[Array], list[Array]]:
    """The batch written out, a cotangent, and two tangents that respect P's sparsity."""
    rng = np.random.default_rng(seed)
    full = Batch(tuple(np.ascontiguousarray(np.broadcast_to(a, (batch.size, a.shape[-1]))) for a in batch.arrays), (batch.size,))
    outputs = rng.normal(size=(batch.size, native.compiled.R.shape[0]))
    u, v = ([rng.normal(size=a.shape) * (a != 0.0) for a in full.arrays] for _ in range(2))
    return full, outputs, u, v


def curved(native: NativeEngine, batch: Batch, outputs: Array, tangent: list[Array]) -> Array:
    gradients, _ = native.hvp(batch, tape_of(native.solve(batch, {}, tape=True)), outputs, tangent, [True] * len(tangent))
    return np.concatenate([g for g in gradients if g is not None], axis=1)


def moved(batch: Batch, tangent: list[Array], step: float) -> Batch:
    return Batch(tuple(a + step * t for a, t in zip(batch.arrays, tangent, strict=True)), batch.shape)


def gradient(native: NativeEngine, batch: Batch, outputs: Array) -> Array:
    solution = native.solve(batch, {}, tape=True)
    assert not solution.status.any()
    gradients, flags = native.vjp(batch, tape_of(solution), outputs, [True] * len(batch.arrays))
    assert not flags.any()
    return np.concatenate([g for g in gradients if g is not None], axis=1)


def assert_second_derivative(native: NativeEngine, batch: Batch, h: float = 1e-4) -> None:
    """Fourth-order central differences of the gradient at 1e-6, and ⟨u, H v⟩ = ⟨v, H u⟩ at 1e-10, in every instance."""
    batch, outputs, u, v = given(native, batch)
    left, right = curved(native, batch, outputs, u), curved(native, batch, outputs, v)

    def difference(step: float) -> Array:
        return (gradient(native, moved(batch, v, step), outputs) - gradient(native, moved(batch, v, -step), outputs)) / (2 * step)

    expected = (4 * difference(h / 2) - difference(h)) / 3
    size = np.maximum(np.max(np.abs(expected), axis=1), 1e-6)  # it is zero at a vertex
    assert np.all(np.max(np.abs(right - expected), axis=1) <= 1e-6 * size)
    terms = np.concatenate(u, axis=1) * right, np.concatenate(v, axis=1) * left
    gap = np.abs(terms[0].sum(1) - terms[1].sum(1))
    assert np.all(gap <= 1e-10 * (np.abs(terms[0]).sum(1) + np.abs(terms[1]).sum(1)))
