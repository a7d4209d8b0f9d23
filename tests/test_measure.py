"""Other people's samplers: what is measured of them, what is found, and that rounding refutes nothing."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from scipy.integrate._ivp import dop853_coefficients
from semilinear.integrators.diffusion import grids
from semilinear.integrators.diffusion.schedule import vp_linear
from semilinear.integrators.forms.reverse import sde_data
from semilinear.integrators.plans.compile import compile_plan
from semilinear.integrators.run.sampler import sample
from semilinear.integrators.solvers import make
from semilinear.verification.problems.named import problem
from semilinear.verification.problems.network import NetworkProblem
from semilinear.verification.studies.experiment import Experiment, Run
from semilinear.verification.studies.findings import precision
from semilinear.verification.studies.flow import measure, run
from semilinear.verification.studies.gaussian import StochasticExperiment, study
from semilinear.verification.studies.sampler import measure_stochastic
from semilinear.verification.studies.setup import UNITS

from tests.roundings import MANY_ULP, SLOPE, SOME_ULP, THIRTY_DIGITS

VP = vp_linear()
F = VP.formulas
START, END = float(VP.t_of_lam(-0.7)), float(VP.t_of_lam(1.75))
LADDER = (4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)
NONSENSE: Any = "nonsense"

Rows = tuple[list[float], list[list[float]], list[float]]
EULER: Rows = ([0.0], [[]], [1.0])
HEUN: Rows = ([0.0, 1.0], [[], [1.0]], [0.5, 0.5])
RK4: Rows = ([0, 0.5, 0.5, 1], [[], [0.5], [0, 0.5], [0, 0, 1]], [1 / 6, 1 / 3, 1 / 3, 1 / 6])
TABLES = {"euler": (EULER, 1), "heun": (HEUN, 2), "rk4": (RK4, 4)}


@cache
def where(**changes: Any) -> Experiment:
    options: dict[str, Any] = {"batch": 16, "ladder": LADDER} | changes
    return Experiment(**options)


def sampler(
    rows: Rows = RK4,
    dtype: torch.dtype = torch.float64,
    out: torch.dtype | None = None,
    change: Callable[[Run, torch.Tensor], torch.Tensor] = lambda run, x: x,
) -> Callable[[Run], torch.Tensor]:
    """Runge & Kutta in lambda for x/alpha, in a dtype, on its own; change: of what it returns."""
    c, a, b = rows

    def sample_it(run: Run) -> torch.Tensor:
        lam, h = float(F.lam(START)), float(F.lam(END) - F.lam(START)) / run
        y = run.x.to(dtype) / float(F.alpha(START))
        for i in range(run):
            k: list[torch.Tensor] = []
            for ci, ai in zip(c, a, strict=True):
                at = lam + (i + ci) * h
                t = float(F.t_of_lam(at))
                state = y + sum((h * w * v for w, v in zip(ai, k, strict=False)), torch.zeros_like(y))
                k.append(-math.exp(-at) * run.model(state * float(F.alpha(t)), t).to(dtype))
            y = y + sum((h * w * v for w, v in zip(b, k, strict=True)), torch.zeros_like(y))
        x = change(run, y * float(F.alpha(END)))
        return x if out is None else x.to(out)

    return sample_it


def rounded(digits: int) -> Rows:
    """RK4 as a table in decimals."""
    return RK4[0], RK4[1], [round(v, digits) for v in RK4[2]]


# --- orders ---


@pytest.mark.parametrize("name", TABLES)
def test_a_samplers_order_is_found(name: str) -> None:
    rows, order = TABLES[name]
    found = measure(name, order, sampler(rows), where())
    assert found.verdict == "consistent"
    assert found.findings == ()
    assert found.dtype == "float64"
    assert found.nfe == tuple(len(rows[0]) * p.n for p in found.estimate.points)
    assert measure(name, order + 1, sampler(rows), where()).verdict == "lower"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("out", [None, torch.float64])
def test_rounding_is_measured_and_refutes_nothing(name: str, dtype: torch.dtype, out: Any) -> None:
    """Nor where it is hidden in states of float64."""
    rows, order = TABLES[name]
    found = measure(name, order, sampler(rows, dtype, out), where())
    assert found.verdict in ("consistent", "inconclusive")
    assert found.verdict == "consistent" or "digits" in found.reason(order)
    assert found.dtype == str(dtype).removeprefix("torch.")
    unit = UNITS[found.dtype]
    assert found.rounding is None or unit / 10 < found.rounding < 100 * unit


def test_float32_is_enough_for_a_low_order() -> None:
    assert measure("euler", 1, sampler(EULER, torch.float32), where()).verdict == "consistent"
    assert measure("euler", 2, sampler(EULER, torch.float32), where()).verdict == "lower"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", ["ddim", "dpm-solver++-2m", "dpm-solver++-3m-corrected", "dpm-solver-3"])
def test_our_solvers_are_not_refuted_by_rounding_either(name: str, dtype: Any) -> None:
    order = {"ddim": 1, "dpm-solver-3": 3}.get(name, 2)
    assert run(make(name), where(dtype=dtype)).against(order) in ("consistent", "inconclusive")


def test_an_eighth_order_method_is_not_refuted_in_float64() -> None:
    """It meets its floor after few step counts: those between them are run as well."""
    d = dop853_coefficients
    rows: Rows = (list(d.C[:12]), [list(d.A[i, :i]) for i in range(12)], list(d.B))
    found = measure("DOP853", 8, sampler(rows), where())
    assert found.verdict in ("consistent", "inconclusive")
    assert len([p for p in found.estimate.points if p.usable]) > 8
    assert abs(found.estimate.order - 8) < 0.3
    assert measure("DOP853", 5, sampler(rows), where()).verdict in ("higher", "inconclusive")


# --- findings ---


def broken(at: Any, part: slice, value: float = math.nan) -> Callable[[Run], torch.Tensor]:
    def change(run: Run, x: torch.Tensor) -> torch.Tensor:
        if at(int(run)):
            x = x.clone()
            x[part] = value
        return x

    return sampler(change=change)


ALL = slice(None)


@pytest.mark.parametrize("at", [lambda n: n in (24, 32), lambda n: n > 48, lambda n: n == 128])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_runs_that_are_not_finite_are_named(at: Any, value: float) -> None:
    found = measure("rk4", 4, broken(at, ALL, value), where())
    (finding,) = found.findings
    assert finding.kind == "not finite"
    assert finding.n == tuple(n for n in LADDER if at(n))
    assert found.verdict == "inconclusive"
    assert "no state is finite at n = " in found.reason(4)
    assert abs(found.estimate.order - 4) < SLOPE  # what the other runs say is said


def test_coarse_runs_that_diverge_are_named_and_do_not_matter() -> None:
    found = measure("rk4", 4, broken(lambda n: n < 8, ALL), where())
    assert [f.kind for f in found.findings] == ["not finite"]
    assert found.verdict == "consistent"


@pytest.mark.parametrize("at", [lambda n: True, lambda n: n == 16])
def test_samples_that_are_not_finite_are_left_out_and_counted(at: Any) -> None:
    found = measure("rk4", 4, broken(at, slice(0, 2)), where())
    assert [f.kind for f in found.findings] == ["samples"]
    assert "2 of 16 samples" in str(found.findings[0])
    assert found.verdict == "consistent"


@pytest.mark.parametrize("error", [RuntimeError("no memory"), ZeroDivisionError("by zero")])
def test_a_run_that_raises_does_not_lose_the_others(error: Exception) -> None:
    def change(run: Run, x: torch.Tensor) -> torch.Tensor:
        if run == 12:
            raise error
        return x

    found = measure("rk4", 4, sampler(change=change), where())
    (finding,) = found.findings
    assert str(finding) == f"{type(error).__name__}: {error} at n = 12"
    assert found.verdict == "inconclusive"
    assert abs(found.estimate.order - 4) < SLOPE


def test_a_sampler_that_always_raises_has_no_order_and_says_why() -> None:
    def raises(run: Run) -> torch.Tensor:
        raise KeyError("weights")

    found = measure("rk4", 4, raises, where())
    assert found.verdict == "inconclusive"
    assert [(f.kind, len(f.n)) for f in found.findings] == [("raised", len(LADDER))]
    assert found.reason(4).startswith("0 usable points")


@pytest.mark.parametrize("size", [1e-1, 1e-3, 1e-6])
def test_a_second_call_that_differs_is_noticed(size: float) -> None:
    noisy = sampler(change=lambda run, x: x + size * torch.randn_like(x))
    found = measure("rk4", 4, noisy, where())
    assert next(f.kind for f in found.findings) == "noise"
    assert found.verdict == "inconclusive"
    assert found.reason(4).startswith("two calls from the same start differ by")


@pytest.mark.parametrize(("digits", "verdict"), [(9, "consistent"), (7, "consistent"), (2, "inconclusive")])
def test_coefficients_known_to_be_rounded_refute_nothing(digits: int, verdict: str) -> None:
    """A table in decimals is of order 0 as it is written: its errors end where its digits do."""
    rows, half = rounded(digits), 0.5 * 10.0**-digits
    found = measure("rk4", 4, sampler(rows), where(), rounding=half)
    assert found.verdict == verdict, found.reason(4)
    assert all(p.floor >= half for p in found.estimate.points)
    assert "limit" not in [f.kind for f in found.findings]


def test_a_wrong_coefficient_is_no_rounding() -> None:
    wrong = (RK4[0], RK4[1], [1 / 6, 1 / 3 + 1e-3, 1 / 3, 1 / 6])
    assert measure("rk4", 4, sampler(wrong), where(), rounding=5e-8).verdict == "lower"


def test_a_limit_elsewhere_refutes_only_where_rounding_cannot_be_the_cause() -> None:
    far = measure("rk4", 4, sampler(change=lambda run, x: 1.01 * x), where())
    assert far.verdict == "lower"
    assert [f.kind for f in far.findings] == ["limit"]
    assert "not to the solution" in far.reason(4)
    near = measure("rk4", 4, sampler(change=lambda run, x: (1 + 1e-7) * x), where())
    assert near.verdict == "inconclusive"
    assert "errors stop falling" in near.reason(4)


@pytest.mark.parametrize("claimed", [lambda n: n, lambda n: 4 * n + 1])
def test_evaluations_are_counted_not_believed(claimed: Any) -> None:
    base = sampler()
    found = measure("rk4", 4, lambda run: (base(run), claimed(int(run))), where())
    assert [f.kind for f in found.findings] == ["evaluations"]
    assert found.nfe[0] == 16


# --- what a sampler is given ---


@pytest.mark.parametrize(
    "grid", [grids.uniform_t(2.0), grids.karras(), grids.alternating(grids.uniform_lambda())]
)
def test_a_sampler_gets_the_grid_of_the_experiment(grid: Any) -> None:
    e = where(grid=grid)

    def ddim(run: Run) -> torch.Tensor:
        assert len(run.times) == run + 1
        x = run.x
        for t, s in zip(run.times, run.times[1:], strict=False):
            ratio = F.alpha(s) / F.alpha(t)
            x = ratio * x - F.alpha(s) * (F.rho(t) - F.rho(s)) * run.model(x, t)
        return x

    ours, theirs = run(make("ddim"), e), measure("ddim", 1, ddim, e)
    for a, b in zip(ours.estimate.points, theirs.estimate.points, strict=True):
        assert a.error == pytest.approx(b.error, abs=SOME_ULP)


@pytest.mark.parametrize("shape", [(2,), (1, 2), (2, 1, 1)])
def test_states_may_have_any_shape(shape: tuple[int, ...]) -> None:
    e = where(shape=shape)
    seen = []

    def change(run: Run, x: torch.Tensor) -> torch.Tensor:
        seen.append(tuple(run.x.shape))
        return x

    assert measure("rk4", 4, sampler(change=change), e).verdict == "consistent"
    assert set(seen) == {(16, *shape)}


def test_a_start_from_exact_values_is_what_the_sampler_asked_for() -> None:
    def second(run: Run) -> torch.Tensor:
        """Adams & Bashforth in lambda for x/alpha, whose first step is exact."""
        lam, h = float(F.lam(START)), float(F.lam(END) - F.lam(START)) / run
        before = -math.exp(-lam) * run.model(run.x, START)
        t = float(F.t_of_lam(lam + h))
        y = run.exact(t) / float(F.alpha(t))
        for i in range(1, run):
            at = lam + i * h
            t = float(F.t_of_lam(at))
            now = -math.exp(-at) * run.model(y * float(F.alpha(t)), t)
            y, before = y + h * (1.5 * now - 0.5 * before), now
        return y * float(F.alpha(END))

    found = measure("ab2", 2, second, where())
    assert found.start == "exact"
    assert found.verdict == "consistent"
    assert measure("rk4", 4, sampler(), where()).start == "own"


def test_a_sampler_in_many_digits() -> None:
    e = Experiment(problem("mixture-1d"), batch=2, ladder=(4, 6, 8, 12, 16, 24, 32), digits=30)

    def ours(run: Run) -> Any:
        plan = compile_plan(make("krogstad4"), VP, steps=int(run), t_start=START, t_end=END, digits=30)
        return sample(plan, run.model, run.x).x

    found = measure("krogstad4", 4, ours, e)
    assert found.verdict == "consistent"
    assert found.estimate.points[-1].floor < 10 * THIRTY_DIGITS


def test_a_network_that_only_torch_runs_is_measured_by_its_own_flow() -> None:
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(6, 16), torch.nn.Tanh(), torch.nn.Linear(16, 6)).double()
    data = torch.randn(64, 1, 2, 3, dtype=torch.float64)
    e = Experiment(
        NetworkProblem(lambda x, t: net(x.flatten(1)).reshape(x.shape) + t * x, data),
        batch=4,
        ladder=LADDER[:9],
        tolerance=1e-11,
        shape=(1, 2, 3),
    )
    assert measure("rk4", 4, sampler(), e).verdict == "consistent"
    assert run(make("dpm-solver++-2m"), e).verdict == "consistent"


def test_residues_restrict_the_ladder() -> None:
    found = measure("rk4", 4, sampler(), where(), residue=(3, 1))
    assert all(p.n % 3 == 1 for p in found.estimate.points)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ladder": (4, 8, 16)}, "ladder must hold at least 4 step counts"),
        ({"ladder": (4, 4, 8, 16)}, "ladder must be increasing"),
        ({"residue": (1000, 1)}, "ladder must hold|residue must leave"),
        ({"residue": (3, 3)}, "residue must be .* got \\(3, 3\\)"),
        ({"residue": (0, 0)}, "residue must be"),
        ({"rounding": -1e-9}, "rounding must be a non-negative number, got -1e-09"),
        ({"rounding": math.nan}, "rounding must be a non-negative number, got nan"),
    ],
)
def test_ladders_are_refused_before_any_run(change: dict[str, Any], message: str) -> None:
    ran: list[int] = []
    with pytest.raises(ValueError, match=message):
        measure("rk4", 4, lambda run: ran.append(int(run)), where(), **change)
    assert ran == []


@pytest.mark.parametrize(
    "states", [torch.zeros(3), np.zeros((16, 3)), [1.0, 2.0], torch.zeros(16, 2, dtype=torch.int)]
)
def test_states_of_another_size_are_refused(states: Any) -> None:
    with pytest.raises(ValueError, match=r"sampler must return real states of shape \(16, 2\)"):
        measure("s", 1, lambda run: states, where())


@pytest.mark.parametrize(
    "change",
    [
        {"dtype": "float8"},
        {"dtype": "float32", "digits": 30},
        {"shape": (3,)},
    ],
)
def test_experiments_that_make_no_sense_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must"):
        Experiment(**change)
    with pytest.raises(TypeError, match="sampler must be a function"):
        measure("s", 1, NONSENSE, where())


@pytest.mark.parametrize("name", UNITS)
def test_the_precision_of_states_is_read_off_them(name: Any) -> None:
    x = torch.rand(100, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    rounded = x.to(getattr(torch, name))
    assert precision(rounded) == precision(rounded.double()) == precision(rounded.double().numpy()) == name


# --- noise ---

NOISY = StochasticExperiment(ladder=(8, 12, 16, 24, 32, 48, 64))


def ours(name: str) -> Callable[[Any], Any]:
    """One of our solvers as somebody else's function."""

    def sample_it(run: Any) -> Any:
        e = NOISY
        start, end = e.times
        plan = compile_plan(
            make(name), e.schedule, steps=int(run), grid=e.grid, t_start=start, t_end=end, final="full"
        )
        drawn: dict[int, torch.Tensor] = {}

        def noise(index: int, like: torch.Tensor) -> torch.Tensor:
            if index not in drawn:
                drawn[index] = run.noise(like)
            return drawn[index]

        return sample(plan, run.model, run.x, noise=noise).x

    return sample_it


