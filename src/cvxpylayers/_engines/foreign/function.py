"""A function of one cone program as an engine: the least that a custom solver needs."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, ClassVar

from cvxpylayers._engines.foreign.chunks import OURS
from cvxpylayers._engines.foreign.per_instance import PerInstance
from cvxpylayers._engines.judge.judge import Claim, Outcome
from cvxpylayers._program import CompiledProblem
from cvxpylayers._typing import Float64, Shaped


class FunctionEngine(PerInstance):
    """Calls ``function(program, **settings)`` for every instance; it returns x, or (x, z), or a ``Claim``.

    ``program`` is a ``ConeProgram``. The answer is judged, refined and differentiated like that of any solver; an exception
    is the failure of that instance alone. Where only x is returned the multipliers are found from the active rows, if all rows
    are linear. Keyword arguments of the function are options of the engine.
    """

    function: ClassVar[Callable[..., Any]]

    @classmethod
    def option_names(cls) -> frozenset[str] | None:
        """The function's keyword arguments; None where it takes any."""
        try:
            parameters = list(inspect.signature(cls.function).parameters.values())[1:]
        except ValueError:  # compiled code without a signature
            return None
        if any(p.kind is p.VAR_KEYWORD for p in parameters):
            return None
        return OURS | {p.name for p in parameters if p.kind is not p.VAR_POSITIONAL}

    def _outcome(self, values: Shaped[Float64, " values"], settings: Mapping[str, Any]) -> Outcome:
        program = self._assemble(values)
        answer = self.function(program, **{name: value for name, value in settings.items() if name not in OURS})
        claim = answer if isinstance(answer, Claim) else Claim(*answer) if isinstance(answer, tuple) else Claim(answer, None)
        return self._settled(program, claim, settings)

    def describe(self) -> Mapping[str, Any]:
        """The function's name."""
        return {"name": self.name}

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self.function, self.compiled, self.options)


def function_engine(function: Callable[..., Any]) -> type[FunctionEngine]:
    """The engine class of a function, or of any object that can be called; equal ones share it."""
    return _engine(function)


@lru_cache(maxsize=64)
def _engine(function: Any) -> type[FunctionEngine]:
    name = getattr(function, "__name__", type(function).__name__)
    return type(name, (FunctionEngine,), {"name": name, "function": staticmethod(function)})


def _rebuild(function: Callable[..., Any], compiled: CompiledProblem, options: Mapping[str, Any]) -> FunctionEngine:
    return function_engine(function)(compiled, options)
