"""Parameters of tests of which some are slow."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest


def slow(cases: Iterable[Any], marked: Callable[[Any], bool]) -> list[Any]:
    """The cases of a parametrised test, those marked with `slow` for which `marked` is true; a tuple is the
    values of several parameters.
    """
    return [
        pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.slow)
        if marked(case)
        else case
        for case in cases
    ]
