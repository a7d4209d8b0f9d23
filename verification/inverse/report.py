"""The study of inverse problems as a report: Markdown, JSON and histograms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from semilinear.integrators.common.files import write_atomically, write_json

from ..reporting.plots import render
from . import study as inverse_study
from .study import PROBLEMS, Problem, Row


def report(rows: Sequence[Row], problems: Sequence[Problem] = PROBLEMS) -> str:
    """The study as Markdown."""
    lines = [
        "# Inverse problems: samplers against the exact posterior",
        "",
        "One coordinate of the golden mixture is known exactly; the posterior of the other one is a mixture",
        "in closed form (`verification/inverse/`). Each entry is the samples' moment less the posterior's,",
        f"± one standard error, from {rows[0].samples} samples; bold beyond {inverse_study.BIASED:g} errors.",
        "VP schedule, N steps; evaluations include the correctors'.",
        "",
        "Replacement overwrites the known coordinate between the steps: what it says reaches the other",
        "one only through the next score; the weights of the modes are wrong at every number of steps,",
        "with and without correctors. The exact likelihood's score is the control. Steps from one sample's",
        "own norms are unbounded where its score vanishes, which in two dimensions shows in the variance.",
        "",
        "Written by `semilinear report inverse-problems`.",
    ]
    for problem in problems:
        exact = problem.exact
        w, m, v = exact.along(problem.other)
        mean = float(w @ m)
        lines += [
            "",
            f"## {problem.name}",
            "",
            f"Exact: mean {mean:.4f}, variance {float(w @ (v + (m - mean) ** 2)):.4f}, "
            f"P(u > {problem.split:g}) = {exact.probability_above(problem.other, problem.split):.4f}.",
            "",
            "| sampler | N | NFE | mean | variance | P(u > split) |",
            "|---|---|---|---|---|---|",
        ]
        lines += [_line(r) for r in rows if r.problem == problem.name]
    lines += ["", "![histograms](inverse-problems.png)", ""]
    return "\n".join(lines)


def _line(r: Row) -> str:
    cells = []
    for bias, error in r.pairs:
        mark = "**" if abs(bias) > inverse_study.BIASED * error else ""
        cells.append(f"{mark}{bias:+.4f}{mark} ± {error:.4f}")
    return f"| {r.sampler} | {r.steps} | {r.nfe} | {' | '.join(cells)} |"


def plot(kept: dict[tuple[str, str], np.ndarray], problems: Sequence[Problem], path: Path) -> None:
    """Histograms of the finest runs over the exact posterior density."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.0 * len(inverse_study.SAMPLERS), 3.0 * len(problems)), layout="constrained")
    axes = figure.subplots(len(problems), len(inverse_study.SAMPLERS), squeeze=False, sharey="row")
    for i, problem in enumerate(problems):
        w, m, v = problem.exact.along(problem.other)
        u = np.linspace((m - 4 * np.sqrt(v))[w > 1e-3].min(), (m + 4 * np.sqrt(v))[w > 1e-3].max(), 400)
        density = (w * np.exp(-((u[:, None] - m) ** 2) / (2 * v)) / np.sqrt(2 * np.pi * v)).sum(1)
        for j, name in enumerate(inverse_study.SAMPLERS):
            axes[i, j].hist(kept[problem.name, name], bins=60, range=(u[0], u[-1]), density=True, color="0.8")
            axes[i, j].plot(u, density, lw=1.2, color="C0")
            axes[i, j].set_title(name if i == 0 else "", fontsize=8)
        axes[i, 0].set_ylabel(problem.name, fontsize=8)
    write_atomically(path, render(figure, "png"))


def records(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The rows as JSON data, each with what is biased in it."""
    return [asdict(row) | {"biased": row.biased} for row in rows]


def write(out: Path, rows: Sequence[Row], kept: dict[tuple[str, str], np.ndarray]) -> list[Path]:
    """inverse-problems.json, .md and .png into a folder; returns the paths.

    kept: the unknown coordinates of the finest runs, as `study` leaves them.
    """
    paths = [out / f"inverse-problems.{kind}" for kind in ("json", "md", "png")]
    write_json(paths[0], records(rows))
    write_atomically(paths[1], report(rows))
    plot(kept, PROBLEMS, paths[2])
    return paths
