"""Solvers of other packages: each an adapter from a cone program to a claim; what they share is judged, refined, differentiated."""
