"""`semilinear prove`: the orders of a tableau, exactly, and every condition that fails.

JSON: name, source, equation (that the orders are for), linearised; claimed, order (--order), required (the
order that was judged against), judged (the order that was judged: of a solver that of its own formula, else
the classical one), verdict "holds", "fails", or "undecided" where a solver's claim is not one on the order
of its formula and none is asked for; solver: null for a file or an entry of the catalogue, else as
`proofs.solver_proof` has it; classical, scalar, stiff, weak_stiff, zero_stiff, quadrature_order, stage_order
(null without stages), each looked for up to 8; embedded: the first five of the second output row, null
without one; principal_error_norm (null where it depends on parameters, or
is no float), principal_error, leading_error, parameters; violated: objects with kind ("classical", "stiff"),
order, condition and residual (null beyond order 8).  All numbers are finite.  A listed solver whose
coefficients cannot be expanded at all (a pole at z = 0) has name, verdict "fails" and reason alone.
"""

from __future__ import annotations

import argparse
import math
from contextlib import nullcontext
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from .terminal import FAILED, OK, UsageError, console, print_json

GRID = {"any": "any grid", "smooth": "smooth grids", "equal": "equal steps"}
SHOWN = 10
"""Conditions of each kind that are printed; JSON holds all."""
LARGEST = 8
ORDERS = {
    "classical": "classical order",
    "scalar": "with L a multiple of the identity",
    "stiff": "stiff order",
    "weak_stiff": "the last conditions at b_i(0)",
    "zero_stiff": "the last conditions at z = 0",
}
"""How the orders are called, by their JSON keys."""


def _order(text: str) -> int:
    if text not in map(str, range(1, LARGEST + 1)):
        raise argparse.ArgumentTypeError(f"must be an integer from 1 to {LARGEST}, got {text!r}")
    return int(text)


def add(commands: Any) -> argparse.ArgumentParser:
    """Add the command's parser."""
    prove: argparse.ArgumentParser = commands.add_parser(
        "prove",
        help="prove the orders of a tableau, from a file or by name",
        description="Prove the orders of a tableau exactly, with past values taken as exact; of a solver, "
        "those of its own equation and of its whole run too.  Exit code 0 if the order of the formula is at "
        "least that of --order, or else the claim, or else 1; how it is run does not count.",
    )
    prove.add_argument("tableau", metavar="NAME|FILE.json", help="a name of `semilinear list`, or a file")
    prove.add_argument(
        "--order", type=_order, metavar="N", help="check the conditions of all orders up to N, 1 to 8"
    )
    prove.set_defaults(run=run)
    return prove


def run(options: argparse.Namespace) -> int:
    """Prove, print, and judge."""
    from .lookup import tableau_of

    found = tableau_of(options.tableau)
    screen = Console(stderr=True)
    with screen.status(f"proving {escape(found.name)}") if screen.is_terminal else nullcontext():
        try:
            data = proved(found, options.order)
        except UsageError as error:
            if found.solver is None:
                raise
            return _unprovable(found.name, str(error), options.json)
    if options.json:
        print_json(data)
    else:
        _print(data)
    return OK if data["verdict"] == "holds" else FAILED


def _unprovable(name: str, reason: str, as_json: bool) -> int:
    """A listed solver without a proof is no bad usage: its release has no order, or not this kind of one."""
    if as_json:
        print_json({"name": name, "verdict": "fails", "reason": reason})
    else:
        print(reason)
    return FAILED


def proved(found: Any, order: int | None) -> dict[str, Any]:
    """What is proved of a tableau (`lookup.Found`), as JSON data.

    Raises UsageError for a tableau whose coefficients are outside the ring of exact proofs.
    """
    from semilinear.analysis.proof import prove

    from .lookup import DUHAMEL
    from .proofs import solver_proof

    try:
        proof = prove(found.tableau, linearised=found.linearised)
        classical = proof.classical
    except ValueError as error:
        raise UsageError(f"{found.name} cannot be proved: {error}") from error
    own = None if found.solver is None else solver_proof(found.solver)
    provable = own is None or not own["refused"]
    required = order or found.claimed or 1
    judged = own["formula"]["smooth"] if own is not None and provable else classical
    if order or provable:
        verdict = "holds" if judged >= required else "fails"
    else:  # the claim is of another kind: the tableau does not decide it
        verdict = "undecided"
    return {
        "name": found.name,
        "source": found.source,
        "equation": f"{DUHAMEL}, L the Jacobian at u_n" if found.linearised else DUHAMEL,
        "linearised": found.linearised,
        "claimed": found.claimed,
        "order": order,
        "required": required,
        "judged": judged,
        "verdict": verdict,
        "solver": own,
        **proof.orders,
        "embedded": proof.embedded.orders if proof.embedded else None,
        "quadrature_order": proof.quadrature_order,
        "stage_order": proof.stage_order if found.tableau.stages else None,
        "principal_error_norm": _norm(proof),
        "principal_error": str(proof.principal_error),
        "leading_error": [str(term) for term in proof.leading_error],
        "parameters": sorted(str(s) for s in proof.ring.field.symbols),
        "violated": [
            {
                "kind": v.kind,
                "order": v.order,
                "condition": v.condition,
                "residual": None if v.residual is None else str(v.residual),
            }
            for v in proof.violated(order)
        ],
    }


def _norm(proof: Any) -> float | None:
    """The norm, where it is a number that a float holds."""
    try:
        norm = proof.principal_error_norm
    except OverflowError:
        return None
    return norm if norm is not None and math.isfinite(norm) else None


def _print(data: dict[str, Any]) -> None:
    screen = console()
    table = Table(title=escape(data["name"]), title_justify="left", show_header=False)
    for key, label in ORDERS.items():
        low = data["embedded"]
        table.add_row(label, str(data[key]) + (f" (embedded row: {low[key]})" if low else ""))
    norm = data["principal_error_norm"]
    table.add_row("principal error norm", escape(data["principal_error"]) if norm is None else f"{norm:.6g}")
    if data["parameters"]:
        table.add_row("for all values of", ", ".join(data["parameters"]))
    table.add_row("equation", escape(data["equation"]))
    table.add_row("source", escape(data["source"]))
    screen.print(table)
    if data["leading_error"]:
        screen.print("leading local error:", " + ".join(data["leading_error"]), markup=False, highlight=False)
    shown = _first(data["violated"])
    if shown:
        screen.print(_violated(shown))
    if more := len(data["violated"]) - len(shown):
        screen.print(f"and {more} more conditions that fail (--json holds all)")
    if data["solver"] is not None:
        screen.print(_of_solver(data["solver"]), markup=False, highlight=False)
    print(sentence(data))


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
            escape(row["residual"] or "beyond order 8"),
        )
    return table


def sentence(data: dict[str, Any]) -> str:
    """The verdict."""
    what = (
        f"order {data['order']} was asked for"
        if data["order"]
        else f"order {data['claimed']} is claimed"
        if data["claimed"]
        else "nothing is claimed"
    )
    endings = {
        "holds": "",
        "fails": f": order {data['required']} fails",
        "undecided": " of its tableau, which does not decide the claim",
    }
    own = data["solver"] is not None and not data["solver"]["refused"]
    kind = "order" if own else "classical order"
    runs = ""
    if own and data["solver"]["run"] != data["judged"]:
        runs = f" of the formula, {data['solver']['run']} of the method as it is run"
    return f"{what}, {kind} {data['judged']} is proved{runs}{endings[data['verdict']]}"
