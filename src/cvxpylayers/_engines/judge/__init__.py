"""One instance in SciPy's matrices: the program, projections onto its cones, its residuals, proofs and refinement."""
