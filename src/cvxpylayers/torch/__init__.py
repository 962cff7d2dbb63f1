"""PyTorch front end: ``CvxpyLayer`` is a ``torch.nn.Module``."""

from __future__ import annotations

try:
    import torch
except ImportError as error:
    raise ImportError("cvxpylayers.torch needs PyTorch; install it with: pip install 'cvxpylayers[torch]'") from error

from cvxpylayers.torch import losses
from cvxpylayers.torch._module import CvxpyLayer

__all__ = ["CvxpyLayer", "losses"]
