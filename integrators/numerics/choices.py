"""Words that arguments take, alone, so that a command's help need not load the numerics."""

from __future__ import annotations

from typing import Literal

Final = Literal["full", "last", "lower"]
"""How a run ends: at full order, with a first-order last step, or down the orders step by step."""
FinalChoice = Literal["released", "full", "last", "lower"]
"""A `Final`, or the one that the solver's release takes by default (`FinalPolicy`)."""
FINALS: tuple[Final, ...] = ("full", "last", "lower")
FINAL_CHOICES: tuple[FinalChoice, ...] = ("released", *FINALS)
Start = Literal["own", "exact", "high-order"]
"""How a run starts: by the ramp of low orders, from given states, or by a one-step method of high order."""
STARTS: tuple[Start, ...] = ("own", "exact", "high-order")
