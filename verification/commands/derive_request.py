"""What `semilinear derive` is asked for: its options as a search.  No text is evaluated."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from typing import Any

from .terminal import UsageError, writable_file

MOST = 10
"""Of stages, and of past values."""
_PARAMETER = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,31}", re.ASCII)


def check(options: argparse.Namespace) -> None:
    """Refuse options that mean nothing together, before work is done."""
    if options.order is None and options.collocation is None:
        raise UsageError("--order is needed (or --collocation)")
    given = (options.stages, options.abscissae, options.embedded, options.collocation)
    if not options.past and all(value is None for value in given):
        raise UsageError("--stages, --abscissae, --past, --embedded or --collocation is needed")
    if options.plot is not None:
        writable_file(options.plot, (".png", ".svg"))
    if options.minimise == "estimator" and options.embedded is None:
        raise UsageError("--minimise estimator is for --embedded")
    if options.minimise == "problem-error" and options.past:
        raise UsageError("--minimise problem-error is for methods of one step, got --past")
    if options.minimise != "problem-error":
        for name in ("problem", "steps"):
            if getattr(options, name) is not None:
                raise UsageError(f"--{name} is for --minimise problem-error")
    if options.collocation is not None:
        for name in ("order", "basis", "stage_basis", "arguments", "minimise", "plot", "set", "parallel"):
            if getattr(options, name):
                raise UsageError(f"--{name.replace('_', '-')} does not apply to --collocation")
    if options.embedded is not None:
        for name in ("stage_basis", "arguments", "parallel"):
            if getattr(options, name):
                raise UsageError(f"--{name.replace('_', '-')} does not apply to --embedded")
    if (options.embedded or options.collocation) and options.past:
        raise UsageError("--past does not apply where the stages are given")


def form_of(options: argparse.Namespace) -> str:
    """The form that the conditions are for, where none is asked for: that of a solver with stages to use, or
    what the file of a table says.
    """
    if options.embedded is None:
        return "lambda"
    from semilinear.analysis.lookup import tableau_of
    from semilinear.analysis.orders.expansion import form_name
    from semilinear.integrators.diffusion.schedule import vp_linear

    found = tableau_of(options.embedded)
    if found.solver is not None:
        return form_name(found.solver.form(vp_linear()))
    return "lambda" if found.document is None else str(found.document.form)


def request(options: argparse.Namespace, watch: Any) -> Any:
    """The search for what the options ask for, parameters set: nothing is solved yet.

    What is set at once is solved for everything else, whatever holds where it has other values.
    """
    from semilinear.analysis.derivation.derive import unknown_method, unknown_row
    from semilinear.analysis.derivation.search import Search

    values = settings(options.set)
    common = {"order": options.order, "conditions": options.conditions, "form": options.form}
    try:
        if options.embedded is not None:
            from semilinear.analysis.lookup import tableau_of

            found = tableau_of(options.embedded)
            if found.solver is not None and found.solver.stochastic:
                raise UsageError(f"--embedded does not apply to {found.name}: it is stochastic")
            unknown = unknown_row(found.tableau, indices=options.basis, linearised=found.linearised, **common)
        else:
            unknown = unknown_method(
                _abscissae(options),
                past=options.past,
                indices=options.basis,
                stage_indices=options.stage_basis,
                arguments=options.arguments,
                parallel=options.parallel,
                **common,
            )
        for symbol, value in sorted(values.items(), key=lambda item: not item[1].is_Symbol):
            unknown = _set(unknown, symbol, value)
    except ValueError as error:
        raise UsageError(str(error)) from error
    return Search(unknown, options.order, options.conditions, watch)


def _set(unknown: Any, symbol: Any, value: Any) -> Any:
    """The ansatz with an abscissa or a weight set, which it must have."""
    names = {symbol.name, *(s.name for s in value.free_symbols)}
    for name in sorted(names, key=lambda n: n != symbol.name):
        if name not in unknown.names:
            shown = ", ".join(unknown.names[:12]) + (", .." if len(unknown.names) > 12 else "")
            raise UsageError(f"--set must name a parameter ({shown or 'none'}), got {name}")
    if symbol in unknown.abscissae and not value.is_Symbol and value == 0:
        raise UsageError(f"--set: an abscissa must be other than 0, got {symbol}={value}")
    return unknown.at({symbol: value})


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
    from semilinear.analysis.derivation.ansatz import NAME
    from sympy import Symbol

    if not text[:1].isalpha() or "(" in text:
        return _number(text, "--abscissae")
    if not NAME.fullmatch(text):
        raise UsageError(
            "--abscissae must be numbers (1/2, sqrt(2)/2) or names (c2), a letter other than N, P, e and z "
            f"with at most two digits, got {text[:40]!r}"
        )
    return Symbol(text)


NUMBERLESS = ("z", "nan", "inf")
"""Words that name no parameter."""


def settings(texts: Sequence[str]) -> dict[Any, Any]:
    """NAME=NUMBER or NAME=NAME each, as symbols and exact numbers or symbols."""
    from sympy import Symbol

    values: dict[Any, Any] = {}
    for text in texts:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not equals or not _PARAMETER.fullmatch(name):
            raise UsageError(f"--set must be NAME=NUMBER or NAME=NAME, got {text[:60]!r}")
        if Symbol(name) in values:
            raise UsageError(f"--set must name a parameter once, got {name} again")
        named = _PARAMETER.fullmatch(value) and value not in NUMBERLESS
        values[Symbol(name)] = Symbol(value) if named else _number(value, "--set")
    return values


def _number(text: str, option: str) -> Any:
    """An exact number, which may hold square roots."""
    from semilinear.analysis.text.grammar import Parser
    from semilinear.analysis.text.tokens import EntryError

    try:
        value = Parser()(text)
    except EntryError as error:
        raise UsageError(
            f"{option} must be a number such as 1/2, 0.25 or sqrt(2)/2, got {text[:40]!r}: {error}"
        ) from error
    if not value.is_number:
        raise UsageError(f"{option} must be a number such as 1/2, 0.25 or sqrt(2)/2, got {text[:40]!r}")
    return value