@pytest.mark.parametrize(
    "name", ["sde-dpm-solver++-2m", "sde-dpm-solver++-2s-released", "seeds-3", "edm-heun-churn"]
)
def test_weak_errors_of_a_noisy_sampler_are_those_of_its_plan(name: str) -> None:
    marginal = make(name).noising is not None
    theirs = measure_stochastic(name, ours(name), NOISY, marginal=marginal)
    known = study(make(name), NOISY, final="full")
    for part in ("mean", "variance"):
        for a, b in zip(getattr(theirs, part).points, getattr(known, part).points, strict=True):
            assert a.error == pytest.approx(b.error, abs=MANY_ULP)
    assert theirs.nfe == known.nfe
    assert theirs.strong_verdict(1) == "inconclusive"


def euler(draw: Callable[[Any, torch.Tensor], torch.Tensor]) -> Callable[[Any], torch.Tensor]:
    """The exponential Euler method of the reverse SDE in data prediction."""

    def sample_it(run: Any) -> torch.Tensor:
        x = run.x
        for t, s in zip(run.times, run.times[1:], strict=False):
            h = float(F.lam(s) - F.lam(t))
            clean = (x - F.sigma(t) * run.model(x, t)) / F.alpha(t)
            std = F.sigma(s) * math.sqrt(-math.expm1(-2 * h))
            x = F.sigma(s) / F.sigma(t) * math.exp(-h) * x - F.alpha(s) * math.expm1(-2 * h) * clean
            x = x + std * draw(run, x)
        return x

    return sample_it


