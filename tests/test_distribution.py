"""Samples in distribution: distances, what chance does to them, and which solver lies closer."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.integrate
import scipy.stats
import semilinear as sl
import torch
from semilinear.integrators.common.names import UnknownTableau
from semilinear.integrators.solvers import SOLVERS, classical
from semilinear.verification.commands.cli import main
from semilinear.verification.distribution import report
from semilinear.verification.distribution.contests import first_against_second, vp_against_ve
from semilinear.verification.distribution.experiment import SampledExperiment
from semilinear.verification.distribution.floor import (
    LEVEL,
    NOTHING,
    REPLICATES,
    differences,
    floor_of,
    squares,
)
from semilinear.verification.distribution.metrics import Features, metrics, modes
from semilinear.verification.distribution.runs import Task, most_steps, run
from semilinear.verification.distribution.slices import (
    Line,
    Samples,
    Slices,
    directions,
    mean_projection,
)
from semilinear.verification.distribution.study import in_distribution, studies
from semilinear.verification.problems.interval import NFE
from semilinear.verification.problems.law import MixtureLaw, law_of
from semilinear.verification.problems.mixtures import EmpiricalMixture
from semilinear.verification.problems.named import problem
from semilinear.verification.reporting.distribution import markdown
from semilinear.verification.studies.own_statistics import generic

from tests.roundings import AMPLIFIED, MANY_ULP, SOME_ULP

REPORTS = Path(__file__).parents[1] / "reports"
LINE = SampledExperiment(problem("mixture-1d"), samples=400)
PLANE = SampledExperiment(problem("golden-mixture"), samples=400)
GAUSSIAN = SampledExperiment(problem("gaussian"))
NAMES = ("sliced-wasserstein", "energy", "frechet", "mean", "covariance", "modes")


def drawn(law: MixtureLaw, seed: int, n: int = 400) -> Samples:
    return Samples(law.draw(n, np.random.default_rng([99, seed])))


# --- the law ---


@pytest.mark.parametrize("name", ["mixture-1d", "golden-mixture", "rotated-product-2d", "digits-0.8"])
def test_the_law_is_that_of_the_problems_samples(name: str) -> None:
    """Mean and variance of 20 000 of each, within 5 standard errors, of 64 components at most."""
    law, schedule, n = law_of(problem(name), sl.schedules.vp_linear(), 0.3), sl.schedules.vp_linear(), 20_000
    own = law.draw(n, np.random.default_rng(1))
    eps = np.random.default_rng(2).standard_normal(own.shape)
    theirs = float(schedule.alpha(0.3)) * problem(name).data(n, 3) + float(schedule.sigma(0.3)) * eps
    deviation = np.sqrt(np.diag(law.covariance))
    for x in (own, theirs):
        assert np.max(np.abs(x.mean(0) - law.mean) / deviation) < 5 / math.sqrt(n)
        kurtosis = np.mean(((x - law.mean) / deviation) ** 4, axis=0)
        assert np.all(np.abs(x.var(0) / deviation**2 - 1) < 5 * np.sqrt(kurtosis / n))


def test_the_law_is_given_in_its_own_units() -> None:
    for e in (LINE, PLANE):
        assert np.allclose(e.law.mean, 0, rtol=0, atol=SOME_ULP)
        assert np.trace(e.law.covariance) == pytest.approx(e.law.dimension, rel=SOME_ULP, abs=0)


# --- along directions ---


def test_a_line_is_the_mixture_on_it() -> None:
    """Against quadrature: linear interpolation between nodes leaves 1e-5 of a quantile, Hermite's 1e-8."""
    weights, means, variances = np.array([0.3, 0.7]), np.array([-1.0, 2.0]), np.array([0.04, 1.0])
    line = Line.of(weights, means, variances)

    def density(y: float) -> float:
        return float(weights @ scipy.stats.norm.pdf(y, means, np.sqrt(variances)))

    for x in (-14.0, -1.1, 0.4, 2.5, 30.0):
        points = [p for p in (-1.5, -1.0, -0.5, x) if -10 < p < 12]
        exact = scipy.integrate.quad(
            lambda y, x=x: abs(x - y) * density(y), -10, 12, points=points, limit=200
        )
        assert line.distance_from(np.array([x]))[0] == pytest.approx(exact[0], abs=1e-8)  # Hermite
    u = np.array([0.01, 0.29, 0.31, 0.9])
    below = [float(weights @ scipy.stats.norm.cdf(y, means, np.sqrt(variances))) for y in line.quantiles(u)]
    assert below == pytest.approx(u, abs=1e-4)  # the density times 1e-5 of a quantile
    alone = Line.of(np.ones(1), np.zeros(1), np.full(1, 0.25))
    assert alone.within == pytest.approx(2 * 0.5 / math.sqrt(math.pi), rel=SOME_ULP, abs=0)


