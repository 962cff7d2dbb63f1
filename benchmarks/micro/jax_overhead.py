"""What a jitted call costs beyond the kernel, and against PyTorch: ``python -m benchmarks.micro.jax_overhead``.

For tiny and moderate batches the medians of interleaved calls: the kernel alone on prepared NumPy arrays, the jitted JAX function,
and the PyTorch layer; forward, and forward with gradients. ``python -m benchmarks.compare.jax_rows`` includes the tiny ones.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from rich.table import Table

from benchmarks.compare.cases import layer_case
from benchmarks.compare.contenders import Layer
from benchmarks.compare.jax_contenders import JaxLayer
from benchmarks.micro.overhead import median_seconds
from benchmarks.text import console
from problems.families import FAMILIES, SOME


class Kernel:
    """The native engine's own calls, on a batch that is ready."""

    def __init__(self, layer: Any, arrays: list[Any]) -> None:
        self.engine, self.batch = layer.engine, layer.batch(arrays)
        self.cotangent = np.ones((self.batch.size, layer.compiled.R.shape[0]))

    def forward(self) -> Any:
        return self.engine.solve(self.batch, {}, tape=False)

    def gradient(self) -> Any:
        solution = self.engine.solve(self.batch, {}, tape=True)
        return self.engine.vjp(self.batch, solution.tape, self.cotangent, [True] * len(self.batch.arrays))


@dataclass(frozen=True)
class Line:
    """Microseconds of a call, (forward, forward + backward), by contender: the kernel, jitted, and through PyTorch."""

    family: str
    batch: int
    kernel: tuple[float, float]
    jitted: tuple[float, float]
    torch: tuple[float, float]

    HEADINGS: ClassVar = ("family", "batch", "kernel", "jax.jit", "PyTorch", "jit - kernel", "PyTorch : jit")

    def entries(self) -> list[str]:
        """One per heading."""
        extra = tuple(j - k for j, k in zip(self.jitted, self.kernel, strict=True))
        ratio = tuple(t / j for t, j in zip(self.torch, self.jitted, strict=True))
        rows = ((self.kernel, 1), (self.jitted, 1), (self.torch, 1), (extra, 1), (ratio, 2))
        return [self.family, str(self.batch), *(" / ".join(f"{t:.{digits}f}" for t in pair) for pair, digits in rows)]


def lines(families: Sequence[str], batches: Sequence[int], budget: float) -> Iterator[Line]:
    """Measure, ``budget`` seconds a line."""
    for family in families:
        for batch in batches:
            case = layer_case(FAMILIES[family], batch)
            jitted, torch = JaxLayer(case, compiled=True), Layer(case)
            contenders = [Kernel(torch.layer._layer, case.numbered("param")), jitted, torch]
            calls = [getattr(c, mode) for c in contenders for mode in ("forward", "gradient")]
            times = [t * 1e6 for t in median_seconds(calls, budget)]
            yield Line(family, batch, *((times[i], times[i + 1]) for i in (0, 2, 4)))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.micro.jax_overhead", description=__doc__)
    parser.add_argument("--family", nargs="+", choices=FAMILIES, default=SOME, metavar="NAME")
    parser.add_argument("--batch", nargs="+", type=int, default=[1, 8, 128, 1024])
    parser.add_argument("--budget", type=float, default=3.0, help="seconds per line (%(default)s)")
    options = parser.parse_args()
    family, *headings = Line.HEADINGS
    table = Table(family, title="µs a call: forward / forward + backward, medians")
    for heading in headings:
        table.add_column(heading, justify="right")
    for line in lines(options.family, options.batch, options.budget):
        table.add_row(*line.entries())
    console().print(table)


if __name__ == "__main__":
    main()
