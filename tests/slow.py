"""Parameters of tests of which some are slow."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest

MANY_TERMS = (
    *("pec524", "pec625", "pecec534", "pecec635", "ab-norsett5", "ab-norsett6", "eglm433", "collocation-5"),
    *(f"{kind}lawson4{n}" for kind in ("gen", "modgen") for n in (3, 4, 5)),
    *("exprk5s10", "exprk6s15", "exprk6s16"),
)
"""Methods of the catalogue whose rows have many terms; each has smaller ones of its family, which a law that
holds for every method is shown on.
"""


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


def few(cases: Iterable[Any], n: int = 3) -> list[Any]:
    """Every n-th case of a law that holds for all of many alike; the others are marked with `slow`."""
    every = list(cases)
    return slow(every, lambda case: case not in every[::n])
