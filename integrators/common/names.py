"""Names that somebody may have meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UnknownTableau(ValueError):
    """What is no name and no file of a tableau, or one that does not fit; the message says what does."""


def nearest(name: str, listed: Iterable[str]) -> str:
    """How a message ends: with up to five listed names that are like the given one."""
    near = difflib.get_close_matches(str(name), list(listed), n=5, cutoff=0.5)
    return f"; the nearest are {', '.join(near)}" if near else ""
