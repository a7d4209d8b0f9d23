"""What a catalogue holds: a tableau, the order that its source claims, and where that stands."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from sympy import Expr, Integer

from .. import printing
from ..tableau import N, Stage, Tableau, phi


@dataclass(frozen=True)
class Entry:
    """A tableau of the literature.

    name: unique in the catalogue.  build: makes the tableau.  claimed: the classical order that its source
    claims (data, not a premise).  paper: whose method it is.  source: the equation, or the file that was
    read.  linearised: of Rosenbrock type, z = h J(u_n) with J the Jacobian of the whole right-hand side, so
    that the rest N has N'(u_n) = 0; on a fixed linear part it has a lower order.
    """

    name: str
    build: Callable[[], Tableau]
    claimed: int
    paper: str
    source: str
    linearised: bool = False

    @cached_property
    def tableau(self) -> Tableau:
        """The tableau, built once."""
        return self.build()

    def __str__(self) -> str:
        """What is said of it and its Butcher array (`printing.text`)."""
        return printing.text(self.tableau, self._heading())

    def _repr_latex_(self) -> str:
        return printing.display(self.tableau, self._heading())

    def _repr_html_(self) -> str:
        return printing.html(self.tableau, self._heading())

    def _heading(self) -> printing.Heading:
        said = (("paper", self.paper), ("source", self.source), ("claimed", f"order {self.claimed}"))
        return printing.Heading(self.name, "", said)


def from_columns(
    c: Sequence[Any],
    a: Mapping[tuple[int, int], Any],
    b: Mapping[int, Any],
    low: Mapping[int, Any] | None = None,
) -> Tableau:
    """A tableau whose first column follows from the row sums a_i1 = c_i phi_1(c_i z) - sum_j a_ij, b_1 =
    phi_1 - sum_j b_j.

    a[i, j] and b[j], j >= 2, with the stages numbered from 1; low: an embedded row, likewise.  Every entry
    multiplies the difference N_j - N_1: the form in which papers write these methods.
    """

    def row(at: Expr, weights: Mapping[int, Any]) -> Expr:
        first = at * phi(1, at) - sum(weights.values())
        return first * N(0) + sum(w * N(j - 1) for j, w in weights.items())

    stages = tuple(
        Stage(at, row(at, {j: a[i, j] for j in range(2, i) if (i, j) in a})) for i, at in enumerate(c[1:], 2)
    )
    return Tableau(stages, row(Integer(1), b), low=None if low is None else row(Integer(1), low))


class Catalogue(Mapping[str, Entry]):
    """Tableaux of the literature, by name."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self._entries = {entry.name: entry for entry in entries}

    def __getitem__(self, name: str) -> Entry:
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)
