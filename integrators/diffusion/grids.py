"""Step grids: the times at which a solver stops, t_0 > t_1 > ... > t_N; increasing when data are encoded.

A `Grid` spaces the times uniformly in some increasing or decreasing function of t; the rule can be asked
for any interval, so that a singlestep solver may place its stages by the same rule (as DPM-Solver does).
A `Placed` grid says the inner times themselves (`released_grids`, `optimised_grid`).  `user` checks times
given by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any

import numpy as np

from ..common import checks
from ..common.messages import shown
from ..common.ranges import NonNegative, Positive, Proper, Range
from ..common.remaking import Remade, remade
from ..numerics.arithmetic import Fn, Value, choose, of
from .schedule import Schedule

Times = tuple[Value, ...]
Map = Callable[[Schedule, Value, Value], Value]
"""(schedule, value, end time) -> value; the end time is for spacings that depend on it."""


def _same(schedule: Schedule, value: Value, end: Value) -> Value:
    return value


def _evenly(n: int, number: Fn) -> list[Value]:
    return [number(i) / n for i in range(1, n)]


@dataclass(frozen=True)
class Grid(Remade):
    """Times spaced uniformly in `forward(schedule, t, t_end)`, whose inverse is `backward`.

    `name` and `parameters` identify the rule.  Call it with (schedule, t_start, t_end, n).  One that a
    factory made can be pickled; one of your own where its functions can.
    """

    name: str
    parameters: tuple[tuple[str, float], ...] = ()
    forward: Map = field(compare=False, repr=False, default=_same)
    backward: Map = field(compare=False, repr=False, default=_same)
    fractions: Callable[[int, Fn], list[Value]] = field(compare=False, repr=False, default=_evenly)
    """Where the inner times lie between the ends, in the spacing variable."""

    def __call__(
        self, schedule: Schedule, t_start: Value, t_end: Value, n: int, *, digits: int | None = None
    ) -> Times:
        """n + 1 times from t_start to t_end, both exactly included; float64, or mpmath numbers at `digits`.

        Raises ValueError if n < 1, a time leaves the schedule's domain, t_end = t_start, or the spacing
        variable is infinite at an end (lambda at sigma = 0: end earlier and denoise, or choose another
        grid).
        """
        n = checks.integer("n (the number of steps)", n, 1)
        schedule.check_time(t_start, "t_start")
        schedule.check_time(t_end, "t_end")
        if t_end == t_start:
            raise ValueError(f"t_end must differ from t_start = {t_start}, got {t_end}")
        return self.divide(schedule, choose(digits).number(t_start), choose(digits).number(t_end), n)

    def divide(self, schedule: Schedule, t_start: Value, t_end: Value, n: int) -> Times:
        """The rule alone, for an interval that has been checked."""
        try:
            with np.errstate(divide="ignore"):
                first = self.forward(schedule, t_start, t_end)
                last = self.forward(schedule, t_end, t_end)
        except ZeroDivisionError:
            first = last = float("inf")
        for name, t, value in (("t_start", t_start, first), ("t_end", t_end, last)):
            if abs(value) == float("inf") or value != value:
                raise ValueError(
                    f"{name} = {t} has no place on the grid {self.name!r}: its spacing variable is {value}"
                )
        fractions = self.fractions(n, of(t_start).number)
        inner = [self.backward(schedule, first + (last - first) * f, t_end) for f in fractions]
        return self._whole(t_start, inner, t_end, n)

    def _whole(self, t_start: Value, inner: Sequence[Value], t_end: Value, n: int) -> Times:
        times = (t_start, *inner, t_end)
        check_monotone(times, f"grid {self.name!r} with n = {n}")
        return times if of(t_start).context is not None else tuple(float(t) for t in times)


Inner = Callable[[Schedule, Value, Value, int], Sequence[Value]]
"""(schedule, t_start, t_end, n) -> the n - 1 times between the ends."""


@dataclass(frozen=True)
class Placed(Grid):
    """Inner times by any rule: rounded, tabulated, optimised.  The ends are those of the run."""

    inner: Inner = field(compare=False, repr=False, kw_only=True)

    def divide(self, schedule: Schedule, t_start: Value, t_end: Value, n: int) -> Times:
        """The rule alone, for an interval that has been checked.

        Raises ValueError for inner times that the interval does not hold, or that are not in order.
        """
        inner = self.inner(schedule, t_start, t_end, n)
        low, high = sorted((t_start, t_end))
        if outside := [t for t in inner if not low < t < high]:
            raise ValueError(
                f"grid {self.name!r} with n = {n} stops at t = {float(outside[0]):g}, which does not lie "
                f"inside of the run from {float(t_start):g} to {float(t_end):g}"
            )
        return self._whole(t_start, inner, t_end, n)


def check_monotone(times: Sequence[Value], name: str) -> None:
    """Raise ValueError unless times are strictly monotone, in the direction from the first to the last."""
    down = times[-1] < times[0]
    for i in range(len(times) - 1):
        if not (times[i + 1] < times[i] if down else times[i + 1] > times[i]):
            way = "decrease" if down else "increase"
            raise ValueError(
                f"{name} must strictly {way}: times[{i}] = {times[i]} is followed by "
                f"times[{i + 1}] = {times[i + 1]}"
            )


def user(schedule: Schedule, times: Any, *, digits: int | None = None) -> Times:
    """Times given by hand: at least two, within the schedule's domain, strictly monotone.

    Raises ValueError, naming the first offending index.  Times are kept as given: no rounding, no look-up
    by value.
    """
    number = choose(digits).number
    values = tuple(map(number, _given("times", times)))
    if len(values) < 2:
        raise ValueError(f"times must hold at least 2 values (one step), got {len(values)}")
    for i, t in enumerate(values):
        schedule.check_time(t, f"times[{i}]")
    check_monotone(values, "times")
    return values


def _given(name: str, values: Any) -> tuple[Any, ...]:
    """The numbers of a sequence, an array or a tensor."""
    entries = checks.sequence(name, values.tolist() if hasattr(values, "tolist") else values)
    for i, value in enumerate(entries):
        if not checks.is_number(value):
            raise TypeError(f"{name}[{i}] must be a number, got {shown(value)}")
    return entries


def from_sigma(schedule: Schedule, sigmas: Any, *, digits: int | None = None) -> Times:
    """Times at which rho = sigma/alpha takes the given decreasing values, k-diffusion's and EDM's convention.

    Raises ValueError as `user` does: a repeated value, such as a second trailing 0, is refused.
    """
    number = choose(digits).number
    values = [number(s) for s in _given("sigmas", sigmas)]
    for i, s in enumerate(values):
        if not s >= 0:
            raise ValueError(f"sigmas[{i}] must be non-negative, got {s}")
    return user(schedule, [schedule.t_of_rho(s) for s in values], digits=digits)


@remade
def uniform_t(power: Positive = 1.0) -> Grid:
    """Uniform in t^(1/power): 1 is uniform in t, 2 the quadratic grid of DDIM and DEIS."""
    p = float(checks.number("power", power, above=0))
    if p == 1.0:
        return Grid("t")
    return Grid(
        "t-power",
        (("power", p),),
        lambda schedule, t, end: t ** (1 / of(t).number(p)),
        lambda schedule, v, end: v ** of(v).number(p),
    )


@remade
def uniform_lambda() -> Grid:
    """Uniform in lambda = log(alpha/sigma)."""
    return Grid("lambda", (), lambda s, t, end: s.formulas.lam(t), lambda s, v, end: s.formulas.t_of_lam(v))


@remade
def karras(power: Positive = 7.0) -> Grid:
    """Uniform in rho^(1/power); 7 is EDM's grid.  Karras et al. 2022, eq. 5."""
    p = float(checks.number("power", power, above=0))
    return Grid(
        "rho-power",
        (("power", p),),
        lambda s, t, end: s.formulas.rho(t) ** (1 / of(t).number(p)),
        lambda s, v, end: s.formulas.t_of_rho(v ** of(v).number(p)),
    )


