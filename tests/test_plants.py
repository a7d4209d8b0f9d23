"""Faults planted in samplers: what an audit says of each, and what it must not say."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from semilinear.verification.audit.audit import audit
from semilinear.verification.audit.subject import FAST
from semilinear.verification.commands.cli import main
from semilinear.verification.targets.named import of_function
from semilinear.verification.tracing.diagnosis import Moment

Factor = Callable[[int, int, float], float]


def two_step(
    factor: Factor = lambda n, k, w: w,
    step: Factor = lambda n, k, w: 1.0,
    levels: Callable[[float], float] = float,
    output: Callable[[Any], Any] = lambda d: d,
) -> Callable[[Any], Any]:
    """DPM-Solver++(2M) with faults.  factor: (number of steps, step, weight of the difference) -> what is
    used; step: what multiplies the outputs; levels: what noise levels become; output: what outputs become.
    """

    def sampler(run: Any) -> Any:
        x, model, old = run.x, run.predict("x0"), None
        times = [levels(float(t)) for t in run.times]
        n = len(times) - 1
        for k, (a, b) in enumerate(itertools.pairwise(times)):
            d = output(model(x, a))
            mean = d
            if old is not None:
                w = math.log(a / b) / (2 * math.log(times[k - 1] / a)) if b else 0.0
                mean = d + factor(n, k, w) * (d - old)
            x, old = b / a * x + (1 - b / a) * step(n, k, 0.0) * mean, d
        return x

    return sampler


def two_stage(node: float) -> Callable[[Any], Any]:
    """Two stages, the second at a node, and the second output alone: order 2 where it is the middle."""

    def sampler(run: Any) -> Any:
        x, model = run.x, run.predict("x0")
        for a, b in itertools.pairwise(map(float, run.times)):
            m = a ** (1 - node) * b**node
            x = b / a * x + (1 - b / a) * model(m / a * x + (1 - m / a) * model(x, a), m)
        return x

    return sampler


def heun_of_the_flow(model: Any, x: Any, sigmas: Any) -> Any:
    """Heun's method in the time of flow matching, of k-diffusion's convention."""
    times = sigmas / (1 + sigmas)
    y = x / (1 + sigmas[0])

    def v(y: Any, t: Any) -> Any:
        return (y - model(y / (1 - t), (t / (1 - t)).expand(len(y)))) / t

    for a, b in itertools.pairwise(times):
        k = v(y, a)
        y = y + (b - a) / 2 * (k + v(y + (b - a) * k, b))
    return y * (1 + sigmas[-1])


def leapfrog(run: Any) -> Any:
    """The two-step midpoint rule for any steps, in sigma, after one step of Heun's."""
    x, times, old, f_old = run.x, [float(t) for t in run.times], run.x, run.x
    for k, (a, b) in enumerate(itertools.pairwise(times)):
        f = run.model(x, a)
        if k == 0:
            new = x + (b - a) / 2 * (f + run.model(x + (b - a) * f, b))
        else:
            whole, first = b - times[k - 1], a - times[k - 1]
            new = old + whole**2 / (2 * first) * f + (whole - whole**2 / (2 * first)) * f_old
        old, f_old, x = x, f, new
    return x


def predicted_once(run: Any) -> Any:
    """Adams-Bashforth predicts, the trapezoidal rule corrects with what was found at the predicted state."""
    x, times, old = run.x, [float(t) for t in run.times], None
    f = run.model(x, times[0])
    for k, (a, b) in enumerate(itertools.pairwise(times)):
        slope = 0 * f if old is None else (f - old) * (b - a) / (2 * (a - times[k - 1]))
        new = run.model(x + (b - a) * (f + slope), b)
        x, old, f = x + (b - a) / 2 * (f + new), f, new
    return x


def single(x: float) -> float:
    return float(torch.tensor(x, dtype=torch.float32))


