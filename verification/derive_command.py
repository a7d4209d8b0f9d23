"""`semilinear derive`: the families of methods with given stages, past values and order, exactly."""

from __future__ import annotations

import argparse
import re
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from .derive_request import MOST, check, families, fixed, form_of, settings
from .derive_results import draw, family_json, minimum_of
from .terminal import FAILED, OK, console, print_json

LARGEST = 8
NONE = (
    "there is no such method; of free abscissae, only generic ones and one at 1 or at another are looked at"
)
OUTPUTS = ("text", "sympy", "latex", "json", "python")


def _integer(low: int, high: int) -> Any:
    def parse(text: str) -> int:
        value = int(text) if re.fullmatch(r"\d{1,6}", text, re.ASCII) else -1
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"must be an integer from {low} to {high}, got {text!r}")
        return value

    return parse


def _indices(text: str) -> list[int]:
    return [_integer(1, LARGEST)(part.strip()) for part in text.split(",")]


def add(commands: Any) -> argparse.ArgumentParser:
    """Add the command's parser."""
    derive: argparse.ArgumentParser = commands.add_parser(
        "derive",
        help="derive the methods of an order with given stages and past values",
        description="Solve order conditions exactly for the weights of a method.  Exit code 0 if there are "
        "such methods, 1 if there are none.",
    )
    which = derive.add_mutually_exclusive_group()
    which.add_argument("--stages", type=_integer(1, MOST), metavar="S", help="S evaluations, c2 .. cS free")
    which.add_argument("--abscissae", metavar="C", help="of the stages: 0,c2,2/3; names are free")
    which.add_argument("--embedded", metavar="NAME|FILE", help="a second output row on these stages")
    which.add_argument("--collocation", type=_integer(1, LARGEST), metavar="P", help="nested, of order P")
    derive.add_argument(
        "--past", type=_integer(0, MOST), default=0, metavar="K", help="past values (default: %(default)s)"
    )
    derive.add_argument("--order", type=_integer(1, LARGEST), metavar="P", help="1 to 8")
    derive.add_argument(
        "--conditions",
        default="classical",
        choices=("classical", "scalar", "stiff", "weak"),
        help="for bounded L, for L a number, uniform in L, uniform with b(0) in the last order "
        "(default: %(default)s)",
    )
    derive.add_argument(
        "--form",
        choices=("lambda", "rho", "t"),
        help="(default: that of the solver whose row is --embedded, else lambda)",
    )
    derive.add_argument(
        "--basis", type=_indices, metavar="K", help="the k of phi_k in the output (default: 1..order)"
    )
    derive.add_argument(
        "--stage-basis", type=_indices, metavar="K", help="the k in stages (default: 1..order - 1)"
    )
    derive.add_argument(
        "--arguments",
        choices=("own", "earlier"),
        help="phi of a stage at c_i z, or at earlier abscissae too (default: earlier where stiff or weak)",
    )
    derive.add_argument(
        "--set", action="append", default=[], metavar="NAME=NUMBER", help="fix a parameter of the family"
    )
    derive.add_argument(
        "--minimise",
        choices=("error-norm", "problem-error", "estimator"),
        help="choose the free parameters so; estimator: of an embedded row, to make its estimate clean",
    )
    derive.add_argument("--problem", help="of problem-error (default: rotated-product-2d)")
    derive.add_argument("--steps", type=_integer(2, 1000), metavar="N", help="of problem-error (default: 8)")
    derive.add_argument("--output", default="text", choices=OUTPUTS, help="(default: %(default)s)")
    derive.add_argument(
        "--plot", type=Path, metavar="FILE", help="the error norm over the one free parameter (PNG or SVG)"
    )
    derive.set_defaults(run=run)
    return derive


def run(options: argparse.Namespace) -> int:
    """Derive, choose, and print."""
    check(options)
    options.form = options.form or form_of(options)
    values = settings(options.set)
    screen = Console(stderr=True)
    with screen.status("solving order conditions") if screen.is_terminal else nullcontext():
        found = fixed(families(options, values), values)
        minima = [minimum_of(family, options) for family in found]
        members = [
            family if minimum is None else family.at(minimum.rational)
            for family, minimum in zip(found, minima, strict=True)
        ]
        if options.plot is not None and found:
            draw(found, options)
        data = [family_json(*both, options) for both in zip(members, minima, strict=True)]
    if options.json:
        print_json({"families": data, "reason": "" if data else NONE})
    elif options.output == "json":
        print_json([entry["tableau"] for entry in data])
    elif options.output in ("python", "latex"):
        print("\n\n".join(entry[options.output] for entry in data))
    elif options.output == "sympy":
        for member in members:
            print(member.tableau)
    else:
        for entry in data:
            _print(entry, "ratio" if options.minimise == "estimator" else "error")
        print(f"{len(data)} famil{'y' if len(data) == 1 else 'ies'}" if data else NONE)
    return OK if data else FAILED


def _print(entry: dict[str, Any], minimised: str) -> None:
    screen = console()
    free = ", ".join(entry["parameters"]) or "none"
    table = Table(title=f"order {entry['order']}, free: {free}", title_justify="left")
    for column in ("row", "c", "of", "weight"):
        table.add_column(column, overflow="fold")
    for row in entry["rows"]:
        for i, (key, weight) in enumerate(row["weights"].items()):
            table.add_row(*((row["row"], escape(row["c"])) if i == 0 else ("", "")), key, escape(weight))
    screen.print(table)
    for label, key in (("must not vanish", "nonzero"), ("must vanish", "zero")):
        if entry[key]:
            print(f"{label}: {', '.join(entry[key])}")
    if entry["proved"]:
        print("proved:", ", ".join(f"{name.replace('_', ' ')} {p}" for name, p in entry["proved"].items()))
    if entry["minimum"]:
        m = entry["minimum"]
        at = ", ".join(f"{name} = {value:.6g}" for name, value in m["decimals"].items())
        print(f"{minimised} {m['error']:.6g} at {at}")
        print(
            f"{minimised} {m['rational_error']:.6g} at {_values(m['rational'])}, which is the tableau above"
        )
    if entry["plan"]:
        p = entry["plan"]
        print(
            f"plan in float64: {p['within_2_ulp']} of {p['coefficients']} coefficients within 2 ulp, worst "
            f"{p['worst_ulp']:.2f} ({p['worst']}; its largest term is {p['cancellation']:.1f} times it)"
        )
    print()


def _values(values: dict[str, str]) -> str:
    return ", ".join(f"{name} = {value}" for name, value in values.items())
