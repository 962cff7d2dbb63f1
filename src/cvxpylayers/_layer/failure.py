"""Instances without a solution: what a layer may do about them, and how it tells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final, Literal, TypeGuard, get_args

import numpy as np

from cvxpylayers._layer.info import SolveInfo
from cvxpylayers._layer.inputs import reasons
from cvxpylayers._program import Batch, ParameterSpec, Status
from cvxpylayers.errors import OptionError

OnFailure = Literal["raise", "nan", "warn"]
_MODES: Final = get_args(OnFailure)
_LISTED: Final = 8  # failing instances that a message names
_QUOTED: Final = 3  # different words of solvers in a message
_SILENT: Final[Mapping[int, str]] = MappingProxyType({})


def failure_mode(on_failure: str) -> OnFailure:
    """The mode that ``on_failure`` names. Raises OptionError if there is none."""
    if not _is_mode(on_failure):
        raise OptionError(f"on_failure must be one of {', '.join(map(repr, _MODES))}; got {on_failure!r}.")
    return on_failure


def _is_mode(word: str) -> TypeGuard[OnFailure]:
    return word in _MODES


def failure_message(
    specs: Sequence[ParameterSpec], info: SolveInfo, batch: Batch | None = None, notes: Mapping[int, str] = _SILENT
) -> str:
    """Which instances failed, how, and what to do about it; ``batch`` adds what is wrong with invalid input.

    ``notes`` are the words of solvers, by instance.
    """
    failed, codes, shape = info.failed, info.codes.reshape(-1), info.codes.shape
    lines = [f"{len(failed)} of {codes.size} instances have no solution:" if shape else "The instance was not solved:"]
    for status in sorted({Status(int(code)) for code in codes[failed]}):
        members = failed[codes[failed] == status]
        judged = batch if status is Status.INVALID_INPUT else None
        where = " at " * bool(shape) + ", ".join(_place(specs, shape, judged, int(i)) for i in members[:_LISTED])
        more = f", … ({len(members)} in all)" if len(members) > _LISTED else ""
        lines.append(f"  {status}{where}{more}. {status.help}")
    said = dict.fromkeys(notes[i] for i in failed.tolist() if i in notes)
    lines += [f"  The solver: {words.rstrip('.')}." for words in list(said)[:_QUOTED]]
    others = "lets the other instances through" if shape else "goes on without it"
    lines.append(f'on_failure="nan" or "warn" {others}; layer.solve(...) returns the status{"es" * bool(shape)}.')
    return "\n".join(lines)


def _place(specs: Sequence[ParameterSpec], shape: tuple[int, ...], batch: Batch | None, instance: int) -> str:
    """Where an instance is and, with ``batch``, what is wrong with its parameters."""
    index = tuple(int(k) for k in np.unravel_index(instance, shape)) if shape else ()
    place = f"index {index[0] if len(index) == 1 else index}" if index else ""
    why = [] if batch is None else reasons(specs, batch, instance)
    return f"{place} ({'; '.join(why)})" if why else place
