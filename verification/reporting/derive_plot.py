"""The principal error norm of a family over one of its parameters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from semilinear.analysis.derivation.error_norm import ABSCISSA, ErrorNorm
from semilinear.analysis.derivation.minimise import Minimum
from semilinear.integrators.common.files import write_atomically
from sympy import Symbol

from .plots import render

POINTS = 240
HIGHEST = 8.0
"""What is drawn goes up to this times the minimum."""


def plot_norm(norm: ErrorNorm, x: Symbol, minimum: Minimum, title: str, path: Path) -> None:
    """The norm over x, the other parameters at the minimum, which is marked with the rational point near it.

    PNG or SVG by the path's suffix; the file is replaced whole.
    """
    from matplotlib.figure import Figure

    best, near = float(minimum.values[x]), float(minimum.rational[x])
    if x in norm.family.ansatz.abscissae:
        low, high = max(float(ABSCISSA[0]), 0.02), float(ABSCISSA[1])
    else:
        reach = max(1.0, abs(best))
        low, high = best - reach, best + reach
    at = np.linspace(low, high, POINTS)
    values: list[Any] = [float(norm(minimum.values | {x: v})) for v in at]
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.plot(at, [v if np.isfinite(v) else np.nan for v in values], color="C0", lw=1.4)
    if minimum.error > 0:
        axes.plot([best], [minimum.error], "o", color="C3", label=f"minimum: {best:.6g}")
        label = f"{minimum.rational[x]}: {minimum.rational_error / minimum.error - 1:.2%} more"
        axes.plot([near], [minimum.rational_error], "x", color="0.3", label=label)
        highest = min(HIGHEST * minimum.error, max(v for v in values if np.isfinite(v)))
        axes.set_ylim(0, 1.1 * highest)
        axes.legend(fontsize=8)
    axes.set_xlabel(x.name)
    axes.set_ylabel(f"norm of the error coefficients of order {norm.order}")
    axes.set_title(title)
    axes.grid(alpha=0.3, which="major", lw=0.4)
    write_atomically(path, render(figure, path.suffix.lstrip(".").lower() or "png"))
