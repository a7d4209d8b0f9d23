"""Distances from the exact law over evaluations, with what exact samples show."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from semilinear.integrators.common.files import write_atomically

from .plots import render

PALETTE = 10
"""Colours; further lines are dashed."""


def plot_distances(data: Mapping[str, Any], metric: str, path: Path) -> None:
    """One line per solver with its intervals; data: that of `semilinear distance --json`.

    PNG or SVG by the path's suffix; the file is replaced whole.
    """
    _draw(data, metric, {data["place"]: {row["solver"] for row in data["rows"]}}, path)


def plot_families(
    data: Mapping[str, Any], metric: str, families: Mapping[str, Collection[str]], path: Path
) -> None:
    """The same with a panel for each family of solvers, by its title, down to half of the least distance."""
    shown = [row["distances"][metric]["value"] for row in data["rows"] if metric in row["distances"]]
    _draw(data, metric, families, path, bottom=min(shown) / 2 if shown else None)


def _draw(
    data: Mapping[str, Any],
    metric: str,
    families: Mapping[str, Collection[str]],
    path: Path,
    bottom: float | None = None,
) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5 * len(families)), layout="constrained")
    panels = figure.subplots(len(families), 1, squeeze=False)[:, 0]
    for axes, (title, names) in zip(panels, families.items(), strict=True):
        _panel(axes, data, metric, names)
        axes.set_title(title, fontsize=9)
        axes.set_ylabel(f"distance from the exact law ({metric})")
        if bottom is None:
            axes.legend(fontsize=8)
        else:
            axes.set_ylim(bottom=bottom)
            axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.01, 1))
    write_atomically(path, render(figure, path.suffix.lstrip(".").lower() or "png"))


def _panel(axes: Any, data: Mapping[str, Any], metric: str, names: Collection[str]) -> None:
    lines: dict[str, list[tuple[int, Mapping[str, Any]]]] = {}
    for row in data["rows"]:
        if row["solver"] in names and metric in row["distances"]:
            lines.setdefault(row["solver"], []).append((row["made"], row["distances"][metric]))
    for i, (solver, points) in enumerate(lines.items()):
        nfe, values = [n for n, _ in points], [found["value"] for _, found in points]
        low = [max(found["low"], found["value"] * 1e-2) for _, found in points]
        colour, style = f"C{i % PALETTE}", "--" if i >= PALETTE else "-"
        axes.loglog(nfe, values, style, marker=".", color=colour, lw=1.2, label=solver)
        axes.fill_between(nfe, low, [found["high"] for _, found in points], color=colour, alpha=0.15, lw=0)
    floor = data["floors"][metric]
    if floor["power"]:  # samples were drawn
        axes.axhspan(floor["floor"], floor["most"], color="0.85", zorder=0, label="exact samples")
    ticks = sorted({n for points in lines.values() for n, _ in points})
    axes.set_xticks(ticks, [str(n) for n in ticks])
    axes.set_xticks([], minor=True)
    axes.set_xlabel("evaluations (NFE)")
    axes.grid(alpha=0.3, which="major", lw=0.4)
