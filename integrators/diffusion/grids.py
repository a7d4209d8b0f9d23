"""Step grids: the times at which a solver stops, t_0 > t_1 > ... > t_N; increasing when data are encoded.

A `Grid` spaces the times uniformly in some increasing or decreasing function of t; the rule can be asked
for any interval, so that a singlestep solver may place its stages by the same rule (as DPM-Solver does).
`user` checks times given by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..numerics import checks
from ..numerics.arithmetic import Fn, Value, choose, of
from ..numerics.remaking import Remade, remade
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
        xp = of(t_start)
        inner = [
            self.backward(schedule, first + (last - first) * f, t_end) for f in self.fractions(n, xp.number)
        ]
        times = (t_start, *inner, t_end)
        check_monotone(times, f"grid {self.name!r} with n = {n}")
        return times if xp.context is not None else tuple(float(t) for t in times)


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
    values = tuple(number(t) for t in (times.tolist() if hasattr(times, "tolist") else times))
    if len(values) < 2:
        raise ValueError(f"times must hold at least 2 values (one step), got {len(values)}")
    for i, t in enumerate(values):
        schedule.check_time(t, f"times[{i}]")
    check_monotone(values, "times")
    return values


def from_sigma(schedule: Schedule, sigmas: Any, *, digits: int | None = None) -> Times:
    """Times at which rho = sigma/alpha takes the given decreasing values, k-diffusion's and EDM's convention.

    Raises ValueError as `user` does: a repeated value, such as a second trailing 0, is refused.
    """
    number = choose(digits).number
    values = [number(s) for s in (sigmas.tolist() if hasattr(sigmas, "tolist") else sigmas)]
    for i, s in enumerate(values):
        if not s >= 0:
            raise ValueError(f"sigmas[{i}] must be non-negative, got {s}")
    return user(schedule, [schedule.t_of_rho(s) for s in values], digits=digits)


@remade
def uniform_t(power: float = 1.0) -> Grid:
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
def karras(power: float = 7.0) -> Grid:
    """Uniform in rho^(1/power); 7 is EDM's grid.  Karras et al. 2022, eq. 5."""
    p = float(checks.number("power", power, above=0))
    return Grid(
        "rho-power",
        (("power", p),),
        lambda s, t, end: s.formulas.rho(t) ** (1 / of(t).number(p)),
        lambda s, v, end: s.formulas.t_of_rho(v ** of(v).number(p)),
    )


@remade
def nsr(k: float = 3.1) -> Grid:
    """Uniform in -log(rho + k rho_end); k = 0 is uniform in lambda.  Li et al. 2023 (SciRE), NSR-type."""
    number = float(checks.number("k", k, least=0))

    def forward(s: Schedule, t: Value, end: Value) -> Value:
        xp = of(t)
        return -xp.log(s.formulas.rho(t) + xp.number(number) * s.formulas.rho(end))

    def backward(s: Schedule, v: Value, end: Value) -> Value:
        xp = of(v)
        return s.formulas.t_of_rho(xp.exp(-v) - xp.number(number) * s.formulas.rho(end))

    return Grid("nsr", (("k", number),), forward, backward)


@remade
def alternating(base: Grid, ratio: float = 2.0) -> Grid:
    """Steps of `base`'s spacing variable that alternate in length 1 : ratio.

    Not smooth on purpose: constant or smoothly varying steps hide wrong step ratios in a multistep formula.
    """
    r = float(checks.number("ratio", ratio, above=0))

    def fractions(n: int, number: Fn) -> list[Value]:
        lengths = [number(r) if i % 2 else number(1) for i in range(n)]
        return [sum(lengths[:i]) / sum(lengths) for i in range(1, n)]

    name, parameters = f"alternating-{base.name}", (*base.parameters, ("ratio", r))
    return replace(base, name=name, parameters=parameters, fractions=fractions)
