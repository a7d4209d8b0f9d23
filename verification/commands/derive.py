"""`semilinear derive`: the families of methods with given stages, past values and order, exactly."""

from __future__ import annotations

import argparse
import re
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table
from semilinear.integrators.common.kinds import FORMULAS, spelled

from . import names
from .derive_request import MOST, check, form_of, request
from .derive_results import PROOF_SECONDS, draw, family_json, minimum_of
from .derive_scope import not_looked_at, reason, unfinished_json
from .terminal import FAILED, OK, UsageError, add_named, console, positive, print_json

LARGEST = 8
OUTPUTS = ("text", "sympy", "latex", "json", "python")
SECONDS = 120.0


def _integer(low: int, high: int) -> Any:
    def parse(text: str) -> int:
        value = int(text) if re.fullmatch(r"\d{1,6}", text, re.ASCII) else -1
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"must be an integer from {low} to {high}, got {text!r}")
        return value

    return parse


def _indices(text: str) -> list[int]:
    """K for 1 .. K, J..K, or a list."""
    number = _integer(1, LARGEST)
    first, dots, last = text.partition("..")
    if dots:
        low, high = number(first.strip()), number(last.strip())
        if low > high:
            raise argparse.ArgumentTypeError(f"must be J..K with J <= K, got {text!r}")
        return list(range(low, high + 1))
    if "," not in text:
        return list(range(1, number(text.strip()) + 1))
    return [number(part.strip()) for part in text.split(",") if part.strip()]


def _stages(text: str) -> list[int]:
    return [_integer(2, MOST)(part.strip()) for part in text.split(",")]


def add(commands: Any) -> argparse.ArgumentParser:
    """Add the command's parser."""
    derive: argparse.ArgumentParser = commands.add_parser(
        "derive",
        help="derive the methods of an order with given stages and past values",
        description="Solve order conditions exactly for the weights of a method.  Stage 1 is the "
        "evaluation at the step's start, c1 = 0; a3_2 is the weight of stage 2 in stage 3, b_2 that in the "
        "output; a3_2_1 is the coefficient of phi_1 in it, a3_2_0 its value at z = 0.  Exit code 0 if "
        "methods were found, 1 if none: because there are none, which is said only where every case was "
        "looked at, or because the time was over.",
    )
    which = derive.add_mutually_exclusive_group()
    which.add_argument("--stages", type=_integer(1, MOST), metavar="S", help="S evaluations, c2 .. cS free")
    which.add_argument("--abscissae", metavar="C", help="of the stages: 0,c2,2/3,sqrt(2)/2; names are free")
    add_named(
        which,
        names.target(FORMULAS),
        "--embedded",
        metavar="TARGET",
        help=f"a second output row on the stages of {spelled(FORMULAS)}",
    )
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
        help="(default: that of the solver or the file whose row is --embedded, else lambda)",
    )
    derive.add_argument(
        "--basis",
        type=_indices,
        metavar="K",
        help="phi_1 .. phi_K in the output, or those of a range 2..3 or list 1,3 (default: 1..order)",
    )
    derive.add_argument(
        "--stage-basis",
        type=_indices,
        metavar="K",
        help="those in stages (default: 1..order - 1)",
    )
    derive.add_argument(
        "--arguments",
        choices=("own", "earlier"),
        help="phi of a stage at c_i z, or at earlier abscissae too (default: earlier where stiff or weak)",
    )
    derive.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="fix an abscissa or a weight: c2=1/2, c2=sqrt(2)/2, c3=c2, b_2=0",
    )
    derive.add_argument(
        "--parallel",
        action="append",
        type=_stages,
        default=[],
        metavar="I,J",
        help="stages that do not use one another; may be repeated",
    )
    derive.add_argument(
        "--special",
        action="store_true",
        help="look at special abscissae too where generic ones have methods",
    )
    derive.add_argument(
        "--time",
        type=positive,
        default=SECONDS,
        metavar="SECONDS",
        help="what is found until then is printed (default: %(default)g)",
    )
    derive.add_argument("--solution", type=_integer(1, 1000), metavar="K", help="print the K-th alone")
    derive.add_argument(
        "--minimise",
        choices=("error-norm", "problem-error", "estimator"),
        help="choose the free parameters so; estimator: of an embedded row, to make its estimate clean",
    )
    add_named(
        derive, names.alone("problems"), "--problem", help="of problem-error (default: rotated-product-2d)"
    )
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

    from semilinear.analysis.derivation.derive import collocation, others
    from semilinear.analysis.derivation.watch import Watch

    options.form = options.form or form_of(options)
    search = None
    if options.collocation is not None:
        found = [collocation(options.collocation)]
    else:
        watch = Watch(options.time, lambda words: print(f"derive: {words}", file=sys.stderr))
        search = request(options, watch)
        with _ticking(watch):
            search.run(further=options.special)
        found = search.families
        if options.embedded is not None:
            from semilinear.analysis.lookup import tableau_of

            found = others(found, tableau_of(options.embedded).tableau)
    if options.solution is not None and options.solution > len(found):
        raise UsageError(f"--solution must be at most {len(found)}, the number of families found")
    chosen = found if options.solution is None else [found[options.solution - 1]]
    minima = [minimum_of(family, options) for family in chosen]
    members = [
        family if minimum is None else family.at(minimum.rational)
        for family, minimum in zip(chosen, minima, strict=True)
    ]
    if options.plot is not None and chosen:
        draw(chosen, options)
    proofs = Watch(min(options.time, PROOF_SECONDS))
    data = [
        family_json(*both, k if len(members) > 1 else None, options, proofs, _ticking)
        for k, both in enumerate(zip(members, minima, strict=True), 1)
    ]
    _show(
        data,
        members,
        search,
        "" if found else reason(search, options.embedded is not None, options.set),
        options,
    )
    return OK if found else FAILED


def _show(
    data: list[dict[str, Any]], members: list[Any], search: Any, why: str, options: argparse.Namespace
) -> None:
    """Print what was found, and on standard error what was not looked at."""
    said = not_looked_at(search)
    if options.json:
        left = {} if search is None else {"looked_at": search.looked, "not_looked_at": search.left}
        complete = search is None or search.complete
        found = {"families": data, "reason": why, "complete": complete, **left}
        print_json(found | {"unfinished": unfinished_json(search)})
        return
    if options.output == "json":
        tableaux = [entry["pair"] or entry["tableau"] for entry in data]
        print_json(tableaux[0] if len(tableaux) == 1 else {"solutions": tableaux})
    elif options.output in ("python", "latex"):
        print("\n\n".join(entry[options.output] for entry in data))
    elif options.output == "sympy":
        for member in members:
            print(repr(member.tableau))
    else:
        for entry in data:
            _print(entry, "ratio" if options.minimise == "estimator" else "error")
        print(f"{len(data)} famil{'y' if len(data) == 1 else 'ies'}" if data else why)
        for line in said:
            print(line)
        return
    for line in [why, *said] if why else said:
        print(f"derive: {line}", file=sys.stderr)


@contextmanager
def _ticking(watch: Any) -> Iterator[None]:
    """Ask a watch twice a second, in the middle of long work too, where the system can interrupt it."""
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGALRM, lambda *_: watch.check())
    signal.setitimer(signal.ITIMER_REAL, 0.5, 0.5)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


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
    zero = "must vanish, perhaps at complex numbers alone"
    for label, key in (("must not vanish", "nonzero"), (zero, "zero")):
        if entry[key]:
            print(f"{label}: {', '.join(entry[key])}")
    if entry["unproved"]:
        print(f"not proved again: {entry['unproved']}")
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
