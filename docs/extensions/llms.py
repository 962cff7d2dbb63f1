"""``llms.txt``: every page with its first paragraph and the address of its source, for programs that read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from docutils import nodes

if TYPE_CHECKING:
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

FILLED = re.compile(r"^```\{(include|eval-rst)\}", re.MULTILINE)  # what Sphinx puts something into


def _documents(env: BuildEnvironment, name: str) -> Iterator[str]:
    """The documents below ``name`` in the order of the tables of contents."""
    for child in env.toctree_includes.get(name, []):
        yield child
        yield from _documents(env, child)


def summary(env: BuildEnvironment, name: str) -> str:
    """The first paragraph of a page."""
    document = env.get_doctree(name)
    first = next((p.astext() for p in document.findall(nodes.paragraph) if isinstance(p.parent, nodes.section)), "")
    return " ".join(first.split())


def address(app: Sphinx, name: str) -> str:
    """Where a page can be read: its Markdown, or what is built where the Markdown only says what to put in."""
    source = Path(app.env.doc2path(name))
    plain = source.suffix == ".md" and not FILLED.search(source.read_text(encoding="utf-8"))
    return f"_sources/{source.relative_to(app.srcdir)}.txt" if plain else app.builder.get_target_uri(name)


def write(app: Sphinx, exception: Exception | None) -> None:
    """Put the file beside the pages."""
    if exception is None and app.builder.format == "html":
        env, root = app.env, app.config.root_doc
        names = dict.fromkeys(_documents(env, root))
        lines = [f"- [{env.titles[name].astext()}]({address(app, name)}): {summary(env, name)}" for name in names]
        text = "\n".join(["# cvxpylayers", "", f"> {summary(env, root)}", "", *lines, ""])
        Path(app.outdir, "llms.txt").write_text(text, encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    """Written when the pages are."""
    app.connect("build-finished", write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
