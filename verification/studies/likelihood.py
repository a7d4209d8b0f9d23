"""Log-likelihoods of a problem's own samples by the probability flow, beside the exact ones where known."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from semilinear.integrators.common import checks, limits
from semilinear.integrators.common.files import Written
from semilinear.integrators.diffusion.schedule import Schedule
from semilinear.integrators.diffusion.sde import DiffusionSDE
from semilinear.integrators.numerics.arrays import rms
from semilinear.integrators.run.black_box import (
    Divergence,
    Solve,
    bits_per_dim,
    draw_probes,
    exact_divergence,
    hutchinson,
    log_likelihood,
)

from ..problems.named import Problem, marginal_samples
from .setup import check_problem


@dataclass(frozen=True)
class Likelihoods(Written):
    """log p at t_start of samples, (batch,) each, in nats.

    exact: None where the problem's density is not known.  probes: of Hutchinson's estimate of the divergence,
    None where it was exact.
    """

    problem: str
    schedule: str
    dimension: int
    times: tuple[float, float]
    nfe: int
    log_density: np.ndarray
    exact: np.ndarray | None
    probes: int | None

    @property
    def bits(self) -> np.ndarray:
        """Bits per dimension, (batch,)."""
        found: np.ndarray = bits_per_dim(torch.from_numpy(self.log_density), self.dimension).numpy()
        return found

    @property
    def data(self) -> dict[str, Any]:
        """As JSON data: means over the samples with their standard errors, RMS difference to exact."""
        count = len(self.log_density)
        told = {
            "problem": self.problem,
            "schedule": self.schedule,
            "t_start": self.times[0],
            "t_end": self.times[1],
            "samples": count,
            "nfe": self.nfe,
            "probes": self.probes,
        }
        for name, values in (("log_density", self.log_density), ("bits_per_dim", self.bits)):
            deviation = float(np.std(values, ddof=1)) if count > 1 else math.nan
            told[name] = float(np.mean(values))
            told[f"{name}_standard_error"] = deviation / math.sqrt(count) if count > 1 else None
        if self.exact is None:
            return told | {"exact": None, "difference": None}
        difference = rms(self.log_density - self.exact)
        return told | {"exact": float(np.mean(self.exact)), "difference": difference}

    def __str__(self) -> str:
        d = self.data
        text = f"{self.problem} on {self.schedule}: log p = {d['log_density']:.6g}"
        if d["log_density_standard_error"] is not None:
            text += f" +- {d['log_density_standard_error']:.2g}"
        text += f" nats, {d['bits_per_dim']:.6g} bits per dimension, {self.nfe} NFE"
        if d["exact"] is None:
            return text
        return f"{text}; exact {d['exact']:.6g}, RMS difference {d['difference']:.2g}"


def likelihoods(
    problem: Problem,
    schedule: Schedule,
    *,
    batch: int = 64,
    seed: int = 0,
    t_start: float = 1e-3,
    t_end: float | None = None,
    probes: int | None = None,
    solve: Solve | None = None,
) -> Likelihoods:
    """Of samples of the law at t_start, integrated to the prior at t_end.

    t_end: the schedule's last time when absent.  probes: Rademacher vectors for Hutchinson's estimate; the
    exact divergence when absent.  solve: tolerances and method of scipy.
    The prior is N(0, s^2 I) with s the larger of 1 and sigma there, as Score-SDE's release has it.
    Raises TypeError or ValueError, naming the argument; ArithmeticError where the integration fails.
    """
    check_problem(problem)
    checks.instance("schedule", schedule, Schedule)
    batch = checks.integer("batch", batch, 1, limits.STATES)
    seed = checks.integer("seed", seed, 0)
    solve = Solve() if solve is None else solve
    checks.instance("solve", solve, Solve)
    end = schedule.t_max if t_end is None else checks.number("t_end", t_end)
    for name, t in (("t_start", checks.number("t_start", t_start)), ("t_end", end)):
        schedule.check_time(t, name)
        if not float(schedule.alpha(t)) > 0 or not float(schedule.sigma(t)) > 0:
            raise ValueError(f"{name} must have alpha > 0 and sigma > 0, got {t}")
    x = torch.from_numpy(marginal_samples(problem, schedule, float(t_start), batch, seed))
    sde = DiffusionSDE(schedule, max(1.0, float(schedule.sigma(end))))
    divergence: Divergence = exact_divergence
    if probes is not None:
        count = checks.integer("probes", probes, 1)
        divergence = hutchinson(draw_probes("rademacher", count, x, seed))
    found = log_likelihood(
        sde,
        problem.model(schedule),
        x,
        t_start=float(t_start),
        t_end=float(end),
        divergence=divergence,
        solve=solve,
    )
    known = getattr(problem, "log_density", None)
    alpha, sigma = float(schedule.alpha(t_start)), float(schedule.sigma(t_start))
    exact = None if known is None else np.asarray(known(x.numpy(), alpha, sigma))
    times = float(t_start), float(end)
    values = found.log_density.double().numpy()
    return Likelihoods(problem.name, schedule.kind, x.shape[1], times, found.nfe, values, exact, probes)
