"""Stability regions of one method in the plane of w = h mu, one for each z = h L."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semilinear.integrators.common.files import write_atomically
from semilinear.integrators.common.messages import written

from .plots import render

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_regions(regions: Sequence[Any], title: str, path: Path) -> None:
    """The regions (`analysis.stability.region.Region`), filled, the largest first; PNG or SVG by the path's
    suffix, and the file is replaced whole.
    """
    plot_panels({title: regions}, path)


def plot_panels(panels: Mapping[str, Sequence[Any]], path: Path) -> None:
    """A panel of regions for each method, by name, in a file."""
    write_atomically(path, render(regions_figure(panels), path.suffix.lstrip(".").lower()))


def regions_figure(panels: Mapping[str, Sequence[Any]]) -> Figure:
    """A panel of regions for each method, by name."""
    from matplotlib.figure import Figure

    columns = min(len(panels), 3)
    rows = -(-len(panels) // columns)
    size = (8.0, 6.5) if columns == 1 else (4.6 * columns, 4.2 * rows)
    figure = Figure(figsize=size, layout="constrained")
    for axes, (title, regions) in zip(figure.subplots(rows, columns, squeeze=False).flat, panels.items()):
        _draw(axes, regions, title)
    return figure


def _draw(axes: Any, regions: Sequence[Any], title: str) -> None:
    from matplotlib.patches import Patch

    handles = {}
    for i, r in sorted(enumerate(regions), key=lambda pair: -pair[1].area):
        excess, colour = r.radius.clip(max=10) - 1, f"C{i % 10}"
        handles[i] = Patch(
            color=colour, alpha=0.6, label=f"z = {written(r.z)}" + ("" if r.area else ": none")
        )
        if not r.area:
            continue
        axes.contourf(r.real, r.imaginary, excess, levels=[-1, 0], colors=[colour], alpha=0.18)
        axes.contour(r.real, r.imaginary, excess, levels=[0], colors=[colour], linewidths=1.4)
    for line in (axes.axhline, axes.axvline):
        line(0, color="0.75", lw=0.8, zorder=0)
    axes.set_aspect("equal", adjustable="datalim")
    axes.set_xlabel("Re w,  w = h mu")
    axes.set_ylabel("Im w")
    axes.set_title(f"{title}: stable w for z = hL", fontsize=10)
    axes.legend(handles=[handles[i] for i in sorted(handles)], fontsize=8, loc="upper right")
    axes.grid(alpha=0.3, which="major", lw=0.4)
