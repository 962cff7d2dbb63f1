"""Who watches a call: compilers, exporters, tracers and modes that see operators, but not what happens to arrays."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, Final

import torch
from torch.fx import Proxy
from torch.overrides import _get_current_function_mode_stack

from cvxpylayers._layer.layer import Layer
from cvxpylayers.errors import InputError, ProblemError
from cvxpylayers.torch._tensors import ORDINARY

_PLAIN: Final = tuple(getattr(k.__torch_function__, "__func__", k.__torch_function__) for k in (torch.Tensor, torch.nn.Buffer))
_DISPATCH: Final = torch.Tensor.__torch_dispatch__
_BEFORE: Final = torch._C.DispatchKey.PreDispatch


def watched(parameters: Sequence[Any]) -> bool:
    """Whether somebody records or changes operators on their way, or a tensor holds no numbers or is more than its numbers."""
    if torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None or isinstance(parameters, Proxy):
        return True
    if torch._C._len_torch_dispatch_stack() or _pre_dispatching() or (torch._C._len_torch_function_stack() and _function_modes()):
        return True
    for p in parameters:  # noqa: SIM110  # a generator takes longer than what it generates
        if p.is_meta if type(p) in ORDINARY else _unusual(p):
            return True
    return False


def archived(parameters: Sequence[Any]) -> bool:
    """Whether what is recorded may be saved and run by another process, which then needs what the layer holds."""
    return torch._C._get_tracing_state() is not None or any(isinstance(p, Proxy) for p in parameters)


def require_numbers(layer: Layer, parameters: Sequence[Any]) -> None:
    """Raise where a ``SolveInfo``, which holds numbers and no tensors, cannot be had or would be a constant of a recording."""
    if torch.compiler.is_compiling():
        return  # the solve steps out of the graph
    instead = "call layer(...), which is an operator; it reports nothing."
    if torch._C._get_tracing_state() is not None or _pre_dispatching() or _making_fx():
        raise InputError(f"What layer.solve(...) reports would be a constant of the trace: {instead}")
    for spec, p in zip(layer.compiled.parameters, parameters, strict=False):
        if isinstance(p, Proxy) or (isinstance(p, torch.Tensor) and _numberless(p)):
            what = "on the meta device" if isinstance(p, torch.Tensor) and p.is_meta else f"a {type(p).__name__}"
            raise InputError(f"Parameter {spec.name!r} is {what} and holds no numbers to solve for: {instead}")


def require_operators(parameters: Any) -> None:
    """Raise where an operator cannot go either."""
    if isinstance(parameters, Proxy):
        raise InputError("torch.fx traces what is inside its root, and a layer has no inside: trace a module that holds it.")
    if torch._C._get_tracing_state() is not None and torch.onnx.is_in_onnx_export():
        raise ProblemError(
            "ONNX has no operator that solves a problem: torch.export.export makes a program that carries the layer; or export "
            "the parts of the model before and after it."
        )


def capturing() -> bool:
    """Whether a CUDA graph is captured, which replays what the device did."""
    return torch.cuda.is_initialized() and torch.cuda.is_current_stream_capturing()


def require_no_capture() -> None:
    """Raise while a CUDA graph is captured: the solve is the host's work."""
    if capturing():
        raise InputError(
            "A CUDA graph cannot hold what is solved by the host: capture the parts of the model before and after it, or "
            "use torch.compile, which leaves layers out of its CUDA graphs."
        )


def _unusual(value: Any) -> bool:
    """Whether the value has no numbers, or is more than them."""
    return _numberless(value) or _overrides(type(value)) if isinstance(value, torch.Tensor) else isinstance(value, Proxy)


def _numberless(tensor: torch.Tensor) -> bool:
    """Whether NumPy cannot see the tensor's memory, or its class intercepts operators."""
    return tensor.is_meta or type(tensor).__torch_dispatch__ is not _DISPATCH


def _overrides(kind: type[torch.Tensor]) -> bool:
    """Whether functions of such tensors do something of their own."""
    own = kind.__torch_function__
    return getattr(own, "__func__", own) not in _PLAIN


def _pre_dispatching() -> bool:
    """Whether a mode sees operators before they are dispatched: the key is included as long as there is one."""
    return torch._C._dispatch_tls_is_dispatch_key_included(_BEFORE)


def _function_modes() -> bool:
    """Whether there is a mode of functions, but for the default device, which has no say here."""
    devices = sys.modules.get("torch.utils._device")
    return any(devices is None or not isinstance(mode, devices.DeviceContext) for mode in _get_current_function_mode_stack())


def _making_fx() -> bool:
    """Whether ``make_fx`` is at work."""
    tracers = sys.modules.get("torch.fx.experimental.proxy_tensor")
    return tracers is not None and tracers.get_proxy_mode() is not None
