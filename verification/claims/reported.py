"""Figures that papers report of trained networks, for reference: none of them is reproduced here.

Rows of (paper, data and model, sampler, {evaluations: figure}); FID unless said.  They rest on networks, data
sets and a feature extractor that are not here, and bear on no verdict.
"""

from __future__ import annotations

from typing import NamedTuple


class Reported(NamedTuple):
    """One row of a paper's table: figures by the number of evaluations."""

    paper: str
    data: str
    sampler: str
    figures: dict[int, float]


_NFE = (5, 6, 8, 10, 12, 15, 20, 25)
_DEIS = (5, 10, 15, 20, 50)


def _row(paper: str, data: str, sampler: str, budgets: tuple[int, ...], *figures: float) -> Reported:
    return Reported(paper, data, sampler, dict(zip(budgets, figures)))


V3, DEIS = "DPM-Solver-v3, Tables 1-2", "DEIS, project page"
REPORTED: tuple[Reported, ...] = (
    _row("DPM-Solver, abstract", "CIFAR-10", "DPM-Solver", (10, 20), 4.70, 2.87),
    _row("UniPC, abstract", "CIFAR-10", "UniPC", (10,), 3.87),
    _row("UniPC, abstract", "ImageNet 256, conditional", "UniPC", (10,), 7.51),
    _row(DEIS, "CIFAR-10, VP", "DDIM", _DEIS, 26.91, 11.14, 7.06, 5.47, 3.27),
    _row(DEIS, "CIFAR-10, VP", "rhoAB3", _DEIS, 21.43, 6.50, 3.99, 3.17, 2.59),
    _row(DEIS, "CIFAR-10, VP", "tAB3", _DEIS, 15.37, 4.17, 3.37, 2.86, 2.57),
    _row(
        "SciRE-Solver, README",
        "CIFAR-10, EDM",
        "SciRE-V1-2",
        (12, 14, 20, 50, 100),
        2.29,
        2.16,
        1.94,
        1.79,
        1.76,
    ),
    _row("SciRE-Solver, abstract", "CelebA 64, discrete", "SciRE-Solver", (18, 50), 2.17, 2.02),
    _row("ER-SDE-Solver, abstract", "ImageNet 64", "ER-SDE-Solver-3", (20, 50), 3.45, 2.24),
    _row("ER-SDE-Solver, captions", "ImageNet 128", "ER-SDE-Solver-3", (20,), 8.33),
    _row("ER-SDE-Solver, captions", "CIFAR-10", "ER-SDE-Solver-3", (20,), 3.15),
    _row(V3, "CIFAR-10, ScoreSDE", "DPM-Solver++", _NFE, 28.53, 13.48, 5.34, 4.01, 4.04, 3.32, 2.90, 2.76),
    _row(V3, "CIFAR-10, ScoreSDE", "UniPC", _NFE, 23.71, 10.41, 5.16, 3.93, 3.88, 3.05, 2.73, 2.65),
    _row(V3, "CIFAR-10, ScoreSDE", "DPM-Solver-v3", _NFE, 12.76, 7.40, 3.94, 3.40, 3.24, 2.91, 2.71, 2.64),
    _row(V3, "CIFAR-10, EDM", "Heun", _NFE, 320.80, 103.86, 39.66, 16.57, 7.59, 4.76, 2.51, 2.12),
    _row(V3, "CIFAR-10, EDM", "DPM-Solver++", _NFE, 24.54, 11.85, 4.36, 2.91, 2.45, 2.17, 2.05, 2.02),
    _row(V3, "CIFAR-10, EDM", "UniPC", _NFE, 23.52, 11.10, 3.86, 2.85, 2.38, 2.08, 2.01, 2.00),
    _row(V3, "CIFAR-10, EDM", "DPM-Solver-v3", _NFE, 12.21, 8.56, 3.50, 2.51, 2.24, 2.10, 2.02, 2.00),
    _row("Score-SDE, README", "CIFAR-10, NCSN++ deep, VE", "PC", (2000,), 2.20),
)
