"""What `semilinear prove` prints, from its JSON data alone."""

from __future__ import annotations

from typing import Any

from rich.markup import escape
from rich.table import Table

from .terminal import console

GRID = {"any": "any grid", "smooth": "smooth grids", "equal": "equal steps"}
SHOWN = 10
"""Conditions of each kind that are printed; JSON holds all."""
ORDERS = {
    "classical": "classical order",
    "scalar": "with L a multiple of the identity",
    "stiff": "stiff order",
    "weak_stiff": "the last conditions at b_i(0)",
    "zero_stiff": "the last conditions at z = 0",
}
"""How the orders are called, by their JSON keys."""
LONG = 120
"""Characters of an expression that are printed; JSON holds all."""


def print_proof(data: dict[str, Any]) -> None:
    """Print what is proved, the verdict last."""
    screen = console()
    table = Table(title=escape(data["name"]), title_justify="left", show_header=False)
    low = data["embedded"]
    for key, label in ORDERS.items():
        if data[key] is not None:
            table.add_row(
                label, order_text(data, key) + (f" (embedded row: {order_text(low, key)})" if low else "")
            )
    for row, found in (("", data), (" of the embedded row", low)):
        if found and found["within_rounding"]:
            table.add_row(f"within the rounding{row}", escape(rounding_text(found["within_rounding"])))
    if "classical" not in data["at_least"]:
        norm = data["principal_error_norm"]
        table.add_row(
            "principal error norm", escape(_cut(data["principal_error"])) if norm is None else f"{norm:.6g}"
        )
    if data["parameters"]:
        table.add_row("for all values of", ", ".join(data["parameters"]))
    if data["ignored_stages"]:
        table.add_row("ignored, as nothing reads it", ", ".join(f"stage {i}" for i in data["ignored_stages"]))
    table.add_row(
        "equation", escape(data["equation"]) + (", equal steps" if data["steps"] == "equal" else "")
    )
    table.add_row("source", escape(data["source"]))
    screen.print(table)
    if data["leading_error"]:
        terms = " + ".join(map(_cut, data["leading_error"]))
        screen.print("leading local error:", terms, markup=False, highlight=False)
    shown = _first(data["violated"])
    if shown:
        screen.print(_violated(shown))
    if more := len(data["violated"]) - len(shown):
        screen.print(f"and {more} more conditions that fail (--json holds all)")
    if data["solver"] is not None:
        screen.print(_of_solver(data["solver"]), markup=False, highlight=False)
    if data["hint"]:
        screen.print(data["hint"], markup=False, highlight=False)
    print(sentence(data))


def order_text(data: dict[str, Any], key: str) -> str:
    """An order in words: "at least 8" where nothing fails as far as was looked."""
    return f"{'at least ' if key in data['at_least'] else ''}{data[key]}"


def rounding_text(found: dict[str, Any]) -> str:
    """The orders within the rounding of a table in words."""
    known = f"{found['coefficients']} coefficients are known within {found['rounding']:.1e}"
    if found["classical"] is None:
        return f"{known}; no order: {found['reason']}"
    stiff = "" if found["stiff"] is None else f", stiff order {found['stiff']}"
    beyond = ""
    if found["next_residual"] is not None:
        beyond = f"; order {found['classical'] + 1} fails by {found['next_residual']:.1e}"
    least = "at least " if found["at_least"] else ""
    return (
        f"classical order {least}{found['classical']}{stiff}: its conditions hold to "
        f"{found['residual']:.1e}, where the rounding allows {found['bound']:.1e}{beyond}; {known}"
    )


def _cut(text: str) -> str:
    """A long expression, from its beginning."""
    return text if len(text) <= LONG else f"{text[: LONG - 3]}..."


def _of_solver(own: dict[str, Any]) -> str:
    if own["refused"]:
        return f"no proof of the solver itself: {own['refused']}"
    orders = ", ".join(f"{order} on {GRID[grid]}" for grid, order in own["formula"].items())
    error = " + ".join(own["leading_error"]) or "0"
    return (
        f"the solver, {own['equation']}: formula of order {orders}; runs from exact starting values: "
        f"{own['exact_start']}, as it is run: {own['run']}\nits local error on equal steps: {error}"
    )


def _first(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The first few of each kind."""
    return [row for kind in ("classical", "stiff") for row in [r for r in rows if r["kind"] == kind][:SHOWN]]


def _violated(rows: list[dict[str, Any]]) -> Table:
    table = Table(title="conditions that fail", title_justify="left")
    for column in ("kind", "order", "condition", "residual"):
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(
            row["kind"],
            str(row["order"]),
            escape(row["condition"]),
            escape(_residual(row)),
        )
    return table


def _residual(row: dict[str, Any]) -> str:
    """A residual with its number beside, where a fraction does not show its size."""
    if row["residual"] is None:
        return "beyond order 8"
    shown = _cut(row["residual"])
    return shown if row["decimal"] is None or len(shown) < 12 else f"{shown} = {row['decimal']:.3g}"


def sentence(data: dict[str, Any]) -> str:
    """The verdict."""
    what = (
        f"order {data['order']} was asked for"
        if data["order"]
        else f"order {data['claimed']} is claimed"
        if data["claimed"]
        else "nothing is claimed"
    )
    unknown = f": orders above 8 are not looked for, so order {data['required']} is undecided"
    endings = {
        "holds": "",
        "fails": f": order {data['required']} fails",
        "undecided": " of its tableau, which does not decide the claim" if data["solver"] else unknown,
    }
    own = data["solver"] is not None and not data["solver"]["refused"]
    kind = "order" if own else "classical order"
    proved = str(data["judged"]) if own else order_text(data, "classical")
    runs = ""
    if own and data["solver"]["run"] != data["judged"]:
        runs = f" of the formula, {data['solver']['run']} of the method as it is run"
    within = ""
    if data["judged_by"] == "rounding":
        within = f" exactly, and {data['judged']} within the rounding of the table"
    return f"{what}, {kind} {proved} is proved{runs}{within}{endings[data['verdict']]}"
