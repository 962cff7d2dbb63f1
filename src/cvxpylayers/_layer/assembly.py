"""The arguments of a layer → its compiled problem and its engine; layers that are built alike share what is costly."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from operator import itemgetter
from typing import Any, Final, NamedTuple

import cvxpy as cp

from cvxpylayers._canon import Recent, compile_problem, fingerprint, rename
from cvxpylayers._engines.engine import Engine
from cvxpylayers._engines.log_space import build
from cvxpylayers._engines.native.threads import default_threads
from cvxpylayers._engines.registry import Solver, automatic, check, resolve
from cvxpylayers._layer.options import normalize, split_solver
from cvxpylayers._program import CompiledProblem

_AUTOMATIC: Final = (None, "auto")

# Loops that build the same layer for every sample pay for one.
_RECENT: Final[Recent[tuple[CompiledProblem, Engine]]] = Recent(count=16, room=1_000_000, size=lambda pair: pair[0].M.nnz)


class Assembly(NamedTuple):
    """What a layer is made of; ``chosen``: the engine is our choice, not the user's."""

    compiled: CompiledProblem
    engine: Engine
    chosen: bool


def assemble(
    problem: cp.Problem,
    parameters: Sequence[cp.Parameter],
    variables: Sequence[cp.Variable],
    *,
    solver: Solver = None,
    gp: bool = False,
    canon_backend: str | None = None,
    solver_args: Mapping[str, Any] | None = None,
) -> Assembly:
    """Compile the problem and build its engine, unless that was done lately for the same problem, engine and options.

    Raises:
        ProblemError: the problem cannot make a layer.
        OptionError, MissingPackageError: the engine, its options or the environment's number of threads are not understood.
    """
    default_threads()
    named, arguments = split_solver(solver_args)
    kind, preset = resolve(solver if named is None else named)
    options = {**preset, **normalize(arguments, kind.option_names())}
    chosen = solver in _AUTOMATIC and named in _AUTOMATIC
    key = _key(fingerprint(problem, parameters, variables, gp, canon_backend), kind, options)
    found = None if key is None else _RECENT.get(key)
    if found is not None and not (chosen and automatic(found[0], options)[0] is not kind):  # it may have been named there
        return Assembly(rename(found[0], problem, parameters, variables), found[1].twin(), chosen)
    compiled = compile_problem(problem, parameters, variables, gp=gp, canon_backend=canon_backend)
    if chosen and (best := automatic(compiled, options)[0]) is not kind:
        understood = best.option_names() or options.keys()
        kind, key, options = best, None, {name: value for name, value in options.items() if name in understood}
        if "fallback" in understood:
            options.setdefault("fallback", True)
    check(kind, compiled)
    engine = build(kind, compiled, options)
    if key is not None:
        _RECENT.put(key, (compiled, engine.twin()))
    return Assembly(compiled, engine, chosen)


def _key(digest: str | None, kind: type[Engine], options: Mapping[str, Any]) -> Hashable | None:
    """What two layers share that can share their engine; None where that cannot be told."""
    key = digest, kind, tuple(sorted(options.items(), key=itemgetter(0)))
    try:
        hash(key)
    except TypeError:
        return None
    return key if digest is not None else None