ONLY_SOME = "right in the limit only"
DIAGNOSED: dict[str, tuple[Callable[[Any], Any], tuple[str, ...], tuple[str, ...]]] = {
    "sound": (two_step(), (f"steps 1 to 79 (2 outputs): moment 0 right, moment 1 {ONLY_SOME}",), ("wrong",)),
    "one step": (
        two_step(step=lambda n, k, w: 1.1 if k == 3 else 1.0),
        (
            "step 3 (2 outputs): moments 0 and 1 1.1 of the exact one",
            f"the other 78 of the steps 1 to 79 (2 outputs): moment 0 right, moment 1 {ONLY_SOME}",
        ),
        ("  steps 1 to 79 (",),
    ),
    "one coefficient": (
        two_step(lambda n, k, w: 0.8 * w if k == 3 else w),
        ("step 3 (2 outputs): moment 0 right, moment 1 0.8 of the exact one", "the other 78"),
        ("  steps 1 to 79 (",),
    ),
    "every second step": (
        two_step(lambda n, k, w: w / 2 if k % 2 else w),
        (
            "every second step from 1 to 79 (2 outputs): moment 0 right, moment 1 0.5 of the exact one",
            f"every second step from 2 to 78 (2 outputs): moment 0 right, moment 1 {ONLY_SOME}",
        ),
        ("  steps 1 to 79 (",),
    ),
    "every third step": (
        two_step(lambda n, k, w: 0.0 if k % 3 == 0 else w),
        ("every third step from 0 to 78 (1 output): moment 0 right, moment 1 0 of the exact one",),
        ("  steps 1 to 79 (",),
    ),
    "2 % less": (two_step(lambda n, k, w: 0.98 * w), ("moment 1 0.98 of the exact one",), (ONLY_SOME,)),
    "2 % more": (
        two_step(lambda n, k, w: 1.02 * w),
        ("moment 1 1.02 of the exact one",),
        (ONLY_SOME, "not resolved"),
    ),
    "odd numbers of steps": (
        two_step(lambda n, k, w: 0.0 if n % 2 else w),
        ("in the run with 21 steps, steps 0 to 20 (1 output): moment 0 right, moment 1 0 of the exact one",),
        (),
    ),
    "a node": (two_stage(0.4), ("steps 0 to 79 (1 output): moment 0 right, moment 1 0.8 of",), (ONLY_SOME,)),
    "the middle": (
        two_stage(0.5),
        (f"steps 0 to 79 (1 output): moment 0 right, moment 1 {ONLY_SOME}",),
        ("of the exact",),
    ),
    "levels in float32": (
        two_step(levels=single),
        (f"steps 1 to 79 (2 outputs): moment 0 right, moment 1 {ONLY_SOME}",),
        ("0.75", "step 79"),
    ),
}


QUICK = ("one step", "2 % less", "odd numbers of steps", "a node")


def seldom(names: Any, quick: tuple[str, ...]) -> list[Any]:
    """Parameters, those that are not quick among the slow tests."""
    return [pytest.param(n, marks=() if n in quick else pytest.mark.slow) for n in names]


@pytest.mark.parametrize("name", seldom(DIAGNOSED, QUICK))
def test_a_diagnosis_names_the_steps_that_differ(name: str) -> None:
    sampler, said, unsaid = DIAGNOSED[name]
    text = str(audit(sampler, 2, only=["diagnosis"]).diagnosis)
    assert [part for part in said if part not in text] == []
    assert [part for part in unsaid if part in text] == []


@pytest.mark.parametrize(
    ("deviations", "state"),
    [
        ((0.02, 0.02, 0.02), "wrong"),
        ((0.1, 0.06, 0.04), "wrong"),  # 0.02 + h
        ((0.1, 0.08, 0.05), "not resolved"),
        ((0.01, 0.02, 0.04), "not resolved"),  # 1/h
        ((0.04, 0.02, 0.01), "right in the limit"),
        ((0.16, 0.04, 0.01), "right in the limit"),
        ((0.04, 0.0282843, 0.02), "right in the limit"),  # h^(1/2)
        ((0.18, 0.0777, 0.0362), "right in the limit"),  # h + 3 h^2
        ((1e-7, 1e-7, 1e-7), "nearly right"),
        ((1e-13, 1e-13, 1e-13), "right"),
    ],
)
def test_a_moment_is_right_in_the_limit_where_deviations_fall_like_a_power(
    deviations: tuple[float, ...], state: str
) -> None:
    quotients = tuple(1 - d for d in deviations)
    assert Moment(quotients, deviations, (quotients[-1], quotients[-1]), 1e-12, 80).state == state


KNOWN: dict[str, tuple[Any, str, str, str]] = {
    "sound": (two_step(), "dpm-solver++-2m", "edm", ""),
    "flow": (of_function(heun_of_the_flow, convention="k-diffusion"), "heun-in-t", "rectified-flow", ""),
    "levels in float32": (two_step(levels=single), "dpm-solver++-2m", "edm", "noise levels in float32"),
    "factors in float32": (two_step(lambda n, k, w: single(w)), "dpm-solver++-2m", "edm", "float32"),
}


