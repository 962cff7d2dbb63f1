"""The compiled kernel as an engine, and its derivative, which serves every engine."""
