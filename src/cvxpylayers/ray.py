"""Layers on Ray Data: one actor per worker that builds the layer once, as many threads as the actor was given CPUs.

Back-pressure, retries and checkpoints are Ray's. Without this module the same is

    solver = layer.on_tables(keep=["id"])
    dataset.map_batches(solver, batch_format="pyarrow")

where each task unpickles the solver and takes the threads that ``OMP_NUM_THREADS``, which Ray sets for its workers, allows.
"""

from __future__ import annotations

import os
from typing import Any, Protocol

from cvxpylayers._tables.solver import TableSolver
from cvxpylayers.errors import InputTypeError, MissingPackageError

try:
    import ray
    import ray.data
except ImportError as _error:
    raise MissingPackageError("cvxpylayers.ray needs Ray: pip install 'cvxpylayers[ray]'.") from _error

__all__ = ["solve"]


class _Layer(Protocol):
    def on_tables(self, **settings: Any) -> TableSolver: ...


class Actor:
    """What lives in a worker: the solver, with a thread for each CPU of the actor."""

    def __init__(self, solver: TableSolver) -> None:
        context: Any = ray.get_runtime_context()
        given = context.get_assigned_resources().get("CPU", 1)
        self.solver = solver.with_threads(max(int(given), 1))

    def __call__(self, table: Any) -> Any:
        """Solve one block."""
        return self.solver(table)


def solve(
    dataset: Any,
    layer: _Layer | str | os.PathLike[str],
    *,
    concurrency: int | tuple[int, int] = 1,
    num_cpus: float = 1,
    batch_size: int = 16_384,
    **settings: Any,
) -> Any:
    """Results of every row of a ``ray.data.Dataset``, as a lazy one; ``settings`` are those of ``layer.on_tables``.

    ``layer`` is a NumPy layer, or the path of its file, read here. ``concurrency`` is the number of actors, or its least and
    largest, ``num_cpus`` what each is given; leave the cluster a CPU for reading, without which nothing moves. A worker that
    dies is replaced and its block solved again, with the same results to the last bit.

    Raises:
        InputError, InputTypeError, OptionError: a name, a setting or a column is not understood; nothing has been solved then.
    """
    if isinstance(layer, str | os.PathLike):
        from cvxpylayers import load

        layer = load(layer)
    if not hasattr(layer, "on_tables"):
        raise InputTypeError(f"A cvxpylayers.numpy.CvxpyLayer or the path of its file is needed; got {type(layer).__name__}.")
    solver = layer.on_tables(**settings)
    schema = dataset.schema()
    if schema is not None:
        solver.schema(schema.base_schema)
    least, most = (concurrency, concurrency) if isinstance(concurrency, int) else concurrency
    pool = ray.data.ActorPoolStrategy(min_size=least, max_size=most)
    options = {"batch_format": "pyarrow", "batch_size": batch_size, "compute": pool, "num_cpus": num_cpus}
    return dataset.map_batches(Actor, fn_constructor_args=(solver,), **options)
