"""`semilinear derive`: the families of methods with given stages, past values and order, exactly."""

from __future__ import annotations

import argparse
import keyword
import re
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from .terminal import FAILED, OK, UsageError, console, known, print_json, writable_file

LARGEST = 8
MOST = 10
"""Of stages, and of past values."""
OUTPUTS = ("text", "sympy", "latex", "json", "python")
TAKEN = {"z", "e", "phi", "exp", "I", "S"}
_NUMBER = re.compile(r"[+-]?\d{1,20}(?:/\d{1,20}|\.\d{1,20})?", re.ASCII)
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9]{0,15}", re.ASCII)
_PARAMETER = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,31}", re.ASCII)


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
        "--form", default="lambda", choices=("lambda", "rho", "t"), help="(default: %(default)s)"
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
        "--minimise", choices=("error-norm", "problem-error"), help="choose the free parameters so"
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
    _check(options)
    values = dict(map(_setting, options.set))
    screen = Console(stderr=True)
    with screen.status("solving order conditions") if screen.is_terminal else nullcontext():
        found = _set(_families(options), values)
        minima = [_minimum(family, options) for family in found]
        members = [
            family if minimum is None else family.at(minimum.rational)
            for family, minimum in zip(found, minima, strict=True)
        ]
        if options.plot is not None and found:
            _plot(found, options)
        data = [_data(*pair) for pair in zip(members, minima, strict=True)]
    if options.json:
        print_json({"families": data})
    elif options.output == "json":
        print_json([entry["tableau"] for entry in data])
    elif options.output in ("python", "latex"):
        print("\n\n".join(entry[options.output] for entry in data))
    elif options.output == "sympy":
        for member in members:
            print(member.tableau)
    else:
        for entry in data:
            _print(entry)
        print(_sentence(options, len(data)))
    return OK if data else FAILED


# --- what is asked ---


def _check(options: argparse.Namespace) -> None:
    if options.order is None and options.collocation is None:
        raise UsageError("--order is needed (or --collocation)")
    if options.plot is not None:
        writable_file(options.plot, (".png", ".svg"))
    if options.minimise != "problem-error":
        for name in ("problem", "steps"):
            if getattr(options, name) is not None:
                raise UsageError(f"--{name} is for --minimise problem-error")
    if options.collocation is not None:
        for name in ("order", "basis", "stage_basis", "arguments", "minimise", "plot"):
            if getattr(options, name) is not None:
                raise UsageError(f"--{name.replace('_', '-')} does not apply to --collocation")
    if options.embedded is not None:
        for name in ("stage_basis", "arguments"):
            if getattr(options, name) is not None:
                raise UsageError(f"--{name.replace('_', '-')} does not apply to --embedded")
    if (options.embedded or options.collocation) and options.past:
        raise UsageError("--past does not apply where the stages are given")


def _families(options: argparse.Namespace) -> list[Any]:
    from semilinear.analysis.derive import collocation, derive, derive_embedded

    from .lookup import tableau_of

    try:
        if options.collocation is not None:
            return [collocation(options.collocation)]
        if options.embedded is not None:
            return derive_embedded(
                tableau_of(options.embedded).tableau,
                order=options.order,
                conditions=options.conditions,
                form=options.form,
                indices=options.basis,
            )
        return derive(
            _abscissae(options),
            past=options.past,
            order=options.order,
            conditions=options.conditions,
            form=options.form,
            indices=options.basis,
            stage_indices=options.stage_basis,
            arguments=options.arguments,
        )
    except ValueError as error:
        raise UsageError(str(error)) from error


def _abscissae(options: argparse.Namespace) -> list[Any]:
    from sympy import Symbol

    if options.abscissae is None:
        return [Symbol(f"c{i}") for i in range(2, (options.stages or 1) + 1)]
    parts = [part.strip() for part in options.abscissae.split(",")]
    if parts[:1] == ["0"]:
        parts = parts[1:]  # the start of the step, which every method has
    if len(parts) >= MOST:
        raise UsageError(f"--abscissae must be at most {MOST}, got {len(parts) + 1}")
    return [_abscissa(part) for part in parts]


