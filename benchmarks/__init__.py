"""``compare``: with peers, engines and other commits; ``micro``: one quantity each; ``campaigns``: promises, at length.

Programs are run by name, ``python -m benchmarks.campaigns.truth``, and may be called without their folder, ``benchmarks.truth``.
"""

from pathlib import Path

__path__ += [str(Path(__file__).with_name(folder)) for folder in ("compare", "micro", "campaigns")]
