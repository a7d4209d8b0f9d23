"""The catalogue: exponential tableaux of the literature, as data with their sources.

What order a tableau has is not stored: it is proved (`semilinear.analysis`) and measured
(`semilinear.verification`).
"""

from __future__ import annotations

from . import etd, lawson, multistep, rosenbrock, stiff
from .entry import Catalogue, Entry

CATALOGUE = Catalogue(
    entry for family in (lawson, etd, stiff, multistep, rosenbrock) for entry in family.ENTRIES
)
"""Every entry."""

__all__ = ["CATALOGUE", "Catalogue", "Entry", "etd", "lawson", "multistep", "rosenbrock", "stiff"]
