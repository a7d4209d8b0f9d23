"""What a step loses by holding the model's output: DEIS weighs its ingredients by Delta_s and Delta_p.

Along exact solutions x(t), a step from t to s < t that holds the score is off at its end by

    Delta_s = mean |score(x(s), s) - score(x(t), t)|,

one that holds the noise prediction (score = -eps/sigma) by mean |eps(x(s), s) - eps(x(t), t)|/sigma(s).
Delta_p is the mean |x - x_exact| of final states.  Means are over samples and components, units those of the
score and of the data.  Zhang & Chen 2023, arXiv:2204.13902, Sec. 3, as summaries report it.
"""

from __future__ import annotations

import itertools
from dataclasses import astuple, dataclass

import numpy as np
from semilinear.integrators.run.sampler import sample

from ..equal_nfe.errors import Ratio, ratio
from ..studies.own_statistics import on_experiment
from .cells import above, judged
from .claim import Decision
from .comparison import experiment_of

SCHEDULE = "vp-linear"


@dataclass(frozen=True)
class Held:
    """One step: by sample, the mean absolute errors of a score that is held, and of a noise prediction."""

    t: float
    s: float
    score: np.ndarray
    eps: np.ndarray


def delta_s(problem: str, grid: str, steps: int) -> tuple[Held, ...]:
    """Both errors, step by step, along the exact solutions of a problem."""
    e = experiment_of(problem, SCHEDULE, grid)
    times = [float(t) for t in e.nodes(steps)]
    noise = [np.asarray(e.model(e.given(x), t)) for t, x in zip(times, e.states(times), strict=True)]
    found = []
    for i, (t, s) in enumerate(itertools.pairwise(times)):
        before, after = float(e.schedule.sigma(t)), float(e.schedule.sigma(s))
        score = np.abs(noise[i + 1] / after - noise[i] / before).mean(axis=1)
        found.append(Held(t, s, score, np.abs(noise[i + 1] - noise[i]).mean(axis=1) / after))
    return tuple(found)


def delta_p(name: str, problem: str, grid: str, steps: int) -> np.ndarray:
    """By sample, the mean absolute error of the final state of a run with one evaluation a step."""
    e = experiment_of(problem, SCHEDULE, grid)
    plan = e.plan(on_experiment(name, e), steps)
    (exact,) = e.states([e.times[1]])
    errors: np.ndarray = np.abs(np.asarray(sample(plan, e.model, e.given(e.x)).x) - exact).mean(axis=1)
    return errors


ROUNDING = 1e-9
"""Below it a mean absolute error is that of the reference solution, whose tolerance is 1e-10."""


def times_larger(a: np.ndarray, b: np.ndarray) -> Ratio:
    """mean(a)/mean(b) of the same samples, with its interval; errors below `ROUNDING` count as that."""
    found = ratio(*(np.sqrt(np.maximum(v, ROUNDING)) for v in (a, b)))
    return Ratio(*(value**2 for value in astuple(found)))


# --- claims ---

ALL = ("golden-mixture", "rotated-product-2d", "digits-0.2", "narrow-mixture")
GRIDS, STEPS = ("t", "t-quadratic", "lambda"), (10, 20)
BUDGETS = (5, 10, 20, 50)


def grows_to_the_end() -> Decision:
    """Delta_s of the last step over the largest of the others."""
    cells = []
    for problem, grid, n in itertools.product(ALL, GRIDS, STEPS):
        *others, last = delta_s(problem, grid, n)
        most = max(others, key=lambda step: float(step.score.mean()))
        where = f"{problem}, {n} steps, grid {grid}, Delta_s of the last step over that from t = {most.t:.3g}"
        at = {"problem": problem, "grid": grid, "nfe": n}
        cells.append(above(where, times_larger(last.score, most.score), at=at))
    return judged(cells)


ABOVE = 0.5
"""A noise level at which data near points cannot be told from points."""


def eps_is_steadier() -> Decision:
    """What a held score loses at the end of a step, over what a held noise prediction does."""
    cells = []
    for problem, grid, n in itertools.product(ALL, GRIDS, STEPS):
        schedule = experiment_of(problem, SCHEDULE, grid).schedule
        for step in delta_s(problem, grid, n):
            level = "at least" if float(schedule.rho(step.s)) >= ABOVE else "below"
            where = f"{problem}, {n} steps, grid {grid}, from t = {step.t:.3g} to {step.s:.3g}"
            at = {"problem": problem, "grid": grid, "nfe": n, "level": f"sigma/alpha is {level} {ABOVE}"}
            cells.append(above(where, times_larger(step.score, step.eps), at=at))
    return judged(cells)


def first_ingredient() -> Decision:
    """Delta_p of the exponential integrator with a held score over Euler's."""
    return judged(
        [
            above(
                f"{problem}, {n} steps uniform in t",
                times_larger(*(delta_p(name, problem, "t", n) for name in ("deis-score-tab0", "euler-in-t"))),
                at={"problem": problem, "nfe": n},
            )
            for problem, n in itertools.product(ALL, BUDGETS)
        ]
    )


INGREDIENTS = (
    ("held score", "deis-score-tab0", "t"),
    ("held noise prediction", "ddim", "t"),
    ("polynomial of degree 3", "deis-tab3", "t"),
    ("steps quadratic in t", "deis-tab3", "t-quadratic"),
)
"""From the exponential integrator on, each with those before it."""


def later_ingredients() -> Decision:
    """Delta_p without each further ingredient over that with it."""
    cells = []
    for problem, n in itertools.product(ALL, BUDGETS):
        errors = [delta_p(name, problem, grid, n) for _, name, grid in INGREDIENTS]
        for (label, *_), (less, more) in zip(INGREDIENTS[1:], itertools.pairwise(errors), strict=True):
            where = f"{problem}, {n} steps, {label}"
            at = {"problem": problem, "ingredient": label, "nfe": n}
            cells.append(above(where, times_larger(less, more), at=at))
    return judged(cells)
