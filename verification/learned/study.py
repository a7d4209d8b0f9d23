"""What solvers do on a learned score: their orders on its flow, and the distances of what they sample.

The flow of the network is one thing, the digits another.  A sampler's distance from the converged flow is
its discretisation error; the converged flow's distance from digits that were held out is the model's error,
which a finer solver does not remove.  `study` measures both over the number of evaluations, and with the same
network likelihoods in bits per dimension, digits of a given class and halves of digits filled in.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from semilinear.analysis.orders.solver_proof import prove_solver
from semilinear.integrators.diffusion.sde import vp
from semilinear.integrators.plans.compile import compile_plan
from semilinear.integrators.run.black_box import Solve, bits_per_dim, log_likelihood
from semilinear.integrators.run.conditioning import Known, Replacement
from semilinear.integrators.run.models import classifier_free
from semilinear.integrators.run.noise import per_sample
from semilinear.integrators.run.sampler import sample
from semilinear.integrators.solvers import make

from ..equal_nfe.entrants import evaluations, most
from ..problems.digits_network import BIN, CLASSES, LEVELS, PIXELS, Recipe, levels_of, split
from ..problems.learned_digits import learned_digits
from ..problems.mixtures import EmpiricalMixture
from ..problems.reference import reference
from ..studies.experiment import Experiment
from ..studies.ladders import half_octaves
from ..studies.measure import measure
from ..studies.own_statistics import for_problem, generic
from ..studies.progress import Progress
from .judges import Measured, agreement, energy_distance, mean

SDE = vp()
SCHEDULE = SDE.schedule
T_START, T_END = 1.0, 1e-3
"""From noise to a lambda of 4.6: sigma is a twelfth of a pixel's bin."""
ORDERS = (
    "ddim",
    "dpm-solver-2",
    "dpm-solver++-2m",
    "dpm-solver-3",
    "dpm-solver++-3m-corrected",
    "dpm-solver++-3m-released",
    "deis-tab2",
    "unipc-2-bh2",
    "dpm-solver-v3-2m",
    "krogstad4",
)
"""A representative set: both predictions, one-step and multistep, a corrector, statistics, wrong claims."""
SAMPLERS = (
    "ddim",
    "dpm-solver++-2m",
    "dpm-solver++-3m-corrected",
    "unipc-2-bh2",
    "dpm-solver-3",
    "dpm-solver-v3-2m",
    "sde-dpm-solver++-2m",
)
SCALES = (0.0, 1.0, 2.0, 4.0)
"""Of classifier-free guidance: 0 knows no class, 1 is the conditional model."""
BANDWIDTHS = (0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5)
"""Of kernel densities, among which the one that fits the held-out digits best is taken."""
HALF = PIXELS // 2
"""Of an image, its upper rows: what inpainting is told."""
GUIDED = "sde-dpm-solver++-2m"
"""What fills in halves; it draws noise, which lets what is replaced spread."""


@dataclass(frozen=True)
class Size:
    """How much is measured.

    batch, finest: initial states and step counts of the orders.  budgets: evaluations of the samplers.
    samples: of each, at most as many as are held out.  likelihoods: digits whose likelihood is taken.
    steps: of guided runs and of inpainting.
    """

    batch: int = 4
    finest: int = 256
    tolerance: float = 1e-12
    budgets: tuple[int, ...] = (5, 7, 10, 14, 20, 50)
    samples: int = 360
    likelihoods: int = 48
    steps: int = 20


def study(recipe: Recipe, size: Size, progress: Progress | None = None) -> dict[str, Any]:
    """Everything, as data for `reporting.learned`; progress counts the parts.

    Raises NoWeights where the recipe has none.
    """
    parts = (orders, sampling, likelihood, conditional, inpainting)
    data: dict[str, Any] = {"recipe": asdict(recipe), "digest": recipe.digest, "size": asdict(size)}
    for i, part in enumerate(parts):
        data |= part(recipe, size)
        if progress is not None:
            progress(i + 1, len(parts))
    return data


# --- the flow of the network ---


