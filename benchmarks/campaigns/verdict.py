"""What a campaign prints: a table of tallies in groups, and which promises are kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

Promise = tuple[str, str, bool]  # what must hold, what was found, and whether it does


def worst(errors: list[float]) -> str:
    return f"{max(errors):.0e}" if errors else ""


def share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.2f}" if whole else ""


def tabulated(
    title: str, columns: Sequence[str], rows: Iterable[tuple[str, str, Any]], cells: Callable[[Any], list[str]]
) -> dict[str, Any]:
    """Prints (group, name, tally) as they come, and the sum of each group, and returns these."""
    table, groups = Table(*columns, title=title), dict[str, Any]()
    for group, name, tally in rows:
        if group not in groups:
            table.add_section()
        groups[group] = groups[group] + tally if group in groups else tally
        table.add_row(name, *cells(tally))
    table.add_section()
    for group, tally in groups.items():
        table.add_row(f"all {group}", *cells(tally), style="bold")
    Console(width=170).print(table)
    return groups


def judged(promises: Sequence[Promise]) -> int:
    """Prints the promises; the exit code, 1 if one is broken."""
    for promise, result, holds in promises:
        Console(width=170).print(f"{'kept  ' if holds else 'BROKEN'} {promise}: {result}")
    return 0 if all(holds for _, _, holds in promises) else 1
