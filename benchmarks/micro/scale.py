"""From Parquet to Parquet: rows a second, the share of time outside of the solve, and peak memory, on one process, Ray and Dask.

    python -m benchmarks.micro.scale [--tiny 10000000] [--medium 100000] [--engines one ray dask] [--write docs/scale.md]

Tiny: 2 variables, 2 parameters; medium: 20 variables, 3 × 20 + 20 parameters. Each engine runs in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import cvxpy as cp
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import cvxpylayers
from benchmarks.text import insert
from cvxpylayers.numpy import CvxpyLayer

ENGINES = {"one": "one process", "ray": "Ray, two workers", "dask": "Dask, two workers"}
_FILES = 16


def tiny() -> CvxpyLayer:
    """The projection of a point onto the simplex, 2 variables."""
    x, b = cp.Variable(2, name="x"), cp.Parameter(2, name="b")
    return CvxpyLayer(cp.Problem(cp.Minimize(cp.sum_squares(x - b)), [x >= 0, cp.sum(x) == 1]), [b], [x])


def medium() -> CvxpyLayer:
    """A portfolio of 20 assets with 3 factors."""
    w, F, mu = cp.Variable(20, name="w"), cp.Parameter((3, 20), name="F"), cp.Parameter(20, name="mu")
    risk = cp.sum_squares(F @ w) + 0.1 * cp.sum_squares(w)
    return CvxpyLayer(cp.Problem(cp.Minimize(risk - mu @ w), [w >= 0, cp.sum(w) == 1]), [F, mu], [w])


CASES = {"tiny": tiny, "medium": medium}


def written(layer: CvxpyLayer, folder: Path, rows: int) -> None:
    """Random instances in files of equal length."""
    rng, each = np.random.default_rng(0), -(-rows // _FILES)
    for k in range(_FILES):
        columns: dict[str, Any] = {"id": np.arange(k * each, (k + 1) * each)}
        for name, shape in layer.signature.parameters.items():
            size = int(np.prod(shape))
            columns[name] = pa.FixedSizeListArray.from_arrays(pa.array(rng.standard_normal(each * size)), size)
        pq.write_table(pa.table(columns), folder / f"{k:05}.parquet")


def overhead(layer: CvxpyLayer, rows: int) -> float:
    """CPU time of tables in memory over that of the call on arrays, medians of seven, interleaved."""
    rng, solver = np.random.default_rng(0), layer.on_tables()
    arrays = {name: rng.standard_normal((rows, *shape)) for name, shape in layer.signature.parameters.items()}
    columns = {n: pa.FixedSizeListArray.from_arrays(pa.array(a.reshape(-1)), a[0].size) for n, a in arrays.items()}
    table = pa.table(columns)
    times: list[tuple[float, float]] = []
    for _ in range(7):
        began = time.process_time()
        layer(*arrays.values())
        middle = time.process_time()
        solver(table)
        times.append((middle - began, time.process_time() - middle))
    plain, tables = np.median(times, axis=0)
    return float(tables / plain - 1)


def measured(engine: str, layer_file: str, source: str, target: str) -> dict[str, float]:
    """One run: seconds, and of this process the share of CPU time outside of ``Layer.solve`` and the peak memory in MiB."""
    layer = cvxpylayers.load(layer_file)
    inside = 0.0
    if engine == "one":
        solve = layer._layer.solve

        def timed(*args: Any, **options: Any) -> Any:
            nonlocal inside
            began = time.monotonic()
            try:
                return solve(*args, **options)
            finally:
                inside += time.monotonic() - began

        layer._layer.solve = timed  # type: ignore[method-assign]  # a clock around the method of this one layer
    began = time.monotonic()
    if engine == "one":
        layer.solve_dataset(source, target, id="id", progress=False)
    elif engine == "ray":
        import ray

        import cvxpylayers.ray as on_ray

        ray.init(num_cpus=3, include_dashboard=False, log_to_driver=False)
        began = time.monotonic()
        on_ray.solve(ray.data.read_parquet(source), layer, concurrency=2, keep=["id"]).write_parquet(target)
    else:
        from dask.distributed import Client

        with Client(n_workers=2, threads_per_worker=1, dashboard_address=None) as client:
            began = time.monotonic()
            files = sorted(str(path) for path in Path(source).iterdir())
            Path(target).mkdir()
            client.gather(client.map(_file, files, solver=layer.on_tables(keep=["id"]).with_threads(1), target=target))
    seconds = time.monotonic() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": seconds, "outside": 1 - inside / seconds if inside else float("nan"), "peak": peak}


def _file(path: str, solver: Any, target: str) -> None:
    with pq.ParquetFile(path) as file, pq.ParquetWriter(f"{target}/{Path(path).name}", solver.schema(file.schema_arrow)) as writer:
        for batch in file.iter_batches(65_536):
            writer.write_table(solver(batch))


def rows_of(case: str, rows: int, engines: list[str]) -> list[str]:
    """Lines of the table."""
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        layer = CASES[case]()
        layer.save(work / "layer")
        for share in (4, 1):  # a quarter first, so that growing memory shows
            count = rows // share
            source = work / f"in{share}"
            source.mkdir()
            written(layer, source, count)
            for engine in engines:
                command = [sys.executable, "-m", "benchmarks.micro.scale", "--run", engine, str(work / "layer"), str(source)]
                done = subprocess.run([*command, str(work / f"{engine}{share}")], check=True, capture_output=True, text=True)
                found = json.loads(done.stdout.splitlines()[-1])
                outside = "" if np.isnan(found["outside"]) else f"{found['outside']:.0%}"
                memory = f"{found['peak']:,.0f} MiB" if engine == "one" else ""
                rate = f"{count / found['seconds']:,.0f}"
                lines.append(f"| {case} | {count:,} | {ENGINES[engine]} | {rate} | {outside} | {memory} |")
                print(lines[-1], flush=True)
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", type=int, default=10_000_000)
    parser.add_argument("--medium", type=int, default=100_000)
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=list(ENGINES))
    parser.add_argument("--write", type=Path, help="page with a pair of marker lines")
    parser.add_argument("--run", nargs=4, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.run:
        print(json.dumps(measured(*given.run)))
        return 0
    head = ["| instances | rows | on | rows a second | time outside of the solve | peak memory |", "|---|---|---|---|---|---|"]
    lines = [*head, *rows_of("tiny", given.tiny, given.engines), *rows_of("medium", given.medium, given.engines)]
    shares = {case: overhead(make(), 100_000 if case == "tiny" else 20_000) for case, make in CASES.items()}
    text = " and ".join(f"{share:+.0%} on {case} instances" for case, share in shares.items())
    lines += ["", f"CPU time of `on_tables` in memory against the call on arrays: {text}."]
    print(lines[-1])
    if given.write:
        given.write.write_text(insert(given.write.read_text(), "\n".join(lines)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