def orders(recipe: Recipe, size: Size) -> dict[str, Any]:
    """The orders of a representative set of solvers on the network's flow, over the interval of all studies,
    each judged against what is proved of the method as it is run.
    """
    experiment = Experiment(
        learned_digits(recipe),
        batch=size.batch,
        ladder=half_octaves(8, size.finest),
        tolerance=size.tolerance,
    )
    rows = []
    for name in ORDERS:
        solver = generic(name)
        study = measure(name, experiment, claimed=prove_solver(solver).run())
        rows.append(study.data | {"source_claims": solver.claimed})
    return {"orders": rows}


def starts(n: int, seed: int = 0) -> torch.Tensor:
    """n draws from the prior, float64."""
    return torch.randn(n, PIXELS, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def sampling(recipe: Recipe, size: Size) -> dict[str, Any]:
    """Samplers from the same draws, in as many steps as a number of evaluations affords: RMS distance from
    the converged flow, energy distance from digits that were held out.  `floors` holds what the converged
    flow and digits of the training set have.
    """
    problem, (train, held) = learned_digits(recipe), split(recipe)
    model, x = problem.model(SCHEDULE), starts(min(size.samples, len(held.levels)))
    unseen = held.dequantised(1)
    converged = reference(problem, SCHEDULE, x.numpy(), T_START, [T_END], tolerance=1e-7).states[T_END]
    others = train.dequantised(2)[: len(x)]
    rows, sheets = [], [_sheet("held out", held.x), _sheet("converged flow", converged)]
    low, high = float(SCHEDULE.lam(T_START)), float(SCHEDULE.lam(T_END))
    for name in SAMPLERS:
        solver = for_problem(name, problem, low, high)
        for budget in size.budgets:
            n = most(partial(evaluations, solver, final="released"), budget)
            if not n:
                continue
            plan = compile_plan(solver, SCHEDULE, steps=n, t_start=T_START, t_end=T_END)
            noise = per_sample(0) if plan.stochastic else None
            found = sample(plan, model, x, noise=noise)
            final = found.x.numpy()
            error = mean(((final - converged) ** 2).mean(1))
            rows.append(
                {
                    "solver": name,
                    "budget": budget,
                    "nfe": found.nfe,
                    "error": None if plan.stochastic else math.sqrt(error.value),
                    "energy": asdict(energy_distance(final, unseen)),
                }
            )
            if budget == size.budgets[0] and name in ("ddim", "dpm-solver++-2m"):
                sheets.append(_sheet(f"{name}, {found.nfe} evaluations", final))
    floors = {
        "converged flow": asdict(energy_distance(converged, unseen)),
        "training digits": asdict(energy_distance(others, unseen)),
    }
    return {"sampling": rows, "floors": floors, "sheets": sheets}


# --- likelihood ---


def likelihood(recipe: Recipe, size: Size) -> dict[str, Any]:
    """Bits per dimension of dequantised digits, held out and trained on: of the network; of a kernel density
    of the training digits at the best bandwidth of a few, of their Gaussian, of even levels.
    """
    train, held = split(recipe)
    model = learned_digits(recipe).model(SCHEDULE)
    given = {"held out": held, "trained on": train}
    rows = []
    known = train.dequantised(3)
    for name, digits in given.items():
        x = torch.tensor(digits.dequantised(1)[: size.likelihoods])
        found = log_likelihood(SDE, model, x, t_start=T_END, solve=Solve(1e-4, 1e-4))
        rows.append({"of": name, "law": "network", "bits": asdict(_bits(found.log_density))})
    x = torch.tensor(held.dequantised(1))
    kernels = {h: _bits(EmpiricalMixture(known, h).log_density(x, 1.0, 0.0)) for h in BANDWIDTHS}
    best = min(kernels, key=lambda h: kernels[h].value)
    kernel = f"kernel density, bandwidth {best:g}"
    rows.append({"of": "held out", "law": kernel, "bits": asdict(kernels[best])})
    covariance = np.cov(known.T) + 1e-9 * np.eye(PIXELS)
    law = torch.distributions.MultivariateNormal(torch.tensor(known.mean(0)), torch.tensor(covariance))
    densities = law.log_prob(x)  # type: ignore[no-untyped-call]
    rows.append({"of": "held out", "law": "Gaussian", "bits": asdict(_bits(densities))})
    rows.append({"of": "any", "law": "even levels", "bits": asdict(Measured(math.log2(LEVELS), 0.0, 0))})
    return {"likelihood": rows}


def _bits(log_density: torch.Tensor) -> Measured:
    """-log_2 P(levels)/64, where P >= exp E log p over a bin times its volume."""
    return mean(bits_per_dim(log_density, PIXELS, -math.log2(BIN)).numpy())


# --- what the network is told ---


def conditional(recipe: Recipe, size: Size) -> dict[str, Any]:
    """Digits of given classes by classifier-free guidance: the share taken for them, over the scale."""
    train, held = split(recipe)
    n = min(size.samples, len(held.levels)) // CLASSES * CLASSES
    classes = np.arange(n) % CLASSES
    rows: list[dict[str, Any]] = []
    for scale in SCALES:
        final = guided(recipe, classes, scale, size.steps)
        rows.append({"scale": scale, "recognised": asdict(agreement(final, classes, train))})
    ceiling = asdict(agreement(held.x, held.classes, train))
    return {"conditional": rows, "classifier": ceiling, "guided": [every_class(recipe)]}


def every_class(recipe: Recipe, scale: float = 2.0, steps: int = 20) -> dict[str, Any]:
    """A sheet of digits of all classes, a column of each."""
    final = guided(recipe, np.arange(SHEET) % CLASSES, scale, steps)
    return _sheet(f"of the classes 0 to 9, guidance {scale:g}", final)


def guided(recipe: Recipe, classes: np.ndarray, scale: float, steps: int, seed: int = 0) -> np.ndarray:
    """Samples of given classes (n,), (n, 64), by dpm-solver++-2m with classifier-free guidance."""
    told, free = (learned_digits(recipe, c).model(SCHEDULE) for c in (torch.tensor(classes), None))
    plan = compile_plan(make("dpm-solver++-2m"), SCHEDULE, steps=steps, t_start=T_START, t_end=T_END)
    found = sample(plan, classifier_free(told, free, scale), starts(len(classes), seed)).x
    return np.asarray(found.numpy())


def inpainting(recipe: Recipe, size: Size) -> dict[str, Any]:
    """The lower half of held-out digits from the upper: RMS error there, and how many are taken for what they
    are; by replacement, with the class told and without, and as the nearest training digit has it.
    """
    train, held = split(recipe)
    n = min(size.samples, len(held.levels))
    truth, classes = held.x[:n], held.classes[:n]
    nearest = train.x[np.argmin(_squares(truth[:, :HALF], train.x[:, :HALF]), axis=1)]
    rows, sheets = [], []
    filled = {
        "replacement": _filled(recipe, truth, None, size.steps),
        "replacement, class told": _filled(recipe, truth, classes, size.steps),
        "nearest training digit": np.concatenate([truth[:, :HALF], nearest[:, HALF:]], 1),
    }
    for name, x in filled.items():
        error = mean(((x - truth)[:, HALF:] ** 2).mean(1))
        taken = asdict(agreement(x, classes, train))
        rows.append({"by": name, "rms": math.sqrt(error.value), "recognised": taken})
    masked = truth.copy()
    masked[:, HALF:] = -1
    for name, x in {"held out": truth, "upper half": masked, "replacement": filled["replacement"]}.items():
        sheets.append(_sheet(name, x[:10]))
    return {"inpainting": rows, "filled": sheets}


def _squares(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    found: np.ndarray = (a * a).sum(1)[:, None] - 2 * a @ b.T + (b * b).sum(1)
    return found


def _filled(recipe: Recipe, truth: np.ndarray, classes: np.ndarray | None, steps: int) -> np.ndarray:
    told = None if classes is None else torch.tensor(classes)
    model = learned_digits(recipe, told).model(SCHEDULE)
    mask = torch.cat([torch.ones(HALF), torch.zeros(PIXELS - HALF)])
    between = Replacement(SCHEDULE, Known(torch.tensor(truth), mask), per_sample(0, stream=2))
    plan = compile_plan(make(GUIDED), SCHEDULE, steps=steps, t_start=T_START, t_end=T_END)
    found = sample(plan, model, starts(len(truth)), noise=per_sample(0), between=between).x.numpy()
    return np.concatenate([truth[:, :HALF], found[:, HALF:]], 1)


SHEET = 50


def _sheet(title: str, x: np.ndarray) -> dict[str, Any]:
    """The first images as levels 0 .. 16."""
    return {"title": title, "images": levels_of(x[:SHEET]).tolist()}
