"""Where studies run unless they are told, alone, so that a command's help need not load the numerics."""

LAMBDA_START, LAMBDA_END = -0.7, 1.75
"""Of orders, in lambda; informative at its start, so that a low-order first step is not hidden."""
END = 1e-3
"""Of runs from noise to data, in t: the first index of a thousand training steps."""
BUDGETS = (5, 6, 8, 10, 12, 15, 20, 50, 100)
"""Evaluations of runs to data that are compared with the exact flow."""
NFE = (5, 10, 20, 50)
"""Evaluations of runs to data that are compared with the exact law."""
BATCH = 256
"""Initial states of the former."""
SAMPLES = 10_000
"""Of the latter."""
