"""Tables of released code, exactly as they run, with what is claimed of each, and a repaired table beside
each that falls short.

What order a table has is not stored: it is proved and measured (`verification/audit/`).
"""

from __future__ import annotations

from .res4lyf import RES4LYF
from .skrample import SKRAMPLE
from .table import Butcher, Release, Released, Repair

RELEASES: dict[str, Release] = {"RES4LYF": RES4LYF, "skrample": SKRAMPLE}
"""Every release by name."""

__all__ = ["RELEASES", "RES4LYF", "SKRAMPLE", "Butcher", "Release", "Released", "Repair"]
