"""What a catalogue of released code holds: a table as its release runs it, what is claimed of it, and where a
table that falls short is repaired.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib.resources import files

from sympy import Expr, Integer, Rational, sqrt

from ...tableau import Tableau, lagrange

Row = tuple[Expr, ...]


@dataclass(frozen=True)
class Butcher:
    """A Runge-Kutta table for y' = N(tau, y), explicit or implicit: c of s abscissae, a of s rows of s
    weights, b of s weights.

    Raises ValueError for other shapes.
    """

    c: Row
    a: tuple[Row, ...]
    b: Row

    def __post_init__(self) -> None:
        s = len(self.c)
        if not s or len(self.a) != s or len(self.b) != s or any(len(row) != s for row in self.a):
            raise ValueError(
                f"c, a, b must be s, s x s and s numbers, got {s}, {[*map(len, self.a)]} and {len(self.b)}"
            )

    @property
    def explicit(self) -> bool:
        """Whether every stage uses earlier ones alone, the first stage at 0."""
        return self.c[0] == 0 and not any(v for i, row in enumerate(self.a) for v in row[i:])

    @property
    def numbers(self) -> Row:
        """Every abscissa and weight."""
        return (*self.c, *(value for row in (*self.a, self.b) for value in row))

    def with_values(self, values: Mapping[Expr, Expr]) -> Butcher:
        """The table with something else in place of some of its numbers."""

        def row(entries: Row) -> Row:
            return tuple(values.get(entry, entry) for entry in entries)

        return Butcher(row(self.c), tuple(map(row, self.a)), row(self.b))

    @cached_property
    def tableau(self) -> Tableau:
        """An explicit table as a tableau without z.

        Raises ValueError for an implicit one.
        """
        return Tableau.from_arrays(self.c, self.a, self.b)


@dataclass(frozen=True)
class Repair:
    """The table that has the claimed order: how to build it, and whose it is."""

    build: Callable[[], Tableau | Butcher]
    source: str
    digits: int | None = None


@dataclass(frozen=True)
class Released:
    """A table of released code.

    name: its key there, unique in the release.  build: makes it, exactly as it runs.  claimed: the order, and
    claim: where that is said or implied; None where nothing is.  digits: of its decimals (or of decimals that
    its fractions stand for); None where they are exact.  defect: what is wrong with a table that falls short,
    and which values are right.  repair: the table with the claimed order, where there is one.
    hidden: why short runs show a higher order than the proved one.
    """

    name: str
    build: Callable[[], Tableau | Butcher] = field(repr=False)
    claimed: int | None
    claim: str
    digits: int | None = None
    defect: str = ""
    repair: Repair | None = None
    hidden: str = ""

    @cached_property
    def table(self) -> Tableau | Butcher:
        """The table, built once."""
        return self.build()


@dataclass(frozen=True)
class Release:
    """A release: its repository, the commit that was read, its file, its tables, and what it has besides,
    with the reason for its absence here.
    """

    repository: str
    commit: str
    file: str
    tables: Mapping[str, Released]
    absent: Mapping[str, str]


def collect(tables: Sequence[Released]) -> dict[str, Released]:
    """Tables by name.

    Raises ValueError for a name that occurs twice.
    """
    found = {table.name: table for table in tables}
    if len(found) < len(tables):
        raise ValueError("every table must have a name of its own")
    return found


_NUMBER = re.compile(r"([+-]?\d+(?:\.\d+)?(?:/\d+)?)(?:r(\d+))?")


def number(text: str) -> Expr:
    """A number as tables write it: fractions, decimals, and multiples of square roots, "1/2-1/10r15" for
    1/2 - sqrt(15)/10.

    Raises ValueError for anything else.
    """
    if not text or _NUMBER.sub("", text):
        raise ValueError(f"a number must read like 3/4, 0.25 or 1/2-1/10r15, got {text!r}")
    terms = (Rational(value) * (sqrt(Integer(root)) if root else 1) for value, root in _NUMBER.findall(text))
    return sum(terms, Integer(0))


def parse(lines: Sequence[str]) -> Butcher:
    """A table from one line per stage, "c: a_1 a_2 ..", and a last line with the weights b.

    Rows may leave out zeros at their end; an explicit table leaves out its first stage.
    """
    *stages, last = lines
    b = _row(last)
    split = [line.partition(":") for line in stages]
    if len(split) == len(b) - 1:
        split.insert(0, ("0", ":", ""))
    return butcher([at for at, _, _ in split], [entries for _, _, entries in split], last)


def butcher(c: Sequence[str], a: Sequence[str], b: str) -> Butcher:
    """A table from abscissae, a line of weights per stage, and the line of weights of the output."""
    zero: Row = (Integer(0),) * len(c)
    rows = tuple((_row(line) + zero)[: max(len(c), len(line.split()))] for line in a)
    return Butcher(tuple(map(number, c)), rows, _row(b))


def _row(line: str) -> Row:
    return tuple(map(number, line.split()))


@cache
def read(name: str) -> dict[str, Butcher]:
    """The tables of a data file beside this module: blocks of a line [name] and the lines of `parse`."""
    text = files(__package__ or "").joinpath(name).read_text(encoding="utf-8")
    return {key: parse(lines) for key, lines in _blocks(text.splitlines())}


def _blocks(lines: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    name, block = "", list[str]()
    for line in filter(None, map(str.strip, lines)):
        if line.startswith("["):
            if block:
                yield name, block
            name, block = line.strip("[]"), []
        elif not line.startswith("#"):
            block.append(line)
    yield name, block


def collocation(nodes: Sequence[Expr]) -> Butcher:
    """The implicit table whose stages and output integrate the polynomial through the stages' evaluations."""
    bases = [[v / bottom for v in top] for top, bottom in lagrange(tuple(nodes))]

    def row(at: Expr) -> Row:
        return tuple(
            sum((v * at ** (m + 1) / (m + 1) for m, v in enumerate(base)), Integer(0)) for base in bases
        )

    return Butcher(tuple(nodes), tuple(map(row, nodes)), row(Integer(1)))


def shu_osher(alphas: Sequence[str], betas: Sequence[str]) -> Butcher:
    """The Butcher form of  y_i = sum_k alpha_ik y_k + h beta_ik N_k,  rows from i = 1, the output
    the last one; abscissae by row sums.
    """
    rows: list[Row] = [()]
    for alpha, beta in zip(map(_row, alphas), map(_row, betas), strict=True):
        width = len(rows)
        own = [*beta, *[Integer(0)] * (width - len(beta))]
        rows.append(
            tuple(
                own[j] + sum((alpha[k] * rows[k][j] for k in range(j + 1, len(alpha))), Integer(0))
                for j in range(width)
            )
        )
    *stages, b = rows
    zeros = (Integer(0),) * len(stages)
    a = tuple((row + zeros)[: len(stages)] for row in stages)
    return Butcher(tuple(sum(row, Integer(0)) for row in a), a, b)
