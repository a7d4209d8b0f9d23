"""The kinds of what commands and studies are given, how each is spelled, and how one is refused."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Literal

from .names import UnknownTableau

Kind = Literal["solver", "tableau", "plan", "sampler"]
SPELLED: Mapping[Kind, str] = {
    "solver": "a solver (NAME[:KEY=VALUE,..])",
    "tableau": "a tableau (NAME or FILE.json)",
    "plan": "a plan (FILE.json)",
    "sampler": "a sampler (PACKAGE:NAME[:KEY=VALUE,..], process:COMMAND)",
}
"""A sampler is a function of a run, and whatever is driven as one."""
SOLVER: tuple[Kind, ...] = ("solver",)
FORMULAS: tuple[Kind, ...] = ("solver", "tableau")
"""What has coefficients without a schedule."""
STEPPING: tuple[Kind, ...] = (*FORMULAS, "sampler")
"""What runs on any grid; a tableau as a solver, in a form."""
ALL: tuple[Kind, ...] = (*FORMULAS, "plan", "sampler")


def spelled(takes: Collection[Kind]) -> str:
    """What is taken, as it is written on a command line."""
    listed = ", ".join(SPELLED[kind] for kind in ALL if kind in takes)
    return f"{listed}, or FILE.py:function, which {'is or ' if 'sampler' in takes else ''}makes one"


def refuse(target: str, kind: Kind, takes: Collection[Kind]) -> None:
    """Refuse a target of a kind that is not taken, in the one sentence that there is for it.

    Raises UnknownTableau.
    """
    if kind not in takes:
        *first, last = (f"a {k}" for k in ALL if k in takes)
        allowed = f"{', '.join(first)} or {last}" if first else last
        raise UnknownTableau(f"target must be {allowed}, got a {kind}: {target}")
