"""Solver options: every engine understands the common ones; names of version 1.x are translated, misspelt ones refused."""

from __future__ import annotations

import difflib
import math
import warnings
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import numpy as np

from cvxpylayers._layer.legacy import MEANING, SPOKEN, translated
from cvxpylayers.errors import InputTypeError, OptionError


class _Value(NamedTuple):
    """What an option's value is converted to, what it must satisfy, and the same in words."""

    kind: type[float] | type[int] | type[bool]
    holds: Callable[[Any], bool]
    wanted: str


_SWITCH: Final = _Value(bool, lambda v: True, "True or False")
_SMALL: Final = _Value(float, lambda v: 0 < v < 1, "a number between 0 and 1, for example 1e-8")

# The options that mean the same to every engine that has them.
COMMON: Final[Mapping[str, _Value]] = {
    "tolerance": _SMALL,
    "target": _SMALL,
    "infeasibility_tolerance": _SMALL,
    "regularization": _SMALL,
    "smoothing": _Value(float, lambda v: v > 0, "a number > 0, for example 1e-4"),
    "step_fraction": _Value(float, lambda v: 0 < v < 1, "a number between 0 and 1, for example 0.99"),
    "max_iterations": _Value(int, lambda v: v >= 1, "an integer ≥ 1"),
    "threads": _Value(int, lambda v: v >= 0, "an integer ≥ 0, where 0 means the default"),
    "lane_width": _Value(int, lambda v: v in (0, 1, 2, 4, 8), "1, 2, 4 or 8, or 0 for what suits each call"),
    "time_limit": _Value(float, lambda v: v > 0, "a number of seconds > 0"),
    "polish": _SWITCH,
    "equilibrate": _SWITCH,
    "fallback": _SWITCH,
}
_NUMBERS: Final = (int, float, np.integer, np.floating, np.bool_)
_WORDS: Final[Mapping[str, tuple[str, ...]]] = {"derivative": ("exact", "smoothed"), "device": ("auto", "cpu", "cuda")}
_STRUCTURAL: Final = ("lane_width", "derivative", "mode")  # decide what is compiled or how it is differentiated, for every call


def split_solver(given: Mapping[str, Any] | None) -> tuple[Any, Mapping[str, Any] | None]:
    """The solver that ``given`` names, as 1.x allows (None where it names none), and the rest."""
    if given is None or not isinstance(given, Mapping) or "solver" not in given:
        return None, given
    return given["solver"], {name: value for name, value in given.items() if name != "solver"}


def normalize(given: Mapping[str, Any] | None, valid: frozenset[str] | None, *, call: bool = False) -> dict[str, Any]:
    """Translate user options of a layer, or of one ``call`` of it, to the names in ``valid``; never changes ``given``.

    Names of 1.x and its solvers are mapped; those without a meaning here are ignored with one warning; ``_legacy.SPOKEN`` is the
    layer's own affair. Without ``valid`` every other name passes.

    Raises:
        OptionError: an unknown name (the message gives the nearest valid one) or an impossible value.
        InputTypeError: ``given`` is no mapping.
    """
    if not given:
        return {}
    if not isinstance(given, Mapping):
        raise InputTypeError(f'solver_args must be a dict, for example {{"tolerance": 1e-9}}; got {type(given).__name__}.')
    result, old = {}, {}
    for name, value in given.items():
        if name == "time_limit" and value == math.inf:
            continue  # none
        if _understood(name, valid):
            result[name] = value
        elif name in MEANING:
            old[name] = value
        elif name not in SPOKEN:
            raise OptionError(_unknown(name, valid or frozenset()))
    if call and (fixed := [name for name in _STRUCTURAL if name in result]):
        raise OptionError(f"Option {fixed[0]!r} belongs to the constructor: CvxpyLayer(..., solver_args={{...}}).")
    known = {name: value for name, value in old.items() if valid is None or MEANING[name] in valid}
    mapped, ignored = translated(known)
    result = {name: _converted(name, value) for name, value in {**mapped, **result}.items()}
    if nothing := [name for name in old if name not in known or name in ignored]:
        names = ", ".join(map(repr, nothing))
        warnings.warn(f"Solver options of version 1.x without a meaning here are ignored: {names}.", UserWarning, stacklevel=3)
    return result


def _understood(name: str, valid: frozenset[str] | None) -> bool:
    """Whether the engine itself takes an option of this name."""
    return name in valid if valid is not None else MEANING.get(name) != "threads" and name != "raise_on_error"


def _converted(name: str, value: Any) -> Any:
    if name in _WORDS and value not in _WORDS[name]:
        raise OptionError(f"Option {name!r} must be one of {', '.join(map(repr, _WORDS[name]))}; got {value!r}.")
    if name not in COMMON:
        return value
    kind, holds, wanted = COMMON[name]
    if isinstance(value, _NUMBERS) and math.isfinite(value) and kind(value) == value and holds(value):
        return kind(value)
    raise OptionError(f"Option {name!r} must be {wanted}; got {value!r}.")


def _unknown(name: str, valid: frozenset[str]) -> str:
    old = {theirs: ours for theirs, ours in MEANING.items() if ours in valid}
    near = difflib.get_close_matches(str(name), sorted(valid | old.keys()), n=1, cutoff=0.5)
    hint = f"did you mean {old.get(near[0], near[0])!r}?" if near else f"valid are {', '.join(sorted(valid))}."
    return f"Unknown solver option {name!r}; {hint}"
