"""What the estimator says of ladders whose order is known: hardly ever anything false."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from semilinear.analysis.convergence import OrderEstimate, estimate_order, extrapolate_order

from tests.ladders import CLEAN, FAMILIES, LONG, MODERATE, WILD, Ladder, ladder

FEW, MANY = 12, 250
MOST_FALSE = 0.005


def estimates(
    names: Iterable[str], each: int, floor: str = "declared"
) -> list[tuple[str, Ladder, OrderEstimate]]:
    rows = [(name, ladder(name, seed, floor)) for name in names for seed in range(each)]
    return [(name, one, estimate_order(one.n, one.errors, one.floors)) for name, one in rows]


def refuted(found: list[tuple[str, Ladder, OrderEstimate]]) -> list[Any]:
    """Ladders on which the true order is called lower or higher than the observed one."""
    return [
        (name, one.n, one.order, e.order)
        for name, one, e in found
        if e.verdict(one.order) in ("lower", "higher")
    ]


def towards(one: Ladder) -> bool:
    """Whether all slopes move towards the true order, none beyond it."""
    moves, left = np.diff(one.slopes), one.order - one.slopes
    return bool(np.all(moves * np.sign(left[-1]) > 0) and np.all(left * left[-1] > 0))


@pytest.mark.parametrize("floor", ["declared", "hidden"])
@pytest.mark.parametrize("each", [FEW, pytest.param(MANY, marks=pytest.mark.slow)])
def test_a_true_claim_is_hardly_ever_refuted(each: int, floor: str) -> None:
    """At most one in two hundred; a small sample may hold one."""
    found = estimates(FAMILIES, each, floor)
    assert len(refuted(found)) <= max(1, MOST_FALSE * len(found)), refuted(found)


@pytest.mark.parametrize("each", [FEW, pytest.param(MANY, marks=pytest.mark.slow)])
def test_slopes_that_move_towards_a_claim_do_not_refute_it(each: int) -> None:
    found = estimates((*MODERATE, "rational", "knee", "logarithm", "two terms"), each)
    moving = [row for row in found if towards(row[1])]
    assert len(moving) > len(found) / 6  # the law is about something
    assert refuted(moving) == []


@pytest.mark.parametrize("each", [FEW, pytest.param(MANY, marks=pytest.mark.slow)])
def test_clean_ladders_are_decided_closely(each: int) -> None:
    """On ladders that resolve the order: six octaves, errors well above rounding."""
    found = [
        row for row in estimates(CLEAN, 6 * each) if row[1].n[-1] >= 64 * row[1].n[0] and row[1].order <= 4
    ]
    decided = [e for _, one, e in found if e.verdict(one.order) == "consistent"]
    assert len(decided) >= 0.95 * len(found)
    assert np.median([e.half_width for e in decided]) <= 0.01  # twice the resolution
    assert np.quantile([e.half_width for e in decided], 0.9) <= 0.02  # of nine in ten
    for _, one, e in found:
        assert e.verdict(one.order + 1) in ("lower", "inconclusive")


@pytest.mark.parametrize("each", [FEW, pytest.param(MANY, marks=pytest.mark.slow)])
def test_half_of_the_moderately_contaminated_ladders_are_decided(each: int) -> None:
    found = estimates(MODERATE, each)
    assert sum(e.verdict(one.order) == "consistent" for _, one, e in found) >= len(found) / 2
    others = [e.verdict(one.order + 1) for _, one, e in found]
    assert others.count("lower") >= len(found) / 2
    assert not {"consistent", "higher"} & set(others)


@pytest.mark.parametrize("name", WILD)
def test_an_open_question_says_what_would_decide_it(name: str) -> None:
    for _, one, e in estimates([name], FEW):
        if e.verdict(one.order) == "inconclusive":
            doubt = e.doubt(one.order)
            steps = e.steps_needed(one.order)
            assert (str(steps) if steps else "digits") in doubt
            assert steps is None or steps > max((p.n for p in e.points if p.usable), default=0)


def step(h: float, k: float = 200.0) -> float:
    return h**2 * math.sqrt(1 + (k * h) ** 2)


NAMED: dict[str, tuple[Any, tuple[int, ...], float]] = {
    "order 3, then 2": (step, (8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256), 2),
    "order 3, then 2, halving": (step, (8, 16, 32, 64, 128, 256), 2),
    "order 1, then 2": (lambda h: h**2 / (1 + 100 * h), LONG[:9], 2),
    "a large second term": (lambda h: h**2 + 1e3 * h**3, LONG, 2),
    "a large second term, short": (lambda h: h**4 + 100 * h**5, LONG[:7], 4),
    "a logarithm": (lambda h: h**2 * math.log(1 / h), LONG, 2),
    "a hidden floor": (lambda h: h**3 + 1e-7, LONG, 3),
    "a part of higher order that saturates": (
        lambda h: math.hypot(h, 0.1**0.5 * math.tanh(40 * h) ** 2),  # at 56 h its slopes are yet to turn
        LONG,
        1,
    ),
    "a part of lower order that begins to show": (lambda h: math.hypot(h, 3162 * h**2), LONG, 1),
    "oscillating": (lambda h: h**2 * (1 + 0.3 * math.sin(2 * math.log(h))), LONG, 2),
}


@pytest.mark.parametrize("name", NAMED)
@pytest.mark.parametrize("estimator", [estimate_order, extrapolate_order])
@pytest.mark.parametrize("scale", [1.0, 0.7, 1.4])
def test_ladders_that_once_misled_do_so_no_more(name: str, estimator: Any, scale: float) -> None:
    """And neither do they with h in other units."""
    error, n, order = NAMED[name]
    e = estimator(n, np.array([error(scale / k) for k in n]), np.zeros(len(n)))
    assert e.verdict(order) in ("consistent", "inconclusive")
    assert e.verdict(order) == "consistent" or e.doubt(order)
    assert e.verdict(order + 1) != "consistent"


@pytest.mark.parametrize("base", [1.5, 10.0])
def test_errors_that_grow_without_bound_are_those_of_no_order(base: float) -> None:
    """Where no floor is in question; a fit of powers to them has none to tell."""
    errors = np.array([base**n for n in LONG[:11]])
    assert estimate_order(LONG[:11], errors, known_floors=True).verdict(1) == "lower"
    assert estimate_order(LONG[:11], errors).verdict(1) == "inconclusive"
