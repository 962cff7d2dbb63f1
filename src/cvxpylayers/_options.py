"""Solver options: every engine understands the common ones; names of version 1.x are translated, misspelt ones refused."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Callable, Mapping
from typing import Any, Final

from cvxpylayers.errors import OptionError

# The options that mean the same to every engine that has them, and what a value must satisfy.
COMMON: Final[Mapping[str, tuple[Callable[[Any], bool], str]]] = {
    "tolerance": (lambda v: 0 < float(v) < 1, "a number between 0 and 1, for example 1e-8"),
    "max_iterations": (lambda v: int(v) == v and v >= 1, "an integer ≥ 1"),
    "threads": (lambda v: int(v) == v and v >= 0, "an integer ≥ 0, where 0 means one thread per core"),
}

# 1.x counted jobs separately for the two passes, with -1 for "all cores".
_RENAMED: Final[Mapping[str, str]] = {
    "eps": "tolerance",
    "max_iters": "max_iterations",
    "n_jobs_forward": "threads",
    "n_jobs_backward": "threads",
}
_OBSOLETE: Final = frozenset({"solve_method", "mode", "acceleration_lookback", "use_indirect"})


def normalize(given: Mapping[str, Any] | None, valid: frozenset[str]) -> dict[str, Any]:
    """Translate user options to the names in ``valid``; never changes ``given``.

    Names of 1.x are mapped; those without a meaning here are ignored with one warning.

    Raises:
        OptionError: an unknown name (the message gives the nearest valid one) or an impossible value.
    """
    if not given:
        return {}
    result: dict[str, Any] = {}
    ignored = []
    for name, value in given.items():
        if name in valid:
            result[name] = value
        elif name in _RENAMED and _RENAMED[name] in valid:
            target = _RENAMED[name]
            result.setdefault(target, max(value, 0) if target == "threads" else value)
        elif name in _RENAMED or name in _OBSOLETE:
            ignored.append(name)
        else:
            raise OptionError(_unknown(name, valid))
    for name, (accepts, wanted) in COMMON.items():
        if name in result and not _holds(accepts, result[name]):
            raise OptionError(f"Option {name!r} must be {wanted}; got {result[name]!r}.")
    if ignored:
        names = ", ".join(map(repr, ignored))
        warnings.warn(f"Solver options of version 1.x without a meaning here are ignored: {names}.", UserWarning, stacklevel=3)
    return result


def _holds(accepts: Callable[[Any], bool], value: Any) -> bool:
    try:
        return accepts(value)
    except (TypeError, ValueError):
        return False


def _unknown(name: str, valid: frozenset[str]) -> str:
    near = difflib.get_close_matches(str(name), sorted(valid | _RENAMED.keys()), n=1, cutoff=0.4)
    hint = f"did you mean {_RENAMED.get(near[0], near[0])!r}?" if near else f"valid are {', '.join(sorted(valid))}."
    return f"Unknown solver option {name!r}; {hint}"
