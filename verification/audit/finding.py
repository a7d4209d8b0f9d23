"""What an audit says: findings, and exceptions in words."""

from __future__ import annotations

import dis
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal

from .. import targets
from ..targets.draws import PASSAGES

Severity = Literal["failed", "raised", "noted"]
SEVERITIES: tuple[Severity, ...] = ("failed", "raised", "noted")
REFUSALS = (ValueError, TypeError, NotImplementedError)
"""What a sampler raises by a statement of its own where it refuses; anything else is a crash."""
HARNESS = Path(targets.__path__[0])
OTHERS = ("ours.py", "process.py")
"""What is raised where samplers are driven is no refusal of theirs, but for what these pass on."""
LONGEST = 120
"""Of what an exception says."""


@dataclass(frozen=True)
class Finding:
    """Something seen.  check: which one saw it.  message: a sentence.  repeat: the line that repeats it."""

    check: str
    verdict: Severity
    message: str
    repeat: str


def named(error: BaseException, text: str | None = None) -> str:
    """An exception with the line that raised it; text: in place of its own."""
    place = innermost(error)
    code = None if place is None else place.tb_frame.f_code.co_filename.rpartition("/")[2]
    where = "" if place is None else f" ({code}:{place.tb_lineno})"
    said = " ".join(str(error).split()) if text is None else text
    return f"{type(error).__name__}: {said[:LONGEST]}{where}"


def innermost(error: BaseException) -> TracebackType | None:
    """Where an exception was raised; None for one that was not.  What a function of torch raises is raised
    where it is called, although a source of noise that is taken over stands in between.
    """
    place = found = error.__traceback__
    while found is not None:
        if found.tb_frame.f_code not in PASSAGES:
            place = found
        found = found.tb_next
    return place


def refused(error: BaseException) -> bool:
    """Whether a raise statement of the sampler's said so, and not a function of C that was given what it
    cannot take, nor what drives it here.
    """
    place = innermost(error)
    if place is None or not isinstance(error, REFUSALS):
        return False
    file = Path(place.tb_frame.f_code.co_filename)
    if file.parent == HARNESS and file.name not in OTHERS:
        return False
    return place.tb_frame.f_code.co_code[place.tb_lasti] == dis.opmap["RAISE_VARARGS"]
