"""The array libraries behind one interface, for laws that are written once and hold for every front end.

NumPy arrays of float64 go in and come out; what is between is the library's own, in the type ``dtype``.
"""

from __future__ import annotations

import abc
import importlib
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest

from cvxpylayers import SolveInfo, WarmStart

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class FrontEnd(abc.ABC):
    """One library with tensors of one floating type; ``solver`` is the engine of its layers."""

    dtype: str
    solver: str | None = None
    library: ClassVar[str]
    package: ClassVar[str]

    @property
    def epsilon(self) -> float:
        """The rounding of one operation in ``dtype``."""
        return float(np.finfo(self.dtype).eps)

    @property
    def kind(self) -> Any:
        """The class of the layers; skips where the library is not installed."""
        pytest.importorskip(self.package)
        return importlib.import_module(f"cvxpylayers.{self.library}").CvxpyLayer

    def layer(self, *arguments: Any, **options: Any) -> Any:
        """A layer, with the engine of this front end unless ``options`` name another."""
        return self.kind(*arguments, **{"solver": self.solver, **options})

    def context(self) -> AbstractContextManager[Any]:
        """Where ``dtype`` exists."""
        return nullcontext()

    def rounded(self, value: Any) -> Array:
        """The numbers that ``tensor`` keeps of ``value``, in float64."""
        return np.asarray(value, dtype=self.dtype).astype(np.float64)

    @abc.abstractmethod
    def tensor(self, value: Any) -> Any:
        """A tensor of the type ``dtype``."""

    def numbers(self, tensor: Any) -> Array:
        """A tensor's entries, in their own type."""
        return np.asarray(tensor)

    def call(self, layer: Any, values: Sequence[Any], **options: Any) -> list[Array]:
        """The outputs of a call."""
        return [self.numbers(o) for o in layer(*map(self.tensor, values), **options)]

    def solve(self, layer: Any, values: Sequence[Any], **options: Any) -> tuple[list[Array], SolveInfo]:
        """The outputs, and the outcome in its common form."""
        outputs, info = layer.solve(*map(self.tensor, values), **options)
        return [self.numbers(o) for o in outputs], info

    def cold(self, layer: Any, batch: tuple[int, ...]) -> Any:
        """What begins a chain of warm starts."""
        return WarmStart()

    @abc.abstractmethod
    def vjp(self, layer: Any, values: Sequence[Any], cotangents: Sequence[Any], **options: Any) -> tuple[list[Array], list[Array]]:
        """Outputs, and the gradients of Σ ⟨cotangent, output⟩ by every parameter, as the library's users take them."""

    @abc.abstractmethod
    def jvp(self, layer: Any, values: Sequence[Any], tangents: Sequence[Any]) -> list[Array]:
        """The outputs' tangents in forward mode."""


class Numpy(FrontEnd):
    library, package = "numpy", "numpy"

    def tensor(self, value: Any) -> Any:
        return np.asarray(value, dtype=self.dtype)

    def vjp(self, layer: Any, values: Sequence[Any], cotangents: Sequence[Any], **options: Any) -> tuple[list[Array], list[Array]]:
        outputs, pull = layer.vjp(*map(self.tensor, values), **options)
        return list(outputs), list(pull(*map(self.tensor, cotangents)))

    def jvp(self, layer: Any, values: Sequence[Any], tangents: Sequence[Any]) -> list[Array]:
        return list(layer.jvp([*map(self.tensor, values)], [*map(self.tensor, tangents)])[1])


class Torch(FrontEnd):
    library, package = "torch", "torch"

    def tensor(self, value: Any) -> Any:
        import torch

        return torch.tensor(np.asarray(value), dtype=getattr(torch, self.dtype))

    def numbers(self, tensor: Any) -> Array:
        return np.asarray(tensor.detach())

    def vjp(self, layer: Any, values: Sequence[Any], cotangents: Sequence[Any], **options: Any) -> tuple[list[Array], list[Array]]:
        import torch

        leaves = [self.tensor(v).requires_grad_() for v in values]
        outputs = layer(*leaves, **options)
        torch.autograd.backward(outputs, [self.tensor(c) for c in cotangents])
        return [self.numbers(o) for o in outputs], [self.numbers(leaf.grad) for leaf in leaves]

    def jvp(self, layer: Any, values: Sequence[Any], tangents: Sequence[Any]) -> list[Array]:
        import torch

        point, along = (tuple(map(self.tensor, arrays)) for arrays in (values, tangents))
        pushed = torch.func.jvp(lambda *parameters: layer(*parameters), point, along)[1]  # it wants a function, not a module
        return [self.numbers(p) for p in pushed]


