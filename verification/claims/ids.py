"""Which claims are meant, by their ids alone."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase


def matching(patterns: Iterable[str], ids: Iterable[str]) -> list[str]:
    """The ids that match one of the patterns, in their own order; all of them where there are none.

    patterns: ids, or globs such as "scire-*".  Raises ValueError for a pattern that matches none.
    """
    patterns, ids = tuple(patterns), tuple(ids)
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in ids):
            raise ValueError(f"no claim has an id like {pattern!r}: `semilinear claims --list` shows all")
    return [name for name in ids if not patterns or any(fnmatchcase(name, p) for p in patterns)]
