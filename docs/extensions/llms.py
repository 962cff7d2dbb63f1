"""``llms.txt``: every page with its first sentence and the address of its source, for programs that read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from docutils import nodes

if TYPE_CHECKING:
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment


def _documents(env: BuildEnvironment, name: str) -> Iterator[str]:
    """The documents below ``name`` in the order of the tables of contents."""
    for child in env.toctree_includes.get(name, []):
        yield child
        yield from _documents(env, child)


def summary(env: BuildEnvironment, name: str) -> str:
    """One line: title, address, first paragraph."""
    document = env.get_doctree(name)
    first = next((p.astext() for p in document.findall(nodes.paragraph) if isinstance(p.parent, nodes.section)), "")
    sentence = " ".join(first.split())
    return f"- [{env.titles[name].astext()}](_sources/{Path(env.doc2path(name)).relative_to(env.srcdir)}.txt): {sentence}"


def write(app: Sphinx, exception: Exception | None) -> None:
    """Put the file beside the pages."""
    if exception is None and app.builder.format == "html":
        root = app.config.root_doc
        names = dict.fromkeys(_documents(app.env, root))
        head = ["# cvxpylayers", "", f"> {summary(app.env, root).partition('): ')[2]}", ""]
        text = "\n".join([*head, *(summary(app.env, name) for name in names), ""])
        Path(app.outdir, "llms.txt").write_text(text, encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    """Written when the pages are."""
    app.connect("build-finished", write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
