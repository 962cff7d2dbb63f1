"""What a warm start saves on sequences of batches that move by small random steps: ``python -m benchmarks.micro.warm``."""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch
from rich.table import Table

from benchmarks.text import console
from cvxpylayers import WarmStart
from cvxpylayers.torch import CvxpyLayer
from problems.families import FAMILIES, SOME


def measure(layer: CvxpyLayer, sequence: list[list[torch.Tensor]], warm: bool) -> tuple[float, float]:
    """Mean iterations per instance and seconds per batch, the first batch left out."""
    start = WarmStart()
    iterations, seconds = [], []
    for inputs in sequence:
        begin = time.perf_counter()
        _, info = layer.solve(*inputs, warm_start=start if warm else False, on_failure="nan")
        seconds.append(time.perf_counter() - begin)
        start = info.warm_start or start
        iterations.append(float(info.iterations.mean()))
    return float(np.mean(iterations[1:])), float(np.median(seconds[1:]))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.micro.warm", description=__doc__)
    parser.add_argument("--family", nargs="+", choices=FAMILIES, default=SOME, metavar="NAME")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--batches", type=int, default=20, help="length of the sequence (%(default)s)")
    parser.add_argument("--step", nargs="+", type=float, default=[0.001, 0.01, 0.1], help="relative size of a step (%(default)s)")
    options = parser.parse_args()
    table = Table("family", "step", title=f"batches of {options.batch}, forward")
    for heading in ("iterations, cold", "warm", "ms, cold", "warm", "times faster"):
        table.add_column(heading, justify="right")
    for family in options.family:
        problem, parameters, variables = FAMILIES[family].make()
        layer = CvxpyLayer(problem, parameters, variables)
        first = [torch.from_numpy(np.asarray(a)) for a in FAMILIES[family].sample(options.batch, 0)]
        for step in options.step:
            torch.manual_seed(0)
            sequence = [first]
            for _ in range(options.batches):
                # Relative to every entry, so that zeros and signs, and with them declared domains, stay.
                sequence.append([t * (1 + step * torch.randn_like(t).clamp(-3, 3)) for t in sequence[-1]])
            (cold, slow), (warm, fast) = measure(layer, sequence, False), measure(layer, sequence, True)
            numbers = (f"{step:g}", f"{cold:.1f}", f"{warm:.1f}", f"{slow * 1e3:.2f}", f"{fast * 1e3:.2f}", f"{slow / fast:.1f}")
            table.add_row(family, *numbers)
    console().print(table)


if __name__ == "__main__":
    main()
