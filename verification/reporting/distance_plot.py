"""Distances from the exact law over evaluations, with what exact samples show."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from semilinear.integrators.numerics.files import write_atomically

from .plots import render


def plot_distances(data: Mapping[str, Any], metric: str, path: Path) -> None:
    """One line per solver with its intervals; data: that of `semilinear distance --json`.

    PNG or SVG by the path's suffix; the file is replaced whole.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    lines: dict[str, list[tuple[int, Mapping[str, Any]]]] = {}
    for row in data["rows"]:
        if metric in row["distances"]:
            lines.setdefault(row["solver"], []).append((row["made"], row["distances"][metric]))
    for i, (solver, points) in enumerate(lines.items()):
        nfe, values = [n for n, _ in points], [found["value"] for _, found in points]
        low = [max(found["low"], found["value"] * 1e-2) for _, found in points]
        axes.loglog(nfe, values, marker=".", color=f"C{i % 10}", lw=1.2, label=solver)
        axes.fill_between(
            nfe, low, [found["high"] for _, found in points], color=f"C{i % 10}", alpha=0.15, lw=0
        )
    floor = data["floors"][metric]
    if floor["power"]:  # samples were drawn
        axes.axhspan(floor["floor"], floor["most"], color="0.85", zorder=0, label="exact samples")
    ticks = sorted({n for points in lines.values() for n, _ in points})
    axes.set_xticks(ticks, [str(n) for n in ticks])
    axes.set_xticks([], minor=True)
    axes.set_xlabel("evaluations (NFE)")
    axes.set_ylabel(f"distance from the exact law ({metric})")
    axes.set_title(data["place"], fontsize=9)
    axes.grid(alpha=0.3, which="major", lw=0.4)
    axes.legend(fontsize=8)
    write_atomically(path, render(figure, path.suffix.lstrip(".").lower() or "png"))