@pytest.mark.parametrize(("d", "expected"), [(1, 1.0), (2, 2 / math.pi), (3, 0.5)])
def test_the_mean_projection_of_a_unit_vector(d: int, expected: float) -> None:
    assert mean_projection(d) == pytest.approx(expected, rel=SOME_ULP, abs=0)


def test_directions_are_unit_vectors_and_give_lengths() -> None:
    """|x| = mean |theta . x| / E |theta_1|: in the plane up to what 16 equal angles leave of |cos|, 0.5 %."""
    for d in (1, 2, 3, 8, 64):
        assert np.allclose(np.linalg.norm(directions(d), axis=1), 1, rtol=SOME_ULP, atol=0)
    x = np.array([[math.cos(a), math.sin(a)] for a in np.linspace(0, 3, 50)])
    lengths = np.mean(np.abs(x @ directions(2).T), axis=1) / mean_projection(2)
    assert lengths == pytest.approx(np.ones(50), abs=5e-3)  # 0.5 %


@pytest.mark.parametrize("d", [2, 3, 8, 33, 64])
def test_no_axis_is_unseen(d: int) -> None:
    """A law that is moved, or has collapsed, along the axis that the directions see least is another one."""
    one, mean, eye = np.ones(1), np.zeros((1, d)), np.eye(d)
    axis = np.linalg.svd(directions(d))[2][-1]
    moved = MixtureLaw(one, mean + 0.5 * axis, eye[None])
    collapsed = MixtureLaw(one, mean, (eye - 0.99 * np.outer(axis, axis))[None])
    for name in ("sliced-wasserstein", "energy", "frechet"):
        metric = metrics(MixtureLaw(one, mean, eye[None]))[name]
        assert min(metric.gaussian(moved), metric.gaussian(collapsed)) > 1e-4 / d, name


def test_one_law_is_at_no_distance_from_itself() -> None:
    assert all(abs(metric.gaussian(GAUSSIAN.law)) < NOTHING.most for metric in GAUSSIAN.metrics.values())


def test_the_features_of_a_law_have_the_moments_of_quadrature() -> None:
    features, law = Features(LINE.law), LINE.law
    (w, m, v), y = law.along(np.ones(1)), np.linspace(-12, 12, 20_001)
    density = scipy.stats.norm.pdf(y[:, None], m, np.sqrt(v)) @ w * (y[1] - y[0])
    f = features(y[:, None])
    mean, covariance = features.moments(law)
    # the Riemann sum ends at 12, ten deviations out
    assert mean == pytest.approx(density @ f, abs=1e-12)
    assert covariance == pytest.approx((f.T * density) @ f - np.outer(mean, mean), abs=1e-12)


def test_distances_do_not_depend_on_the_order_of_the_samples() -> None:
    x = drawn(PLANE.law, 0).x
    turned = np.random.default_rng(0).permutation(len(x))
    for metric in PLANE.metrics.values():
        a, b = metric.sample(Samples(x)), metric.sample(Samples(x[turned]))
        assert b.value == pytest.approx(a.value, rel=AMPLIFIED, abs=0)
        # Frechet's root of a law's features
        assert b.influence == pytest.approx(a.influence[turned], rel=1e-7, abs=0)


def test_distances_do_not_depend_on_the_frame() -> None:
    """Turned by an angle that carries the fixed directions to each other, sample and law together."""
    law, x = PLANE.law, drawn(PLANE.law, 1).x
    angle = math.pi / 16
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    turned = MixtureLaw(law.weights, law.means @ turn.T, turn @ law.covariances @ turn.T)
    for name in ("sliced-wasserstein", "energy", "mean", "covariance", "modes"):  # features are a few of many
        before = metrics(law)[name].sample(Samples(x)).value
        assert metrics(turned)[name].sample(Samples(x @ turn.T)).value == pytest.approx(before, abs=SOME_ULP)


