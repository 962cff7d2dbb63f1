"""What is left of the tools of earlier versions: words for what replaces them."""

from __future__ import annotations

from typing import Final

from cvxpylayers._gone import gone

_INSTEAD: Final = {
    "parse_args": "a layer compiles its problem itself, and layer.explain() tells what it made",
    "solver_utils": "an engine of one's own gets matrices in its solver's layout from cvxpylayers.engines",
}
__path__: list[str] = []  # has submodules
__getattr__ = gone(__name__, _INSTEAD, "solves and gradients in NumPy are those of cvxpylayers.numpy.CvxpyLayer")
