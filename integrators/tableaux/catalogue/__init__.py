"""The catalogue: exponential tableaux of the literature, as data with their sources.

What order a tableau has is not stored: it is proved (`semilinear.analysis`) and measured
(`semilinear.verification`).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from . import etd, lawson, multistep, rosenbrock, stiff
from .entry import Entry

CATALOGUE: Mapping[str, Entry] = MappingProxyType(
    {entry.name: entry for family in (lawson, etd, stiff, multistep, rosenbrock) for entry in family.ENTRIES}
)
"""Every entry by name."""

__all__ = ["CATALOGUE", "Entry", "etd", "lawson", "multistep", "rosenbrock", "stiff"]
