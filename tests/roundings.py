"""Tolerances that are rounding alone: they stand beside a reason where something amplifies them."""

from __future__ import annotations

ULP = 2.0**-52
SOME_ULP = 45 * ULP
"""1e-14: a dozen roundings in float64, each of them amplified a few times at most."""
THIRTY_DIGITS = 1e-27
"""Arithmetic in 30 digits, a thousand ulp."""
