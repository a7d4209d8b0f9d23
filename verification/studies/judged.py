"""What every study is, however its errors are got: an observed order, and a verdict on any claim."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, Self, cast

from semilinear.analysis.convergence import OrderEstimate, Verdict
from semilinear.integrators.common.files import write_json

from .records import estimate_json, ladder_json


class Judged(Protocol):
    """A study; it prints as one sentence.

    solver: its name.  claimed: the order that it is judged against, None where nothing is claimed.  nfe:
    evaluations of each run.
    """

    solver: str
    claimed: float | None
    nfe: tuple[int, ...]

    @property
    def headline(self) -> OrderEstimate:
        """The observed order that is judged."""

    def against(self, order: float) -> Verdict:
        """The verdict on an order."""

    def reason(self, order: float) -> str:
        """Why that verdict is inconclusive; empty where there is nothing to say."""

    @property
    def verdict(self) -> Verdict:
        """On the claimed order.

        Raises ValueError where nothing is claimed.
        """
        if self.claimed is None:
            raise ValueError(f"claimed must be given: nothing is claimed of {self.solver}")
        return self.against(self.claimed)

    def judged(self, claimed: float) -> Self:
        """The same study against another claim."""
        return cast(Self, replace(cast(Any, self), claimed=claimed))

    @property
    def ladders(self) -> Mapping[str, OrderEstimate]:
        """The ladders of errors that have an order to show, by name."""
        return {self.solver: self.headline}

    @property
    def kind(self) -> str:
        """Of the order, where there are several; with a space behind."""
        return ""

    @property
    def besides(self) -> str:
        """What is to be said besides; empty or with a leading semicolon."""
        return ""

    @property
    def sentence(self) -> str:
        """The verdict in words."""
        found = f"observed {self.kind}{observed(self.headline)}"
        if self.claimed is None:
            return found + self.besides
        reason = self.reason(self.claimed)
        verdict = f"{self.verdict} ({reason})" if reason else self.verdict
        return f"claimed {self.claimed:g}, {found}: {verdict}{self.besides}"

    def __str__(self) -> str:
        return f"{self.solver}: {self.sentence}"

    @property
    def told(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """JSON data that only a study of this kind has: before and after its order."""

    @property
    def judgement(self) -> dict[str, Any]:
        """The claim and the verdict on it, as JSON data."""
        if self.claimed is None:
            return {"claimed": None, "verdict": None, "reason": ""}
        return {"claimed": self.claimed, "verdict": self.verdict, "reason": self.reason(self.claimed)}

    @property
    def data(self) -> dict[str, Any]:
        """As JSON data: the keys of `semilinear order --json`.

        observed, low and high are those of the order that is judged, of a stochastic solver the weak one.  A
        key stays where it is put first.
        """
        before, after = self.told
        order = estimate_json(self.headline)
        return {"solver": self.solver, **before, **order, **after, **self.judgement}

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the data as JSON; the file is replaced whole."""
        write_json(path, self.data)

    def plot(self, path: str | os.PathLike[str]) -> None:
        """Draw the errors over the steps, PNG or SVG by the suffix."""
        from ..reporting.plots import plot_studies

        own = {"start": getattr(self, "start", "own"), "claimed": self.claimed}
        drawn = [(name, ladder_json(e, self.nfe) | own) for name, e in self.ladders.items()]
        plot_studies(drawn, self.solver, Path(path))


def observed(e: OrderEstimate) -> str:
    """An observed order in words."""
    if not math.isfinite(e.order):
        return "no order"
    return f"order {e.order:.3f}, 95% interval [{e.low:.3f}, {e.high:.3f}]"
