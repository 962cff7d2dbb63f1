"""Large batches in chunks: bounded memory, a progress bar, and a place to go on from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch

from cvxpylayers._layer.info import SolveInfo
from cvxpylayers._layer.inputs import batch_shape
from cvxpylayers._layer.layer import Layer
from cvxpylayers.errors import InputError


class Chunk(NamedTuple):
    """What became of the instances ``rows`` along the leading batch axis."""

    rows: slice
    outputs: tuple[torch.Tensor, ...]
    info: SolveInfo


def chunks(
    layer: Layer,
    solve: Callable[..., tuple[tuple[torch.Tensor, ...], SolveInfo]],
    parameters: Sequence[torch.Tensor],
    chunk_size: int,
    start: int,
    progress: bool,
) -> Iterator[Chunk]:
    """One ``Chunk`` after the other, solved when it is asked for."""
    shape = batch_shape(layer.compiled.parameters, parameters)
    if not shape or chunk_size < 1 or not 0 <= start <= shape[0]:
        raise InputError(f"A batch axis, chunk_size ≥ 1 and 0 ≤ start are needed; got batch {shape}, {chunk_size}, {start}.")
    moves = [p.ndim - rank == len(shape) and len(p) > 1 for p, rank in zip(parameters, layer.ranks, strict=True)]
    return _run(solve, parameters, moves, shape[0], chunk_size, start, progress)


def _run(
    solve: Callable[..., tuple[tuple[torch.Tensor, ...], SolveInfo]],
    parameters: Sequence[torch.Tensor],
    moves: Sequence[bool],
    size: int,
    chunk_size: int,
    start: int,
    progress: bool,
) -> Iterator[Chunk]:
    with _bar(size, start, progress) as advance:
        for first in range(start, size, chunk_size):
            rows = slice(first, min(first + chunk_size, size))
            outputs, info = solve(*(p[rows] if moving else p for p, moving in zip(parameters, moves, strict=True)))
            advance(rows.stop - first, len(info.failed))
            yield Chunk(rows, outputs, info)


@contextmanager
def _bar(size: int, start: int, shown: bool) -> Iterator[Callable[[int, int], None]]:
    """Counts instances and failures on the terminal, if rich is installed."""
    try:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
    except ImportError:
        shown = False
    if not shown:
        yield lambda count, failed: None
        return
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[failed]} failed"), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("", total=size, completed=start, failed=0)
        total = 0

        def advance(count: int, failed: int) -> None:
            nonlocal total
            total += failed
            progress.update(task, advance=count, failed=total)

        yield advance
