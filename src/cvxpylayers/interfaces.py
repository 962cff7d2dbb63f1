"""What is left of the solver interfaces of earlier versions: words for what replaces them."""

from __future__ import annotations

from typing import Final

from cvxpylayers._gone import gone

_OWN: Final = "a solver of one's own is a function or a subclass of cvxpylayers.engines.Engine, given as solver="
_NAMED: Final = "a solver is chosen by its name, as in solver='{}'"
_SOLVERS: Final = {f"{name}_if": _NAMED.format(name.upper()) for name in ("clarabel", "cuclarabel", "diffcp", "moreau", "mpax")}
__path__: list[str] = []  # has submodules
__getattr__ = gone(__name__, {"base": _OWN, "custom_if": _OWN, **_SOLVERS}, _OWN)
