"""Tables as text and as HTML, for terminals and notebooks."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from html import escape
from typing import Final, NamedTuple

_WIDTH: Final = 110


class Table(NamedTuple):
    """Cells by rows below a head (empty for none), the first column to the left, and what stands above and below them."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    foot: str = ""

    def text(self) -> str:
        """In columns of equal width, with two blanks between them."""
        lines = [line for line in (self.head, *self.rows) if line]
        if len(lines[0]) == 1:
            return "\n".join(textwrap.fill(line[0], _WIDTH, subsequent_indent="    ") for line in lines)
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        body = ["  ".join(_aligned(*cell) for cell in zip(range(len(line)), line, widths, strict=True)) for line in lines]
        return "\n".join(line.rstrip() for line in (self.title, *body, self.foot) if line)

    def html(self) -> str:
        """As a table of HTML, every word escaped."""
        title = f"<caption style='text-align:left'>{escape(self.title)}</caption>" if self.title else ""
        head = f"<thead><tr>{_cells(self.head, 'th')}</tr></thead>" if self.head else ""
        body = "".join(f"<tr>{_cells(row, 'td')}</tr>" for row in self.rows)
        foot = f"<div>{escape(self.foot)}</div>" if self.foot else ""
        return f"<table>{title}{head}<tbody>{body}</tbody></table>{foot}"


def _aligned(column: int, cell: str, width: int) -> str:
    return cell.rjust(width) if column else cell.ljust(width)


def _cells(row: Sequence[str], kind: str) -> str:
    sides = ["left", *["right"] * (len(row) - 1)]
    return "".join(f"<{kind} style='text-align:{side}'>{escape(cell)}</{kind}>" for side, cell in zip(sides, row, strict=True))


def page(*tables: Table) -> str:
    """Several tables below each other."""
    return "".join(f"<div>{table.html()}</div>" for table in tables)
