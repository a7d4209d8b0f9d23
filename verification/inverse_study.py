"""How far from the posterior are samplers that are told a part of the data?

`study` runs them on a Gaussian mixture, where the posterior is known in closed form (`inverse.py`), and
compares the moments of the unknown coordinate, with standard errors.  Run as a module it writes a report:

    python -m semilinear.verification.inverse_study --out reports
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from semilinear.integrators import sde
from semilinear.integrators.boundary import Noise
from semilinear.integrators.conditioning import Known, Replacement, ReplacementReleased
from semilinear.integrators.correctors import (
    InTurn,
    Langevin,
    annealed_step,
    batch_mean_norm,
    langevin_step,
    per_sample_norm,
    released_factor,
)
from semilinear.integrators.files import write_atomically
from semilinear.integrators.grids import uniform_t
from semilinear.integrators.guidance import classifier
from semilinear.integrators.plan import Plan, compile_plan
from semilinear.integrators.sampler import Interlude, sample
from semilinear.integrators.schedule import Schedule
from semilinear.integrators.solvers import score_sde

from .inverse import Observation, Posterior, log_likelihood_given, posterior
from .mixtures import GaussianMixture
from .problems import golden_mixture

EPS, SNR = 1e-3, 0.16
"""Where sampling ends, and the corrector's signal-to-noise ratio, as in the release."""
STEPS = (50, 200)
BIASED = 4.0
"""Standard errors beyond which a difference is no accident, although dozens are looked at."""


@dataclass(frozen=True)
class Problem:
    """One coordinate of a mixture in the plane is known: axis . x = value, axis a unit vector."""

    name: str
    law: GaussianMixture
    axis: tuple[float, float]
    value: float
    split: float
    """Between the two modes of the other coordinate."""

    @property
    def other(self) -> np.ndarray:
        """The unknown coordinate's direction."""
        return np.array([-self.axis[1], self.axis[0]])

    @property
    def observation(self) -> Observation:
        """axis . x = value."""
        return Observation(np.array([self.axis]), np.array([self.value]))

    @property
    def exact(self) -> Posterior:
        """The law of x given the known coordinate."""
        return posterior(self.law, self.observation)


DIAGONAL = math.sqrt(0.5)
PROBLEMS = (
    Problem("inpainting: x_1 = 1.5", golden_mixture(), (1.0, 0.0), 1.5, 0.4),
    Problem("grey axis: (x_1 + x_2)/sqrt 2 = 1.2", golden_mixture(), (DIAGONAL, DIAGONAL), 1.2, -1.0),
)


@dataclass(frozen=True)
class Row:
    """One sampler at one number of steps: differences from the posterior's moments, and standard errors."""

    problem: str
    sampler: str
    steps: int
    nfe: int
    samples: int
    mean: float
    mean_error: float
    variance: float
    variance_error: float
    mode: float
    mode_error: float

    @property
    def biased(self) -> bool:
        """Whether any moment is further off than chance allows."""
        pairs = ((self.mean, self.mean_error), (self.variance, self.variance_error), (self.mode, self.mode_error))
        return any(abs(bias) > BIASED * error for bias, error in pairs)


# --- samplers ---

Run = Callable[[Problem, int, int, int], tuple[torch.Tensor, int]]
"""(problem, steps, samples, seed) -> the samples and the evaluations made."""


def _noise(seed: int, stream: int) -> Noise:
    """Draws for a whole batch, each a function of (seed, stream, use)."""

    def noise(use: int, like: torch.Tensor) -> torch.Tensor:
        generator = np.random.Generator(np.random.Philox(key=seed, counter=[0, 0, stream, use]))
        return torch.from_numpy(generator.standard_normal(tuple(like.shape)))

    return noise


def _known(problem: Problem, samples: int) -> Known:
    basis = torch.tensor(np.array([problem.axis, tuple(problem.other)]).T)
    data = torch.tensor(problem.axis, dtype=torch.float64).expand(samples, 2) * problem.value
    return Known(data, torch.tensor([1.0, 0.0], dtype=torch.float64), basis)


