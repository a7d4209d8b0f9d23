"""Where a number may lie, said by an annotation: `Annotated[float, Range(above=0)]`.

So what a parameter takes is known without making anything (`constructors.allowed`).
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Annotated, Any


@dataclass(frozen=True)
class Range:
    """Finite numbers with  least <= x <= most  and  above < x < below,  integers alone where that is said."""

    least: float = -math.inf
    above: float = -math.inf
    most: float = math.inf
    below: float = math.inf
    integer: bool = False

    def holds(self, number: Any) -> bool:
        """Whether a real number, an integer where it must be one, lies in the range."""
        within = self.least <= number <= self.most and self.above < number < self.below
        return bool(within and abs(number) < math.inf)

    def __str__(self) -> str:
        low, high = max(self.least, self.above), min(self.most, self.below)
        if self.integer:
            if (low, high) == (-math.inf, math.inf):
                return "an integer"
            return f"an integer >= {low}" if high == math.inf else f"an integer from {low} to {high}"
        if (low, high) == (-math.inf, math.inf):
            return "a finite number"
        if (low, high) == (0, math.inf):
            return "a positive number" if self.above == 0 else "a non-negative number"
        left, right = "(" if self.above == low else "[", ")" if self.below == high else "]"
        return f"a number in {left}{low:g}, {high:g}{right}"

    def bounds(self) -> dict[str, float]:
        """What is said, as JSON data: `Range(**bounds)` is the range."""
        return {key: value for key, value in asdict(self).items() if value != getattr(Range, key)}


Positive = Annotated[float, Range(above=0)]
NonNegative = Annotated[float, Range(least=0)]
Proper = Annotated[float, Range(above=0, below=1)]
"""A proper fraction."""
