"""Draws the benchmark table of a page as pictures: ``python -m benchmarks.compare.pictures [--page docs/benchmarks.md]``.

Nothing is measured: numbers are those between the marker lines of the page. A picture is an SVG beside the page, one row per family
and one dot per contender, on a logarithmic axis; its greys can be read on white and on black.
"""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from benchmarks.text import BEGIN, END

PAGE = Path("docs/benchmarks.md")
NAMES = {"speed.svg": 0, "speed-forward.svg": 1}  # picture → which half of the table
TITLES = ("solution and gradient", "solution alone")
SERIES = (("this package", "#d1495b"), ("fastest peer that is right", "#00899c"), ("cvxpylayers 1.x", "#8a8a8a"))
TEXT, LINE = "#7d7d7d", "#88888855"
WIDTH, LEFT, RIGHT, TOP, ROW = 720, 170, 88, 74, 21
LEGEND = (0, 120, 310)  # where the names of the series begin


class Row(NamedTuple):
    """A family: µs per instance of each series, None where there is no number; or a mean, which ends a group."""

    name: str
    times: tuple[float | None, ...]
    ratio: str  # to the fastest peer
    mean: bool


def rows(page: str, half: int) -> Iterator[Row]:
    """The rows of the table in ``page``, of gradients (0) or solutions alone (1)."""
    table = page[page.index(BEGIN) : page.index(END)]
    for line in re.findall(r"^\| (.+) \|$", table, re.MULTILINE)[1:]:
        name, *cells = (cell.strip().strip("*") for cell in line.split(" |"))
        ours, peer, ratio, to_1x = cells[4 * half : 4 * half + 4]
        mine = _number(ours)
        factor = _number(to_1x)
        times = (mine, _number(peer), mine * factor if mine and factor else None)
        yield Row(name, times, ratio, name.startswith("geometric mean"))


def _number(words: str) -> float | None:
    found = re.match(r"[\d.]+", words)
    return float(found[0]) if found else None


def draw(page: str, half: int) -> str:
    """The picture of one half of the table as SVG."""
    table = list(rows(page, half))
    known = [t for row in table for t in row.times if t and not row.mean]
    low, high = math.floor(math.log10(min(known))), math.ceil(math.log10(max(known)))
    height = TOP + ROW * len(table) + 12

    def x(time: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (math.log10(time) - low) / (high - low)

    parts = [_text(LEFT, 16, f"Time per instance, {TITLES[half]}, in batches of 128", weight="bold")]
    for place, (label, color) in zip(LEGEND, SERIES, strict=True):
        parts += [_dot(LEFT + 5 + place, 35, color), _text(LEFT + 14 + place, 39, label)]
    for power in range(low, high + 1):
        parts.append(f'<path d="M{x(10**power):.1f} {TOP - 10}V{height - 12}" stroke="{LINE}"/>')
        parts.append(_text(x(10**power), TOP - 15, f"{10**power} µs" if power < 3 else f"{10 ** (power - 3)} ms", anchor="middle"))
    parts.append(_text(WIDTH - 8, TOP - 15, "× peer", anchor="end"))
    for k, row in enumerate(table):
        parts += _row(row, TOP + ROW * k + 6, x)
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        f'font-family="system-ui, sans-serif" font-size="12.5" fill="{TEXT}">\n{body}\n</svg>\n'
    )


def _row(row: Row, y: float, x: Callable[[float], float]) -> Iterator[str]:
    weight = "bold" if row.mean else "normal"
    yield _text(LEFT - 12, y + 4, row.name.partition(",")[0], anchor="end", weight=weight)
    yield _text(WIDTH - 8, y + 4, row.ratio, anchor="end", weight=weight)
    places = [x(time) for time in row.times if time]
    if not places:
        return
    yield f'<path d="M{min(places):.1f} {y}H{max(places):.1f}" stroke="{LINE}" stroke-width="3"/>'
    for time, (_, color) in reversed(list(zip(row.times, SERIES, strict=True))):
        if time:
            yield _dot(x(time), y, color)


def _dot(x: float, y: float, color: str) -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="{color}"/>'


def _text(x: float, y: float, words: str, *, anchor: str = "start", weight: str = "normal") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-weight="{weight}">{words}</text>'


def main() -> None:
    """Write both pictures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare.pictures", description="Draws the benchmark table.")
    parser.add_argument("--page", type=Path, default=PAGE)
    page = parser.parse_args().page
    for name, half in NAMES.items():
        page.with_name(name).write_text(draw(page.read_text(encoding="utf-8"), half), encoding="utf-8")


if __name__ == "__main__":
    main()
