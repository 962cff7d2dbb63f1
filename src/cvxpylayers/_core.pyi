"""Types of the extension module (cpp/bindings)."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cvxpylayers._typing import Bool, Exchanged, Float64, Int8, Int32

class Settings:
    """The options of a solve, read once from those that ``defaults`` names; others are ignored."""

    def __init__(self, options: Mapping[str, Any]) -> None: ...

class Arrays(Sequence[Float64]):
    """The parameters of a call where they lie: a sequence of NumPy's arrays (*batch_i, size_i), which are made when asked for."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: Any) -> Any: ...
    @property
    def shape(self) -> tuple[int, ...]: ...  # to which the batch_i broadcast

def read(arrays: Sequence[Exchanged], shapes: Sequence[tuple[int, ...]]) -> Arrays | None:
    """Arrays (*batch_i, *shape_i) of one library; None where they must be converted first, or something is wrong with them."""

class Facts:
    """What a solve says of its instances beside their solutions; arrays are made when they are asked for."""

    @property
    def status(self) -> Int8: ...
    @property
    def iterations(self) -> Int32: ...
    @property
    def residuals(self) -> Float64: ...  # (B, 4)
    @property
    def fallback(self) -> Bool: ...
    @property
    def margin(self) -> Float64: ...

_Pulled = tuple[list[Exchanged | None], list[int], Bool]  # gradients; which of them are to be summed; degenerate

class Kernel:
    """One compiled problem; immutable, usable from several threads.

    Parameters are ``Arrays``, or arrays (*batch_i, size_i), that broadcast to ``shape``; B is its product. Outputs, tapes and
    gradients are of their library; in another than NumPy batch axes are not flattened to B, and gradients have the shapes that
    were ``read``. None stands for what is not wanted (for a tangent: zero).
    A tape (B, n + 2 m) holds a point (x, z, s) of every instance that has a solution, NaN for the others.
    """

    def __init__(
        self,
        n: int,
        m: int,
        zero: int,
        cones: Sequence[tuple[int, int, float]],
        P: tuple[Int32, Int32],  # indptr, indices
        A: tuple[Int32, Int32],
        M: tuple[Int32, Int32, Float64],  # and the entries
        R: tuple[Int32, Int32, Float64],
        parameter_sizes: Sequence[int],
        check_convexity: bool,
        objective_sign: float,
        smoothed: bool = False,
        lane_width: int = 0,
    ) -> None: ...
    def solve(
        self,
        parameters: Sequence[Float64 | None],
        shape: Sequence[int],
        settings: Settings,
        rounding: Sequence[float],
        invalid: Bool | None,
        infinite: bool,
        start: Float64 | None,
        tape: bool,
    ) -> tuple[Exchanged, Exchanged | None, Facts, int]: ...  # outputs; the tape; the worst status, -1 of an empty batch
    def vjp(
        self,
        parameters: Sequence[Float64 | None],
        shape: Sequence[int],
        tape: Exchanged,
        directions: int | None,
        outputs: Exchanged,
        wanted: Sequence[bool],
        threads: int = 0,
    ) -> _Pulled: ...
    def jvp(
        self,
        parameters: Sequence[Float64 | None],
        shape: Sequence[int],
        tape: Exchanged,
        directions: int,
        tangents: Sequence[Float64 | None],
        outputs: Float64,
        degenerate: Bool,
        threads: int = 0,
    ) -> None: ...
    def publish(self, key: int, domains: Sequence[tuple[Any, ...]], tolerances: tuple[float, float, float, float]) -> None: ...
    def hvp(
        self,
        parameters: Sequence[Float64 | None],
        shape: Sequence[int],
        tape: Exchanged,
        directions: int | None,
        outputs: Exchanged,
        tangents: Sequence[Float64 | None],
        wanted: Sequence[bool],
        threads: int = 0,
    ) -> _Pulled: ...
    def centre(
        self,
        parameters: Sequence[Float64 | None],
        shape: Sequence[int],
        tape: Float64,
        smoothing: float,
        threads: int = 0,
    ) -> None: ...
    def describe(self) -> dict[str, Any]: ...

class DeviceError(RuntimeError):
    """A device cannot do what is asked of it."""

class OutOfDeviceMemory(DeviceError):  # noqa: N818  # as in C++
    """Not even one block of teams has room."""

_Source = tuple[int, bool, Sequence[int]]  # address, whether it is float32, strides along the batch axes in entries

class DeviceKernel:
    """One compiled problem on a device; immutable.

    Arrays are addresses of the device's memory, 0 where there is none, of the sizes that ``Kernel`` has. ``lend(bytes)`` gives the
    address of memory that lasts until what was queued on the stream is done, 0 where there is no room. Nothing waits.
    """

    def __init__(self, kernel: Kernel, device: int) -> None: ...
    def solve(
        self,
        parameters: Sequence[_Source],
        shape: Sequence[int],
        settings: Settings,
        rounding: float,
        invalid: int,
        infinite: bool,
        hidden: bool,  # whether outputs of instances without a solution are NaN
        start: int,
        outputs: int,
        tape: int,
        status: int,
        iterations: int,
        residuals: int,
        margin: int,
        stream: int,
        lend: Callable[[int], int],
    ) -> None: ...
    def vjp(
        self,
        parameters: Sequence[_Source],
        shape: Sequence[int],
        tape: int,
        directions: int,
        outputs: int,
        gradients: Sequence[tuple[int, bool]],  # and whether it is summed over the batch
        degenerate: int,
        stream: int,
        lend: Callable[[int], int],
    ) -> None: ...
    def jvp(
        self,
        parameters: Sequence[_Source],
        shape: Sequence[int],
        tape: int,
        directions: int,
        tangents: Sequence[_Source],
        outputs: int,
        degenerate: int,
        stream: int,
        lend: Callable[[int], int],
    ) -> None: ...

def require_device(device: int) -> None: ...  # raises DeviceError where problems cannot be solved there
def available_instruction_sets() -> list[str]: ...
def defaults() -> tuple[dict[str, Any], float]: ...  # options of a solve; worst residual of an almost solved instance
def default_threads() -> tuple[int, str, str]: ...  # threads, who says so, and a variable that makes no sense
def xla_handlers() -> dict[str, Any]: ...
