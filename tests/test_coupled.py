from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pytest
from semilinear.analysis.convergence import estimate_noisy_order
from semilinear.integrators.diffusion.schedule import Schedule
from semilinear.integrators.forms.form import Form
from semilinear.integrators.forms.reverse import sde_data_in_lambda, sde_noise
from semilinear.integrators.run.noise import BrownianPath
from semilinear.integrators.solvers import make
from semilinear.verification.commands.cli import main
from semilinear.verification.problems.linear_law import Gaussians
from semilinear.verification.problems.mixtures import GaussianMixture
from semilinear.verification.problems.named import problem
from semilinear.verification.studies.coupled import CoupledExperiment, CoupledStudy, study
from semilinear.verification.studies.gaussian import StochasticExperiment, respond, strong_error

from tests.slow import few, slow

NONSENSE: Any = "nonsense"
ON_LINE = CoupledExperiment(problem("mixture-1d"), paths=2048, seed=3)


@pytest.fixture(scope="module")
def euler() -> CoupledStudy:
    return study(make("seeds-1"), ON_LINE)


# --- verdicts ---


def test_a_claim_one_order_too_high_is_refuted(euler: CoupledStudy) -> None:
    assert euler.against(2) == euler.strong_verdict(2) == "lower"
    assert euler.against(1) in ("consistent", "inconclusive")
    assert euler.strong_verdict(1) == "consistent"


@pytest.mark.slow
def test_independent_stage_noise_is_found_on_a_mixture() -> None:
    """The released stage draws noise of its own: weak order 1, claimed 2."""
    few = CoupledExperiment(problem("mixture-1d"), paths=1024)
    found = study(make("sde-dpm-solver++-2s-released"), few)
    assert found.against(2) == found.parts["second"].verdict(2) == "lower"
    assert found.weak.order == pytest.approx(1, abs=0.2)  # on paths: 0.11 seen


@pytest.mark.parametrize("name", slow(["seeds-1", "seeds-2"], lambda name: name == "seeds-2"))
def test_few_paths_are_inconclusive(name: str) -> None:
    """128 paths do not decide a weak order, whatever is claimed."""
    for seed in range(2):
        found = study(make(name), CoupledExperiment(problem("mixture-1d"), paths=128, seed=seed))
        assert [found.against(p) for p in (1, 2, 3)] == ["inconclusive"] * 3


def test_noise_of_the_wrong_size_does_not_converge() -> None:
    """Ten per cent too much: the law is another one, of weak and strong order 0."""

    def form(schedule: Schedule) -> Form:
        right = sde_noise()(schedule)
        assert right.std is not None
        std = right.std
        return dataclasses.replace(right, std=lambda t0, t1: 1.1 * std(t0, t1))

    few = CoupledExperiment(problem("mixture-1d"), paths=1024)
    found = study(dataclasses.replace(make("seeds-2"), form=form), few, form=sde_noise())
    assert found.against(1) == found.strong_verdict(1) == "lower"


@pytest.mark.slow
def test_rare_changes_of_mode_leave_no_verdict_on_the_strong_order() -> None:
    """They make most of the mean square on the golden mixture; the median still shows order 1."""
    found = study(make("seeds-1"), CoupledExperiment(problem("golden-mixture"), paths=2048))
    assert found.share[-1] > 0.5 > found.share[0]
    assert found.strong_verdict(1) == "inconclusive"
    assert found.strong.order < 0.8
    assert found.typical.order == pytest.approx(1, abs=0.1)  # on 2048 paths


# --- against what is known exactly ---

DATA = Gaussians(np.array([0.7, -0.4]), np.array([0.25, 0.6]), np.zeros(2))
GAUSSIAN = GaussianMixture(np.ones(1), DATA.mean[None], np.diag(DATA.variance)[None])


def exact_strong(name: str, n: int) -> float:
    """On Gaussian data, from the marginal: the error from its mean, and that of the start's propagator."""
    e = StochasticExperiment()
    mean, variance = DATA.marginal(e.schedule, e.times[0])
    e = StochasticExperiment(data=Gaussians(DATA.mean, DATA.variance, mean))
    solver, law = make(name), e.law(make(name).form)
    plan = e.plan(solver, n)
    response = respond(plan, e.model, mean)
    moved = (response.slope - law.at(np.array([law.start]))[0][0]) ** 2 * variance
    return float(np.sqrt(np.sum(strong_error(law, plan, response) ** 2 + moved)))


@pytest.mark.parametrize("name", few(["seeds-1", "sde-dpm-solver++-2s", "sa-solver-2-2"]))
def test_errors_over_paths_are_the_exact_ones_on_gaussian_data(name: str) -> None:
    """4096 paths know a mean square to about two per cent."""
    found = study(make(name), CoupledExperiment(GAUSSIAN, paths=4096, ladder=(4, 8, 16)))
    exact = [exact_strong(name, n) for n in (4, 8, 16)]
    assert [p.error for p in found.strong.points] == pytest.approx(exact, rel=0.04)  # four deviations


