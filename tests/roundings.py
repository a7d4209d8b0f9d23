"""Tolerances that tests share: of rounding alone (a reason stands where something amplifies it), of a slope.

`pytest.approx` adds an absolute 1e-12 of its own: a relative tolerance of rounding says `abs=0` too.
"""

from __future__ import annotations

ULP = 2.0**-52
SOME_ULP = 45 * ULP
"""1e-14: a dozen roundings in float64, each of them amplified a few times at most."""
MANY_ULP = 450 * ULP
"""1e-13: a hundred roundings (a sum, a run of some steps), or a dozen of them amplified tenfold."""
AMPLIFIED = 4500 * ULP
"""1e-12: a dozen roundings amplified a hundredfold, by differences that cancel, a solve or a long run."""
FLOAT32 = 45 * 2.0**-23
"""5e-6: a dozen roundings in float32, each of them amplified a few times at most."""
THIRTY_DIGITS = 1e-27
"""Arithmetic in 30 digits, a thousand ulp."""
SLOPE = 0.05
"""Of an order that is measured between finite steps: the next term's share in the slope, O(h)."""