def test_a_shift_is_what_it_is() -> None:
    """W_2 of a shifted sample grows by shift^2 and twice the shift times the mean away from the law."""
    values = drawn(LINE.law, 3)
    metric = LINE.metrics["sliced-wasserstein"]
    before, after = metric.sample(values), metric.sample(Samples(values.x + 0.3))
    away = np.mean(values.x) - np.mean(Slices(LINE.law).quantiles(400))
    assert after.value - before.value == pytest.approx(0.09 + 0.6 * away, rel=SOME_ULP, abs=0)


# --- chance ---

RUNS = 200


@pytest.mark.parametrize("name", NAMES)
def test_the_influences_tell_the_variance_of_a_distance(name: str) -> None:
    """The variance over 200 samples is known to 10 %; a factor 1.5 is four of that."""
    metric, law = LINE.metrics[name], differences(LINE.law)["modes"](0.2).moved(1.2, np.array([0.3]))
    found = [metric.sample(drawn(law, seed)) for seed in range(RUNS)]
    spread = np.var([one.value for one in found], ddof=1)
    told = np.mean([one.error**2 for one in found])
    assert 1 / 1.5 < told / spread < 1.5


@pytest.mark.parametrize("name", NAMES)
def test_exact_samples_are_taken_for_others_as_often_as_is_said(name: str) -> None:
    """The level of a quantile that 100 draws gave lies between 0.3 and 3 times the stated one; of 200 runs
    that is 6 at most on average, and 13 three deviations above.  Their mean is the floor.
    """
    metric, floor = LINE.metrics[name], LINE.floors()[name]
    found = np.array([metric.sample(drawn(LINE.law, seed)).value for seed in range(RUNS)])
    assert np.sum(found > floor.most) <= 13
    error = math.hypot(found.std() / math.sqrt(RUNS), floor.deviation / 10)
    assert abs(found.mean() - floor.mean) < 4 * error
    assert floor.mean < floor.most


@pytest.mark.parametrize(
    ("name", "kind"),
    [("sliced-wasserstein", "shift"), ("energy", "spread"), ("frechet", "modes"), ("modes", "modes")],
)
def test_a_law_that_differs_by_the_stated_size_is_seen_as_often_as_is_said(name: str, kind: str) -> None:
    """95 of 100, three deviations less 88; at a third of the size not half as often."""
    metric, floor = LINE.metrics[name], LINE.floors()[name]
    for part, least, most in ((1.0, 88, 100), (1 / 3, 0, 47)):
        law = differences(LINE.law)[kind](part * floor.power[kind])
        seen = sum(metric.sample(drawn(law, seed)).value > floor.most for seed in range(100))
        assert least <= seen <= most


def test_what_a_distance_cannot_see_has_no_size() -> None:
    assert LINE.floors()["covariance"].power["shift"] == math.inf


def test_no_size_is_stated_that_is_more_than_there_is_to_move() -> None:
    """Twelve modes, the heaviest of 0.093: half of it in the lightest is all that `differences` moves."""
    weights = np.full(12, 1 / 12)
    weights[:2] += 0.01, -0.01
    angles = 2 * np.pi * np.arange(12) / 12
    means = 1.35 * np.stack([np.cos(angles), np.sin(angles)], 1)
    law = MixtureLaw(weights, means, np.tile(np.eye(2) * 0.02, (12, 1, 1)))
    most = weights.max() / 2
    found = [squares({"modes": modes(law)}, law, 400, 0, r)["modes"] for r in range(REPLICATES)]
    assert floor_of(modes(law), np.array(found), law, 400, 0).power["modes"] == math.inf
    assert differences(law)["modes"].most == most
    with pytest.raises(ValueError, match=r"size must be at most 0\.0466"):
        differences(law)["modes"](0.1)


def test_more_samples_show_smaller_differences() -> None:
    """Sizes fall like 1/sqrt n, by 2 for four times the samples; each is known to a fifth, so that 1 (no
    change) and 4 (1/n) lie outside.
    """
    more = replace(LINE, samples=1600)
    for name in ("energy", "mean"):
        ratio = LINE.floors()[name].power["shift"] / more.floors()[name].power["shift"]
        assert 1.25 < ratio < 3.2


# --- Gaussian data ---

