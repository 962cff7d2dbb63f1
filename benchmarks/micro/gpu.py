"""Does a device solve as promised, and how fast? ``python -m benchmarks.gpu``, four minutes on a card, no network.

First every linear and quadratic family against the host: values, statuses, gradients, and the same bits alone, in any order, in any
batch, beside instances that are NaN or infeasible, and in workspace full of NaN. Then the time of an instance, forward and with
gradients, from tensors on the device, beside the host on all its cores. The exit code is 1 if a promise is broken.
``--small`` takes few and small problems; so does ``--pretend DRIVER``, of a driver without a device.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from rich.table import Table

from benchmarks.campaigns.verdict import Promise, judged
from benchmarks.text import console, number
from cvxpylayers.torch import CvxpyLayer, _addresses
from cvxpylayers.torch._pending import Pending
from problems.families import FAMILIES, SMALL, Family, status_family

VALUES, GRADIENTS = 1e-9, 1e-8
BUDGET: Final = 0.3  # seconds of repeats
LEFT_OUT: Final = "sudoku_4"  # large, and with many solutions

Tensors = Sequence[torch.Tensor]


class Sizes(NamedTuple):
    """What is run."""

    families: dict[str, Family]
    checked: int  # instances of a family that are compared with the host
    batches: tuple[int, ...]  # in which the first instances must have the same bits
    timed: tuple[int, ...]


ALL: Final = Sizes(FAMILIES, 256, (1, 2, 31, 1000), (128, 1024, 16384))
FEW: Final = Sizes({name: SMALL[name] for name in ("nnls_3x2", "dense_qp_5", "transport_3x3")}, 4, (1, 3, 6), (2,))


class Machine:
    """The device, or what pretends to be one, whose memory is the host's."""

    def __init__(self, driver: Path | None) -> None:
        self.real = driver is None
        if driver is not None:
            os.environ["CVXPYLAYERS_CUDA_DRIVER"] = str(driver)
            _addresses.ordinal = lambda tensor: 0

    @property
    def name(self) -> str:
        return torch.cuda.get_device_name() if self.real else "no device"

    def place(self, arrays: Sequence[Any]) -> list[torch.Tensor]:
        """Parameters on the device, which want gradients."""
        tensors = [torch.from_numpy(np.asarray(a)) for a in arrays]
        return [(t.cuda() if self.real else t.clone()).requires_grad_() for t in tensors]

    def wait(self) -> None:
        if self.real:
            torch.cuda.synchronize()


class Solved(NamedTuple):
    """Rows of outputs, codes of statuses, and gradients of a fixed sum of the outputs."""

    outputs: torch.Tensor
    codes: Any
    gradients: list[torch.Tensor]
    there: bool  # on the device


def solved(layer: CvxpyLayer, values: Tensors, mode: str = "warn", **options: Any) -> Solved:
    """A solve and its gradients, on the host."""
    outputs, info = layer.solve(*values, on_failure=mode, solver_args=options)
    rows = torch.cat([o.reshape(len(info.codes), -1) for o in outputs], dim=1)
    weights = torch.linspace(1, 2, rows.shape[1], dtype=rows.dtype, device=rows.device)
    gradients = torch.autograd.grad((rows.nan_to_num() * weights).sum(), values, allow_unused=True)
    kept = [torch.zeros_like(v) if g is None else g for g, v in zip(gradients, values, strict=True)]
    return Solved(rows.detach().cpu(), info.codes, [g.cpu() for g in kept], isinstance(info, Pending))


def distance(a: torch.Tensor, b: torch.Tensor) -> float:
    """Largest difference, relative to the largest entry or 1; infinite where NaNs differ."""
    if not torch.equal(a.isnan(), b.isnan()):
        return float("inf")
    a, b = a.nan_to_num(), b.nan_to_num()
    return float((a - b).abs().max() / b.abs().max().clamp_min(1.0)) if a.numel() else 0.0