@pytest.mark.parametrize("name", seldom(KNOWN, ("flow",)))
def test_a_solver_is_known_on_its_schedule_and_in_its_precision(name: str) -> None:
    sampler, solver, schedule, rounded = KNOWN[name]
    found = audit(sampler, only=["identity"])
    assert found.identified is not None
    is_it = found.identified
    assert (is_it.same, is_it.solver, is_it.schedule, is_it.rounded) == (True, solver, schedule, rounded)
    # float32 rounds to 6e-8; float64 coefficients are read off to less than 1e-12
    assert is_it.difference < (1e-7 if rounded == "float32" else 1e-9)
    assert bool(found.findings) is bool(rounded)
    assert ("(float32)" in str(found)) is (rounded == "float32")


NEARLY: dict[str, Factor] = {
    "odd": lambda n, k, w: 0.0 if n % 2 else w,
    "a multiple of 3": lambda n, k, w: 0.0 if n == 15 else w,
    "another factor": lambda n, k, w: w * (1 + 1e-7),
    "another factor, of a rounding unit's size": lambda n, k, w: w * (1 + 3e-8),
}


@pytest.mark.parametrize("name", seldom(NEARLY, ("odd", "another factor, of a rounding unit's size")))
def test_what_is_nearly_a_solver_is_not_called_it(name: str) -> None:
    sampler = two_step(NEARLY[name])
    found = audit(sampler, only=["identity"]).identified
    assert found is not None
    assert (found.same, found.solver, found.rounded) == (False, "dpm-solver++-2m", "")
    with pytest.raises(AssertionError, match=r"is not dpm-solver\+\+-2m: in 1[345] steps"):
        audit(sampler).assert_same("dpm-solver++-2m")


