"""Batches in, solutions out; (batch, tape) in, derivatives out: engines by name, the contract they keep, and the kinds of them."""