@pytest.mark.slow
def test_intervals_hold_the_order() -> None:
    """Of 95% intervals over 6 seeds at least 4 hold the strong order 1 (by chance fewer once in 400)."""
    found = [study(make("seeds-1"), CoupledExperiment(GAUSSIAN, paths=512, seed=s)) for s in range(6)]
    assert sum(f.strong.low <= 1 <= f.strong.high for f in found) >= 4
    assert len({f.strong.order for f in found}) == 6


def test_intervals_of_noisy_fits_hold_the_order() -> None:
    """Errors h^p (1 + h) with noise that falls with h: 95% intervals, over 200 draws."""
    n, rng, hits = np.array([4, 6, 8, 12, 16, 24, 32]), np.random.default_rng(1), 0
    exact = n**-2.0 * (1 + 1 / n)
    noise = 0.02 * exact[:, None]
    for _ in range(200):
        errors = exact + noise[:, 0] * rng.standard_normal(7)
        found = estimate_noisy_order(
            n.tolist(), errors, errors[:, None] + noise * rng.standard_normal((7, 100)), 0 * exact
        )
        hits += found.low <= 2 <= found.high
    assert hits >= 180


# --- reproducible, and refused ---


def test_a_study_is_a_function_of_its_seed(euler: CoupledStudy) -> None:
    small = [
        study(make("seeds-1"), CoupledExperiment(problem("mixture-1d"), paths=256, ladder=(4, 8), seed=s))
        for s in (0, 0, 1)
    ]
    errors = [[p.error for p in s.strong.points] for s in small]
    assert errors[0] == errors[1] != errors[2]


def test_a_path_does_not_depend_on_its_batch() -> None:
    form = sde_data_in_lambda(ON_LINE.schedule)
    plan = ON_LINE.plan(make("seeds-1"), 3)
    wide, narrow = (BrownianPath.through(form, [plan], 7).noise(plan)(1, np.zeros((m, 2))) for m in (12, 6))
    later = BrownianPath.through(form, [plan], 7, 8).noise(plan)(1, np.zeros((4, 2)))
    assert np.array_equal(wide[:6], narrow)
    assert np.array_equal(wide[8:], later)
    assert len(np.unique(wide)) == wide.size


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"problem": 1}, TypeError, "problem must be a Problem"),
        ({"digits": 20}, ValueError, "digits must be None over paths"),
        ({"paths": 100}, ValueError, "paths must be an integer from 128 to 1000000"),
        ({"paths": 200}, ValueError, "paths must be a multiple of 128"),
        ({"seed": -1}, ValueError, "seed must be"),
        ({"ladder": (8,)}, ValueError, "ladder must hold at least 2 step counts over paths"),
        ({"ladder": (61, 67, 71)}, ValueError, "ladder must need a reference of at most 65536 steps"),
    ],
)
def test_bad_experiments_are_named(options: dict[str, Any], error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        CoupledExperiment(**options)


def test_solvers_without_a_path_are_refused() -> None:
    with pytest.raises(TypeError, match="solver must be a Solver"):
        study(NONSENSE)
    with pytest.raises(ValueError, match="is not stochastic"):
        study(make("ddim"))
    with pytest.raises(ValueError, match="it has no path"):
        study(make("ddpm"))


# --- the command ---


def test_the_command_measures_on_a_problem(capsys: Any) -> None:
    base = ["order", "seeds-1", "--problem", "mixture-1d", "--json"]
    assert main([*base, "--paths", "2048", "--seed", "3", "--claimed", "2"]) == 1
    data = json.loads(capsys.readouterr().out)
    assert data["verdict"] == "lower"
    assert data["paths"] == 2048
    assert set(data["studies"]) == {"weak", "mean", "second", "modes", "strong", "median"}
    assert main([*base, "--paths", "128", "--max-steps", "16"]) == 1
    assert json.loads(capsys.readouterr().out)["verdict"] == "inconclusive"


@pytest.mark.parametrize(
    "arguments",
    [
        ["seeds-1", "--problem", "mixture-1d", "--digits", "30"],
        ["seeds-1", "--problem", "nowhere"],
        ["seeds-1", "--problem", "mixture-1d", "--paths", "100"],
        ["seeds-1", "--paths", "128"],
        ["ddim", "--seed", "1"],
        ["ddpm", "--problem", "mixture-1d"],
    ],
)
def test_the_command_refuses_what_does_not_go_together(arguments: list[str], capsys: Any) -> None:
    assert main(["order", *arguments]) == 2
    assert capsys.readouterr().err
