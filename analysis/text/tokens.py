"""The tokens of an entry: numbers, names and operators with their places."""

from __future__ import annotations

import re
from typing import NamedTuple, NoReturn

MAX_LENGTH = 10_000
MAX_DIGITS = 200

_TOKEN = re.compile(r"\d+(?:\.\d+)?|[A-Za-z_]\w*|\*\*|[-+*/^(),]", re.ASCII)


class EntryError(ValueError):
    """Text that is not an entry; the message says where, counting characters from 1, and what is expected."""


class Token(NamedTuple):
    """A token and where it starts; the last one is empty."""

    text: str
    at: int


def tokens(text: str) -> list[Token]:
    """The tokens of a text.

    Raises EntryError for a text that is too long, and for characters and numbers that no entry has.
    """
    if len(text) > MAX_LENGTH:
        raise EntryError(f"at most {MAX_LENGTH} characters are read, got {len(text)}")
    found, at = [], 0
    while at < len(text):
        if text[at] in " \t":
            at += 1
            continue
        match = _TOKEN.match(text, at)
        if match is None:
            fail(text, at, f"unexpected {text[at]!r}")
        if match[0][0].isdigit():
            _check_number(text, match[0], at, match.end())
        found.append(Token(match[0], at))
        at = match.end()
    return [*found, Token("", len(text))]


def _check_number(text: str, number: str, at: int, end: int) -> None:
    after = text[end : end + 1]
    if after in ("e", "E"):
        fail(text, at, "expected a fraction or a decimal; numbers with an exponent (1e-3) are not read")
    if after.isalnum() or after in ("_", "."):
        fail(text, end, f"expected an operator after {number[:50]}, got {after!r}")
    if len(number) > MAX_DIGITS:
        fail(text, at, f"expected a number of at most {MAX_DIGITS} digits, got {len(number)}")


def fail(text: str, at: int, message: str) -> NoReturn:
    """Refuse a text, saying where."""
    shown = repr(text if len(text) <= 60 else text[:57] + "...")
    raise EntryError(f"character {at + 1} of {shown}: {message}")