@remade
def nsr(k: NonNegative = 3.1) -> Grid:
    """Uniform in -log(rho + k rho_end); k = 0 is uniform in lambda.  Li et al. 2023 (SciRE), NSR-type."""
    number = float(checks.number("k", k, least=0))

    def forward(s: Schedule, t: Value, end: Value) -> Value:
        xp = of(t)
        return -xp.log(s.formulas.rho(t) + xp.number(number) * s.formulas.rho(end))

    def backward(s: Schedule, v: Value, end: Value) -> Value:
        xp = of(v)
        return s.formulas.t_of_rho(xp.exp(-v) - xp.number(number) * s.formulas.rho(end))

    return Grid("nsr", (("k", number),), forward, backward)


def _flow_time(s: Schedule, t: Value) -> Value:
    """sigma/(alpha + sigma): the time of a rectified flow at the same noise level; 1 at alpha = 0."""
    alpha, sigma = s.formulas.alpha(t), s.formulas.sigma(t)
    return sigma / (alpha + sigma)


def _of_flow_time(s: Schedule, tau: Value) -> Value:
    return s.formulas.t_of_rho(tau / (1 - tau))


@remade
def shift(shift: Positive = 3.0) -> Grid:
    """Flow times s u/(1 + (s - 1) u) of uniform u: uniform in sigma/(sigma + s alpha).

    Esser et al. 2024 (Stable Diffusion 3), eq. 23; what the flow schedulers of diffusers and ComfyUI do.
    """
    number = float(checks.number("shift", shift, above=0))

    def forward(s: Schedule, t: Value, end: Value) -> Value:
        alpha, sigma = s.formulas.alpha(t), s.formulas.sigma(t)
        return sigma / (sigma + of(t).number(number) * alpha)

    def backward(s: Schedule, v: Value, end: Value) -> Value:
        return s.formulas.t_of_rho(of(v).number(number) * v / (1 - v))

    return Grid("shift", (("shift", number),), forward, backward)