OWN = torch.Generator()
DRAWS: dict[str, Callable[[Any, torch.Tensor], torch.Tensor]] = {
    "given": lambda run, x: run.noise(x),
    "randn_like": lambda run, x: torch.randn_like(x),
    "randn": lambda run, x: torch.randn(x.shape, dtype=x.dtype, generator=OWN),
    "normal_": lambda run, x: torch.empty_like(x).normal_(0.0, 1.0),
}


@pytest.mark.parametrize("name", DRAWS)
def test_noise_is_taken_over_wherever_torch_draws_it(name: str) -> None:
    found = measure_stochastic("euler", euler(DRAWS[name]), NOISY)
    assert found.against(1) == "consistent"
    assert found.against(2) == "lower"
    torch.manual_seed(0)
    a = torch.randn(3)
    torch.manual_seed(0)
    assert torch.equal(a, torch.randn(3))  # and given back


@pytest.mark.parametrize(
    "draw",
    [
        lambda run, x: torch.tensor(np.random.default_rng().standard_normal(x.shape)),
        lambda run, x: torch.randn_like(x).clamp(-0.5, 0.5),
        lambda run, x: torch.rand_like(x),
    ],
)
def test_a_sampler_that_is_not_affine_in_its_draws_is_refused(draw: Any) -> None:
    with pytest.raises(ValueError, match="sampler must"):
        measure_stochastic("euler", euler(draw), NOISY)