def _abscissa(text: str) -> Any:
    from sympy import Symbol

    if _NUMBER.fullmatch(text):
        return _rational(text, "--abscissae")
    reserved = text in TAKEN or keyword.iskeyword(text) or re.fullmatch(r"[NP]\d+|omega\d+", text)
    if not _NAME.fullmatch(text) or reserved:
        raise UsageError(f"--abscissae must be numbers (1/2) or names (c2), got {text[:40]!r}")
    return Symbol(text)


def _setting(text: str) -> tuple[Any, Any]:
    from sympy import Symbol

    name, equals, value = (part.strip() for part in text.partition("="))
    if not equals or not _PARAMETER.fullmatch(name):
        raise UsageError(f"--set must be NAME=NUMBER, got {text[:60]!r}")
    return Symbol(name), _rational(value, "--set")


def _rational(text: str, option: str) -> Any:
    from sympy import Rational

    if not _NUMBER.fullmatch(text):
        raise UsageError(f"{option} must be a number such as 1/2 or 0.25, got {text[:40]!r}")
    numerator, slash, denominator = text.partition("/")
    if slash and not int(denominator):
        raise UsageError(f"{option}: division by zero in {text!r}")
    return Rational(int(numerator), int(denominator)) if slash else Rational(text)


def _set(families: list[Any], values: dict[Any, Any]) -> list[Any]:
    """The families at the given values; those that do not exist there are left out."""
    for symbol in values if families else ():
        if not any(symbol in family.parameters for family in families):
            names = sorted({s.name for family in families for s in family.parameters})
            raise UsageError(f"--set must name a parameter ({', '.join(names) or 'none'}), got {symbol}")
    found = []
    for family in families:
        own = {s: v for s, v in values.items() if s in family.parameters}
        try:
            found.append(family.at(own))
        except ValueError:
            continue
    return found


# --- what is found ---


def _minimum(family: Any, options: argparse.Namespace) -> Any:
    from semilinear.analysis.minimise import minimise_error, minimise_norm

    if options.minimise is None:
        return None
    try:
        if options.minimise == "error-norm":
            return minimise_norm(family)
        return minimise_error(family, _problem_error(options))
    except ValueError as error:
        raise UsageError(f"--minimise: {error}") from error


def _problem_error(options: argparse.Namespace) -> Any:
    """The RMS error of a member on a problem at so many steps, and infinity where it breaks down."""
    import math

    import numpy as np
    import torch
    from semilinear.integrators.form import data_in_lambda, noise_in_rho, noise_in_time
    from semilinear.integrators.plan import compile_plan
    from semilinear.integrators.sampler import NonFiniteError, sample
    from semilinear.integrators.schedule import vp_linear
    from semilinear.integrators.solver import Repeat, Solver

    from .problems import PROBLEMS, problem
    from .study import Experiment

    name, steps = options.problem or "rotated-product-2d", options.steps or 8
    known("problem", name, PROBLEMS)
    form = {"lambda": data_in_lambda, "rho": noise_in_rho, "t": noise_in_time}[options.form]
    schedule = vp_linear()
    ends = [float(schedule.formulas.t_of_lam(v)) for v in (-0.7, 1.75)]
    experiment = Experiment(problem(name), schedule, t_start=ends[0], t_end=ends[1])
    (exact,) = experiment.states([experiment.t_end])
    model, start = experiment.problem.model(schedule), torch.tensor(experiment.x)

    def error(family: Any) -> float:
        tableau = family.tableau
        solver = Solver("derived", form, Repeat(tableau, tableau), family.order, "derived")
        plan = compile_plan(solver, schedule, steps=steps, t_start=ends[0], t_end=ends[1])
        try:
            difference = sample(plan, model, [start]).x.numpy() - exact
        except NonFiniteError:
            return math.inf
        return float(np.sqrt(np.mean(np.sum(difference**2, axis=1))))

    return error


