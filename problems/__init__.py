"""Problems whose answers are known, and what answers are compared with: below ``tests`` and ``benchmarks``, and importing neither.

``families``, ``conic_families``: parametrized problems in CVXPY, at sizes for benchmarks and for tests.
``kinds``, ``programs``: linear and quadratic programs built around their solutions. ``mixes``, ``conic``, ``pairs``: conic ones.
``models``: one small problem in CVXPY for every form that is canonicalized. ``layers``: layers for files.
``oracles``, ``projections``, ``canonical``: dense solutions and derivatives, independent of the native engine.
"""