@remade
def dynamic_shift(mu: float = 1.15, exponent: Positive = 1.0, terminal: Proper | None = None) -> Grid:
    """Flow times e^mu/(e^mu + (1/u - 1)^exponent) of uniform u.

    mu: 1.15 is Flux's at 4096 tokens; with exponent = 1 this is `shift` by e^mu.  terminal: the last inner
    time after 1 - tau has been stretched, 0.1 for LTX-Video; ends other than 1 and 0 stretch tau evenly.
    Source: black-forest-labs/flux, sampling.py, time_shift; Lightricks/LTX-Video, schedulers/rf.py.
    """
    number, power = float(checks.number("mu", mu)), float(checks.number("exponent", exponent, above=0))
    parameters = (("mu", number), ("exponent", power))
    if terminal is None:

        def forward(s: Schedule, t: Value, end: Value) -> Value:
            xp = of(t)
            p = 1 / xp.number(power)
            sigma, alpha = s.formulas.sigma(t) ** p, (xp.exp(xp.number(number)) * s.formulas.alpha(t)) ** p
            return sigma / (sigma + alpha)

        def backward(s: Schedule, v: Value, end: Value) -> Value:
            xp = of(v)
            return s.formulas.t_of_rho(xp.exp(xp.number(number)) * (v / (1 - v)) ** xp.number(power))

        return Grid("dynamic-shift", parameters, forward, backward)
    last = float(checks.number("terminal", terminal, above=0, below=1))

    def fractions(n: int, to: Fn) -> list[Value]:
        odds = [to(n - i) / i for i in range(1, n)]
        shifted = [of(r).exp(to(number)) * r ** to(power) for r in odds]
        below = [1 / (1 + r) for r in shifted]  # 1 - tau
        return [b * (1 - to(last)) / below[-1] for b in below]

    return Grid("dynamic-shift", (*parameters, ("terminal", last)), _in_flow_time, _from_flow_time, fractions)


def _in_flow_time(s: Schedule, t: Value, end: Value) -> Value:
    return _flow_time(s, t)


def _from_flow_time(s: Schedule, v: Value, end: Value) -> Value:
    return _of_flow_time(s, v)


@remade
def linear_quadratic(threshold: Proper = 0.025) -> Grid:
    """Flow times from 1 in n // 2 equal steps to 1 - threshold, then quadratic: smooth but for one kink.

    Mochi's grid, after Movie Gen (Polyak et al. 2024).  Source: genmoai/mochi, pipelines.py,
    linear_quadratic_schedule.
    """
    number = float(checks.number("threshold", threshold, above=0, below=1))

    def fractions(n: int, to: Fn) -> list[Value]:
        linear, drop = n // 2, to(number)
        left = n - linear
        # c + b j + a j^2 with the slope of the linear part at its end, and 1 after the steps that are left
        slope = drop / max(linear, 1)
        curve = (1 - drop - slope * left) / left**2
        quadratic = [drop + slope * j + curve * j * j for j in range(left)]
        return [*(slope * i for i in range(1, linear)), *quadratic] if linear else []

    return Grid("linear-quadratic", (("threshold", number),), _in_flow_time, _from_flow_time, fractions)


@remade
def polyexponential(power: Positive = 1.0) -> Grid:
    """log rho falls to its end like (1 - i/n)^power; 1 is uniform in lambda.

    Source: crowsonkb/k-diffusion, get_sigmas_polyexponential.
    """
    p = float(checks.number("power", power, above=0))

    def forward(s: Schedule, t: Value, end: Value) -> Value:
        distance = s.formulas.lam(end) - s.formulas.lam(t)
        return distance ** (1 / of(t).number(p))

    def backward(s: Schedule, v: Value, end: Value) -> Value:
        return s.formulas.t_of_lam(s.formulas.lam(end) - v ** of(v).number(p))

    return Grid("polyexponential", (("power", p),), forward, backward)


