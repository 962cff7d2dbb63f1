"""Engines by name, imported when asked for: ours, those that other packages announce, and every solver that CVXPY knows.

Another package adds an engine by an entry point of the group ``cvxpylayers.engines``: ``NAME = "package.module:EngineClass"``.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final, TypeAlias

from cvxpylayers._engines.engine import Engine
from cvxpylayers._engines.native.costs import Costs
from cvxpylayers._program import CompiledProblem
from cvxpylayers._program.cones import WORDS
from cvxpylayers.errors import MissingPackageError, OptionError, UnsupportedConeError

Solver: TypeAlias = str | type[Engine] | Engine | Callable[..., Any] | None

GROUP: Final = "cvxpylayers.engines"
_ENGINES: Final[Mapping[str, tuple[str, str]]] = {
    name: (f"cvxpylayers._engines.{module}", kind)
    for name, module, kind in (
        ("NATIVE", "native.engine", "NativeEngine"),
        ("CLARABEL", "foreign.clarabel", "ClarabelEngine"),
        ("SCS", "foreign.scs", "ScsEngine"),
        ("OSQP", "foreign.osqp", "OsqpEngine"),
        ("QOCO", "foreign.qoco", "QocoEngine"),
        ("PIQP", "foreign.piqp", "PiqpEngine"),
        ("DAQP", "foreign.daqp", "DaqpEngine"),
        ("HIGHS", "foreign.highs", "HighsEngine"),
        ("ECOS", "foreign.ecos", "EcosEngine"),
        ("MOREAU", "foreign.moreau", "MoreauEngine"),
        ("DIFFCP", "foreign.diffcp", "DiffcpEngine"),
        ("MPAX", "foreign.mpax", "MpaxEngine"),
        ("CUCLARABEL", "foreign.cuclarabel", "CuclarabelEngine"),
    )
}
# What to type for solvers that CVXPY calls.
_INSTALL: Final = {
    "COPT": "pip install coptpy",
    "CPLEX": "pip install cplex",
    "CVXOPT": "pip install cvxopt",
    "GUROBI": "pip install gurobipy",
    "MOSEK": "pip install mosek",
    "PROXQP": "pip install proxsuite",
    "SDPA": "pip install sdpa-python",
    "XPRESS": "pip install xpress",
}
_WORDS: Final = {**WORDS, "quadratic": "a quadratic objective"}


def names() -> tuple[str, ...]:
    """What ``solver`` may name, besides CVXPY's solvers: our engines, then those of other packages."""
    return (*_ENGINES, *sorted(_announced().keys() - _ENGINES.keys()))


def resolve(solver: Solver) -> tuple[type[Engine], dict[str, Any]]:
    """The engine class that ``solver`` asks for, and the options it brings.

    None and "auto" are the native engine, unless ``automatic`` knows better; a name is matched without regard to case, first here,
    then among CVXPY's solvers; an ``Engine`` class or an instance, whose options are kept, is used as it is; any other callable
    solves single instances (``_engines.foreign.function``).

    Raises:
        OptionError: no such engine. MissingPackageError: one of CVXPY's that is not installed.
    """
    if isinstance(solver, Engine):
        return type(solver), solver.options
    if isinstance(solver, type) and issubclass(solver, Engine):
        return solver, {}
    if callable(solver) and not isinstance(solver, str):
        from cvxpylayers._engines.foreign.function import function_engine

        return function_engine(solver), {}
    return _named("NATIVE" if solver is None else str(solver).upper()), {}


def automatic(compiled: CompiledProblem, options: Mapping[str, Any]) -> tuple[type[Engine], str]:
    """The engine for a problem when none is named, and why; ``options`` are the constructor's.

    The native engine, which was faster than Clarabel on every family measured, even for single instances; but where ``Costs`` says
    otherwise Clarabel or SCS, whose derivatives then work without the native engine's factor as well. Smoothing needs that factor.
    """
    better = Costs.of(compiled.structure).better
    if better is None:
        return _named("NATIVE"), "the default: batches in SIMD lanes"
    name, why = better
    if options.get("derivative") == "smoothed":
        return _named("NATIVE"), f"derivative='smoothed' is its own, although {why}"
    return _named(name), why


def check(kind: type[Engine], compiled: CompiledProblem) -> None:
    """Refuse a problem that the engine cannot solve.

    Raises:
        UnsupportedConeError: which need of which constraint is not met, and which engines would do.
    """
    lacking = kind.capabilities.lacks(compiled)
    if not lacking:
        return
    needs = " and ".join(f"{_WORDS[need]}{_where(need, compiled)}" for need in sorted(lacking))
    able = [name for name in names() if not _named(name).capabilities.lacks(compiled)]
    remedy = (
        f"Engines that would do: {', '.join(map(repr, able))}."
        if able
        else "No engine here has all of it: reformulate the problem."
    )
    raise UnsupportedConeError(f"Engine {kind.name!r} cannot solve this problem, which has {needs}. {remedy}")


def _where(need: str, compiled: CompiledProblem) -> str:
    """The constraint that brings a cone, in words."""
    rows = [block.rows.start for block in compiled.structure.cones.blocks(need)]
    source = compiled.row_sources[rows[0]] if rows and len(compiled.row_sources) > rows[0] else ""
    return f" (first for {source})" if source else ""


def _list(words: Iterable[str]) -> str:
    return ", ".join(map(repr, words))


def _named(name: str) -> type[Engine]:
    if name in _ENGINES:
        module, attribute = _ENGINES[name]
        engine: type[Engine] = getattr(importlib.import_module(module), attribute)
        return engine
    if name == "AUTO":
        return _named("NATIVE")
    if name in _announced():
        found: type[Engine] = _announced()[name].load()
        return found
    from cvxpylayers._engines.foreign.cvxpy_solver import cvxpy_engine, installed, known

    if name in installed():
        return cvxpy_engine(name)
    if name in known():
        line = f"install it with: {_INSTALL[name]}" if name in _INSTALL else "its documentation says how to install it"
        raise MissingPackageError(
            f"CVXPY knows the solver {name!r}, but finds no package for it; {line}. Here are {_list(installed())}."
        )
    near = difflib.get_close_matches(name, [*names(), *known()], n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    choice = f"solver=None for the default, {_list(names())}, a solver of CVXPY, an Engine class or a function"
    raise OptionError(f"No engine {name!r}; use {choice}.{hint}")


@lru_cache(maxsize=1)
def _announced() -> Mapping[str, EntryPoint]:
    return {point.name.upper(): point for point in entry_points(group=GROUP)}
