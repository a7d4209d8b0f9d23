"""What the cases of Score-SDE share: the SDE, the exact model, the predictors and correctors of an option."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from semilinear.integrators.diffusion import sde
from semilinear.integrators.diffusion.prediction import Model
from semilinear.integrators.run.correctors import (
    Langevin,
    annealed_step,
    batch_mean_norm,
    langevin_step,
    released_factor,
)
from semilinear.integrators.solver import Solver
from semilinear.integrators.solvers import score_sde as predictors

from ...problems.mixtures import GaussianMixture
from .rebuild import integer, look_up, mixture

Options = Mapping[str, Any]
SDES: dict[str, Callable[[float, float], sde.DiffusionSDE]] = {
    "vp": lambda low, high: sde.vp(low, high),
    "subvp": lambda low, high: sde.sub_vp(low, high),
    "ve": lambda low, high: sde.ve(low, high),
}
PREDICTORS: dict[str, Callable[[int | None, bool], Solver]] = {
    "euler_maruyama": lambda n, ode: predictors.euler_maruyama_released(n=n, ode=ode),
    "reverse_diffusion": lambda n, ode: predictors.reverse_diffusion_released(n=n, ode=ode),
    "ancestral_sampling": lambda n, ode: predictors.ancestral_released(n=n),
}
STEPS: dict[str, Callable[[float], Any]] = {
    "langevin": lambda snr: langevin_step(snr, batch_mean_norm),
    "ald": annealed_step,
}


def sde_of(options: Options) -> sde.DiffusionSDE:
    """The forward SDE."""
    parameters = options["parameters"]
    kind = options["sde"]
    names = ("sigma_min", "sigma_max") if kind == "ve" else ("beta_min", "beta_max")
    return look_up(SDES, "sde", kind)(*(float(parameters[name]) for name in names))


def mixture_of(data: Mapping[str, Any], options: Options, default: str = "2d") -> GaussianMixture:
    """The problem, by its dimension."""
    name = str(options.get("problem", default))
    return mixture(data["problem" if name == "2d" else f"problem_{name}"])


def model_of(options: Options, law: GaussianMixture, process: sde.DiffusionSDE) -> tuple[Model, str]:
    """The exact model, and what it predicts; of the discrete chain where the release was trained on that."""
    if options.get("continuous", True):
        return law.model(process.schedule), "eps"
    n = integer(options, "N")

    def score(x: torch.Tensor, t: float) -> torch.Tensor:
        value: torch.Tensor = law.score(x, *_discrete_marginal(process, t, n))
        return value

    return score, "score"


def _discrete_marginal(process: sde.DiffusionSDE, t: float, n: int) -> tuple[float, float]:
    """alpha and sigma of the chain of n steps at time t.  models.utils.get_score_fn, continuous=False."""
    schedule = process.schedule
    if schedule.kind == "ve":  # the network's index 0 is the largest sigma
        return 1.0, float(sde.table_sigma(schedule, n - 1 - round((1 - t) * (n - 1)), n))
    entries = range(sde.table_index(schedule, t, n) + 1)
    log_alpha_bar = math.fsum(math.log1p(-sde.table_beta(schedule, i, n)) for i in entries)
    return math.exp(log_alpha_bar / 2), math.sqrt(-math.expm1(log_alpha_bar))


def tensor(value: Any) -> torch.Tensor:
    """A recorded array."""
    return torch.tensor(value, dtype=torch.float64)


def corrector_of(
    options: Options, process: sde.DiffusionSDE, name: str, noise: list[torch.Tensor], prediction: str
) -> Langevin:
    """The corrector as released, with recorded noise."""
    return Langevin(
        process.schedule,
        look_up(STEPS, "corrector", name)(float(options["snr"])),
        noise,
        integer(options, "n_steps"),
        released_factor(process.schedule, integer(options, "N")),
        prediction,
    )