class Jax(FrontEnd):
    library, package = "jax", "jax"

    def context(self) -> AbstractContextManager[Any]:
        x64: AbstractContextManager[Any] = pytest.importorskip("jax").enable_x64(self.dtype == "float64")
        return x64

    def tensor(self, value: Any) -> Any:
        import jax.numpy as jnp

        return jnp.asarray(value, dtype=self.dtype)

    def solve(self, layer: Any, values: Sequence[Any], **options: Any) -> tuple[list[Array], SolveInfo]:
        outputs, info = super().solve(layer, values, **options)
        return outputs, info.concrete()

    def cold(self, layer: Any, batch: tuple[int, ...]) -> Any:
        return layer.cold_start(*batch)

    def vjp(self, layer: Any, values: Sequence[Any], cotangents: Sequence[Any], **options: Any) -> tuple[list[Array], list[Array]]:
        import jax

        outputs, pull = jax.vjp(lambda *parameters: layer(*parameters, **options), *map(self.tensor, values))
        return [*map(self.numbers, outputs)], [*map(self.numbers, pull(tuple(map(self.tensor, cotangents))))]

    def jvp(self, layer: Any, values: Sequence[Any], tangents: Sequence[Any]) -> list[Array]:
        import jax

        return [*map(self.numbers, jax.jvp(layer, [*map(self.tensor, values)], [*map(self.tensor, tangents)])[1])]


class JittedJax(Jax):
    """Engines other than the native one are called back from compiled code."""

    def vjp(self, layer: Any, values: Sequence[Any], cotangents: Sequence[Any], **options: Any) -> tuple[list[Array], list[Array]]:
        import jax

        return super().vjp(jax.jit(lambda *parameters: layer(*parameters, **options)), values, cotangents)


class Mlx(FrontEnd):
    library, package = "mlx", "mlx.core"

    def context(self) -> AbstractContextManager[Any]:
        mx = pytest.importorskip("mlx.core")
        cpu: AbstractContextManager[Any] = mx.stream(mx.cpu)  # float64 exists there alone
        return cpu

    def tensor(self, value: Any) -> Any:
        import mlx.core as mx

        return mx.array(np.asarray(value), dtype=getattr(mx, self.dtype))

    def vjp(self, layer: Any, values: Sequence[Any], cotangents: Sequence[Any], **options: Any) -> tuple[list[Array], list[Array]]:
        import mlx.core as mx

        point, weights = ([*map(self.tensor, arrays)] for arrays in (values, cotangents))
        outputs, gradients = mx.vjp(lambda *parameters: layer(*parameters, **options), point, weights)
        return [*map(self.numbers, outputs)], [*map(self.numbers, gradients)]

    def jvp(self, layer: Any, values: Sequence[Any], tangents: Sequence[Any]) -> list[Array]:
        import mlx.core as mx

        point, along = ([*map(self.tensor, arrays)] for arrays in (values, tangents))
        return [*map(self.numbers, mx.jvp(lambda *parameters: layer(*parameters), point, along)[1])]


FRONT_ENDS = {
    "numpy": Numpy("float64"),
    "numpy-clarabel": Numpy("float64", "CLARABEL"),  # batches of an engine that solves one instance at a time
    "numpy-float32": Numpy("float32"),
    "torch": Torch("float64"),
    "torch-float32": Torch("float32"),
    "jax": Jax("float64"),
    "jax-float32": Jax("float32"),
    "mlx": Mlx("float64"),
    "mlx-float32": Mlx("float32"),
}
