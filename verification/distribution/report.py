"""The committed report of distances: solvers of the flow and stochastic ones, from noise to data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from semilinear.integrators.common.files import write_atomically, write_json
from semilinear.integrators.solvers import analytic_dpm

from ..problems.interval import NFE
from ..reporting.distance_plot import plot_families
from ..reporting.distribution import markdown
from ..studies.progress import Progress
from .experiment import SampledExperiment
from .study import MAIN_METRIC, SampledStudy, studies, studies_json

SCHEMA = "semilinear-distribution/1"
FAMILIES: Mapping[str, tuple[str, ...]] = {
    "Solvers of the probability flow": (
        "euler-in-t",
        "ddim",
        "plms",
        "edm-heun",
        "dpm-solver-fast-3",
        "dpm-solver++-2m",
        "dpm-solver++-3m-corrected",
        "unipc-2-bh2",
        "deis-tab3",
        "deis-ipndm",
        "scire-v1-2m-released",
        "er-sde-ode-3-released",
        "dpm-solver-v3-3m-c3",
        "res-2m",
        "gradient-estimation",
        "stork-2-released",
        "pfdiff-1",
        "rx-euler-2",
        "fireflow",
        "heun++-2",
        "dpm++-2m-v2",
    ),
    "Stochastic solvers": (
        "ddpm",
        "score-sde-em",
        "score-sde-reverse-diffusion",
        "edm-heun-churn",
        "dpm++-2s-ancestral",
        "sde-dpm-solver++-2m",
        "sde-dpm-solver++-3m-corrected",
        "dpm++-4m-sde",
        "seeds-2",
        "sa-solver-2-2",
        "er-sde-3-released",
    ),
}
"""Of every paper whose solvers are listed, but `LEFT_OUT` and those of exponential integrators, the solver
that it is known for (a second one where two are), as released where releases differ, beside the baselines
that their tables hold; on one grid, so that formulas are compared and not grids.  ddpm is DDIM with eta = 1.
"""
LEFT_OUT = (analytic_dpm.PAPER,)
"""Its statistics of a mixture take as long as a third of the study."""
DIGITS = 4
"""Of every number: the fifth is far below its interval, and may differ from machine to machine."""


def distances(
    experiment: SampledExperiment | None = None,
    families: Mapping[str, Sequence[str]] = FAMILIES,
    *,
    nfe: Sequence[int] = NFE,
    workers: int = 1,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """The study as JSON data: `studies_json`, the families, and for each who lies closest by evaluations.

    experiment: golden-mixture with 10,000 samples where absent.  The rest as in `studies`; raises what it
    does.
    """
    names = [name for family in families.values() for name in family]
    found = dict(
        zip(names, studies(names, experiment, nfe=nfe, workers=workers, progress=progress), strict=True)
    )
    data = studies_json(list(found.values()))
    closest = [
        {"family": title} | row
        for title, family in families.items()
        for row in _closest([found[name] for name in family])
    ]
    told = {"schema": SCHEMA, "metric": MAIN_METRIC, "families": {k: list(v) for k, v in families.items()}}
    whole: dict[str, Any] = to_digits(told | data | {"closest": closest})
    return whole


def _closest(family: Sequence[SampledStudy]) -> list[dict[str, Any]]:
    """By evaluations: the closest of those that make as many, and the others that are not told from it."""
    rows = []
    for i, nfe in enumerate(row.nfe for row in family[0].rows):
        whole = [s for s in family if not s.rows[i].failed and s.rows[i].made == nfe]
        if not whole:
            continue
        best = min(whole, key=lambda study: study.rows[i].distances[MAIN_METRIC].value)
        alike = [s.solver for s in whole if s is not best and best.against(s)[i].order != "closer"]
        rows.append({"nfe": nfe, "closest": best.solver, "not_distinguishable": alike})
    return rows


def to_digits(data: Any) -> Any:
    """Every float of JSON data to `DIGITS` digits."""
    if isinstance(data, float):
        return float(f"{data:.{DIGITS}g}")
    if isinstance(data, Mapping):
        return {key: to_digits(value) for key, value in data.items()}
    return [to_digits(value) for value in data] if isinstance(data, list) else data


def write(out: Path, data: Mapping[str, Any]) -> list[Path]:
    """distribution.json, distribution.md and distribution.png into a folder; returns the paths."""
    paths = [out / f"distribution.{kind}" for kind in ("json", "md", "png")]
    write_json(paths[0], data)
    write_atomically(paths[1], markdown(data))
    plot_families(data, data["metric"], data["families"], paths[2])
    return paths