def _prior(samples: int, seed: int) -> torch.Tensor:
    return _noise(seed, 0)(0, torch.empty(samples, 2))


def _consistent(steps: int) -> Plan:
    schedule = sde.vp().schedule
    return compile_plan(
        score_sde.ancestral("small"), schedule, steps=steps, grid=uniform_t(2.0), t_start=1.0, t_end=EPS
    )


def _released(steps: int) -> Plan:
    solver, grid = score_sde.reverse_diffusion_released(), score_sde.release_grid(EPS)
    return compile_plan(solver, sde.vp().schedule, steps=steps, grid=grid, t_start=1.0, t_end=0.0)


Corrector = Callable[[Schedule, int, int], Langevin]
"""(schedule, steps, seed) -> the corrector of a run."""


def _langevin_released(schedule: Schedule, steps: int, seed: int) -> Langevin:
    step, factor = langevin_step(SNR, batch_mean_norm), released_factor(schedule, steps)
    return Langevin(schedule, step, _noise(seed, 2), 1, factor)


def _langevin(schedule: Schedule, steps: int, seed: int) -> Langevin:
    return Langevin(schedule, langevin_step(SNR, per_sample_norm), _noise(seed, 2))


def _annealed(schedule: Schedule, steps: int, seed: int) -> Langevin:
    return Langevin(schedule, annealed_step(SNR), _noise(seed, 2), 8)


def replacement(released: bool, corrector: Corrector | None = None) -> Run:
    """The known coordinate is drawn anew before and after every step, behind a corrector if there is one."""

    def run(problem: Problem, steps: int, samples: int, seed: int) -> tuple[torch.Tensor, int]:
        schedule, known = sde.vp().schedule, _known(problem, samples)
        plan = (_released if released else _consistent)(steps)
        parts: list[Interlude] = [] if corrector is None else [corrector(schedule, steps, seed)]
        if released:
            parts.append(ReplacementReleased(schedule, known, _noise(seed, 3), plan.times))
        else:
            parts.append(Replacement(schedule, known, _noise(seed, 3)))
        start, model = known.start(_prior(samples, seed)), problem.law.model(schedule)
        result = sample(plan, model, start, noise=_noise(seed, 1), between=InTurn(tuple(parts)))
        return result.x, result.nfe

    return run


def guided(problem: Problem, steps: int, samples: int, seed: int) -> tuple[torch.Tensor, int]:
    """The exact conditional score s + grad log p_t(y|x): the control, right up to discretisation."""
    schedule = sde.vp().schedule
    likelihood = log_likelihood_given(problem.law, schedule, problem.observation)
    model = classifier(problem.law.model(schedule), schedule, likelihood)
    result = sample(_consistent(steps), model, _prior(samples, seed), noise=_noise(seed, 1))
    return result.x, result.nfe


SAMPLERS: dict[str, Run] = {
    "replacement, as released": replacement(True),
    "replacement and Langevin, as released": replacement(True, _langevin_released),
    "replacement": replacement(False),
    "replacement and Langevin per sample": replacement(False, _langevin),
    "replacement and 8 annealed Langevin steps": replacement(False, _annealed),
    "exact likelihood (control)": guided,
}


# --- the study ---


def moments(u: np.ndarray, exact: Posterior, direction: np.ndarray, split: float) -> dict[str, float]:
    """Differences of the sample's mean, variance and P(u > split) from the exact ones, and standard errors."""
    w, m, v = exact.along(direction)
    mean = float(w @ m)
    variance = float(w @ (v + (m - mean) ** 2))
    mode = exact.probability_above(direction, split)
    n, centred, above = len(u), u - u.mean(), float(np.mean(u > split))
    fourth, second = float(np.mean(centred**4)), float(np.mean(centred**2))
    return {
        "mean": float(u.mean()) - mean,
        "mean_error": math.sqrt(second / n),
        "variance": float(u.var(ddof=1)) - variance,
        "variance_error": math.sqrt(max(fourth - second**2, 0.0) / n),
        "mode": above - mode,
        "mode_error": math.sqrt(mode * (1 - mode) / n),
    }


