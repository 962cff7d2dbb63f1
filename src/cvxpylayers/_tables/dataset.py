"""Data sets larger than memory: one file of results for each file of the source, in any number of runs."""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Final

import pyarrow as pa
import pyarrow.dataset as pd

from cvxpylayers import __version__
from cvxpylayers._tables.solver import TableSolver
from cvxpylayers._tables.target import Facts, Target, filesystem
from cvxpylayers.errors import InputError

ROWS: Final = 65_536  # of one batch: enough to fill every thread, few enough to keep in memory
_OPENERS: Final = 16  # files whose schemas are read at once


@dataclass(frozen=True)
class Report:
    """What is in the target now: rows, how many have each status, files; and what this run solved, in how many seconds."""

    rows: int
    statuses: dict[str, int]
    files: int
    solved: int
    seconds: float

    @property
    def rate(self) -> float:
        """Rows a second of this run."""
        return self.solved / self.seconds if self.seconds else 0.0

    def __str__(self) -> str:
        words = ", ".join(f"{count:,} {status}" for status, count in self.statuses.items())
        return f"{self.rows:,} rows in {self.files} files ({words}); {self.solved:,} of them now, {self.rate:,.0f} a second"


@dataclass(frozen=True)
class _Piece:
    """One file of the source, the name of its results, and its size in bytes."""

    fragment: Any
    name: str
    size: int


def solve_dataset(
    solver: TableSolver,
    source: Any,
    target: str | os.PathLike[str],
    *,
    resume: bool = True,
    progress: bool | Callable[[Report], None] = True,
    rows: int = ROWS,
) -> Report:
    """Solve every row of ``source`` into the folder ``target``; ``layer.solve_dataset`` says how."""
    if rows < 1:
        raise InputError(f"rows must be an integer ≥ 1; got {rows}.")
    dataset, folder = _opened(source), Target(target)
    pieces = _pieces(dataset, folder)
    schema = solver.schema(dataset.schema)
    with ThreadPoolExecutor(_OPENERS) as pool:
        list(pool.map(lambda piece: _check(solver, dataset.schema, piece), pieces))
    known = {"source": _roots(pieces), "version": __version__, "engine": solver.layer.kind.name}
    done, manifest = folder.open(solver.key, known, resume=resume)
    if strange := done - {piece.name for piece in pieces}:
        raise InputError(f"{folder.path} has results of files that the source has not, for example {sorted(strange)[0]!r}.")
    found = {piece.name: _finished(folder, piece) for piece in pieces if piece.name in done}
    began, solved = time.monotonic(), 0
    for piece in pieces:
        if piece.name in found:
            continue
        facts = folder.write(piece.name, schema, _results(solver, dataset.schema, piece, rows), piece.fragment.path, piece.size)
        found[piece.name] = facts
        solved += facts.rows
        _tell(progress, _report(found, solved, began), len(pieces))
    report = _report(found, solved, began)
    run = {"rows": report.solved, "seconds": report.seconds, "rows_per_second": report.rate}
    contents = {"rows": report.rows, "statuses": report.statuses, "files": {name: facts.source for name, facts in found.items()}}
    folder.record({**manifest, "state": "finished", **contents, "runs": [*manifest["runs"], *([run] if solved else [])]})
    return report


def _opened(source: Any) -> Any:
    if isinstance(source, pd.Dataset):
        dataset = source
    else:
        location = os.fspath(source) if isinstance(source, os.PathLike) else source
        dataset = pd.dataset(location, format="parquet")
    if not isinstance(dataset, pd.FileSystemDataset):
        raise InputError("The source must be files, pyarrow.dataset.dataset(path), because results are a file for each of them.")
    return dataset


def _pieces(dataset: Any, folder: Target) -> list[_Piece]:
    """The files of the source by path.

    Raises:
        InputError: there are none, or they lie in the target.
    """
    fragments = sorted(dataset.get_fragments(), key=lambda fragment: str(fragment.path))
    if not fragments:
        raise InputError("The source has no files.")
    found = []
    for fragment, info in zip(fragments, dataset.filesystem.get_file_info([f.path for f in fragments]), strict=True):
        path = _canonical(dataset.filesystem, fragment.path)
        if dataset.filesystem.type_name == folder.files.type_name and path.startswith(f"{folder.path}/"):
            raise InputError(f"The target {folder.path} holds {path} of the source: take another folder.")
        digest = hashlib.blake2b(path.encode(), digest_size=8).hexdigest()
        found.append(_Piece(fragment, f"{PurePosixPath(path).stem}-{digest}.parquet", info.size))
    return found


def _canonical(files: Any, path: str) -> str:
    return filesystem(path)[1] if files.type_name == "local" else path


def _roots(pieces: list[_Piece]) -> list[str]:
    return sorted({str(PurePosixPath(piece.fragment.path).parent) for piece in pieces})


def _check(solver: TableSolver, wanted: pa.Schema, piece: _Piece) -> None:
    """Refuse a file whose columns are not those of the first one."""
    own, partition = piece.fragment.physical_schema, pd.get_partition_keys(piece.fragment.partition_expression)
    for name in solver.needed:
        if name in partition:
            continue
        kind = own.field(name).type if name in own.names else "no such column"
        if kind != wanted.field(name).type:
            raise InputError(f"Column {name!r} is {wanted.field(name).type} elsewhere, but in {piece.fragment.path}: {kind}.")


def _finished(folder: Target, piece: _Piece) -> Facts:
    facts = folder.facts(piece.name)
    if facts.size != piece.size:
        raise InputError(f"{piece.fragment.path} has changed since it was solved: delete {piece.name} from {folder.path}.")
    return facts


def _results(solver: TableSolver, schema: pa.Schema, piece: _Piece, rows: int) -> Iterator[pa.Table]:
    batches = piece.fragment.to_batches(
        schema=schema, columns=solver.needed, batch_size=rows, batch_readahead=2, fragment_readahead=0, cache_metadata=False
    )
    return (solver(batch) for batch in batches if batch.num_rows)


def _report(found: dict[str, Facts], solved: int, began: float) -> Report:
    statuses = Counter[str]()
    for facts in found.values():
        statuses.update(facts.statuses)
    total = sum(facts.rows for facts in found.values())
    return Report(total, dict(statuses.most_common()), len(found), solved, time.monotonic() - began)


def _tell(progress: bool | Callable[[Report], None], report: Report, files: int) -> None:
    if callable(progress):
        progress(report)
    elif progress:
        line = f"{report.files} of {files} files, {report.rows:,} rows, {report.rate:,.0f} a second"
        end = "\n" if report.files == files or not sys.stderr.isatty() else "\r"
        print(line.ljust(72), end=end, file=sys.stderr, flush=True)
