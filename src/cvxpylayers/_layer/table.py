"""Tables as text and as HTML, for terminals and notebooks."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from html import escape
from typing import Final, NamedTuple

_WIDTH: Final = 110
_NUMBER: Final = re.compile(r"-|[-+]?(nan|inf|[\d][\d .]*(e[-+]?\d+)?)")


class Table(NamedTuple):
    """Cells by rows below a head (empty for none), columns of numbers to the right; what stands above and below them."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    foot: str = ""

    def text(self) -> str:
        """In columns of equal width, with two blanks between them; a single column is wrapped."""
        lines = [line for line in (self.head, *self.rows) if line]
        if len(lines[0]) == 1:
            body = [textwrap.fill(line[0], _WIDTH, subsequent_indent="    ") for line in lines]
        else:
            widths, right = [max(map(len, column)) for column in zip(*lines, strict=True)], self._right(len(lines[0]))
            body = ["  ".join(_padded(*cell) for cell in zip(line, widths, right, strict=True)) for line in lines]
        return "\n".join(line.rstrip() for line in (self.title, *body, self.foot) if line)

    def html(self) -> str:
        """As a table of HTML, every word escaped."""
        title = f"<caption style='text-align:left;white-space:nowrap'>{escape(self.title)}</caption>" if self.title else ""
        head = f"<thead><tr>{self._cells(self.head, 'th')}</tr></thead>" if self.head else ""
        body = "".join(f"<tr>{self._cells(row, 'td')}</tr>" for row in self.rows)
        foot = f"<div>{escape(self.foot)}</div>" if self.foot else ""
        return f"<table>{title}{head}<tbody>{body}</tbody></table>{foot}"

    def _cells(self, row: Sequence[str], kind: str) -> str:
        style = "text-align:{};padding:0 .5em"
        sides = (style.format("right" if numbers else "left") for numbers in self._right(len(row)))
        return "".join(f"<{kind} style='{side}'>{escape(cell)}</{kind}>" for side, cell in zip(sides, row, strict=True))

    def _right(self, columns: int) -> list[bool]:
        """Which columns hold numbers, the first, which names the row, aside; of a table without a head none."""
        return [k > 0 and bool(self.head) and all(_NUMBER.fullmatch(row[k]) for row in self.rows) for k in range(columns)]


def _padded(cell: str, width: int, right: bool) -> str:
    return cell.rjust(width) if right else cell.ljust(width)


def page(*tables: Table) -> str:
    """Several tables below each other."""
    return "".join(f"<div>{table.html()}</div>" for table in tables)
