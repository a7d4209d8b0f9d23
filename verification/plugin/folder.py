"""Which pins of a folder a run of tests did not use.

Imports nothing that is not in Python: the plugin is loaded in every run of pytest.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from pathlib import Path

FOLDER = "semilinear-pins"
"""Beside the tests, a file for each pin."""


def unused(modules: Collection[Path], used: Collection[Path]) -> Iterator[tuple[Path, str]]:
    """Pins that no test used, each with its test.

    modules: files of tests of which every test was run and passed.  used: files of pins.  A pin whose test
    is in none of the modules is left alone, unless that file is gone.
    """
    whole = {path.resolve() for path in modules}
    kept = {path.resolve() for path in used}
    for folder in sorted({path.parent for path in whole}):
        for path in sorted((folder / FOLDER).glob("*.json")):
            if path.resolve() in kept:
                continue
            test = _test(path)
            module = folder / test.partition("::")[0]
            if not test or module in whole or not module.is_file():
                yield path, test or "no test"


def _test(path: Path) -> str:
    """Which test pinned it, "" where the file does not say."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return ""
    test = data.get("test") if isinstance(data, dict) else None
    return test if isinstance(test, str) else ""
