"""What a jitted call costs beyond the kernel, and against PyTorch: ``python -m benchmarks.jax_overhead``.

For tiny and moderate batches the medians of interleaved calls: the kernel alone on prepared NumPy arrays, the jitted JAX function,
and the PyTorch layer; forward, and forward with gradients.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from rich.table import Table

from benchmarks.cases import layer_case
from benchmarks.contenders import Layer
from benchmarks.families import FAMILIES, SOME
from benchmarks.jax_contenders import JaxLayer
from benchmarks.overhead import median_seconds
from benchmarks.report import console


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


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.jax_overhead", description=__doc__)
    parser.add_argument("--family", nargs="+", choices=FAMILIES, default=SOME, metavar="NAME")
    parser.add_argument("--batch", nargs="+", type=int, default=[1, 8, 128, 1024])
    parser.add_argument("--budget", type=float, default=3.0, help="seconds per line (%(default)s)")
    options = parser.parse_args()
    table = Table("family", title="µs a call: forward / forward + backward, medians")
    for heading in ("batch", "kernel", "jax.jit", "PyTorch", "jit − kernel", "PyTorch : jit"):
        table.add_column(heading, justify="right")
    for family in options.family:
        for batch in options.batch:
            case = layer_case(FAMILIES[family], batch)
            jitted, torch = JaxLayer(case, compiled=True), Layer(case)
            contenders = [Kernel(torch.layer._layer, case.numbered("param")), jitted, torch]
            calls = [getattr(c, mode) for mode in ("forward", "gradient") for c in contenders]
            times = np.array(median_seconds(calls, options.budget)).reshape(2, 3).T * 1e6
            pairs = [" / ".join(f"{t:.1f}" for t in pair) for pair in (*times, times[1] - times[0])]
            table.add_row(family, str(batch), *pairs, " / ".join(f"{t:.2f}" for t in times[2] / times[1]))
    console().print(table)


if __name__ == "__main__":
    main()
