"""Work-precision: plots of errors over evaluations, from the rows of a study alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from semilinear.integrators.numerics.files import write_atomically

from .plots import render

Row = Mapping[str, Any]
MARKERS = "osv^DP*X<>"


def curves(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Rows with an error by their sampler and, where these vary, grid and ending; a run is drawn once."""
    solvers = {row["solver"] for row in rows}
    varies = [key for key in ("grid", "asked") if len({(r["solver"], r[key]) for r in rows}) > len(solvers)]
    found: dict[str, list[Row]] = {}
    for row in rows:
        label = ", ".join([row["solver"], *(row[key] for key in varies)])
        points = found.setdefault(label, [])
        if row["error"] is not None and row["nfe"] not in [p["nfe"] for p in points]:
            points.append(row)
    return {label: sorted(points, key=lambda r: r["nfe"]) for label, points in found.items() if points}


def draw(axes: Any, rows: Sequence[Row], title: str) -> None:
    """Errors with their intervals over evaluations, on logarithmic axes."""
    from matplotlib.ticker import NullFormatter, ScalarFormatter

    for index, (label, points) in enumerate(curves(rows).items()):
        nfe, error, low, high = ([p[key] for p in points] for key in ("nfe", "error", "low", "high"))
        colour, marker = f"C{index % 10}", MARKERS[(index // 10) % len(MARKERS)]
        axes.loglog(nfe, error, color=colour, marker=marker, ms=3.5, lw=1.1, label=label)
        axes.fill_between(nfe, low, high, color=colour, alpha=0.15, lw=0)
    ticks = sorted({r["nfe"] for r in rows if r["error"] is not None})
    axes.set_xticks([t for i, t in enumerate(ticks) if i == 0 or t > 1.12 * ticks[i - 1]])
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("NFE (model evaluations)")
    axes.set_ylabel("RMS error over the batch, 95 % interval")
    axes.set_title(title)
    axes.grid(alpha=0.3, which="major", lw=0.4)


def plot(rows: Sequence[Row], title: str, path: Path) -> None:
    """One figure; PNG or SVG by the path's suffix, replaced whole."""
    from matplotlib.figure import Figure

    count = len(curves(rows))
    figure = Figure(figsize=(10, max(5.5, 1 + 0.2 * count)), layout="constrained")
    axes = figure.subplots()
    draw(axes, rows, title)
    if count:
        axes.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1.01, 1))
    write_atomically(path, render(figure, path.suffix.lstrip(".").lower() or "png"))
