"""The interval of the studies in lambda, alone, so that a command's help need not load the numerics."""

LAMBDA_START, LAMBDA_END = -0.7, 1.75
"""Informative at its start, so that a low-order first step is not hidden."""
