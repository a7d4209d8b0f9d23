"""Studies as JSON data: the keys that every command prints with --json, and that reports are made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from semilinear.analysis.convergence import OrderEstimate
from semilinear.integrators.numerics.files import json_number

from .coupled import CoupledStudy
from .flow import Study
from .gaussian import StochasticStudy
from .judged import Judged


def estimate_json(e: OrderEstimate) -> dict[str, float | None]:
    """An estimate: observed order and its 95% interval, None where there is none."""
    return {"observed": json_number(e.order), "low": json_number(e.low), "high": json_number(e.high)}


def _points(e: OrderEstimate, nfe: Sequence[int]) -> list[dict[str, Any]]:
    return [
        {"N": p.n, "NFE": calls, "error": json_number(p.error), "floor": p.floor, "usable": p.usable}
        for p, calls in zip(e.points, nfe, strict=True)
    ]


def ladder_json(e: OrderEstimate, nfe: Sequence[int]) -> dict[str, Any]:
    """An estimate with its runs, which made nfe evaluations each."""
    return estimate_json(e) | {"window": list(e.window), "points": _points(e, nfe)}


def judged_json(study: Judged) -> dict[str, Any]:
    """The claim and the verdict on it."""
    if study.claimed is None:
        return {"claimed": None, "verdict": None, "reason": ""}
    return {"claimed": study.claimed, "verdict": study.verdict, "reason": study.reason(study.claimed)}


def study_json(study: Study) -> dict[str, Any]:
    """A study: the keys of `semilinear order --json`."""
    e, judged = study.estimate, judged_json(study)
    return {
        "solver": study.solver,
        "claimed": judged["claimed"],
        "start": study.start,
        "final": study.final,
        "dtype": study.dtype,
        "rounding": study.rounding,
        **estimate_json(e),
        "verdict": judged["verdict"],
        "reason": judged["reason"],
        "reach": None if e.reach is None else [json_number(e.reach.low), json_number(e.reach.high)],
        "steps_needed": e.steps_needed(study.claimed) if study.verdict == "inconclusive" else None,
        "findings": [{"kind": f.kind, "n": list(f.n), "text": f.text} for f in study.findings],
        "window": list(e.window),
        "richardson": None if study.check is None else study.check.reference_free,
        "points": _points(e, study.nfe),
        "statistics": {
            name: estimate_json(s) | {"finest_error": json_number(s.points[-1].error)}
            for name, s in study.statistics.items()
        },
    }


def stochastic_json(s: StochasticStudy) -> dict[str, Any]:
    """A stochastic study: the keys of `semilinear order --json` for a stochastic solver.

    observed, low and high are the weak order's; `studies` holds the ladders of mean, variance and strong
    error.
    """
    studies = {name: ladder_json(getattr(s, name), s.nfe) for name in ("mean", "variance", "strong")}
    return {
        "solver": s.solver,
        **estimate_json(s.weak),
        "points": _points(s.weak, s.nfe),
        "strong": studies["strong"],
        "without_error": sorted(s.exact),
        "studies": studies,
        **judged_json(s),
    }


def coupled_json(s: CoupledStudy) -> dict[str, Any]:
    """A study over coupled paths: the keys of `semilinear order --json --problem` for a stochastic solver.

    observed, low and high are the weak order's; `studies` holds the ladders of the weak errors (of all
    functionals, and of each kind), of the RMS ("strong") and of the median distance; share as the study's.
    """
    kinds = {"weak": s.weak, **s.parts, "strong": s.strong, "median": s.typical}
    studies = {name: ladder_json(e, s.nfe) | {"reason": e.reason} for name, e in kinds.items()}
    return {
        "solver": s.solver,
        "paths": s.paths,
        **estimate_json(s.weak),
        "share": list(s.share),
        "studies": studies,
        **judged_json(s),
    }
