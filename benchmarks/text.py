"""Text of reports: numbers, the console, and tables between the marker lines of a page."""

from __future__ import annotations

import sys

from rich.console import Console

BEGIN, END = "<!-- benchmark:begin -->", "<!-- benchmark:end -->"


def console() -> Console:
    """A console that is wide enough for the tables where output goes to a file."""
    return Console(width=None if sys.stdout.isatty() else 160, highlight=False, log_path=False)


def number(value: float | None, unit: str = "") -> str:
    """Three digits, or a dash."""
    if value is None:
        return "-"
    return (f"{value:.0f}" if value >= 100 else f"{value:.3g}") + unit


def insert(text: str, table: str) -> str:
    """The text with the table between the markers. Raises ValueError if there is not exactly one pair of them, in order."""
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise ValueError(f"the file needs one line {BEGIN} and, below it, one line {END}")
    return text[: text.index(BEGIN) + len(BEGIN)] + "\n" + table + "\n" + text[text.index(END) :]