def test_same_compares_odd_numbers_of_steps(tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.py"
    path.write_text(
        "def euler(model, x, sigmas):\n"
        "    odd = len(sigmas) % 2 == 0\n"
        "    for a, b in zip(sigmas[:-1], sigmas[1:]):\n"
        "        x = x + (x - model(x, a.expand(len(x)))) / a * (b - a) * (1 + 1e-3 * odd)\n"
        "    return x\n"
    )
    arguments = ["same", f"{path}:euler", "ddim", "--as", "k-diffusion"]
    assert main(arguments) == 1
    assert "they differ in 13 steps (sigma = 2 to 0.15) from evaluation 1 on" in capsys.readouterr().out
    assert main([*arguments, "--steps", "20"]) == 0


def two_intervals(run: Any) -> Any:
    """DPM-Solver++ 2S over two intervals of the grid, with the point between as its stage."""
    model, x, lam = run.predict("x0"), run.x, [-math.log(float(t)) for t in run.times]
    for k in range(0, len(lam) - 1, 2):
        ends = [min(k + j, len(lam) - 1) for j in range(3)]
        (a, m, b), (s, mid, t) = (lam[i] for i in ends), (float(run.times[i]) for i in ends)
        if m == b:  # a last interval without another
            return x * (t / s) - math.expm1(a - b) * model(x, s)
        first = model(x, s)
        stage = x * (mid / s) - math.expm1(a - m) * first
        slope = (model(stage, mid) - first) * (b - a) / (m - a)
        x = x * (t / s) - math.expm1(a - b) * (first + slope / 2)
    return x


def test_grid_points_as_stages_are_known() -> None:
    found = audit(two_intervals, only=["identity"]).identified
    assert found is not None
    assert (found.solver, found.same) == ("dpm-solver++-2s-on-grid", True)


def lawson_midpoint(run: Any, shift: float = 0.0) -> Any:
    """The midpoint rule for x/sigma in lambda over two intervals, whose middle is the grid's point."""
    model, x, times = run.predict("x0"), run.x, [float(t) for t in run.times]
    for s, middle, t in zip(times[::2], times[1::2], times[2::2], strict=False):
        h = math.log(s / t)
        stage = x * (middle / s) + h / 2 * (middle / s) * model(x, s)
        x = x * (t / s) + h * (t / middle) * (1 + shift) * model(stage, middle)
    return x


def test_grid_points_as_stages_are_known_where_they_are_listed_ones() -> None:
    """On equal steps in lambda; no listed Lawson method has the grid's points for its stages."""
    what = "steps go over several intervals of the grid, whose points are their stages"
    alike = "on equal steps in lambda, where these are listed ones, it is lawson2a"
    for shift, told in ((0.0, alike), (1e-3, "listed solvers have stages of their own")):
        found = audit(lambda run, by=shift: lawson_midpoint(run, by), only=["identity"])
        assert found.identified is None or not found.identified.same
        (said,) = (f.message for f in found.findings if f.check == "identity")
        assert said == f"{what}: {told}"


def extrapolated(run: Any, rest: bool = True) -> Any:
    """RX-Euler: two of Euler's steps, extrapolated by the one over both intervals; rest: an interval that is
    left over is one of Euler's.
    """
    x, eps, times = run.x, run.predict("eps"), [float(t) for t in run.times]
    for a, b, c in zip(times[::2], times[1::2], times[2::2], strict=False):
        first = eps(x, a)
        middle = x + (b - a) * first
        fine, coarse = middle + (c - b) * eps(middle, b), x + (c - a) * first
        s = ((b - a) ** 2 + (c - b) ** 2) / (c - a) ** 2
        x = (fine - s * coarse) / (1 - s)
    if len(times) % 2 or not rest:
        return x
    return x + (times[-1] - times[-2]) * eps(x, times[-2])


def test_a_solver_over_several_intervals_is_known_on_any_grid() -> None:
    found = audit(extrapolated, only=["identity"]).identified
    assert found is not None
    assert (found.solver, found.same) == ("rx-euler-2", True)
    short = audit(lambda run: extrapolated(run, rest=False), only=["identity"]).identified
    assert short is None or not short.same


def test_one_noise_for_a_batch_is_not_the_same(tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.py"
    path.write_text(
        "import torch\n"
        "def ancestral(model, x, sigmas, rows):\n"
        "    for a, b in zip(sigmas[:-1], sigmas[1:]):\n"
        "        kept = (b / a) ** 2\n"
        "        noise = torch.randn(rows(x), *x.shape[1:], dtype=x.dtype)\n"
        "        x = kept * x + (1 - kept) * model(x, a.expand(len(x)))\n"
        "        x = x + (b * b * (1 - kept)) ** 0.5 * noise\n"
        "    return x\n"
        "def own(model, x, sigmas):\n"
        "    return ancestral(model, x, sigmas, len)\n"
        "def shared(model, x, sigmas):\n"
        "    return ancestral(model, x, sigmas, lambda x: 1)\n"
    )
    arguments = ["same", f"{path}:own", f"{path}:shared", "--as", "k-diffusion"]
    assert main(arguments) == 1
    said = capsys.readouterr().out
    assert "evaluation 1 on: the noise: each sample's own against one for all samples of a batch" in said
    assert main(["same", f"{path}:own", f"{path}:own", "--as", "k-diffusion"]) == 0
    found = {name: audit(f"{path}:{name}", convention="k-diffusion") for name in ("own", "shared")}
    assert found["own"].identified is not None
    solver = found["own"].identified.solver
    found["own"].assert_same(solver)
    with pytest.raises(AssertionError, match="the samples of a batch share noise"):
        found["shared"].assert_same(solver)


def test_outputs_that_are_cast_are_told_from_a_function_of_as_little() -> None:
    cast = audit(two_step(output=lambda d: d.float().to(d.dtype)), only=["linear"]).findings
    assert "outputs or noise are cast to float32" in cast[0].message
    bent = audit(lambda run: two_step()(run) + 3e-8 * run.x.abs(), only=["linear"]).findings
    assert "none of the known ones" in bent[0].message


@pytest.mark.parametrize(
    "sampler",
    [lambda run: run.x, lambda run: run.x * float(run.times[-1]) / float(run.times[0])],
    ids=["the start", "no model"],
)
def test_runs_that_stay_where_they_are_have_order_zero(sampler: Callable[[Any], Any]) -> None:
    found = audit(sampler, 1, only=["orders"], profile=FAST)
    assert found.as_run is not None
    assert (found.as_run.verdict, round(found.as_run.observed, 2)) == ("lower", 0)
    assert "digits" not in found.as_run.reason
    assert not found.holds


@pytest.mark.slow
def test_alternating_steps_can_refute_a_claim() -> None:
    """Half of the difference, whatever the ratio of the steps: of order 2 where these change smoothly."""
    found = audit(two_step(lambda n, k, w: 0.5), 2, only=["orders"], profile=FAST)
    assert found.as_run is not None
    assert found.not_smooth is not None
    assert (found.as_run.verdict, found.not_smooth.verdict) == ("consistent", "lower")
    assert not found.holds


@pytest.mark.slow
@pytest.mark.parametrize("sampler", [leapfrog, predicted_once])
def test_a_formula_is_found_without_states_that_all_later_ones_are_made_from(
    sampler: Callable[[Any], Any],
) -> None:
    audit(sampler).assert_order(2, start="exact")


def test_what_an_audit_is_it_asserts() -> None:
    found = audit(two_step(), 2, profile=FAST)
    found.assert_same("dpm-solver++-2m")
    found.assert_finite([1, 3], ends=["sigma_min"])
    found.assert_batch_independent()
    found.assert_float32(1e-4)
    with pytest.raises(AssertionError, match="claimed 3, observed order of the formula 2"):
        found.assert_order(3, start="exact")