# --- samplers that are not alike at all N ---


def at(even: Callable[[Run], Any], odd: Callable[[Run], Any], m: int) -> Callable[[Run], Any]:
    """One sampler where m divides the number of steps, else another."""
    return lambda run: (odd if int(run) % m else even)(run)


@pytest.mark.parametrize("m", [2, 3, 4])
def test_the_order_is_the_lowest_over_all_numbers_of_steps(m: int) -> None:
    """Ladders hold multiples of 4 alone from 8 on, and of 3 at every other count."""
    mixed = at(sampler(HEUN), sampler(EULER), m)
    assert measure("mixed", 2, mixed, where()).verdict == "lower"
    found = measure("mixed", 1, mixed, where())
    assert found.verdict == "consistent"
    assert "mod 12" in found.sentence
    assert [f.kind for f in found.findings] == ["residue"]
    assert measure("mixed", 2, mixed, where(), residue=(m, 0)).verdict == "consistent"


def test_an_error_constant_that_depends_on_the_number_of_steps_is_no_floor() -> None:
    """Of first order always, but nine times as large unless 3 divides N."""

    def weighted(share: float) -> Callable[[Run], torch.Tensor]:
        return lambda run: (1 - share) * sampler(HEUN)(run) + share * sampler(EULER)(run)

    mixed = at(weighted(0.1), weighted(0.9), 3)
    assert measure("mixed", 1, mixed, where()).verdict == "consistent"
    assert measure("mixed", 2, mixed, where()).verdict == "lower"