def study(
    problems: Sequence[Problem] = PROBLEMS,
    steps: Sequence[int] = STEPS,
    samples: int = 2000,
    seed: int = 0,
    keep: dict[tuple[str, str], np.ndarray] | None = None,
) -> list[Row]:
    """Run every sampler on every problem; `keep` receives the finest runs' unknown coordinates.

    Raises ValueError for fewer than 2 samples or no steps.
    """
    if isinstance(samples, bool) or not isinstance(samples, int) or samples < 2:
        raise ValueError(f"samples must be an integer >= 2, got {samples!r}")
    if not steps:
        raise ValueError("steps must hold at least one number of steps")
    rows = []
    for problem in problems:
        exact = problem.exact
        for name, run in SAMPLERS.items():
            for n in steps:
                x, nfe = run(problem, n, samples, seed)
                u = x.numpy() @ problem.other
                values = moments(u, exact, problem.other, problem.split)
                rows.append(Row(problem.name, name, n, nfe, samples, **values))
                if keep is not None:
                    keep[problem.name, name] = u
    return rows


# --- the report ---


def report(rows: Sequence[Row], problems: Sequence[Problem] = PROBLEMS) -> str:
    """The study as Markdown."""
    lines = [
        "# Inverse problems: samplers against the exact posterior",
        "",
        "One coordinate of the golden mixture is known exactly; the posterior of the other one is a mixture in",
        "closed form (`verification/inverse.py`). Each entry is the difference between the samples' moment and",
        f"the posterior's, +- one standard error, from {rows[0].samples} samples; bold where it is more than",
        f"{BIASED:g} standard errors. VP schedule; the number of steps is N, evaluations include correctors.",
        "",
        "Written by `python -m semilinear.verification.inverse_study`.",
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
    cells = [
        f"{'**' * (abs(b) > BIASED * e)}{b:+.4f}{'**' * (abs(b) > BIASED * e)} ± {e:.4f}"
        for b, e in ((r.mean, r.mean_error), (r.variance, r.variance_error), (r.mode, r.mode_error))
    ]
    return f"| {r.sampler} | {r.steps} | {r.nfe} | {' | '.join(cells)} |"


def plot(kept: dict[tuple[str, str], np.ndarray], problems: Sequence[Problem], path: Path) -> None:
    """Histograms of the finest runs over the exact posterior density."""
    from matplotlib.figure import Figure

    from .plots import _render

    figure = Figure(figsize=(3.0 * len(SAMPLERS), 3.0 * len(problems)), layout="constrained")
    axes = figure.subplots(len(problems), len(SAMPLERS), squeeze=False, sharey="row")
    for i, problem in enumerate(problems):
        w, m, v = problem.exact.along(problem.other)
        u = np.linspace((m - 4 * np.sqrt(v))[w > 1e-3].min(), (m + 4 * np.sqrt(v))[w > 1e-3].max(), 400)
        density = (w * np.exp(-((u[:, None] - m) ** 2) / (2 * v)) / np.sqrt(2 * np.pi * v)).sum(1)
        for j, name in enumerate(SAMPLERS):
            axes[i, j].hist(kept[problem.name, name], bins=60, range=(u[0], u[-1]), density=True, color="0.8")
            axes[i, j].plot(u, density, lw=1.2, color="C0")
            axes[i, j].set_title(name if i == 0 else "", fontsize=8)
        axes[i, 0].set_ylabel(problem.name, fontsize=8)
    write_atomically(path, _render(figure, "png"))


def main(argv: Sequence[str] | None = None) -> int:
    """Write inverse-problems.md, .json and .png into a folder."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("reports"), metavar="DIR")
    parser.add_argument("--samples", type=int, default=2000)
    options = parser.parse_args(argv)
    kept: dict[tuple[str, str], np.ndarray] = {}
    rows = study(samples=options.samples, keep=kept)
    data: list[dict[str, Any]] = [asdict(row) | {"biased": row.biased} for row in rows]
    write_atomically(options.out / "inverse-problems.json", json.dumps(data, indent=1) + "\n")
    write_atomically(options.out / "inverse-problems.md", report(rows))
    plot(kept, PROBLEMS, options.out / "inverse-problems.png")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