SAMPLED = replace(GAUSSIAN, samples=600, exact=False)


@pytest.mark.parametrize("name", ["ddim", "dpm-solver++-2m", "sde-dpm-solver++-2m", "euler-ancestral"])
def test_the_law_that_is_computed_is_that_of_samples(name: str) -> None:
    """Each squared distance within 4 of its standard errors, and one for what is left of the bias."""
    known, found = (in_distribution(name, e, nfe=[5]) for e in (GAUSSIAN, SAMPLED))
    assert known.exact
    assert not found.exact
    for metric, distance in found.rows[0].distances.items():
        square = known.rows[0].distances[metric].squared.value
        assert abs(distance.squared.value - distance.chance.mean - square) < 5 * distance.error


def test_the_law_of_the_exact_flow_is_nearly_the_exact_law() -> None:
    """What is left at 200 steps of third order is the start: pure noise in place of the marginal, whose mean
    is alpha = 0.0066 times 1.3 of the law's deviations: below 0.01.
    """
    study = in_distribution("dpm-solver++-3m-corrected", GAUSSIAN, nfe=[50, 200])
    coarse, fine = (row.distances["sliced-wasserstein"].value for row in study.rows)
    assert fine < coarse
    assert fine < 0.01  # see above


# --- studies ---


def euler(run: Any) -> Any:
    """ddim, as a function of a run."""
    x, f = run.x, run.schedule.formulas
    for t, s in zip(run.times, run.times[1:], strict=False):
        x = x * f.alpha(s) / f.alpha(t) + f.alpha(s) * (f.rho(s) - f.rho(t)) * run.model(x, t)
    return x


def ancestral(run: Any, scale: float = 1.0) -> Any:
    """ddim-eta at eta = 1, with noise of another size."""
    x, f = run.x, run.schedule.formulas
    for t, s in zip(run.times, run.times[1:], strict=False):
        up = f.rho(s) * math.sqrt(1 - (f.rho(s) / f.rho(t)) ** 2)
        down = math.sqrt(f.rho(s) ** 2 - up**2)
        x = x * f.alpha(s) / f.alpha(t) + f.alpha(s) * (down - f.rho(t)) * run.model(x, t)
        x = x + scale * f.alpha(s) * up * run.noise(x)
    return x


@pytest.mark.parametrize(("name", "sampler"), [("ddim", euler), ("ddim-eta:eta=1", ancestral)])
def test_a_function_of_a_run_is_measured_as_the_solver_that_it_is(name: str, sampler: Any) -> None:
    """The same starts and draws: the same samples, to the rounding of ten steps."""
    ours, own = studies([name, sampler], LINE, nfe=[10])
    for metric, distance in ours.rows[0].distances.items():
        assert own.rows[0].distances[metric].squared.value == pytest.approx(
            distance.squared.value, abs=MANY_ULP
        )
    (found,) = own.against(ours)
    assert found.order == "not distinguishable"


def test_noise_of_the_wrong_size_is_seen() -> None:
    def louder(run: Any) -> Any:
        return ancestral(run, 3.0)

    right, wrong = studies([ancestral, louder], LINE, nfe=[40])
    assert wrong.rows[0].distances["energy"].seen
    (found,) = right.against(wrong)
    assert found.order == "closer"
    assert "40 evaluations, energy: ancestral" in str(found)
    (back,) = wrong.against(right)
    assert back.order == "further"
    assert back.deviations == -found.deviations


def test_a_computed_law_and_samples_are_compared_by_what_these_show_beyond_their_floor() -> None:
    """ddim as a plan, its law, and as a function, its samples: the same; the floor is the samples' own."""
    e = SampledExperiment(problem("gaussian"), samples=400)
    known, drawn, far = studies(["ddim", euler, "dpm-solver++-2m"], e, nfe=[5])
    assert (known.exact, drawn.exact) == (True, False)
    assert "; exactly" in str(known)
    assert "; 400 samples, seed 0" in str(drawn)
    for metric in e.metrics:
        (row,) = known.against(drawn, metric)
        (back,) = drawn.against(known, metric)
        assert row.order == back.order == "not distinguishable"
        assert row.deviations == -back.deviations
        one = drawn.rows[0].distances[metric]
        gap = known.rows[0].distances[metric].squared.value - one.excess
        assert row.deviations == pytest.approx(gap / one.error, rel=AMPLIFIED, abs=0)
    assert far.against(drawn, "frechet")[0].order == "closer"
    assert drawn.against(far, "frechet")[0].order == "further"


