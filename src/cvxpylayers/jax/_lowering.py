"""From primitives to XLA: custom calls into the kernel on CPU, callbacks to the host elsewhere."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np
from jax.extend.core import Primitive
from jax.interpreters import mlir

from cvxpylayers import _core
from cvxpylayers.jax._program import Program

# Options that concern the host, or what was compiled before.
_HOST_OPTIONS = frozenset({"fallback", "lane_width"})


def register_handlers() -> bool:
    """Make the kernel's handlers known to XLA; False where there are none, or XLA speaks another version of the interface."""
    handlers: dict[str, Any] = getattr(_core, "xla_handlers", dict)()
    try:
        for name, handler in handlers.items():
            jax.ffi.register_ffi_target(name, handler, platform="cpu")
    except Exception as error:
        warnings.warn(
            f"This build of cvxpylayers and the installed jaxlib do not fit ({error}); calls go through Python. "
            "Reinstall cvxpylayers beside this jaxlib with pip's --no-build-isolation.",
            RuntimeWarning,
            stacklevel=2,
        )
        return False
    return bool(handlers)


HANDLERS = register_handlers()


def lower(primitive: Primitive, host: Callable[..., Any], attributes: Callable[..., dict[str, Any]]) -> None:
    """Register both lowerings of ``primitive``; ``host`` is the method of ``Program``, ``attributes`` what the handler is told."""

    def callback(ctx: mlir.LoweringRuleContext, *operands: Any, **params: Any) -> Any:
        types = [jax.ShapeDtypeStruct(a.shape, a.dtype) for a in ctx.avals_out]
        call = partial(_on_host, host, types, params)
        return mlir.lower_fun(partial(jax.pure_callback, call, types), multiple_results=True)(ctx, *operands)

    def custom_call(ctx: mlir.LoweringRuleContext, *operands: Any, **params: Any) -> Any:
        program: Program = params["program"]
        if program.key is None or not HANDLERS:
            return callback(ctx, *operands, **params)
        ctx.module_context.add_keepalive(program)  # the executable may outlive every layer
        facts = {"key": np.int64(program.key), **attributes(**params)}
        return jax.ffi.ffi_lowering(primitive.name)(ctx, *operands, **facts)

    mlir.register_lowering(primitive, callback)
    mlir.register_lowering(primitive, custom_call, platform="cpu")


def settings(program: Program, options: tuple[tuple[str, Any], ...] = ()) -> dict[str, Any]:
    """Options of the layer, overridden by those of the call, as the handlers read them."""
    merged = {**dict(program.options), **dict(options)}
    return {name: np.float64(value) for name, value in merged.items() if name not in _HOST_OPTIONS}


def flags(values: tuple[bool, ...]) -> Any:
    """A row of switches as an attribute."""
    return np.array(values, dtype=np.int64)


def _on_host(host: Callable[..., Any], types: list[jax.ShapeDtypeStruct], params: dict[str, Any], *operands: Any) -> list[Any]:
    arguments = {k: v for k, v in params.items() if k != "program"}
    found = host(params["program"], *map(np.asarray, operands), **arguments)
    results = found if isinstance(found, tuple) else (found,)
    return [np.asarray(r, dtype=t.dtype).reshape(t.shape) for r, t in zip(results, types, strict=True)]
