"""`semilinear stability`: where a method is stable on u' = L u + mu u.

JSON: solver, form, rate (the form's L); memory (the order of the amplification matrix); zero_stable;
z: a list of objects with z (a number where it is real, else [real, imaginary]), real: [low, high] (the stable
interval of real w = h mu that holds 0, or the nearest to it) or null where there is none, imaginary: y* (i y
is stable for |y| <= y*) and imaginary_interval: [low, high] (i y is stable between them; [-y*, y*] for real
z), both null where w = 0 is unstable, area, area_error; with --function, function: R(z, w), or det(zeta - M)
in zeta, z, w for a memory above 1; and with --mu largest_stable_step: linear and mu as lists of
[real, imaginary], h or null, verdict "bounded", "unbounded" (h null: no step up to `scanned` is unstable) or
"none" (h = 0: all are), error, scanned.  All numbers are finite.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table
from semilinear.integrators.common.kinds import FORMULAS

from .terminal import (
    FAILED,
    OK,
    UsageError,
    add_target,
    complex_number,
    console,
    print_json,
    writable_file,
)

WIDEST = 6
"""Evaluations of a method whose stability function is written out."""


def add(commands: Any) -> argparse.ArgumentParser:
    """Add the command's parser."""
    stability: argparse.ArgumentParser = commands.add_parser(
        "stability",
        help="stability regions and largest stable step of one solver",
        description="Stability of a solver's full-order formula on u' = L u + mu u, z = h L, w = h mu, where "
        "its form has a constant L.  Exit code 1 if it is not zero-stable.",
    )
    add_target(stability, "solver", FORMULAS)
    stability.add_argument(
        "--z",
        type=complex_number,
        nargs="+",
        action="extend",
        metavar="Z",
        help="values of h L, complex or imaginary where L is: 1j, -0.5+2j; not a pole (default: 0, and 1 "
        "and 5 times the sign of the form's L)",
    )
    stability.add_argument(
        "--linear",
        type=complex_number,
        nargs="+",
        metavar="L",
        help="complex numbers (default: the form's L)",
    )
    stability.add_argument(
        "--mu",
        type=complex_number,
        nargs="+",
        metavar="M",
        help="complex numbers: the largest stable step for all of them, as many as L or one of either",
    )
    stability.add_argument(
        "--function",
        action="store_true",
        help="the stability function R(z, w) exactly, or det(zeta - M) for a method with memory, of a method "
        f"with at most {WIDEST} evaluations a step",
    )
    stability.add_argument("--plot", type=Path, metavar="FILE", help="draw the regions (PNG or SVG)")
    stability.set_defaults(run=run)
    return stability


def run(options: argparse.Namespace) -> int:
    """Compute, print, draw."""
    _check(options)
    from semilinear.analysis.lookup import equation_of
    from semilinear.analysis.stability.amplification import Amplification
    from semilinear.analysis.stability.region import region, sections_json
    from semilinear.integrators.common.messages import written

    tableau, form, rate = equation_of(options.solver)
    if tableau.parameters:
        names = ", ".join(sorted(s.name for s in tableau.parameters))
        raise UsageError(f"solver {options.solver} has coefficients that change from step to step ({names})")
    method = Amplification(tableau)
    if options.function and len(tableau.stages) >= WIDEST:
        raise UsageError(
            f"--function is for methods with at most {WIDEST} evaluations a step, {options.solver} has "
            f"{len(tableau.stages) + 1}"
        )
    values = _values(options.z, method, form, rate)
    pairs = _pairs(options.linear, options.mu, form, rate)
    try:
        regions = [region(method, z) for z in values]
    except ValueError as error:
        raise UsageError(f"--z: {error}") from error
    if large := [r.z for r in regions if not math.isfinite(r.area + r.area_error)]:
        raise UsageError(
            f"--z must be so small that a float holds the region's area, got {written(large[0])}"
        )
    data: dict[str, Any] = {
        "solver": options.solver,
        "form": form,
        "rate": rate,
        "memory": method.size,
        "zero_stable": method.zero_stable,
        "z": [sections_json(method, r) for r in regions],
    }
    if options.function:
        data["function"] = str(method.function)
    if pairs is not None:
        data["largest_stable_step"] = _largest(method, *pairs)
    if options.plot is not None:
        from ..reporting.stability_plot import plot_regions

        plot_regions(regions, options.solver, options.plot)
    if options.json:
        print_json(data)
    else:
        _print(data)
    return OK if data["zero_stable"] else FAILED