def test_runs_that_make_fewer_evaluations_are_compared_within_a_number_of_them() -> None:
    one, two = studies(["ddim", "dpm-solver-2"], LINE, nfe=[4, 5])
    even, odd = one.against(two)
    assert (even.nfe, even.made, odd.nfe, odd.made) == (4, (), 5, (5, 4))
    assert str(even).startswith("4 evaluations, energy: ddim")
    assert str(odd).startswith("within 5 evaluations (5 and 4 made), energy: ddim")


def test_states_that_are_stacked_count_each() -> None:
    """Half the steps of a solver whose stages share a call are not as many evaluations."""

    def stacked(run: Any) -> Any:
        x, f = run.x, run.schedule.formulas
        for t, s in itertools.pairwise(run.times):
            eps = run.model(torch.cat([x, x]), t)[: len(x)]
            x = x * f.alpha(s) / f.alpha(t) + f.alpha(s) * (f.rho(s) - f.rho(t)) * eps
        return x

    row = in_distribution(stacked, LINE, nfe=[8]).rows[0]
    assert (row.made, row.steps) == (8, 4)
    experiment = sl.Experiment(batch=8)
    run = experiment.run(4)
    run.model(run.x, run.times[0])
    run.model(run.x[:3], run.times[0])
    one = run.model(run.x[0], run.times[0])
    assert run.calls == 2  # the two parts are half a batch
    assert torch.equal(one, experiment.model(run.x, run.times[0])[0])
    run.model(torch.cat([run.x, run.x[:1]]), run.times[0])
    assert run.calls == 3  # 21 states of 8 samples


@pytest.mark.parametrize(("factor", "why"), [(math.nan, "a state is not finite"), (1e200, "deviations off")])
def test_a_run_that_fails_lies_further_than_any(factor: float, why: str) -> None:
    def broken(run: Any) -> Any:
        return euler(run) * factor

    fine, failed = studies([euler, broken], LINE, nfe=[5])
    assert failed.failed
    assert failed.rows[0].failed.endswith(why)
    assert fine.against(failed)[0].order == "closer"
    assert failed.against(failed)[0].order == "not distinguishable"
    assert failed.rows[0].failed in str(failed)


def test_the_numbers_do_not_depend_on_the_workers() -> None:
    small = replace(LINE, samples=100)
    alone, shared = (studies(["ddim", "er-sde-1"], replace(small), nfe=[5, 8], workers=w) for w in (1, 2))
    assert [one.data for one in alone] == [one.data for one in shared]


def test_the_first_samples_are_the_same_in_any_number_of_them() -> None:
    few, many = replace(LINE, samples=100), replace(LINE, samples=1300)
    plan = few.plan(sl.make("er-sde-1"), 5)
    assert np.array_equal(few.states(plan)[0], many.states(plan)[0][:100])


@pytest.mark.parametrize(
    ("name", "nfe"), [("ddim", 7), ("dpm-solver-2", 7), ("edm-heun", 8), ("unipc-2-bh2", 7)]
)
def test_a_run_makes_as_many_steps_as_evaluations_allow(name: str, nfe: int) -> None:
    solver = sl.make(name)
    steps = most_steps(lambda n: LINE.plan(solver, n).nfe, nfe, name)
    assert LINE.plan(solver, steps).nfe <= nfe < LINE.plan(solver, steps + 1).nfe


def test_weights_of_modes_are_those_that_the_samples_show() -> None:
    study = in_distribution("dpm-solver++-2m", LINE, nfe=[40])
    assert study.weights == pytest.approx([0.3, 0.45, 0.25], rel=SOME_ULP, abs=0)
    assert study.rows[0].weights == pytest.approx(study.weights, abs=0.1)  # 400 samples: 0.025 each
    assert sum(study.rows[0].weights) == pytest.approx(1, rel=SOME_ULP, abs=0)


