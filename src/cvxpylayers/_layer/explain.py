"""What a layer is made of, in numbers and in words: a table to read, a mapping to use."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any, Final

from cvxpylayers._layer.table import Table, page
from cvxpylayers._program import CompiledProblem, Cones

# Rates of one core behind the predicted time: flops of a factorization, and entries of program and factor read per second.
_FLOPS: Final = 15e9
_ENTRIES: Final = 7e8
_ITERATIONS: Final = 8  # of a usual quadratic program, polish included
_SHOWN: Final = ("version", "isa", "lane_width")  # facts of the engine that fit into a repr
_DERIVED: Final = {"factor_nonzeros", "factor_flops", "arena_bytes"}  # have rows of their own


class Explanation(Mapping[str, Any]):
    """Facts by name, in sections; printing gives a table, drawn by rich where that is installed."""

    def __init__(self, sections: Mapping[str, Mapping[str, Any]]) -> None:
        self.sections = sections

    def __getitem__(self, name: str) -> Any:
        for facts in self.sections.values():
            if name in facts:
                return facts[name]
        raise KeyError(f"{name!r}; known are {', '.join(self)}")

    def __iter__(self) -> Iterator[str]:
        return (name for facts in self.sections.values() for name in facts)

    def __len__(self) -> int:
        return sum(map(len, self.sections.values()))

    def __repr__(self) -> str:
        try:
            from rich.console import Console
            from rich.table import Table
        except ImportError:
            return self.plain()
        table = Table(show_header=False, box=None, pad_edge=False)
        table.add_column(style="bold")
        for title, facts in self.sections.items():
            table.add_row(f"[cyan]{title}[/cyan]", "")
            for name, value in facts.items():
                table.add_row(f"  {name}", _words(value))
        screen = Console()
        text = io.StringIO()
        console = Console(
            file=text, width=max(screen.width, 80), force_terminal=screen.is_terminal, no_color=not screen.is_terminal
        )
        console.print(table)
        return text.getvalue().rstrip()

    def _repr_html_(self) -> str:
        return page(
            *(Table(title, (), [(name, _words(value)) for name, value in facts.items()]) for title, facts in self.sections.items())
        )

    def plain(self) -> str:
        """The table without rich."""
        width = max(map(len, self), default=0) + 4
        rows = []
        for title, facts in self.sections.items():
            rows += [title, *(f"  {name:<{width}}{_words(value)}" for name, value in facts.items())]
        return "\n".join(rows)


def explain(compiled: CompiledProblem, facts: Mapping[str, Any], reason: str) -> Explanation:
    """Describe ``compiled`` and an engine for it, whose ``describe()`` gave ``facts``; ``reason`` says why that engine."""
    st = compiled.structure
    problem = {
        "parameters": _listed(compiled.parameters) or "none",
        "outputs": _listed(compiled.outputs) or "none",
        "variables": st.n,
        "rows": st.m,
        "cones": cone_words(st.cones),
        "nonzeros of P": st.P.nnz,
        "nonzeros of A": st.A.nnz,
        "parameter entries": compiled.M.shape[1] - 1,
    }
    engine = {"engine": facts["name"], "why": reason}
    engine |= {name.replace("_", " "): value for name, value in facts.items() if name not in _DERIVED and name != "name"}
    sections: dict[str, Mapping[str, Any]] = {"problem": problem, "engine": engine}
    if "factor_flops" in facts:
        stored = st.P.nnz + st.A.nnz + facts["kkt_dimension"]
        entries = facts["factor_nonzeros"] + st.values
        seconds = _ITERATIONS * (facts["factor_flops"] / _FLOPS + entries / _ENTRIES)
        sections["cost"] = {
            "factor nonzeros": facts["factor_nonzeros"],
            "fill": f"{facts['factor_nonzeros'] / max(stored, 1):.2f} × the entries of the system",
            "flops a factorization": facts["factor_flops"],
            "memory a thread": _bytes(facts["arena_bytes"]),
            "predicted time": f"about {_seconds(seconds)} an instance and core, in full lanes ({_ITERATIONS} factorizations)",
        }
    return Explanation(sections)


def summary(compiled: CompiledProblem, facts: Mapping[str, Any]) -> str:
    """Variables, parameters, cones, sizes and engine in three lines; ``facts`` as for ``explain``."""
    st = compiled.structure
    engine = ", ".join([str(facts["name"]), *(f"{key}={facts[key]}" for key in _SHOWN if key in facts)])
    return (
        f"({_listed(compiled.parameters)}) → ({_listed(compiled.outputs)})\n"
        f"n={st.n}, m={st.m}, nnz(P)={st.P.nnz}, nnz(A)={st.A.nnz}; cones: {cone_words(st.cones)}\n"
        f"engine: {engine}"
    )


def cone_words(cones: Cones) -> str:
    """The cones with their numbers, orders or exponents, as in ``zero 3; nonneg 2; soc 4, 4; power 0.3``."""
    sizes = {f.name: getattr(cones, f.name) for f in fields(cones)}
    return "; ".join(f"{kind} {str(size).strip('(,)')}" for kind, size in sizes.items() if size) or "none"


def shape_words(shape: tuple[int, ...]) -> str:
    """``[3, 2]``; nothing for a scalar."""
    return f"[{', '.join(map(str, shape))}]" if shape else ""


def _listed(specs: Any) -> str:
    return ", ".join(f"{spec.name}{shape_words(spec.shape)}" for spec in specs)


def _words(value: Any) -> str:
    return f"{value:,}".replace(",", " ") if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _bytes(count: int) -> str:
    return f"{count / 2**20:.1f} MiB" if count >= 2**20 else f"{count / 2**10:.0f} KiB"


def _seconds(seconds: float) -> str:
    return f"{seconds * 1e6:.2g} µs" if seconds < 1e-3 else f"{seconds * 1e3:.2g} ms" if seconds < 1 else f"{seconds:.2g} s"
