"""The folder that results go to: whole files or none, facts about each in its footer, and a manifest of what they belong to.

A file is written under a temporary name and renamed when it is whole, so that whatever has its final name is finished. What is
known of it (its source, rows, statuses) is in its own footer: no record apart from it could be late. The manifest says for which
problem, options and columns the folder is; it is checked before anything is written.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Final

import pyarrow as pa
import pyarrow.fs as pf
import pyarrow.parquet as pq

from cvxpylayers.errors import InputError

MANIFEST: Final = "_manifest.json"
_PARTIAL: Final = ".partial"
_FACTS: Final = b"cvxpylayers"
_FORMAT: Final = 1


@dataclass(frozen=True)
class Facts:
    """What is known of a finished file: the path and the size in bytes of its source, rows, and how many have each status."""

    source: str
    size: int
    rows: int
    statuses: dict[str, int]


class Target:
    """A folder on any of Arrow's file systems, for one problem; only one process may write to it at a time."""

    def __init__(self, location: str | os.PathLike[str]) -> None:
        self.files, path = filesystem(location)
        self.path = path.rstrip("/")

    def open(self, key: str, facts: dict[str, Any], *, resume: bool) -> tuple[set[str], dict[str, Any]]:
        """Make the folder ready for results of the problem ``key``; the names of finished files, and the manifest.

        Raises:
            InputError: it holds something else, or results although ``resume`` is False; nothing has been changed then.
        """
        self.files.create_dir(self.path, recursive=True)
        listed = self.files.get_file_info(pf.FileSelector(self.path))
        names = {info.base_name for info in listed if info.type == pf.FileType.File}
        done = {name for name in names if name.endswith(".parquet")}
        manifest = {"format": _FORMAT, "key": key, **facts, "state": "running", "runs": []}
        if MANIFEST in names:
            manifest = self._compare(key)
            if not resume:
                raise InputError(f"{self.path} has results already: resume=True goes on with them, or take an empty folder.")
        elif done:
            raise InputError(f"{self.path} has Parquet files and no {MANIFEST}: take an empty folder.")
        for name in names:
            if name.endswith(_PARTIAL):
                self.files.delete_file(self._at(name))
        if MANIFEST not in names:
            self.record(manifest)
        return done, manifest

    def _compare(self, key: str) -> dict[str, Any]:
        with self.files.open_input_stream(self._at(MANIFEST)) as stream:
            content = stream.read()
        try:
            found: dict[str, Any] = json.loads(content)
            form, theirs, _ = found["format"], found["key"], found["runs"]
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{self._at(MANIFEST)} is not a manifest of ours: take an empty folder.") from error
        if (form, theirs) != (_FORMAT, key):
            raise InputError(
                f"{self.path} has results of another problem, other options or columns (key {theirs}, here {key}): "
                "call with those of its manifest, or take an empty folder."
            )
        return found

    def record(self, manifest: dict[str, Any]) -> None:
        """Replace the manifest."""
        partial = self._at(f".{MANIFEST}{_PARTIAL}")
        with self.files.open_output_stream(partial) as stream:
            stream.write(json.dumps(manifest, indent=1).encode())
        self.files.move(partial, self._at(MANIFEST))

    def write(self, name: str, schema: pa.Schema, tables: Iterable[pa.Table], source: str, size: int) -> Facts:
        """Write one file, all or nothing; ``tables`` are of ``schema``, which has a column ``status``."""
        partial = self._at(f".{name}{_PARTIAL}")
        rows, statuses = 0, Counter[str]()
        try:
            with self.files.open_output_stream(partial) as stream, pq.ParquetWriter(stream, schema) as writer:
                for table in tables:
                    writer.write_table(table)
                    rows += table.num_rows
                    statuses.update({str(pair["values"]): pair["counts"] for pair in table["status"].value_counts().to_pylist()})
                facts = Facts(source, size, rows, dict(sorted(statuses.items())))
                writer.add_key_value_metadata({_FACTS: json.dumps(asdict(facts)).encode()})
            self.files.move(partial, self._at(name))
        except BaseException:
            self._drop(partial)
            raise
        return facts

    def facts(self, name: str) -> Facts:
        """What the footer of a finished file says."""
        with self.files.open_input_file(self._at(name)) as file:
            metadata = pq.read_metadata(file).metadata or {}
        if _FACTS not in metadata:
            raise InputError(f"{self._at(name)} is not a file of ours: take an empty folder.")
        return Facts(**json.loads(metadata[_FACTS]))

    def _at(self, name: str) -> str:
        return f"{self.path}/{name}"

    def _drop(self, path: str) -> None:
        if self.files.get_file_info(path).type == pf.FileType.File:
            self.files.delete_file(path)


def filesystem(location: str | os.PathLike[str]) -> tuple[Any, str]:
    """The file system and the path of a local path or a URI."""
    text = os.fspath(location)
    if "://" in text:
        found: tuple[Any, str] = pf.FileSystem.from_uri(text)
        return found
    return pf.LocalFileSystem(), os.path.realpath(text)