def test_a_study_prints_plots_and_writes_itself(tmp_path: Path) -> None:
    study = sl.in_distribution("ddim", LINE, nfe=[5, 10])
    lines = str(study).splitlines()
    assert lines[0].startswith("ddim on mixture-1d, vp-linear from t = 1 to 0.001, grid lambda; 400 samples")
    assert lines[1].split() == ["NFE", "steps", *NAMES]
    study.write(tmp_path / "study.json")
    data = json.loads((tmp_path / "study.json").read_text())
    assert [row["nfe"] for row in data["rows"]] == [5, 10]
    assert data["level"] == LEVEL
    study.plot(tmp_path / "study.svg")
    assert "energy" in (tmp_path / "study.svg").read_text()


# --- claims ---


def test_one_formula_makes_the_same_of_vp_and_ve_on_one_interval() -> None:
    """In x/alpha both runs are one: what differs is rounding."""
    rows = vp_against_ve(["ddim", "er-sde-2-corrected"], LINE, nfe=[5, 10], interval="same")
    assert [row.order for row in rows] == ["not distinguishable"] * 4
    for row in rows:
        assert row.values[0] == pytest.approx(row.values[1], abs=SOME_ULP)


def test_the_flow_lies_closer_at_five_evaluations_than_the_same_formula_with_noise() -> None:
    many = replace(LINE, samples=2000)  # nine standard errors; with 400 it is four, and chance has a say
    (row,) = first_against_second([("ddim", "ddim-eta:eta=1")], many, nfe=[5])
    assert (row.first, row.second, row.nfe, row.metric) == ("ddim", "ddim-eta:eta=1", 5, "energy")
    assert row.order == "closer"


# --- the committed report ---


def committed() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((REPORTS / "distribution.json").read_text())
    return found


def test_the_report_holds_every_family_and_is_rendered_from_its_data() -> None:
    data = committed()
    assert data["families"] == {title: list(names) for title, names in report.FAMILIES.items()}
    names = [name for family in report.FAMILIES.values() for name in family]
    assert [(row["solver"], row["nfe"]) for row in data["rows"]] == [(n, k) for n in names for k in NFE]
    assert not any(row["failed"] for row in data["rows"])
    assert data["place"] == SampledExperiment().place
    assert (REPORTS / "distribution.md").read_text() == markdown(data)


def test_its_families_are_solvers_of_the_flow_and_stochastic_ones() -> None:
    for (_, names), stochastic in zip(report.FAMILIES.items(), (False, True), strict=True):
        assert all(generic(name.partition(":")[0]).stochastic is stochastic for name in names)


def test_its_families_leave_no_paper_out() -> None:
    """A paper whose solvers are listed has one here; exponential integrators before diffusion have none."""
    named = {generic(name.partition(":")[0]).paper for names in report.FAMILIES.values() for name in names}
    papers = {generic(name).paper for name in SOLVERS if name not in classical.LISTED}
    assert named == papers - {*report.LEFT_OUT}
    assert papers >= {*report.LEFT_OUT}


@pytest.mark.parametrize(("name", "nfe"), [("ddim", 5), ("dpm-solver++-2m", 10), ("sde-dpm-solver++-2m", 5)])
def test_rows_of_the_report_are_made_again_and_equal(name: str, nfe: int) -> None:
    """To all digits that it has: what chance does is made again by a slow test."""
    (row,) = (r for r in committed()["rows"] if (r["solver"], r["nfe"]) == (name, nfe))
    found = run(SampledExperiment(), Task(sl.make(name), nfe, "released"))
    assert (found.made, found.steps) == (row["made"], row["steps"])
    values = {metric: math.sqrt(max(square.value, 0)) for metric, square in found.squares.items()}
    assert report.to_digits(values) == {metric: d["value"] for metric, d in row["distances"].items()}
    assert report.to_digits(list(found.weights)) == row["weights"]


@pytest.mark.slow
def test_the_report_is_made_again_with_its_floors() -> None:
    data, families = committed(), {"few": ("ddim", "er-sde-3-released")}
    found = report.distances(families=families, nfe=(5, 10))
    assert found["floors"] == data["floors"]
    again = [r for r in data["rows"] if r["solver"] in families["few"] and r["nfe"] in (5, 10)]
    assert found["rows"] == again


