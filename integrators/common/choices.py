"""Words that arguments take, alone, so that a command's help need not load the numerics."""

from __future__ import annotations

from typing import Literal, get_args

Final = Literal["full", "last", "lower"]
"""How a run ends: at full order, with a first-order last step, or down the orders step by step."""
FinalChoice = Literal["released", "full", "last", "lower"]
"""A `Final`, or the one that the solver's release takes by default (`FinalPolicy`)."""
FINALS: tuple[Final, ...] = get_args(Final)
FINAL_CHOICES: tuple[FinalChoice, ...] = get_args(FinalChoice)
Start = Literal["own", "exact", "high-order"]
"""How a run starts: by the ramp of low orders, from given states, or by a one-step method of high order."""
STARTS: tuple[Start, ...] = get_args(Start)
Interpolated = Literal["data", "noise"]
"""Which prediction a formula's evaluations are of, where a solver has it in both."""
