"""Docstrings as the plain text that they are: asterisks and bars are mathematics, and an indented block is code."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx

LITERAL = re.compile(r"(``.+?``)")
MARKUP = re.compile(r"(?<!^)[*|\\]|^\*(?! )|(?<=\w)_(?!\w)")  # but for an asterisk that begins an item
ALIAS = re.compile(r"TypeAliasForwardRef\('(\w+)'\)")


def escaped(line: str) -> str:
    """The line with what reStructuredText would read as markup made plain, but for ``literals``."""
    return "".join(part if k % 2 else MARKUP.sub(r"\\\g<0>", part) for k, part in enumerate(LITERAL.split(line)))


def reread(lines: Sequence[str]) -> Iterator[str]:
    """The lines of a docstring as reStructuredText; a block is code if it is indented and stands behind an empty line."""
    code, empty = False, True
    for line in lines:
        if line.strip():
            if not line.startswith(" "):
                code = False
            elif empty and not code:
                code = True
                yield from ("::", "")
        yield line if code else escaped(line)
        empty = not line.strip()


def process(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Called for each docstring."""
    lines[:] = list(reread(lines))


def sign(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, signature: str | None, result: str | None
) -> tuple[str | None, str | None]:
    """Called for each signature, in which aliases of types in unions have lost their names."""
    plain = [text and ALIAS.sub(r"\1", text) for text in (signature, result)]
    return plain[0], plain[1]


def setup(app: Sphinx) -> dict[str, bool]:
    """Comes before napoleon, which reads the sections."""
    app.connect("autodoc-process-docstring", process, priority=400)
    app.connect("autodoc-process-signature", sign)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