def test_a_report_names_the_closest_and_writes_itself_twice_alike(tmp_path: Path) -> None:
    families = {"flow": ("ddim", "dpm-solver++-2m"), "noise": ("ddim-eta:eta=1",)}
    data = report.distances(replace(LINE), families, nfe=[5, 10])
    assert [(row["family"], row["nfe"]) for row in data["closest"]] == [
        (family, nfe) for family in families for nfe in (5, 10)
    ]
    assert data["closest"][0]["closest"] == "dpm-solver++-2m"
    text = markdown(data)
    assert text.count("| `ddim` |") == 2  # over evaluations, and by every metric at 10
    assert "| 10 | 10 |" not in text.partition("## noise")[0].partition("| at 10")[0]
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        paths = report.write(tmp_path / folder, data)
    assert [path.name for path in paths] == ["distribution.json", "distribution.md", "distribution.png"]
    for path in paths:
        assert path.read_bytes() == (tmp_path / "a" / path.name).read_bytes()


# --- what is refused ---

POINTS = EmpiricalMixture(np.array([[-1.0], [1.0]]), 0.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"samples": 99}, "samples must be an integer from 100 to 1000000, got 99"),
        ({"seed": -1}, "seed must be an integer from 0"),
        ({"t_start": 0.1, "t_end": 0.2}, "t_end must be below t_start"),
        ({"t_end": -1.0}, "t_end must lie in"),
        ({"grid": 3}, "grid must be a Grid, got 3"),
        ({"exact": 1}, "exact must be True or False"),
        ({"problem": 3}, "problem must be a Problem"),
        ({"problem": POINTS, "t_end": 0.0}, "t_end must leave the law of 'empirical' a density"),
    ],
)
def test_bad_experiments_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        SampledExperiment(**arguments)


@pytest.mark.parametrize(
    ("target", "options", "message"),
    [
        ("ddim", {"nfe": []}, "nfe must be increasing positive integers"),
        ("ddim", {"nfe": [5, 5]}, "nfe must be increasing positive integers"),
        ("ddim", {"nfe": [0, 5]}, "nfe must be an integer from 1 to 10000, got 0"),
        ("dpm-solver-2", {"nfe": [1]}, "nfe must be at least 2, what one step of dpm-solver-2 makes"),
        ("ddim", {"final": "early"}, "final must be one of"),
        ("ddim", {"workers": 0}, "workers must be an integer from 1 to 1024"),
        ("score-sde-em-released", {}, "target must be a solver of any grid"),
        ("nothing", {}, "expected a listed solver"),
        (3, {}, "target must be a name, a Solver, a Plan or a function of a run, got 3"),
        ("ddim", {"name": 3}, "name must be text, got 3"),
        (lambda run: run.x[:3], {}, r"sampler must return real states of shape \(400, 1\)"),
    ],
)
def test_bad_targets_and_options_are_named(target: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError, UnknownTableau), match=message):
        in_distribution(target, LINE, **options)


def test_studies_that_do_not_belong_together_are_not_compared() -> None:
    one = in_distribution("ddim", LINE, nfe=[5])
    with pytest.raises(ValueError, match="other must be of as many samples, got 400 and 100"):
        one.against(in_distribution("ddim", replace(LINE, samples=100), nfe=[5]))
    with pytest.raises(ValueError, match="metric must be one of"):
        one.against(one, "fid")
    with pytest.raises(TypeError, match="other must be a study in distribution"):
        one.against(3)  # type: ignore[arg-type]
    for change in ({"problem": problem("gaussian")}, {"t_end": 0.01}, {"schedule": sl.schedules.edm()}):
        with pytest.raises(ValueError, match="other must be of one law and end, got mixture-1d, vp-linear"):
            one.against(replace(one, experiment=replace(LINE, **change)))
    with pytest.raises(ValueError, match="other must be of one problem"):
        one.against(replace(one, experiment=replace(LINE, problem=problem("gaussian"))), across=True)
    with pytest.raises(ValueError, match="other must be of one seed, got 0 and 1"):
        one.against(replace(one, experiment=replace(LINE, seed=1)))
    for change in ({"grid": sl.grids.karras()}, {"t_start": 0.9}):  # may be what is compared
        assert one.against(replace(one, experiment=replace(LINE, **change)))[0].order == "not distinguishable"


@pytest.mark.parametrize("names", [["a"], ["a", "b", "c"], "ab", ["a", 3], 3])
def test_every_target_has_a_name(names: Any) -> None:
    with pytest.raises(ValueError, match="names must be a text for each of 2 targets"):
        studies(["ddim", "er-sde-1"], LINE, nfe=[5], names=names)


# --- the command ---

