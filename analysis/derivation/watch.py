"""How long work may take, and how far it is: asked between the steps of work that may not end."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

EVERY = 5.0
"""Seconds between two reports."""


class OutOfTime(BaseException):
    """The time is over.  No error: what catches errors on its way, as a library does, must not catch this."""


@dataclass
class Watch:
    """seconds: from its making on, None without end.  report: is told in words what is being done."""

    seconds: float | None = None
    report: Callable[[str], None] | None = None
    words: str = ""
    _start: float = field(default_factory=time.monotonic)
    _reported: float = field(default_factory=time.monotonic)

    def check(self) -> None:
        """Report now and then; raise OutOfTime when the time is over."""
        now = time.monotonic()
        if self.seconds is not None and now - self._start > self.seconds:
            raise OutOfTime
        if self.report is not None and now - self._reported >= EVERY:
            self._reported = now
            self.report(f"{now - self._start:.0f} s: {self.words}")

    def note(self, words: str) -> None:
        """Say what is being done."""
        self.words = words
        self.check()
