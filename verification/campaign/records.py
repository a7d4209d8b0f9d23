"""A verification run as JSON data: what reports are made of."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

from ..claims.flow import unmeasured
from ..claims.identities import proofs
from ..replay.golden import CaseResult, agreement, case_json
from ..studies.flow import LONG_LADDER
from ..studies.records import estimate_json, ladder_json, study_json
from .measure import Measured, StochasticMeasured

SCHEMA = "semilinear-orders/1"
PACKAGES = ("semilinear", "torch", "numpy", "scipy", "sympy", "mpmath")


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
        "weak": estimate_json(s.weak) | {"verdict": s.against(solver.claimed)},
        "strong": estimate_json(s.strong) | {"verdict": s.strong_verdict(solver.claimed)},
        "mean": estimate_json(s.mean),
        "variance": ladder_json(s.variance, s.nfe) | {"start": "own"},
        "without_error": sorted(s.exact),
        "expected": {"weak": e.weak, "strong": e.strong},
        "as_expected": m.as_expected,
        "reason": e.reason,
        "agreement": released_code,
    }