SMALL = ["--problem", "mixture-1d", "--samples", "200"]
OVERFLOWS = """
from semilinear import N, Ramp, Solver, Tableau, forms, phi1

def overflows():
    row = Tableau((), phi1 * 10**200 * N(0))
    return Solver(name="overflows", form=forms.noise_in_rho, sequence=Ramp((row,)), claimed=1, source="none")
"""


def test_the_command_prints_json(capsys: Any, tmp_path: Path) -> None:
    plot = tmp_path / "distance.png"
    arguments = ["distance", "ddim", "ddim-eta:eta=1", *SMALL, "--nfe", "5,10", "--plot", str(plot), "--json"]
    assert main(arguments) == 0
    data = json.loads(capsys.readouterr().out)
    assert [(row["solver"], row["nfe"]) for row in data["rows"]] == [
        ("ddim", 5),
        ("ddim", 10),
        ("ddim-eta:eta=1", 5),
        ("ddim-eta:eta=1", 10),
    ]
    found = data["rows"][0]["distances"]["energy"]
    assert found["low"] <= found["value"] <= found["high"]
    assert set(data["floors"]) == set(NAMES)
    assert [row["nfe"] for row in data["comparisons"]] == [5, 10]
    assert plot.stat().st_size > 0


def test_the_command_prints_a_table_and_the_order(capsys: Any) -> None:
    assert main(["distance", "ddim", "dpm-solver++-2m", "--problem", "gaussian", "--nfe", "5"]) == 0
    out = capsys.readouterr().out
    assert "Computed from the law that each plan gives" in out
    assert "5 evaluations, energy: closest dpm-solver++-2m\n" in out


def test_the_command_says_where_evaluations_are_not_as_many(capsys: Any) -> None:
    assert main(["distance", "ddim", "edm-heun", "--problem", "gaussian", "--nfe", "4,5", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert [(row["nfe"], row["made"]) for row in data["comparisons"]] == [(4, [4, 4]), (5, [5, 4])]
    assert main(["distance", "ddim", "edm-heun", "--problem", "gaussian", "--nfe", "5"]) == 0
    out = capsys.readouterr().out
    assert "within 5 evaluations (edm-heun 4), energy: closest " in out


def test_the_command_takes_functions_of_a_run_also_beside_laws_that_are_computed(
    capsys: Any, tmp_path: Path
) -> None:
    path = tmp_path / "own.py"
    path.write_text(
        "def still(run, scale=1.0):\n    run.model(run.x, run.times[0])\n    return scale * run.x\n"
    )
    arguments = [
        "distance",
        "ddim",
        f"{path}:still",
        "--problem",
        "gaussian",
        "--nfe",
        "5",
        "--samples",
        "200",
    ]
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert "without samples: ddim." in out
    assert f"within 5 evaluations ({path}:still 1), energy: closest ddim\n" in out
    assert main(["distance", f"{path}:nothing", *SMALL, "--nfe", "5"]) == 2
    assert "must define the function 'nothing'" in capsys.readouterr().err


def test_a_run_without_finite_samples_is_exit_code_1(capsys: Any, tmp_path: Path) -> None:
    path = tmp_path / "own.py"
    path.write_text(OVERFLOWS)
    assert main(["distance", f"{path}:overflows", *SMALL, "--nfe", "5", "--json"]) == 1
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    assert row["failed"]
    assert row["distances"] == {}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ddim", "--nfe", "five"], "--nfe must be an integer from 1 to 10000, got 'five'"),
        (["ddim", "ddim"], "solvers must be given once each"),
        (["ddim", "--problem", "nothing"], "--problem must be one of"),
        (["ddim", "--problem", "gaussian", "--metric", "modes"], "--metric modes does not apply to gaussian"),
        (["ddim", "--samples", "3"], "samples must be an integer from 100 to 1000000"),
        (["ddim", "--schedule", "vp"], "--schedule must be one of"),
        (["ddim", "--plot", "x.txt"], "--plot must end in .png or .svg"),
        (["ddim", "--schedule", "rectified-flow"], "t_start = 1.0 has no place on the grid 'lambda'"),
    ],
)
def test_what_cannot_be_asked_is_one_line_and_exit_code_2(
    capsys: Any, arguments: list[str], message: str
) -> None:
    assert main(["distance", *arguments]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert len(err.strip().splitlines()) == 1
