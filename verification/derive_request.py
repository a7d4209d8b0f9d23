"""What `semilinear derive` is asked for: its options as families.  No text is evaluated."""

from __future__ import annotations

import argparse
import keyword
import re
from collections.abc import Sequence
from typing import Any

from .problems import PROBLEMS
from .terminal import UsageError, known, writable_file

MOST = 10
"""Of stages, and of past values."""
TAKEN = {"z", "e", "N", "P", "omega", "phi", "exp", "Rational", "Stage", "Symbol", "Tableau", "sympify"}
_NUMBER = re.compile(r"[+-]?\d{1,20}(?:/\d{1,20}|\.\d{1,20})?", re.ASCII)
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9]{0,15}", re.ASCII)
_PARAMETER = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,31}", re.ASCII)


def check(options: argparse.Namespace) -> None:
    """Refuse options that mean nothing together, before work is done."""
    if options.order is None and options.collocation is None:
        raise UsageError("--order is needed (or --collocation)")
    given = (options.stages, options.abscissae, options.embedded, options.collocation)
    if not options.past and all(value is None for value in given):
        raise UsageError("--stages, --abscissae, --past, --embedded or --collocation is needed")
    if options.problem is not None:
        known("problem", options.problem, PROBLEMS)
    if options.plot is not None:
        writable_file(options.plot, (".png", ".svg"))
    if options.minimise == "estimator" and options.embedded is None:
        raise UsageError("--minimise estimator is for --embedded")
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


def form_of(options: argparse.Namespace) -> str:
    """The form that the conditions are for, where none is asked for: that of a solver with stages to use."""
    from semilinear.analysis.expansion import form_name
    from semilinear.integrators.schedule import vp_linear

    from .lookup import tableau_of

    solver = None if options.embedded is None else tableau_of(options.embedded).solver
    if solver is None:
        return "lambda"
    return form_name(solver.form(vp_linear()))


def families(options: argparse.Namespace, values: dict[Any, Any]) -> list[Any]:
    """The families that the options ask for; values: of parameters.  Free abscissae have theirs at once: what
    holds for all others may not hold there.
    """
    from semilinear.analysis.derive import collocation, derive, derive_embedded

    from .lookup import tableau_of

    try:
        if options.collocation is not None:
            return [collocation(options.collocation)]
        if options.embedded is not None:
            found = tableau_of(options.embedded)
            if found.linearised:
                raise UsageError(f"--embedded does not apply to {found.name}: its L is the Jacobian")
            if found.solver is not None and found.solver.stochastic:
                raise UsageError(f"--embedded does not apply to {found.name}: it is stochastic")
            return derive_embedded(
                found.tableau,
                order=options.order,
                conditions=options.conditions,
                form=options.form,
                indices=options.basis,
            )
        return derive(
            [values.pop(c, c) for c in _abscissae(options)],
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
    if parts[0] != "0":
        raise UsageError(f"--abscissae must begin with 0, the start of the step, got {options.abscissae!r}")
    if len(parts) > MOST:
        raise UsageError(f"--abscissae must be at most {MOST}, got {len(parts)}")
    return [_abscissa(part) for part in parts[1:]]


def _abscissa(text: str) -> Any:
    from sympy import Symbol

    if _NUMBER.fullmatch(text):
        return _rational(text, "--abscissae")
    reserved = text in TAKEN or keyword.iskeyword(text) or re.fullmatch(r"[NP]\d+|omega\d+", text)
    if not _NAME.fullmatch(text) or reserved:
        raise UsageError(f"--abscissae must be numbers (1/2) or names (c2), got {text[:40]!r}")
    return Symbol(text)


def settings(texts: Sequence[str]) -> dict[Any, Any]:
    """NAME=NUMBER each, as symbols and rational numbers."""
    from sympy import Symbol

    values: dict[Any, Any] = {}
    for text in texts:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not equals or not _PARAMETER.fullmatch(name):
            raise UsageError(f"--set must be NAME=NUMBER, got {text[:60]!r}")
        if Symbol(name) in values:
            raise UsageError(f"--set must name a parameter once, got {name} again")
        values[Symbol(name)] = _rational(value, "--set")
    return values


def _rational(text: str, option: str) -> Any:
    from sympy import Rational

    if not _NUMBER.fullmatch(text):
        raise UsageError(f"{option} must be a number such as 1/2 or 0.25, got {text[:40]!r}")
    numerator, slash, denominator = text.partition("/")
    if slash and not int(denominator):
        raise UsageError(f"{option}: division by zero in {text!r}")
    return Rational(int(numerator), int(denominator)) if slash else Rational(text)


def fixed(derived: list[Any], values: dict[Any, Any]) -> list[Any]:
    """The families at the given values; those that do not exist there are left out."""
    for symbol in values if derived else ():
        if not any(symbol in family.parameters for family in derived):
            names = sorted({s.name for family in derived for s in family.parameters})
            raise UsageError(f"--set must name a parameter ({', '.join(names) or 'none'}), got {symbol}")
    found = []
    for family in derived:
        own = {s: v for s, v in values.items() if s in family.parameters}
        try:
            found.append(family.at(own))
        except ValueError:
            continue
    return found