def _plot(families: list[Any], options: argparse.Namespace) -> None:
    from semilinear.analysis.minimise import ErrorNorm, minimise_norm

    from .derive_plot import plot_norm

    if len(families) > 1:
        raise UsageError(f"--plot is for one family, there are {len(families)}")
    try:
        minimum = minimise_norm(families[0])
    except ValueError as error:
        raise UsageError(f"--plot: {error}") from error
    norm = ErrorNorm(families[0])
    if len(norm.parameters) != 1:
        names = ", ".join(s.name for s in norm.parameters) or "none"
        raise UsageError(f"--plot needs one parameter that the norm depends on, got {names}: use --set")
    title = f"order {families[0].order}, {families[0].conditions} conditions"
    plot_norm(norm, norm.parameters[0], minimum, title, options.plot)


def _data(family: Any, minimum: Any) -> dict[str, Any]:
    """A family as JSON data."""
    from semilinear.analysis.derived_text import data, latex, python

    tableau = family.tableau
    return {
        "order": family.order,
        "conditions": family.conditions,
        "form": family.form,
        "parameters": [s.name for s in family.parameters],
        "nonzero": [str(e) for e in family.nonzero],
        "zero": [str(e) for e in family.implicit],
        "proved": _proved(family),
        "minimum": None if minimum is None else _minimum_data(minimum),
        "plan": _plan(family),
        "tableau": data(family),
        "rows": [
            {"row": name, "c": str(c), "weights": {_key(k): str(w) for k, w in sorted(row.items())}}
            for name, c, row in (
                *((f"stage {i}", s.c, a) for i, (s, a) in enumerate(zip(tableau.stages, tableau.a), 1)),
                ("output", 1, tableau.b),
            )
        ],
        "latex": latex(family),
        "python": python(family),
    }


def _key(j: int) -> str:
    return f"N({j})" if j >= 0 else f"P({-j})"


def _proved(family: Any) -> dict[str, int] | None:
    """The orders that are proved of the tableau with its parameters; None where these are not free."""
    from semilinear.analysis.derive import expand
    from semilinear.analysis.proof import local_order, prove

    if family.implicit:
        return None
    if family.form != "lambda":
        through = family.order + 1
        return {"classical": local_order(expand(family.tableau, through + 1, family.form), through)}
    proof = prove(family.tableau)
    return {
        name: getattr(proof, name) for name in ("classical", "scalar", "stiff", "weak_stiff", "zero_stiff")
    }


def _plan(family: Any) -> dict[str, Any] | None:
    """How far a float64 plan is off, for a method without parameters in lambda."""
    from semilinear.analysis.plan_check import check_against_plan, worst
    from semilinear.integrators.schedule import vp_linear

    if family.parameters or family.form != "lambda":
        return None
    past = [0.7 + 0.05 * j for j in range(1, family.tableau.past + 1)]
    found = check_against_plan(family.tableau, vp_linear(), 0.7, 0.65, past=past)
    largest = worst(found)
    return {
        "coefficients": len(found),
        "within_2_ulp": sum(d.ulp <= 2 for d in found),
        "worst_ulp": largest.ulp,
        "worst": f"{largest.row}, {largest.evaluation}",
        "cancellation": largest.cancellation,
    }


def _minimum_data(minimum: Any) -> dict[str, Any]:
    return {
        "values": {s.name: str(v) for s, v in minimum.values.items()},
        "error": minimum.error,
        "exact": minimum.exact,
        "gradient": minimum.gradient,
        "rational": {s.name: str(v) for s, v in minimum.rational.items()},
        "rational_error": minimum.rational_error,
        "undetermined": [s.name for s in minimum.undetermined],
    }


def _print(entry: dict[str, Any]) -> None:
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
        print(f"error {m['error']:.6g} at {_values(m['values'])}")
        print(f"error {m['rational_error']:.6g} at {_values(m['rational'])}, which is the tableau above")
    if entry["plan"]:
        p = entry["plan"]
        print(
            f"plan in float64: {p['within_2_ulp']} of {p['coefficients']} coefficients within 2 ulp, worst "
            f"{p['worst_ulp']:.2f} ({p['worst']}; its largest term is {p['cancellation']:.1f} times it)"
        )
    print()


def _values(values: dict[str, str]) -> str:
    return ", ".join(f"{name} = {value[:18]}" for name, value in values.items())


def _sentence(options: argparse.Namespace, count: int) -> str:
    if not count:
        return "there is no such method"
    return f"{count} famil{'y' if count == 1 else 'ies'}"
