"""What `semilinear derive` finds: minima, and families as JSON data with their proofs."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from .terminal import UsageError

PROOF_SECONDS = 20.0
"""Of the proofs of all families together."""
Ticking = Callable[[Any], AbstractContextManager[None]]
"""What asks a watch while something runs."""


def minimum_of(family: Any, options: argparse.Namespace) -> Any:
    """The minimum that --minimise asks for, or None."""
    if options.minimise is None:
        return None
    from semilinear.analysis.derivation.minimise import minimise_error, minimise_norm
    from semilinear.analysis.derivation.pairs import estimator_ratio
    from semilinear.analysis.lookup import tableau_of

    try:
        if options.minimise == "error-norm":
            return minimise_norm(family)
        if options.minimise == "estimator":
            tableau = tableau_of(options.embedded).tableau
            start = dict.fromkeys(family.parameters, 0)
            estimator_ratio(tableau, family.at(start))  # refuses an order that is not below the method's
            return minimise_error(family, lambda member: estimator_ratio(tableau, member), start)
        return minimise_error(family, _problem_error(options))
    except ValueError as error:
        raise UsageError(f"--minimise: {error}") from error


def _problem_error(options: argparse.Namespace) -> Any:
    """The RMS error of a member on a problem at so many steps, and infinity where it breaks down."""
    import numpy as np
    import torch
    from semilinear.integrators.forms.form import data_in_lambda, noise_in_rho, noise_in_time
    from semilinear.integrators.run.sampler import NonFiniteError, sample
    from semilinear.integrators.solver import Repeat, Solver

    from ..problems.named import problem
    from ..studies.experiment import Experiment

    name, steps = options.problem or "rotated-product-2d", options.steps or 8
    form = {"lambda": data_in_lambda, "rho": noise_in_rho, "t": noise_in_time}[options.form]
    experiment = Experiment(problem(name))
    (exact,) = experiment.states([experiment.times[1]])
    start = torch.tensor(experiment.x)

    def error(family: Any) -> float:
        tableau = family.tableau
        solver = Solver(
            name="derived",
            form=form,
            sequence=Repeat(tableau, tableau),
            claimed=family.order,
            source="derived",
        )
        plan = experiment.plan(solver, steps)
        try:
            difference = sample(plan, experiment.model, [start]).x.numpy() - exact
        except NonFiniteError:
            return math.inf
        return float(np.sqrt(np.mean(np.sum(difference**2, axis=1))))

    return error


def draw(families: list[Any], options: argparse.Namespace) -> None:
    """Write the plot."""
    from semilinear.analysis.derivation.error_norm import ErrorNorm
    from semilinear.analysis.derivation.minimise import minimise_norm

    from ..reporting.derive_plot import plot_norm

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


def family_json(
    family: Any,
    minimum: Any,
    number: int | None,
    options: argparse.Namespace,
    proofs: Any,
    ticking: Ticking,
) -> dict[str, Any]:
    """A family as JSON data; "tableau" is a tableau file where nothing is free, "pair" one with the embedded
    row.  number: of the family, where there are more.  proofs: the watch of their time.  What neither --json
    nor the --output shows is null: long weights take longer to write than to find.
    """
    from semilinear.analysis.derivation.text import data, latex, python, text

    tableau = family.tableau
    found = None
    if options.embedded is not None:
        from semilinear.analysis.lookup import tableau_of

        found = tableau_of(options.embedded)
    method = None if found is None else found.tableau
    source = f"derived: order {family.order}, {family.conditions} conditions"
    pair = None
    shown = {options.output} if not options.json else {"text", "json", "latex", "python"}
    if found is not None and "json" in shown:
        pair = data(family, f"{found.name} with an embedded row, {source}", method)
        pair |= {} if found.claimed is None else {"claimed": found.claimed}
    proved, unproved = _proved(family, proofs, ticking) if "text" in shown else (None, "")
    return {
        "order": family.order,
        "conditions": family.conditions,
        "form": family.form,
        "parameters": [s.name for s in family.parameters],
        "nonzero": [str(e) for e in family.nonzero],
        "zero": [str(e) for e in family.implicit],
        "proved": proved,
        "unproved": unproved,
        "minimum": None if minimum is None else _minimum_json(minimum),
        "plan": _plan(family) if "text" in shown else None,
        "tableau": data(family, source) if "json" in shown else None,
        "pair": pair,
        "rows": [
            {"row": name, "c": str(c), "weights": {_name(k): text(w) for k, w in sorted(row.items())}}
            for name, c, row in (tableau.rows() if "text" in shown else ())
        ],
        "latex": latex(family) if "latex" in shown else None,
        "python": python(family, "derived" if number is None else f"derived_{number}", method)
        if "python" in shown
        else None,
    }


def _name(key: int) -> str:
    """N_i of stage i, P_j of j steps ago."""
    return f"N_{key + 1}" if key >= 0 else f"P_{-key}"


# --- proofs ---


def _proved(family: Any, watch: Any, ticking: Ticking) -> tuple[dict[str, int] | None, str]:
    """The orders that are proved of the tableau with its parameters, or why none were: these are not free, or
    it takes long.
    """
    from semilinear.analysis.derivation.watch import OutOfTime
    from semilinear.analysis.orders.proof import local_order, prove

    if family.implicit:
        return None, "its parameters are not free"
    try:
        watch.check()
        with ticking(watch):
            if family.form == "lambda":
                return prove(family.tableau, linearised=family.linearised).orders, ""
            through = family.order + 1
            return {"classical": local_order(family.expansion(through + 1), through)}, ""
    except OutOfTime:
        return None, f"its weights are long, {watch.seconds:g} s were not enough"


def _plan(family: Any) -> dict[str, Any] | None:
    """How far a float64 plan is off, for a method without parameters in lambda."""
    if family.parameters or family.form != "lambda" or family.linearised:
        return None
    from semilinear.analysis.orders.plan_check import check_against_plan, worst
    from semilinear.integrators.diffusion.schedule import vp_linear

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


def _minimum_json(minimum: Any) -> dict[str, Any]:
    return {
        "values": {s.name: str(v) for s, v in minimum.values.items()},
        "decimals": {s.name: float(v) for s, v in minimum.values.items()},
        "error": minimum.error,
        "exact": minimum.exact,
        "gradient": minimum.gradient,
        "rational": {s.name: str(v) for s, v in minimum.rational.items()},
        "rational_error": minimum.rational_error,
        "undetermined": [s.name for s in minimum.undetermined],
    }
