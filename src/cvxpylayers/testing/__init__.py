"""The laws of an engine as a test suite for pytest.

    from cvxpylayers.testing import EngineContract

    class TestMine(EngineContract):
        solver = "MINE"  # or a subclass of ``cvxpylayers.engines.Engine``

in a file of tests runs every law for that engine: solutions, derivatives, statuses, invariance, options, pickles, in NumPy and in
every other front end whose library is installed. ``accuracy`` (1e-7) is what solutions are held to; ``certificates = False`` is for
engines that find out that there is no solution, but not why. What cannot be asked of an engine is skipped, with the reason.
"""

from __future__ import annotations

try:
    import pytest
except ImportError as error:
    raise ImportError("cvxpylayers.testing needs pytest; install it with: pip install pytest") from error

pytest.register_assert_rewrite("cvxpylayers.testing._contract")  # so that a broken law shows its numbers

from cvxpylayers.testing._contract import EngineContract

__all__ = ["EngineContract"]