def identical(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Whether two tensors of float64 have the same bits, NaNs too."""
    return torch.equal(a.contiguous().view(torch.int64), b.contiguous().view(torch.int64))


class Found(NamedTuple):
    """The worst that was seen of one family."""

    family: str
    there: bool
    value: float
    gradient: float
    statuses: int  # that differ from the host's
    bits: list[str]  # in which company instances were not the same


def compared(machine: Machine, family: Family, sizes: Sizes) -> Found:
    """One family against the host, and against itself in other company."""
    layer = CvxpyLayer(*family.make())
    arrays = family.sample(sizes.checked, 1)
    here, host = (solved(layer, machine.place(arrays), device=device) for device in ("auto", "cpu"))
    gradients = [distance(a, b) for a, b in zip(here.gradients, host.gradients, strict=True)]
    differing = int((here.codes != host.codes).sum())
    bits = [word for word, same in company(machine, layer, family, sizes) if not same]
    return Found(family.name, here.there, distance(here.outputs, host.outputs), max(gradients, default=0.0), differing, bits)


def company(machine: Machine, layer: CvxpyLayer, family: Family, sizes: Sizes) -> Iterator[tuple[str, bool]]:
    """In which company an instance was solved, and whether its outputs had the same bits as in the whole batch."""
    arrays = [np.asarray(a) for a in family.sample(max(sizes.batches), 2)]
    size = max(sizes.batches)
    own = [a.ndim > len(spec.shape) for a, spec in zip(arrays, layer._layer.compiled.parameters, strict=True)]

    def rows(chosen: Any, change: Callable[[Any], Any] = lambda a: a) -> torch.Tensor:
        picked = [change(a[chosen].copy()) if moves else a for a, moves in zip(arrays, own, strict=True)]
        return solved(layer, machine.place(picked), "nan").outputs

    whole = rows(slice(None))
    for batch in sizes.batches:
        yield f"batch of {batch}", identical(rows(slice(batch)), whole[:batch])
    order = np.random.default_rng(3).permutation(size)
    yield "another order", identical(rows(order), whole[order])

    def spoil(a: Any) -> Any:
        a[0] = np.nan
        return a

    yield "beside NaN", identical(rows(slice(None), spoil)[1:], whole[1:])
    with poisoned():
        yield "poisoned workspace", identical(rows(slice(None)), whole)


class poisoned:  # noqa: N801  # reads like a function
    """Memory that torch hands out holds NaN."""

    def __enter__(self) -> None:
        self._before = torch.are_deterministic_algorithms_enabled()
        torch.use_deterministic_algorithms(True, warn_only=True)

    def __exit__(self, *_: object) -> None:
        torch.use_deterministic_algorithms(self._before)


def infeasible(machine: Machine, sizes: Sizes) -> Found:
    """Instances without solutions among others: statuses as known, and nobody sees them."""
    family = status_family()
    layer = CvxpyLayer(*family.make())
    arrays, status = family.draw(np.random.default_rng(4), sizes.checked)
    found = solved(layer, machine.place(arrays))
    good = np.flatnonzero(status == 0)
    alone = solved(layer, machine.place([a[good] for a in arrays]), "nan").outputs
    together = solved(layer, machine.place(arrays), "nan").outputs[good]
    bits = [] if identical(alone, together) else ["beside infeasible ones"]
    return Found("infeasible", found.there, 0.0, 0.0, int((found.codes != status).sum()), bits)


def promises(found: Sequence[Found]) -> list[Promise]:
    """What must hold of all families."""
    values, gradients = (max(getattr(f, name) for f in found) for name in ("value", "gradient"))
    away = [f.family for f in found if not f.there]
    bits = [f"{f.family}: {word}" for f in found for word in f.bits]
    return [
        ("all was solved on the device", ", ".join(away) or "all", not away),
        (f"outputs are the host's to {VALUES:g}", f"{values:.0e}", values <= VALUES),
        (f"gradients are the host's to {GRADIENTS:g}", f"{gradients:.0e}", gradients <= GRADIENTS),
        ("statuses are the host's", str(sum(f.statuses for f in found)), not any(f.statuses for f in found)),
        ("an instance has the same bits in any company", ", ".join(bits) or "all", not bits),
    ]


def timed(machine: Machine, call: Callable[[], object]) -> float:
    """Median seconds of a call, the device's work included."""
    call()
    taken, end = list[float](), time.perf_counter() + BUDGET
    while len(taken) < 3 or (time.perf_counter() < end and len(taken) < 30):
        machine.wait()
        begin = time.perf_counter()
        call()
        machine.wait()
        taken.append(time.perf_counter() - begin)
    return statistics.median(taken)


def timings(machine: Machine, sizes: Sizes, until: float) -> Iterator[dict[str, Any]]:
    """One row for each family and batch, while there is time."""
    for name, family in sizes.families.items():
        layer = CvxpyLayer(*family.make())
        for batch in sizes.timed:
            if name != LEFT_OUT and time.monotonic() < until:
                yield {"family": name, "batch": batch, **row(machine, layer, family.sample(batch, 5))}


def row(machine: Machine, layer: CvxpyLayer, arrays: Sequence[Any]) -> dict[str, float]:
    """Microseconds of an instance, forward and with gradients, on the device and, from and to tensors of the host, there."""
    host = [torch.from_numpy(np.asarray(a)).requires_grad_() for a in arrays]
    found = {}
    for place, values, device in (("device", machine.place(arrays), "auto"), ("host", host, "cpu")):

        def forward(values: Tensors = values, device: str = device) -> torch.Tensor:
            return layer(*values, solver_args={"device": device}, on_failure="nan")[0]

        def both(values: Tensors = values, forward: Callable[[], torch.Tensor] = forward) -> None:
            torch.autograd.grad(forward().sum(), values, allow_unused=True)

        batch = len(forward()) / 1e6
        with torch.no_grad():
            found[f"{place} forward"] = timed(machine, forward) / batch
        found[f"{place} both"] = timed(machine, both) / batch
    return found


def main() -> int:
    """Compare, then measure; write ``gpu.json``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--pretend", type=Path, metavar="DRIVER", help="a driver without a device, as of the tests")
    parser.add_argument("--small", action="store_true", help="few and small problems")
    parser.add_argument("--seconds", type=float, default=220.0, help="after which no timing begins (%(default)s)")
    parser.add_argument("--out", type=Path, default=Path("out/gpu.json"), help="what was found (%(default)s)")
    options = parser.parse_args()
    begin = time.monotonic()
    warnings.simplefilter("ignore", RuntimeWarning)  # failures are looked for
    if options.pretend is None and not torch.cuda.is_available():
        print("There is no CUDA device, or this PyTorch has no CUDA.")
        return 2
    machine, sizes = Machine(options.pretend), FEW if options.small or options.pretend else ALL
    found = [compared(machine, family, sizes) for name, family in sizes.families.items() if name != LEFT_OUT]
    found.append(infeasible(machine, sizes))
    kept = promises(found)
    code = judged(kept)
    rows = list(timings(machine, sizes, begin + options.seconds))
    columns = ("device forward", "host forward", "device both", "host both")
    table = Table("family", "batch", *columns, title=f"{machine.name}: µs an instance")
    for row in rows:
        table.add_row(row["family"], str(row["batch"]), *(number(row[c]) for c in columns))
    console().print(table)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    report = {
        "device": machine.name,
        "torch": torch.__version__,
        "cores": os.cpu_count(),
        "families": [f._asdict() for f in found],
        "promises": [dict(zip(("promise", "found", "kept"), p, strict=True)) for p in kept],
        "timings": rows,
    }
    options.out.write_text(json.dumps(report, indent=1), encoding="utf-8")
    return code


if __name__ == "__main__":
    sys.exit(main())
