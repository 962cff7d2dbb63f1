"""The outcome of a batch that was solved on a device: copied to the host when it is first asked for."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, Final

import numpy as np
import torch

from cvxpylayers._layer.info import SolveInfo, WarmStart
from cvxpylayers._program import Solution, Tape
from cvxpylayers._typing import Bool
from cvxpylayers.torch._resident import Answer

_FIELDS: Final = tuple(field.name for field in fields(SolveInfo))


class Pending(SolveInfo):
    """A ``SolveInfo`` whose arrays are on a device until one of them is read."""

    __slots__ = ("_answer", "_fallback", "_flags", "_marks", "_shape", "_start")

    def __init__(self, answer: Answer, shape: tuple[int, ...], fallback: Bool | None, start: int | None) -> None:
        """``fallback`` (B,): None if no instance was solved by another engine; ``start``: n, where the next start is wanted."""
        self._answer, self._shape, self._fallback, self._start = answer, shape, fallback, start
        self._flags = np.zeros(shape, dtype=np.bool_)
        self._marks = list[torch.Tensor]()

    @property
    def degenerate(self) -> Bool:  # type: ignore[override]  # in the base class it is an attribute
        """As in ``SolveInfo``; marks that derivatives left on the device are united when this is read."""
        while self._marks:
            self._flags |= self._marks.pop().numpy(force=True).reshape(self._shape)
        return self._flags

    def mark(self, marks: torch.Tensor) -> None:
        """Note the marks (B,) of a derivative, which stay where they are."""
        self._marks.append(marks)

    def __getattr__(self, name: str) -> Any:
        if name not in _FIELDS:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        answer = self._answer
        size = len(answer.status)
        solution = Solution(
            outputs=np.empty((size, 0)),
            status=answer.status.numpy(force=True),
            iterations=answer.iterations.numpy(force=True),
            residuals=answer.residuals.numpy(force=True),
            fallback=np.zeros(size, dtype=np.bool_) if self._fallback is None else self._fallback,
            margin=answer.margin.numpy(force=True),
            tape=None if answer.tape is None or self._start is None else Tape(answer.tape.numpy(force=True), self._start),
        )
        found = SolveInfo.of(solution, self._shape, warm_start=solution.tape is not None)
        for field in _FIELDS:
            if field != "degenerate":
                setattr(self, field, getattr(found, field))
        return getattr(self, name)

    def __reduce__(self) -> tuple[Any, ...]:
        return SolveInfo, tuple(getattr(self, field) for field in _FIELDS)


def start(warm: WarmStart | None, like: torch.Tensor, size: int, n: int, m: int) -> torch.Tensor | None:
    """The points (B, n + 2 m) of a warm start beside the tensor ``like``; None where there are none.

    Raises:
        InputError: the points are those of another problem.
    """
    points = None if warm is None else warm.points(size, n, m)
    if points is None:
        return None
    found = torch.from_numpy(np.ascontiguousarray(points))
    return found.pin_memory().to(like.device, non_blocking=True) if like.is_cuda else found