def test_runs_that_more_steps_make_worse_have_no_order() -> None:
    """y_n+1 = -4 y_n + 5 y_n-1 + h (4 f_n + 2 f_n-1), of order 3 but for its roots 1 and -5."""

    def unstable(run: Run) -> torch.Tensor:
        lam = torch.linspace(float(F.lam(START)), float(F.lam(END)), run + 1, dtype=torch.float64)
        y, h = run.x / float(F.alpha(START)), float(lam[1] - lam[0])
        before = y

        def slope(y: torch.Tensor, v: float) -> torch.Tensor:
            t = float(F.t_of_lam(v))
            return -math.exp(-v) * run.model(y * float(F.alpha(t)), t)

        f = slope(y, float(lam[0]))
        y = y + h * f
        for v in lam[1:-1].tolist():
            now = slope(y, v)
            y, before, f = -4 * y + 5 * before + h * (4 * now + 2 * f), y, now
        return y * float(F.alpha(END))

    found = measure("unstable", 3, unstable, where())
    assert found.verdict == "lower"
    assert any("grow" in f.text for f in found.findings)


def scaled(share: Callable[[int], float]) -> Callable[[Any], torch.Tensor]:
    """The exponential Euler method with a part of its noise; share: of the number of steps."""
    return euler(lambda run, x: share(int(run)) * run.noise(x))


@pytest.mark.parametrize("share", [lambda n: 0.0, lambda n: 1.5, lambda n: float(n % 2 == 0)])
def test_a_law_that_is_wrong_at_every_number_of_steps_is_refuted(share: Callable[[int], float]) -> None:
    """No noise, too much, none where N is odd: nothing but the method stops errors of that size."""
    assert measure_stochastic("scaled", scaled(share), NOISY).against(1) == "lower"


def test_another_sde_is_told_by_its_marginals() -> None:
    """tau = 1/2 in place of 1: the law from a point is another, the marginals are the same."""
    name = "sde-dpm-solver++-1"
    found = measure_stochastic(name, ours(name), NOISY, form=sde_data(Fraction(1, 2)))
    assert found.marginal
    assert found.against(1) == "consistent"
    assert "another law" in found.sentence
