"""Studies as JSON data: the keys that every command prints with --json, and that reports are made of."""

from __future__ import annotations

from collections.abc import Sequence
from functools import singledispatch
from typing import Any

from semilinear.analysis.convergence import OrderEstimate
from semilinear.integrators.numerics.files import json_number
from semilinear.integrators.numerics.messages import shown

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
        for p, calls in zip(e.points, nfe if e.points else (), strict=True)
    ]


def ladder_json(e: OrderEstimate, nfe: Sequence[int]) -> dict[str, Any]:
    """An estimate with its runs, which made nfe evaluations each."""
    return estimate_json(e) | {"window": list(e.window), "points": _points(e, nfe)}


def judged_json(study: Judged) -> dict[str, Any]:
    """The claim and the verdict on it."""
    if study.claimed is None:
        return {"claimed": None, "verdict": None, "reason": ""}
    return {"claimed": study.claimed, "verdict": study.verdict, "reason": study.reason(study.claimed)}


def study_json(study: Judged) -> dict[str, Any]:
    """A study: the keys of `semilinear order --json`.

    observed, low and high are those of the order that is judged, of a stochastic solver the weak one.
    """
    before, after = _of_its_kind(study)
    return {"solver": study.solver, **before, **estimate_json(study.headline), **after, **judged_json(study)}


@singledispatch
def _of_its_kind(study: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """What only a study of this kind has, before and after its order; a key stays where it is put first."""
    raise TypeError(f"study must be of the flow, Gaussian or coupled, got {shown(study)}")


@_of_its_kind.register
def _(study: Study) -> tuple[dict[str, Any], dict[str, Any]]:
    e = study.estimate
    before = {
        "claimed": study.claimed,
        "start": study.start,
        "final": study.final,
        "dtype": study.dtype,
        "rounding": study.rounding,
    }
    return before, {
        **judged_json(study),
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


@_of_its_kind.register
def _(study: StochasticStudy) -> tuple[dict[str, Any], dict[str, Any]]:
    """`studies` holds the ladders of mean, variance and strong error."""
    studies = {name: ladder_json(getattr(study, name), study.nfe) for name in ("mean", "variance", "strong")}
    return {}, {
        "points": _points(study.weak, study.nfe),
        "strong": studies["strong"],
        "without_error": sorted(study.exact),
        "studies": studies,
    }


@_of_its_kind.register
def _(study: CoupledStudy) -> tuple[dict[str, Any], dict[str, Any]]:
    """`studies` holds the ladders of the weak errors (of all functionals, and of each kind), of the RMS
    ("strong") and of the median distance; share as the study's.
    """
    kinds = {"weak": study.weak, **study.parts, "strong": study.strong, "median": study.typical}
    studies = {name: ladder_json(e, study.nfe) | {"reason": e.reason} for name, e in kinds.items()}
    return {"paths": study.paths}, {"share": list(study.share), "studies": studies}
