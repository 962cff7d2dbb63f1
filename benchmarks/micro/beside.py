"""What a call of each front end costs beside the kernel: microseconds of this process on one thread.

``forward`` is a call, for PyTorch of tensors that want gradients, for JAX of a compiled function; ``backward`` is what a training
step takes beyond that. From each the kernel's own time is taken, with arguments ready. Calls are interleaved in bursts,
and the faster half of the bursts counts: the processor's time, so that others on the machine hardly matter. The floor is what
``torch.autograd`` takes for a function of the same tensors that computes nothing, forward and backward.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias, TypeVar

from benchmarks.compare.cases import layer_case
from benchmarks.compare.contenders import Array, Case, Layer
from benchmarks.compare.jax_contenders import JaxLayer
from problems.families import FAMILIES

Call: TypeAlias = Callable[[], object]
Taken = TypeVar("Taken")

ONE: dict[str, Any] = {"solver_args": {"threads": 1}}


def single(family: str) -> Case:
    """One instance without a batch axis."""
    case = layer_case(FAMILIES[family], 1)
    shapes = [p.shape for p in FAMILIES[family].make().parameters]
    arrays = {k: a.reshape(shapes[int(k[5:])]) if k.startswith("param") else a[0] for k, a in case.arrays.items()}
    return Case(family, 1, 0, 0, 0, (), arrays)


def interleaved(calls: Sequence[Call], budget: float, measure: Callable[[Call], Taken]) -> list[list[Taken]]:
    """What is measured of each call in turn, again and again for ``budget`` seconds in all, after one warm-up."""
    for call in calls:
        call()
    samples: list[list[Taken]] = [[] for _ in calls]
    end = time.perf_counter() + budget
    while time.perf_counter() < end or len(samples[0]) < 5:
        for call, taken in zip(calls, samples, strict=True):
            taken.append(measure(call))
    return samples


def burst_seconds(calls: Sequence[Call], budget: float, burst: int = 20) -> list[float]:
    """Processor time of each call: the median of the faster half of interleaved bursts that take ``budget`` seconds in all."""

    def measure(call: Call) -> float:
        start = time.process_time()
        for _ in range(burst):
            call()
        return (time.process_time() - start) / burst

    return [statistics.median(sorted(taken)[: (len(taken) + 1) // 2]) for taken in interleaved(calls, budget, measure)]


class Kernel:
    """The extension's own calls, on arguments that are ready."""

    def __init__(self, layer: Any, arrays: Sequence[Array]) -> None:
        self.kernel, self.settings, self.batch = layer.engine._kernel, layer.engine._settings, layer.batch(arrays)
        self.outputs, self.tape, *_ = self.forward()
        self.wanted = [True] * len(arrays)

    def forward(self, tape: bool = True) -> Any:
        given = (self.batch.arrays, self.batch.shape, self.settings, (), None, False, None)
        return self.kernel.solve(*given, tape)

    def backward(self) -> None:
        self.kernel.vjp(self.batch.arrays, self.batch.shape, self.tape, None, self.outputs, self.wanted, 1)


def floor(leaves: Sequence[Any]) -> Callable[[], None]:
    """One pass forward and back through a function that computes nothing."""
    import torch

    class Nothing(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *given: Any) -> Any:
            ctx.save_for_backward(*given)
            return given[-1].clone()

        @staticmethod
        def backward(ctx: Any, cotangent: Any) -> Any:
            return tuple(torch.zeros_like(saved) for saved in ctx.saved_tensors)

    cotangent = leaves[-1].detach().clone()
    return lambda: torch.autograd.backward(Nothing.apply(*leaves), cotangent)


@dataclass(frozen=True)
class Beside:
    """Microseconds of a call, of one family at one batch size; 0 stands for an instance without a batch axis."""

    family: str
    batch: int
    kernel: tuple[float, float]  # forward, backward
    step: float  # PyTorch, forward and backward, with the kernel
    forward: float  # the rest, beside the kernel
    backward: float
    numpy: float
    jax: float
    floor: float

    HEADINGS: ClassVar = (
        *("family", "batch", "kernel, forward / backward", "PyTorch step, all of it", "beside the kernel: PyTorch forward (≤ 40)"),
        *("backward (≤ 60)", "NumPy (≤ 25)", "JAX, jitted (≤ 10)", "floor of autograd"),
    )

    @staticmethod
    def of(family: str, batch: int, budget: float) -> Beside:
        """Measure for about ``budget`` seconds."""
        import torch

        from cvxpylayers.numpy import CvxpyLayer

        torch.set_num_threads(1)
        case = layer_case(FAMILIES[family], batch) if batch else single(family)
        layer, jitted, arrays = Layer(case, **ONE), JaxLayer(case, compiled=True, **ONE), case.numbered("param")
        problem, parameters, variables = FAMILIES[family].make()
        plain, kernel = CvxpyLayer(problem, parameters, variables, **ONE), Kernel(layer.layer._layer, arrays)
        leaves = [p.detach().requires_grad_() for p in layer.parameters]
        calls: dict[str, Call] = {
            "forward": lambda: layer.layer(*leaves),
            "step": layer.gradient,
            "numpy": lambda: plain(*arrays),
            "jax": jitted.forward,
            "floor": floor(leaves),
            "solve": kernel.forward,
            "without tape": lambda: kernel.forward(tape=False),
            "vjp": kernel.backward,
        }
        t = {name: 1e6 * s for name, s in zip(calls, burst_seconds(list(calls.values()), budget), strict=True)}
        forward, backward = t["forward"] - t["solve"], t["step"] - t["forward"] - t["vjp"]
        numpy, jax = t["numpy"] - t["without tape"], t["jax"] - t["without tape"]
        return Beside(family, batch, (t["solve"], t["vjp"]), t["step"], forward, backward, numpy, jax, t["floor"])

    def entries(self) -> list[str]:
        """One per heading."""
        rest = (self.step, self.forward, self.backward, self.numpy, self.jax, self.floor)
        return [self.family, str(self.batch or "none"), " / ".join(f"{k:.1f}" for k in self.kernel), *(f"{v:.1f}" for v in rest)]
