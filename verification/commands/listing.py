"""`semilinear list`: the solvers, schedules, grids and problems by name, with their parameters and defaults.

JSON, by --of: {"solvers": .., "tableaux": ..}, {"schedules": ..}, {"grids": ..}, or {"problems": ..,
"systems": ..}.  Rows of solvers, schedules and grids hold what `named_parts.described` says: parameters,
values and parts.
"""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from ..problems.cache import kept_names
from .terminal import OK, console, print_json, uncollected

Rows = list[dict[str, Any]]


def add(commands: Any) -> argparse.ArgumentParser:
    """Add the command's parser."""
    listing: argparse.ArgumentParser = commands.add_parser(
        "list", help="solvers and the catalogue, schedules, grids or problems, with parameters and defaults"
    )
    listing.add_argument("--of", choices=LISTS, default="solvers", help="(default: %(default)s)")
    listing.set_defaults(run=run)
    return listing


def run(options: argparse.Namespace) -> int:
    """Print the lists."""
    with uncollected():
        lists = kept_names(f"list-{options.of}", LISTS[options.of])  # which depends on the code alone
        if options.json:
            print_json(lists)
            return OK
        screen = console()
        for kind, rows in lists.items():
            screen.print(_table(kind, rows, screen.width))
        for line in _taken([row for rows in lists.values() for row in rows]):
            print(line)
    return OK


def _solvers() -> dict[str, Rows]:
    """The solvers, and the entries of the catalogue that are none."""
    from semilinear.analysis.text.named_parts import described
    from semilinear.integrators.solvers import SOLVERS
    from semilinear.integrators.tableaux.catalogue import CATALOGUE

    rows = [{"solver": name, **said(name), **described(build)} for name, build in SOLVERS.items()]
    others = [
        {"tableau": name, "paper": entry.paper, "claimed": entry.claimed, "source": entry.source}
        for name, entry in CATALOGUE.items()
        if name not in SOLVERS
    ]
    return {"solvers": rows, "tableaux": others}


def said(name: str) -> dict[str, Any]:
    """What is said of a listed solver.  An entry of the catalogue says it before its tableau is built, which
    takes as long as all else together.
    """
    from semilinear.integrators.diffusion.schedule import vp_linear
    from semilinear.integrators.forms.form import data_in_lambda
    from semilinear.integrators.solvers import SOLVERS, classical, make
    from semilinear.integrators.tableaux.catalogue import CATALOGUE

    if getattr(SOLVERS[name], "func", None) is classical.exponential_rk:
        found: Any = CATALOGUE[name]
        form, stochastic = data_in_lambda, False
    else:
        found = make(name)
        form, stochastic = found.form, found.stochastic
    return {
        "paper": found.paper,
        "form": form(vp_linear()).name,
        "claimed": found.claimed,
        "stochastic": stochastic,
        "source": found.source,
    }


def _schedules() -> dict[str, Rows]:
    from semilinear.analysis.text.named_parts import SCHEDULES

    return {"schedules": _parts("schedule", SCHEDULES)}


def _grids() -> dict[str, Rows]:
    from semilinear.analysis.text.named_parts import GRIDS

    return {"grids": _parts("grid", GRIDS)}


def _parts(kind: str, table: Mapping[str, Callable[..., Any]]) -> Rows:
    from semilinear.analysis.text.named_parts import described

    return [{kind: name, **described(build), "what": _first_line(build)} for name, build in table.items()]


def _first_line(build: Callable[..., Any]) -> str:
    """What a constructor's docstring begins with, up to the end of its paragraph."""
    text = inspect.getdoc(getattr(build, "func", build)) or ""
    return " ".join(text.split("\n\n")[0].split())


def _problems() -> dict[str, Rows]:
    """The problems of diffusion, and the semilinear systems of tableaux."""
    from ..problems.named import PROBLEMS, problem
    from .system_orders import SYSTEMS

    rows: Rows = []
    for name in PROBLEMS:
        found = problem(name)
        flow = "exact" if found.exact_flow else "integrated"
        rows.append({"problem": name, "dimension": found.dimension, "flow": flow})
    kinds = ("tableaux with a fixed linear part", "tableaux of Rosenbrock type")
    return {"problems": rows, "systems": [{"system": s, "of": kind} for s, kind in zip(SYSTEMS, kinds)]}


LISTS: dict[str, Callable[[], dict[str, Rows]]] = {
    "solvers": _solvers,
    "schedules": _schedules,
    "grids": _grids,
    "problems": _problems,
}
"""What there is to list, by the word of --of."""


def _table(kind: str, rows: Rows, room: int) -> Table:
    """A table of rows in `room` characters; what parameters take, which would not fit in a column, stands
    below it (`_taken`).

    The widths are given: to measure every cell takes rich longer than to print it.
    """
    title = f"{len(rows)} {'more tableaux' if kind == 'tableaux' else kind}"
    columns = [column for column in rows[0] if column not in ("values", "parts", "stochastic")]
    cells = [[_cell(row[column]) for column in columns] for row in rows]
    natural = [max(map(cell_len, column)) for column in zip(columns, *cells)]
    edges = 3 * len(columns) + 1  # a rule and two blanks a column
    table = Table(title=title)
    widths = [natural[0], *_fitted(natural[1:], room - edges - natural[0])]
    for column, width, own in zip(columns, widths, natural):
        table.add_column(column, width=width, no_wrap=width >= own)  # what fits is not looked through
    for row in cells:
        table.add_row(*map(Text, row))
    return table


def _fitted(natural: Sequence[int], room: int) -> list[int]:
    """Widths of columns: their own, or where that is more than there is room, the widest made equal."""
    widest = max(natural)
    while widest > 1 and sum(min(width, widest) for width in natural) > room:
        widest -= 1
    return [min(width, widest) for width in natural]


def _cell(value: Any) -> str:
    from semilinear.integrators.common.constructors import written

    return written(value) if isinstance(value, dict) else str(value)


def _taken(rows: Rows) -> list[str]:
    """A line for each parameter that takes names or words of its own, with what the parts' parameters are."""
    from semilinear.integrators.common.constructors import written

    parts, words = dict[str, Any](), dict[str, dict[str, None]]()
    for row in rows:
        parts |= row.get("parts", {})
        for key, taken in row.get("values", {}).items():
            if set(taken["words"]) - {"true", "false", "none"}:
                words.setdefault(key, {}).update(dict.fromkeys(taken["words"]))
    named = {
        key: [
            name + (f" ({written(part['parameters'])})" if part["parameters"] else "")
            for name, part in of.items()
        ]
        for key, of in parts.items()
    }
    return [f"names for {key}: {', '.join(of)}" for key, of in (named | words).items()]
