"""Convergence plots: error against steps on logarithmic axes."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from semilinear.integrators.common.files import write_atomically

STYLES = {"own": "-", "exact": "--", "high-order": "-."}


def plot_studies(studies: Sequence[tuple[str, Mapping[str, Any]]], title: str, path: Path) -> None:
    """One line per labelled study (`Judged.data`), with slopes for comparison.

    PNG or SVG by the path's suffix; the file is replaced whole.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, max(5.5, 1 + 0.22 * len(studies))), layout="constrained")
    axes = figure.subplots()
    colours: dict[str, str] = {}
    drawn: list[tuple[np.ndarray, np.ndarray]] = []
    for label, study in studies:
        points = [(p["N"], p["error"]) for p in study["points"] if p["error"]]
        if not points:
            continue
        n, error = (np.array(column, dtype=float) for column in zip(*points, strict=True))
        colour = colours.setdefault(label, f"C{len(colours) % 10}")
        marker = "x" if label.endswith("-released") else "."
        order = "–" if study["observed"] is None else f"{study['observed']:.2f}"
        style = STYLES[study["start"]]
        name = (
            label + {"own": "", "exact": ", exact start", "high-order": ", high-order start"}[study["start"]]
        )
        axes.loglog(n, error, style, color=colour, marker=marker, lw=1.2, label=f"{name}: {order}")
        drawn.append((n, error))
    if drawn:
        _slopes(axes, drawn, sorted({int(s["claimed"]) for _, s in studies if s["claimed"]}))
    axes.set_xlabel("number of steps (evaluations, for budgeted solvers)")
    axes.set_ylabel("RMS error over the batch")
    axes.set_title(title)
    axes.legend(
        fontsize=7, title="observed order", title_fontsize=8, loc="upper left", bbox_to_anchor=(1.01, 1)
    )
    axes.grid(alpha=0.3, which="major", lw=0.4)
    write_atomically(path, render(figure, path.suffix.lstrip(".").lower() or "png"))


def _slopes(axes: Any, drawn: Sequence[tuple[np.ndarray, np.ndarray]], orders: Sequence[int]) -> None:
    """Grey lines of the claimed orders from the upper left corner of what is drawn."""
    left, right = min(n[0] for n, _ in drawn), max(n[-1] for n, _ in drawn)
    top, bottom = max(e.max() for _, e in drawn), min(e.min() for _, e in drawn)
    span = np.array([left, right])
    for p in orders:
        axes.loglog(span, top * (span / left) ** -float(p), color="0.75", lw=0.8, zorder=0)
        end = min(right, left * (top / bottom) ** (1 / p))
        axes.annotate(
            f"slope {p}", (end, top * (end / left) ** -float(p)), color="0.5", fontsize=8, ha="right"
        )
    axes.set_ylim(bottom / 3, top * 3)


def render(figure: Any, kind: str) -> bytes:
    """A figure as a file of a kind (png, svg): the same bytes for the same figure."""
    import matplotlib

    buffer = io.BytesIO()
    metadata = {"Date": None} if kind == "svg" else {"Software": None} if kind == "png" else None
    with matplotlib.rc_context({"svg.hashsalt": "semilinear"}):
        figure.savefig(buffer, format=kind, dpi=110, metadata=metadata)
    return buffer.getvalue()
