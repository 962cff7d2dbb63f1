"""Who solves a call whose data lie on a device: that device, or the host."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple

from cvxpylayers import _core
from cvxpylayers._engines.engine import POLYHEDRAL, Engine
from cvxpylayers._engines.native.engine import NativeEngine
from cvxpylayers.errors import DeviceError

_HOST: Final = "solver_args={'device': 'cpu'}"


class Execution(NamedTuple):
    """Where a call is computed, the number of a device or None for the host, and why there."""

    device: int | None
    why: str


def execution(engine: Engine, wish: str | None, at: int) -> Execution:
    """Who solves data that lie on the device with the number ``at``, by the option ``device``, which may be None.

    Data are solved where they are, if the problem, the driver and the build allow that. Which of both would be faster is not
    asked (docs/gpu.md).

    Raises:
        DeviceError: "cuda" is wished for and cannot be had; the message says why.
    """
    if wish == "cpu":
        return Execution(None, f"named by the user, {_HOST}")
    obstacle = _obstacle(engine, at)
    if obstacle is None:
        return Execution(at, "data stay where they lie")
    if wish == "cuda":
        raise DeviceError(f"device='cuda' cannot be had: {obstacle}.")
    return Execution(None, obstacle)


def in_words(engine: Engine) -> str:
    """Who solves PyTorch's tensors on the first device, and why, by the engine's own options."""
    try:
        device, why = execution(engine, engine.options.get("device"), 0)
    except DeviceError as error:
        return f"fail: {error}"
    return f"{'solved on the host' if device is None else 'solved there'}: {why}"


def _obstacle(engine: Engine, at: int) -> str | None:
    """Why the device does not solve the engine's problem; None where it does."""
    if not isinstance(engine, NativeEngine):
        what = "geometric programs are" if engine.compiled.log_space else f"the engine {engine.name} is"
        return f"{what} solved on the host"
    if beyond := {block.kind for block in engine.compiled.structure.cones.blocks()} - POLYHEDRAL:
        return f"devices solve linear and quadratic programs, and this one has cones: {', '.join(sorted(beyond))}"
    if engine.smoothed:
        return "smoothed derivatives are taken on the host"
    try:
        _core.require_device(at)
    except _core.DeviceError as error:
        return str(error)
    return None


@contextmanager
def failing() -> Iterator[None]:
    """What the driver says as an error of this package."""
    try:
        yield
    except _core.DeviceError as error:
        raise DeviceError(f"{error}.") from None