def _check(options: argparse.Namespace) -> None:
    """Refuse what can be told without the method."""
    linear, mu = options.linear or (), options.mu or ()
    if linear and not mu:
        raise UsageError("--linear needs --mu")
    if linear and len(linear) != len(mu) and 1 not in (len(linear), len(mu)):
        raise UsageError(f"--linear and --mu must be as many, or one, got {len(linear)} and {len(mu)}")
    if options.plot is not None:
        writable_file(options.plot, (".png", ".svg"))


def _values(given: Sequence[complex] | None, method: Any, form: str, rate: float) -> list[complex]:
    from semilinear.analysis.lookup import usual_z
    from semilinear.integrators.common.messages import written

    usable = [v for v in given or usual_z(rate) if abs(method.matrix(v, 0)).max() < math.inf]
    values: list[complex] = usable if given is None else list(given)
    if len(usable) < len(values):
        bad = next(v for v in values if v not in usable)
        raise UsageError(
            f"--z must be no pole of a coefficient, and none so large that e^z overflows, got {written(bad)}"
        )
    if rate == 0 and any(values):  # only given ones are
        largest = written(max(values, key=abs))
        raise UsageError(f"--z must be 0 for form {form}, whose L is 0, got {largest}")
    return list(dict.fromkeys(map(complex, values)))


def _pairs(
    linear: list[complex] | None, mu: list[complex] | None, form: str, rate: float
) -> tuple[list[complex], list[complex]] | None:
    if mu is None:
        return None
    given = [complex(rate)] if linear is None else linear
    if rate == 0 and any(given):
        raise UsageError(f"--linear must be 0 for form {form}, whose L is 0")
    count = max(len(given), len(mu))
    return given * (count // len(given)), mu * (count // len(mu))


def _largest(method: Any, linear: list[complex], mu: list[complex]) -> dict[str, Any]:
    from semilinear.analysis.stability.region import largest_stable_step

    step = largest_stable_step(method, linear, mu)
    unbounded = math.isinf(step.h)
    return {
        "linear": [[v.real, v.imag] for v in linear],
        "mu": [[v.real, v.imag] for v in mu],
        "h": None if unbounded else step.h,
        "verdict": "unbounded" if unbounded else "bounded" if step.h > 0 else "none",
        "error": step.error,
        "scanned": None if math.isinf(step.scanned) else step.scanned,
    }


def _print(data: dict[str, Any]) -> None:
    from semilinear.integrators.common.messages import written

    table = Table(title=f"{data['solver']} ({data['form']}, L = {data['rate']:g}) on u' = L u + mu u")
    for column in ("z = hL", "real interval of w = h mu", "imaginary interval of w", "area"):
        table.add_column(column, no_wrap=True)
    for row in data["z"]:
        real, imaginary = row["real"], row["imaginary_interval"]
        table.add_row(
            written(complex(*row["z"]) if isinstance(row["z"], list) else complex(row["z"])),
            "none" if real is None else f"[{real[0]:.6g}, {real[1]:.6g}]",
            "none: w = 0 is unstable" if imaginary is None else f"[{imaginary[0]:.6g}, {imaginary[1]:.6g}]",
            f"{row['area']:.4g} ± {row['area_error']:.0e}",
        )
    console().print(table)
    roots = f"memory {data['memory']}"
    print(f"{'zero-stable' if data['zero_stable'] else 'NOT zero-stable'} ({roots})")
    if "function" in data:
        print(f"{'R(z, w)' if data['memory'] == 1 else 'det(zeta - M)'} = {data['function']}")
    if "largest_stable_step" in data:
        print(_sentence(data["largest_stable_step"]))


def _sentence(step: dict[str, Any]) -> str:
    if step["verdict"] == "none":
        return f"largest stable step: none, h = {step['error']:.3g}, the smallest that was tried, is unstable"
    if step["verdict"] == "unbounded":
        upto = "" if step["scanned"] is None else f" up to {step['scanned']:.3g}"
        return f"largest stable step: none was found, no step{upto} is unstable"
    return f"largest stable step: h = {step['h']:.9g}"