@remade
def kl_optimal() -> Grid:
    """Uniform in atan rho.  Sabour et al. 2024 (Align Your Steps), the optimum for Gaussian data."""

    def backward(s: Schedule, v: Value, end: Value) -> Value:
        xp = of(v)
        return s.formulas.t_of_rho(xp.sin(v) / xp.cos(v))

    return Grid(
        "kl-optimal", (), lambda s, t, end: of(t).arctan2(s.formulas.sigma(t), s.formulas.alpha(t)), backward
    )


@remade
def beta(base: Grid, a: Positive = 0.6, b: Positive = 0.6) -> Grid:
    """`base`'s spacing variable at the quantiles of a Beta law: dense at both ends.

    Lee et al. 2024 (arXiv:2407.12173): in t; huggingface/diffusers, _convert_to_beta: in rho.  The quantiles
    are float64 numbers in any arithmetic.  Raises ValueError for a base that is not uniform.
    """
    first, second = float(checks.number("a", a, above=0)), float(checks.number("b", b, above=0))
    _check_uniform(base)

    def fractions(n: int, number: Fn) -> list[Value]:
        quantiles = beta_quantiles(second, first, np.arange(1, n) / n)  # 1 - those of 1 - i/n
        return [number(float(q)) for q in quantiles]

    parameters = (*base.parameters, ("a", first), ("b", second))
    return replace(base, name=f"beta-{base.name}", parameters=parameters, fractions=fractions)


def beta_quantiles(a: float, b: float, at: np.ndarray) -> Any:
    """The quantiles of a Beta law."""
    from scipy.special import betaincinv  # whoever lists grids needs none of it

    return betaincinv(a, b, at)


def _check_uniform(base: Grid) -> None:
    """Raise ValueError unless a grid's steps are equal in its spacing variable."""
    checks.instance("base", base, Grid)
    if isinstance(base, Placed) or base.fractions is not _evenly:
        raise ValueError(f"base must be uniform in a spacing variable, got {base.name!r}")


@remade
def alternating(base: Grid, ratio: Positive = 2.0) -> Grid:
    """Steps of `base`'s spacing variable that alternate in length 1 : ratio.

    Not smooth on purpose: constant or smoothly varying steps hide wrong step ratios in a multistep formula.
    Raises ValueError for a base that is not uniform.
    """
    return _of_lengths("alternating", base, ratio, lambda i, n: bool(i % 2))


@remade
def kinked(base: Grid, ratio: Positive = 2.0) -> Grid:
    """Steps of `base`'s spacing variable in the lengths 1 : ratio, those of its first half and of its second.

    What a table of few times that is interpolated (Align Your Steps) has at each of them: one jump of the
    step ratio, at a fixed place.  Raises ValueError for a base that is not uniform.
    """
    return _of_lengths("kinked", base, ratio, lambda i, n: 2 * i >= n)


def _of_lengths(name: str, base: Grid, ratio: float, long: Callable[[int, int], bool]) -> Grid:
    """Step i of n has length 1, or the ratio where it is long."""
    _check_uniform(base)
    r = float(checks.number("ratio", ratio, above=0))

    def fractions(n: int, number: Fn) -> list[Value]:
        lengths = [number(r) if long(i, n) else number(1) for i in range(n)]
        return [sum(lengths[:i]) / sum(lengths) for i in range(1, n)]

    parameters = (*base.parameters, ("ratio", r))
    return replace(base, name=f"{name}-{base.name}", parameters=parameters, fractions=fractions)


@remade
def rounded(base: Grid, n: Annotated[int, Range(least=2)] = 1000) -> Grid:
    """Inner times of `base` to the nearest multiple of 1/n: what integer indices into a table of n training
    steps do to a grid.  Times that coincide are refused, in float64 as in more digits.
    """
    checks.instance("base", base, Grid)
    table = checks.integer("n", n, 2)

    def inner(schedule: Schedule, t_start: Value, t_end: Value, steps: int) -> list[Value]:
        number = of(t_start).number
        times = base.divide(schedule, t_start, t_end, steps)[1:-1]
        return [number(round(float(t) * table)) / table for t in times]

    return Placed(f"rounded-{base.name}", (*base.parameters, ("n", float(table))), inner=inner)
