"""The most that may be asked for of what is counted: more would take the memory or the day, and is refused
before any work.
"""

STEPS = 10**5
"""Of a run."""
TRACED_STEPS = 2000
"""Of a run that is read off: its coefficients are as many as the square of its evaluations."""
TABLE = 10**5
"""Entries of a table of training steps."""
NETWORK, TRAINING = 4096, 10**6
"""Units of a layer, layers and digits of a batch; steps of a training."""
SEED = 2**63 - 1
EVALUATIONS = 10**4
"""Of a run in a comparison at equal evaluations."""
STATES = 10**6
"""Initial states, and samples."""
DIGITS = 1000
"""Of a run in multiprecision."""
ROUNDS = 10**4
"""Of a benchmark."""
WORKERS = 1024
"""Processes."""
