"""Problem families, contenders and the runner behind ``make bench``."""
