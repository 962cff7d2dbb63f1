"""The Conic Benchmark Format, continuous problems → models."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import scipy.sparse as sp

from benchmarks.campaigns.collections.model import Model, Rows
from problems.families import Array

Lines = list[list[str]]
_LISTS: Final = frozenset(  # sections whose first line counts the others
    {"OBJFCOORD", "OBJACOORD", "FCOORD", "ACOORD", "BCOORD", "HCOORD", "DCOORD", "PSDVAR", "PSDCON", "INT"}
)
_SECTIONS: Final = frozenset({*_LISTS, "VER", "OBJSENSE", "OBJBCOORD", "VAR", "CON", "POWCONES"})
_LINEAR: Final = {"L=": ("zero", 1.0), "L+": ("nonneg", 1.0), "L-": ("nonneg", -1.0)}


def read_cbf(path: Path) -> Model:
    """A CBF file. Raises ValueError for integers, for cones that are not known here, and for sections of other versions."""
    sections = _sections([line.split() for line in path.read_text().splitlines() if line.strip() and line[0] != "#"])
    if sections["INT"]:
        raise ValueError(f"{path} has integer variables")
    scalars = int(sections["VAR"][0][0]) if sections["VAR"] else 0
    orders = [int(line[0]) for line in sections["PSDVAR"]]
    starts = scalars + np.cumsum([0] + [k * (k + 1) // 2 for k in orders])
    n, powers = int(starts[-1]), _powers(sections["POWCONES"])

    def inner(variable: str, row: str, column: str, value: str) -> tuple[int, float]:
        """Column and coefficient of an entry of F in ⟨F, X⟩, where X has its lower triangle in x."""
        i, j = sorted((int(row), int(column)), reverse=True)
        return int(starts[int(variable)]) + i * (i + 1) // 2 + j, float(value) * (1.0 if i == j else 2.0)

    q = np.zeros(n)
    for j, value in ((int(line[0]), float(line[1])) for line in sections["OBJACOORD"]):
        q[j] += value
    for column, value in (inner(*line) for line in sections["OBJFCOORD"]):
        q[column] += value
    sign = -1.0 if sections["OBJSENSE"] == [["MAX"]] else 1.0
    count = int(sections["CON"][0][0]) if sections["CON"] else 0
    entries = [(int(i), int(j), float(v)) for i, j, v in sections["ACOORD"]]
    entries += [(int(i), *inner(*rest)) for i, *rest in sections["FCOORD"]]
    b = np.zeros(count)
    for line in sections["BCOORD"]:
        b[int(line[0])] += float(line[1])
    rows = [*_cones(sections["VAR"], sp.eye_array(scalars, n, format="csr"), np.zeros(scalars), powers)]
    rows += _cones(sections["CON"], _matrix(entries, count, n), b, powers)
    rows += [_psd_variable(int(start), order, n) for start, order in zip(starts, orders, strict=False)]
    rows += _psd_constraints(sections, n)
    constant = sum(float(line[0]) for line in sections["OBJBCOORD"])
    return Model(sp.csr_array((n, n)), sign * q, sign * constant, tuple(rows))


def _sections(lines: Lines) -> dict[str, Lines]:
    """The lines of each section; those of lists without the line that counts them."""
    sections: dict[str, Lines] = defaultdict(list)
    name = ""
    for line in lines:
        if len(line) == 1 and line[0] in _SECTIONS:
            name = line[0]
        elif not name or (len(line) == 1 and line[0].isalpha() and name != "OBJSENSE"):
            raise ValueError(f"a CBF file has a section {line[0]!r}, which is not known here")
        else:
            sections[name].append(line)
    return defaultdict(list, {name: lines[1:] if name in _LISTS else lines for name, lines in sections.items()})


def _powers(lines: Lines) -> list[float]:
    """The exponent of each power cone; those of more than three rows are not known here."""
    numbers, powers = [line[0] for line in lines[1:]], []
    while numbers:
        if int(numbers[0]) != 2:
            raise ValueError("power cones with other than two parameters are not known here")
        first, second = float(numbers[1]), float(numbers[2])
        powers.append(first / (first + second))
        numbers = numbers[3:]
    return powers


def _matrix(entries: list[tuple[int, int, float]], count: int, n: int) -> sp.csr_array:
    i, j, v = np.array(entries, dtype=np.float64).reshape(-1, 3).T
    return sp.csr_array((v, (i.astype(int), j.astype(int))), shape=(count, n))


def _cones(section: Lines, A: sp.csr_array, b: Array, powers: list[float]) -> Iterator[Rows]:
    """The rows A x + b of a section of cones, each with its size, in order."""
    first = 0
    for name, size in section[1:]:
        take = slice(first, first := first + int(size))
        rows, kind = Rows("", A[take], b[take]), name.partition(":")[2] or name
        if kind == "F":
            continue
        if kind in _LINEAR:
            word, sign = _LINEAR[kind]
            yield Rows(word, sp.csr_array(sign * rows.A), sign * rows.b)
        elif kind == "Q":
            yield replace(rows, kind="soc")
        elif kind == "QR":  # 2 x₁ x₂ ≥ |rest|² is ((x₁ + x₂)/√2, (x₁ - x₂)/√2, rest) in the second-order cone
            turn = sp.eye_array(int(size), format="lil")
            turn[:2, :2] = np.array([[1.0, 1.0], [1.0, -1.0]]) / np.sqrt(2.0)
            turn = turn.tocsr()
            yield Rows("soc", sp.csr_array(turn @ rows.A), turn @ rows.b)
        elif kind == "EXP":  # x₁ ≥ x₂ exp(x₃/x₂)
            yield Rows("exp", rows.A[[2, 1, 0]], rows.b[[2, 1, 0]])
        elif kind == "POW" and int(size) == 3:
            yield replace(rows, kind="power", alpha=powers[int(name.partition(":")[0].lstrip("@"))])
        else:
            raise ValueError(f"a CBF file has a cone {name} of {size} rows, which is not known here")


def _psd_variable(start: int, order: int, n: int) -> Rows:
    """X ⪰ 0, its lower triangle from column ``start`` on."""
    i, j = np.divmod(np.arange(order * order), order)
    low, high = np.minimum(i, j), np.maximum(i, j)
    A = sp.csr_array((np.ones(order * order), (i * order + j, start + high * (high + 1) // 2 + low)), shape=(order * order, n))
    return Rows("psd", A, np.zeros(order * order))


def _psd_constraints(sections: dict[str, Lines], n: int) -> Iterator[Rows]:
    """Σ xⱼ Hⱼ + D ⪰ 0."""
    for number, order in enumerate(int(line[0]) for line in sections["PSDCON"]):

        def places(row: str, column: str, order: int = order) -> set[int]:
            return {int(row) * order + int(column), int(column) * order + int(row)}

        mine = [line for line in sections["HCOORD"] if int(line[0]) == number]
        entries = [(place, int(j), float(v)) for _, j, r, c, v in mine for place in places(r, c)]
        b = np.zeros(order * order)
        for _, r, c, value in (line for line in sections["DCOORD"] if int(line[0]) == number):
            b[list(places(r, c))] += float(value)
        yield Rows("psd", _matrix(entries, order * order, n), b)
