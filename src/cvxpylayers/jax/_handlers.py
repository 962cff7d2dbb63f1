"""The kernel's custom-call handlers, and where compiled programs do without them."""

from __future__ import annotations

import os
import warnings
from functools import lru_cache
from importlib.metadata import version

import jax

from cvxpylayers import _core
from cvxpylayers._engines.engine import Engine
from cvxpylayers._engines.native.engine import NativeEngine


def _register() -> str:
    """Make the kernel's handlers known to XLA; why that failed, or nothing."""
    try:
        for name, handler in _core.xla_handlers().items():
            jax.ffi.register_ffi_target(name, handler, platform="cpu")
    except Exception as error:
        return f"jaxlib {version('jaxlib')} does not take the handlers of this build of cvxpylayers: {error}"
    return ""


REFUSAL = _register()


def detour(engine: Engine) -> str:
    """Why compiled programs reach ``engine`` through Python; empty where they call the kernel. Warns once if they could not."""
    if not isinstance(engine, NativeEngine):
        return f"the engine {engine.name} is not compiled in"
    if os.environ.get("CVXPYLAYERS_JAX") == "callback":
        return "CVXPYLAYERS_JAX=callback"
    if REFUSAL:
        _warn()
    return REFUSAL


@lru_cache(maxsize=1)
def _warn() -> None:
    words = f"Compiled JAX programs will call Python: {REFUSAL}. Install versions of jax and cvxpylayers of about the same age."
    warnings.warn(words, RuntimeWarning, stacklevel=2)
