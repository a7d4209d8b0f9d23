"""Results as JSON data: what reports are made of, and what every command prints with --json."""

from __future__ import annotations

import math
import platform
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from typing import Any

from semilinear.analysis.convergence import OrderEstimate
from semilinear.analysis.stability_region import imaginary_section, real_interval

from .campaign import Measured, StochasticMeasured
from .claims import unmeasured
from .coupled import CoupledStudy
from .golden import CaseResult
from .identities import proofs
from .stochastic import StochasticStudy
from .study import LONG_LADDER, Study

SCHEMA = "semilinear-orders/1"
PACKAGES = ("semilinear", "torch", "numpy", "scipy", "sympy", "mpmath")


def number(value: float) -> float | None:
    """A float for JSON, which has no NaN and no infinity."""
    return value if math.isfinite(value) else None


def estimate_json(e: OrderEstimate) -> dict[str, float | None]:
    """An estimate: observed order and its 95% interval, None where there is none."""
    return {"observed": number(e.order), "low": number(e.low), "high": number(e.high)}


def _points(e: OrderEstimate, nfe: Sequence[int]) -> list[dict[str, Any]]:
    return [
        {"N": p.n, "NFE": calls, "error": number(p.error), "floor": p.floor, "usable": p.usable}
        for p, calls in zip(e.points, nfe, strict=True)
    ]


def ladder_json(e: OrderEstimate, nfe: Sequence[int]) -> dict[str, Any]:
    """An estimate with its runs, which made nfe evaluations each."""
    return estimate_json(e) | {"window": list(e.window), "points": _points(e, nfe)}


def study_json(study: Study) -> dict[str, Any]:
    """A study: the keys of `semilinear order --json`."""
    e = study.estimate
    return {
        "solver": study.solver,
        "claimed": study.claimed,
        "start": study.start,
        **estimate_json(e),
        "verdict": study.verdict,
        "reason": study.reason(study.claimed),
        "window": list(e.window),
        "richardson": None if study.check is None else study.check.reference_free,
        "points": _points(e, study.nfe),
        "statistics": {
            name: estimate_json(s) | {"finest_error": number(s.points[-1].error)}
            for name, s in study.statistics.items()
        },
    }


def case_json(result: CaseResult) -> dict[str, Any]:
    """A replayed case."""
    return {
        "file": result.file,
        "index": result.index,
        "solver": result.solver,
        "ours": result.ours,
        "difference": number(result.difference),
        "times_difference": number(result.times_difference),
        "nfe": result.nfe,
        "nfe_ok": result.nfe_ok,
        "tolerance": result.tolerance,
        "ok": result.ok,
        "error": result.error,
        "note": result.note,
    }


def agreement(cases: Iterable[CaseResult]) -> dict[str, dict[str, Any]]:
    """Per solver of ours: how many released cases, how many agree, and the largest relative difference."""
    found: dict[str, list[CaseResult]] = {}
    for case in cases:
        found.setdefault(case.ours.removesuffix(" (adaptive)"), []).append(case)
    return {
        name: {
            "cases": len(results),
            "agree": sum(r.ok for r in results),
            "difference": number(max(r.difference for r in results)),
        }
        for name, results in found.items()
    }


def orders_json(
    measured: Sequence[Measured],
    stochastic: Sequence[StochasticMeasured],
    cases: Sequence[CaseResult],
    solver_proofs: Sequence[Mapping[str, Any]],
    quick: bool,
) -> dict[str, Any]:
    """A verification run: everything that was measured, and what is proved of it.

    solver_proofs: rows of `proofs.ProofTask`.
    """
    table = agreement(cases)
    proved = {row["solver"]: row for row in solver_proofs}
    return {
        "schema": SCHEMA,
        "quick": quick,
        "versions": {name: version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "machine": platform.machine(),
        "settings": _settings(measured),
        "rows": [_row(m, table.get(m.expectation.solver), proved.get(m.expectation.label)) for m in measured],
        "stochastic": [_stochastic_row(m, table.get(m.expectation.solver)) for m in stochastic],
        "identities": proofs(),
        "replay": [case_json(c) for c in cases],
        "unmeasured": [
            {"solver": name, "reason": reason, "agreement": table.get(name)}
            for name, reason in unmeasured().items()
        ],
    }


def _settings(measured: Sequence[Measured]) -> list[dict[str, Any]]:
    return [
        {
            "name": s.name,
            "problem": s.problem,
            "schedule": s.schedule,
            "grid": s.grid,
            "lambda": [s.lam_start, s.lam_end],
            "batch": s.batch,
            "digits": s.digits,
            "steps": [s.ladder[0], s.ladder[-1]],
            "long_steps": LONG_LADDER[-1],
            "asserted": s.asserted,
        }
        for s in dict.fromkeys(m.setting for m in measured)
    ]


def _row(
    m: Measured, released_code: dict[str, Any] | None, proof: Mapping[str, Any] | None
) -> dict[str, Any]:
    e = m.expectation
    solver = e.build()
    proved = None
    if proof is not None and not proof["refused"]:
        proved = {"own": proof["run"], "exact": proof["exact_start"]}
    return {
        "solver": e.label,
        "setting": m.setting.name,
        "claimed": solver.claimed,
        "paper": solver.paper,
        "source": solver.source,
        "own": study_json(m.own),
        "exact": None if m.exact is m.own else study_json(m.exact),
        "expected": {"own": e.own, "exact": e.exact},
        "proved": proved,
        "as_expected": m.as_expected,
        "reason": e.reason,
        "agreement": released_code,
    }


def _stochastic_row(m: StochasticMeasured, released_code: dict[str, Any] | None) -> dict[str, Any]:
    e, s = m.expectation, m.study
    solver = e.build()
    return {
        "solver": e.solver,
        "claimed": solver.claimed,
        "paper": solver.paper,
        "source": solver.source,
        "weak": estimate_json(s.weak) | {"verdict": s.weak_verdict(solver.claimed)},
        "strong": estimate_json(s.strong) | {"verdict": s.strong_verdict(solver.claimed)},
        "mean": estimate_json(s.mean),
        "variance": ladder_json(s.variance, s.nfe) | {"start": "own"},
        "without_error": sorted(s.exact),
        "expected": {"weak": e.weak, "strong": e.strong},
        "as_expected": m.as_expected,
        "reason": e.reason,
        "agreement": released_code,
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
    }


def complex_json(value: complex) -> float | list[float]:
    """A complex number for JSON: a number where it is real, else [real, imaginary]."""
    return [value.real, value.imag] if value.imag else value.real


def sections_json(method: Any, region: Any) -> dict[str, Any]:
    """The stable intervals and the area for one z, as JSON data.

    imaginary: the symmetric interval in imaginary_interval, |Im w| <= y*.
    """
    real, across = real_interval(method, region.z), imaginary_section(method, region.z)
    return {
        "z": complex_json(region.z),
        "real": None if real is None else [real.low, real.high],
        "imaginary": None if across is None else min(-across.low, across.high) + 0.0,
        "imaginary_interval": None if across is None else [across.low, across.high],
        "area": region.area,
        "area_error": region.area_error,
    }
