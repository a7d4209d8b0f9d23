"""An order as an audit measures it."""

from __future__ import annotations

from dataclasses import dataclass

from semilinear.analysis.convergence import Verdict

RANK: tuple[Verdict, ...] = ("lower", "inconclusive", "consistent", "higher")
"""Verdicts, the one that speaks most against a claim first."""


@dataclass(frozen=True)
class Order:
    """An order as measured.

    observed, low, high: with its 95 % interval, NaN where there is none.  verdict: on the claim, None where
    nothing is claimed of this order.  reason: why it is inconclusive.  where: which grid and step counts.
    """

    observed: float
    low: float
    high: float
    verdict: Verdict | None
    reason: str
    where: str
