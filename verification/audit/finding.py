"""What an audit says: findings, and exceptions in words."""

from __future__ import annotations

import dis
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Literal, get_args

import numpy
import torch
from semilinear.integrators.diffusion import prediction
from semilinear.integrators.diffusion.schedule import DomainError

from .. import targets
from ..targets.draws import PASSAGE
from ..targets.frames import NoLevel
from ..targets.named import Target
from ..targets.process import ProcessError
from ..targets.run import AskedError, EndedError, ReturnedError

Severity = Literal["failed", "raised", "inconclusive", "noted"]
SEVERITIES: tuple[Severity, ...] = get_args(Severity)
Said = tuple[Severity, str] | tuple[Severity, str, str]
"""What a check says: a verdict, a sentence, and of what was raised its kind."""
REFUSALS = (ValueError, TypeError, NotImplementedError)
"""What a sampler raises by a statement of its own where it refuses; anything else is a crash."""
DRIVING = Path(targets.__path__[0]).resolve().parent
OURS = (DRIVING, DRIVING.with_name("analysis"), DRIVING.with_name("integrators"))
GIVEN = (DRIVING, Path(prediction.__file__).resolve())
"""Where what a sampler is given is: runs, their noise, and the model in any prediction."""
NEUTRAL = tuple(Path(room.__path__[0]).resolve() for room in (torch, numpy))
"""Files that raise for whoever calls them."""
LONGEST = 120
"""Of what an exception says."""
NUMBER = re.compile(r"(?<![\w.])[-+]?\d[\d.]*(e[-+]?\d+)?(, )?")


@dataclass(frozen=True)
class Finding:
    """Something seen.

    check: which one saw it.  verdict: "inconclusive" where something could not be checked here, through no
    fault of the sampler's that is known.  message: a sentence.  repeat: the line that repeats it.  cause: of
    what was raised its kind, for which one finding is enough.
    """

    check: str
    verdict: Severity
    message: str
    repeat: str
    cause: str = ""

    def json(self) -> dict[str, str]:
        """As JSON data."""
        return {key: value for key, value in asdict(self).items() if key != "cause"}


def merged(found: Iterable[Finding]) -> tuple[Finding, ...]:
    """Of those with one cause the first, which names the checks of the others."""
    kept: dict[object, list[Finding]] = {}
    for k, finding in enumerate(found):
        key = (finding.verdict, finding.cause) if finding.cause else k
        kept.setdefault(key, []).append(finding)
    return tuple(_one(*same) for same in kept.values())


def _one(first: Finding, *others: Finding) -> Finding:
    if not others:
        return first
    places = f"{len(others)} other place{'s' if len(others) > 1 else ''}"
    checks = ", ".join(dict.fromkeys(f.check for f in others))
    return replace(first, message=f"{first.message} (the same in {places}: {checks})")


def counted(counts: Sequence[int]) -> str:
    """Step counts in words."""
    if len(counts) > 3 and list(counts) == list(range(counts[0], counts[-1] + 1)):
        return f"{counts[0]} to {counts[-1]} steps"
    return f"{', '.join(map(str, counts))} step{'' if list(counts) == [1] else 's'}"


def raised(error: Exception, target: Target, what: str = "") -> tuple[Severity, str, str]:
    """An exception of a run of a target, in words; what: ran, and a verb where one is needed."""
    verdict, text = judged(error, target), named(error)
    said = f"{what} {text}" if what else text
    if verdict == "failed":
        text = (
            f"asks the model at a time that is none: {error}"
            if isinstance(error, DomainError)
            else str(error)
        )
        return verdict, text, numberless(text)
    return verdict, f"cannot be checked: {said}" if verdict == "inconclusive" else said, cause_of(error)


def judged(error: Exception, target: Target) -> Severity:
    """Whose an exception is: "failed" where what the sampler asks for or returns is none, "raised" where it
    raises, "inconclusive" where we do, for reasons of our own.
    """
    if isinstance(error, NoLevel | AskedError | ReturnedError):
        return "failed"
    if isinstance(error, EndedError | ProcessError) or target.made is not None:
        return "raised"
    if not _ours(error):
        return "raised"
    return "failed" if isinstance(error, DomainError) else "inconclusive"


def _ours(error: BaseException) -> bool:
    """Whether what drives samplers here raised it, or a model or noise of ours that the sampler asked; what
    else a sampler calls of ours is its own affair.
    """
    files = [Path(tb.tb_frame.f_code.co_filename).resolve() for tb in _frames(error)]
    files = [file for file in files if not _within(file, NEUTRAL)]
    last = next((k for k in reversed(range(len(files))) if not _within(files[k], OURS)), -1)
    return last + 1 < len(files) and _within(files[last + 1], GIVEN)


def _within(file: Path, folders: Iterable[Path]) -> bool:
    return any(file.is_relative_to(folder) for folder in folders)


def cause_of(error: BaseException) -> str:
    """An exception without its numbers, by which those of several runs are told to be one."""
    return named(error, numberless(" ".join(str(error).split()))[:LONGEST].rstrip("., "))


def numberless(text: str) -> str:
    """A text with dots for its numbers."""
    return NUMBER.sub("..", text)


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
    return next(reversed(_frames(error)), None)


def _frames(error: BaseException) -> list[TracebackType]:
    frames, found = [], error.__traceback__
    while found is not None:
        if found.tb_frame.f_code.co_filename != PASSAGE:
            frames.append(found)
        found = found.tb_next
    return frames


def refused(error: Exception, target: Target) -> bool:
    """Whether a raise statement of the sampler's said so, and not a function of C that was given what it
    cannot take, nor what drives it here.
    """
    place = innermost(error)
    if place is None or not isinstance(error, REFUSALS) or judged(error, target) != "raised":
        return False
    return place.tb_frame.f_code.co_code[place.tb_lasti] == dis.opmap["RAISE_VARARGS"]
