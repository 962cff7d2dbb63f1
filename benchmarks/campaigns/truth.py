"""Does the native engine tell the truth? ``python -m benchmarks.campaigns.truth``: a campaign over families and random structures.

Every instance is compared with Clarabel at 1e-10 (its status, objective, and x where x is unique) and, where it was built around a
solution or a certificate, with that. Derivatives are compared with a dense pseudoinverse of the optimality conditions, and with
each other (adjoint identity). The exit code is 1 if one of the promises printed under the table is broken.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, fields

import numpy as np
from rich.console import Console
from rich.progress import track

from benchmarks.campaigns.verdict import Promise, judged, share, tabulated, worst
from cvxpylayers._canon import compile_problem
from cvxpylayers._engines.foreign.clarabel import Outcome, solve_instance
from cvxpylayers._engines.native.engine import NativeEngine
from cvxpylayers._program import Batch, Status
from problems.families import FAMILIES, SMALL, Family, status_family
from problems.kinds import HARSH, INFEASIBLE, KINDS, SCALED, random_kind
from problems.oracles import jacobian, reference
from problems.programs import Array, Kind, batch_of, draw, family_batch

UNIQUE = 1e-2  # smallest singular value of [P; active rows of A] from which x is compared


@dataclass
class Tally:
    """Counts and worst cases of one group of instances; ``+`` joins groups."""

    instances: int = 0
    feasible: int = 0
    alone: int = 0  # right without the fallback
    right: int = 0  # status right (the known one, else Clarabel's)
    peer: int = 0  # Clarabel right, where the truth is known
    fallback: int = 0  # of feasible instances
    compared: int = 0  # x compared
    apart: int = 0  # x further than 1e-6 from Clarabel's, and from its answer at 1e-12
    x: list[float] = field(default_factory=list)
    objective: list[float] = field(default_factory=list)
    gradients: int = 0
    flagged: int = 0
    gradient: list[float] = field(default_factory=list)
    adjoint: list[float] = field(default_factory=list)

    def __add__(self, other: Tally) -> Tally:
        return Tally(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


def distance(a: Array, b: Array) -> float:
    """Largest difference, relative to the largest entry or 1."""
    return float(np.max(np.abs(a - b), initial=0.0) / max(1.0, np.max(np.abs(b), initial=0.0)))


def unique(native: NativeEngine, values: Array, other: Outcome) -> bool:
    """Whether x is determined, and well: the columns of [P; active rows of A] are independent."""
    st = native.compiled.structure
    P, _, A, _, _ = st.split(values)
    rows = np.zeros((st.n + st.m, st.n))
    rows[st.P.rows, st.P.indices] = rows[st.P.indices, st.P.rows] = P
    active = (np.arange(st.m) < st.cones.zero) | (other.z > 1e3 * other.s)
    rows[st.n + st.A.rows, st.A.indices] = A * active[st.A.rows]
    return bool(np.linalg.svd(rows, compute_uv=False)[-1] > UNIQUE * max(1.0, np.abs(rows).max()))


@dataclass(frozen=True)
class Sample:
    """A batch, and what is known of it by construction: statuses, solutions, values; ``unique`` None asks the numbers."""

    native: NativeEngine
    batch: Batch
    status: Array | None = None
    x: Array | None = None
    objective: Array | None = None
    unique: bool | None = True
    dense: bool = True  # whether the dense derivative in float64 can be trusted


def examine(sample: Sample, derivatives: int) -> Tally:
    """Solve, compare, and differentiate the first ``derivatives`` instances."""
    native, batch, truth = sample.native, sample.batch, sample.status
    found, alone = (native.solve(batch, {"fallback": help_}, tape=True) for help_ in (True, False))
    assert found.tape is not None
    problem, tally = native.compiled, Tally(instances=batch.size)
    values = (problem.M @ batch.theta().T).T
    for i in range(batch.size):
        other = solve_instance(problem.structure, values[i], tolerance=1e-10)
        expected = min(int(other.status), 1) * int(other.status) if truth is None else int(truth[i])
        solvable = expected <= Status.ALMOST_SOLVED
        agrees = Status(found.status[i]).solved if solvable else found.status[i] == expected
        tally.right += bool(agrees)
        tally.alone += bool(Status(alone.status[i]).solved if solvable else alone.status[i] == expected)
        tally.peer += bool(other.status.solved if solvable else other.status == expected)
        tally.feasible += solvable
        tally.fallback += bool(solvable and found.fallback[i])
        if not (solvable and agrees and other.status.solved):
            continue
        cost = problem.objective_sign * found.objective[i]
        tally.objective.append(distance(cost, np.float64(other.objective if sample.objective is None else sample.objective[i])))
        if unique(native, values[i], other) if sample.unique is None else sample.unique:
            error = distance(found.tape.x[i], other.x)
            if error > 1e-6:  # who is right?
                exact = reference(problem, batch.theta([i])[0, :-1]).x if sample.x is None else sample.x[i]
                error = distance(found.tape.x[i], exact)
            tally.compared += 1
            tally.apart += error > 1e-6
            tally.x.append(error)
    return tally + differentiate(native, batch, min(derivatives, batch.size), sample.dense)


def differentiate(native: NativeEngine, batch: Batch, count: int, dense: bool) -> Tally:
    """Adjoint identity, and both derivatives against the dense one where they are not flagged."""
    full = tuple(np.ascontiguousarray(np.broadcast_to(a, (*batch.shape, a.shape[-1]))[:count]) for a in batch.arrays)
    some, rng, tally = Batch(full, (count,)), np.random.default_rng(0), Tally()
    solution = native.solve(some, {}, tape=True)
    assert solution.tape is not None
    u, v = rng.normal(size=solution.outputs.shape), [rng.normal(size=a.shape) for a in full]
    pulled, flags = native.vjp(some, solution.tape, u, [True] * len(full))
    pushed, _ = native.jvp(some, solution.tape, v)
    gradient, tangent = np.concatenate([g for g in pulled if g is not None], axis=1), np.concatenate(v, axis=1)
    left, right = pushed * u, gradient * tangent
    size = np.maximum(np.abs(left).sum(1) + np.abs(right).sum(1), np.linalg.norm(u, axis=1))
    for i in np.flatnonzero(solution.status <= Status.ALMOST_SOLVED):
        tally.gradients += 1
        tally.flagged += bool(flags[i])
        tally.adjoint.append(float(abs(left[i].sum() - right[i].sum()) / size[i]))
        if dense and not flags[i] and tangent.shape[1] < 2000:
            tape = solution.tape
            J = jacobian(native.compiled, some.theta([i])[0, :-1], tape.x[i], tape.z[i], tape.s[i])
            tally.gradient.append(distance(gradient[i], J.T @ u[i]))
    return tally


# ---- what is examined --------------------------------------------------------------------------------------------------------


def of_family(family: Family, count: int, seed: int) -> Sample:
    return Sample(*family_batch(family, count, seed))


def of_statuses(rank: int, count: int, seed: int) -> Sample:
    family = status_family(rank=rank)
    values, status = family.draw(np.random.default_rng(seed), count)
    batch = Batch(tuple(v.reshape(count, -1) for v in values), (count,))
    return Sample(NativeEngine(compile_problem(*family.make()), {}), batch, status)


def of_kind(kind: Kind, count: int, seed: int, unique: bool | None = None, dense: bool = True) -> Sample:
    problem, programs = draw(kind, count, seed)
    status, x = np.array([p.status for p in programs]), np.array([p.x for p in programs])
    objective = np.array([p.objective for p in programs])
    return Sample(NativeEngine(problem, {}), batch_of(problem, programs), status, x, objective, unique, dense)


def patterns(kind: Kind, count: int, dense: bool = True) -> Iterator[Sample]:
    """``count`` instances of a kind, over four sparsity patterns."""
    return (of_kind(kind, count // 4, seed, kind.unique, dense) for seed in range(4))


def rows(count: int) -> Iterator[tuple[str, str, Iterator[Sample]]]:
    """Group, name, and the samples of every row of the table; ``count`` instances for the small ones."""
    for name, family in SMALL.items():
        yield "families", name, iter([of_family(family, 4 * count, 1)])
    for name, family in FAMILIES.items():
        yield "families", f"{name} (benchmark size)", iter([of_family(family, max(8, count // 16), 2)])
    for name, kind in KINDS.items():
        yield "structures", name, patterns(kind, count, dense=name not in SCALED)
    rng = np.random.default_rng(3)
    yield "structures", "random", (of_kind(random_kind(rng), 16, seed) for seed in range(count))
    for rank in (0, 3):
        yield "statuses", f"mixed, rank {rank}", iter([of_statuses(rank, 4 * count, 4)])
    for name, kind in INFEASIBLE.items():
        yield "statuses", name, patterns(kind, count)
    for name, kind in HARSH.items():
        yield "harsh", name, patterns(kind, count, dense=False)


# ---- the report --------------------------------------------------------------------------------------------------------------


COLUMNS = (
    "",
    "instances",
    "status %",
    "alone %",
    "Clarabel %",
    "fallback %",
    "x far",
    "max |Δx|",
    "max |Δf|",
    "flagged",
    "max |Δgrad|",
    "adjoint",
)


def cells(t: Tally) -> list[str]:
    return [
        str(t.instances), share(t.right, t.instances), share(t.alone, t.instances), share(t.peer, t.instances),
        share(t.fallback, t.feasible), f"{t.apart}/{t.compared}", worst(t.x), worst(t.objective),
        f"{t.flagged}/{t.gradients}", worst(t.gradient), worst(t.adjoint),
    ]  # fmt: skip


def promises(groups: dict[str, Tally]) -> list[Promise]:
    """What must hold, what was found, and whether it does."""
    families, structures = groups["families"], groups["structures"]
    everything = families + structures + groups["statuses"]
    statuses, fallback = everything.right / everything.instances, everything.fallback / everything.feasible
    return [
        ("at least 10 000 solutions of families compared", str(families.compared), families.compared >= 10_000),
        ("x of families within 1e-6 of Clarabel", f"{families.apart} further, worst {worst(families.x)}", families.apart == 0),
        ("x of structures within 1e-6 on 99.9 %", f"{structures.apart} further", structures.apart < 1e-3 * structures.compared),
        ("objectives within 1e-7", worst(everything.objective), max(everything.objective) <= 1e-7),
        ("statuses right on 99.5 %", share(everything.right, everything.instances), statuses >= 0.995),
        ("fallback under 1 % of feasible ones", share(everything.fallback, everything.feasible), fallback < 0.01),
        ("gradients of families within 1e-6 of the dense ones", worst(families.gradient), max(families.gradient) <= 1e-6),
        ("no family instance flagged", str(families.flagged), families.flagged == 0),
        ("adjoint identity at 1e-12", worst(everything.adjoint), max(everything.adjoint) <= 1e-12),
    ]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.campaigns.truth", description=__doc__)
    parser.add_argument("--count", type=int, default=300, help="instances of each small row (default 300, about 33 000 in all)")
    parser.add_argument("--only", default="", help="rows whose name contains this; no promises are judged")
    parser.add_argument("--derivatives", type=int, default=12, help="instances of each batch to differentiate")
    options = parser.parse_args(arguments)
    chosen = [row for row in rows(options.count) if options.only in row[1]]
    tallied = (
        (group, name, sum((examine(sample, options.derivatives) for sample in samples), Tally()))
        for group, name, samples in track(chosen, console=Console(stderr=True))
    )
    groups = tabulated("native engine against the truth", COLUMNS, tallied, cells)
    return 0 if options.only else judged(promises(groups))


if __name__ == "__main__":
    sys.exit(main())
