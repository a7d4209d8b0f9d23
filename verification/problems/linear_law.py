"""The exact law of a form's SDE on Gaussian data: a linear SDE, whose coefficients are read off the form.

Where the data are Gaussian the model is affine, N = P x + Q, so the sampling SDE x = Phi y, dy = w N dtau +
noise is linear:

    dx = (a x + b) dlambda + g dW,     a = (log Phi)' + u P,     b = u Q,     u dlambda = Phi w dtau.

Nothing but the form's own step is asked: log Phi, the first moment int w dtau and the variance of the noise
are additive over intervals, and their Chebyshev interpolants on panels in lambda are differentiated.
With  M(lambda) = exp(int_lambda^end a)  the law at the end of a run from x is Gaussian with

    mean = M x + int M b dlambda,      variance = int M^2 g^2 dlambda,

the integrals by Clenshaw & Curtis on the same points.  All of it runs in float64 or in multiprecision: the
arithmetic is that of the times.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property

import numpy as np
from numpy.polynomial import chebyshev
from semilinear.integrators.common import checks
from semilinear.integrators.common.messages import shown
from semilinear.integrators.diffusion.prediction import Model, conversion
from semilinear.integrators.diffusion.schedule import Schedule
from semilinear.integrators.forms.form import Form
from semilinear.integrators.numerics.arithmetic import Arithmetic, Value, of
from semilinear.integrators.numerics.arrays import fixed

from .constants import Array, Constants, alpha_sigma


@dataclass(frozen=True, eq=False)
class Gaussians:
    """Independent one-dimensional Gaussian laws N(mean, variance) of x_0, one for each component of x.

    mean, variance, start: (d,), float64; start is the point from which runs start.
    """

    mean: np.ndarray
    variance: np.ndarray
    start: np.ndarray
    _constants: Constants = field(init=False, repr=False)

    def __post_init__(self) -> None:
        shape = np.shape(self.mean)
        if len(shape) != 1 or np.shape(self.variance) != shape or np.shape(self.start) != shape:
            raise ValueError("mean, variance and start must have one shape (d,)")
        if not np.all(np.asarray(self.variance) >= 0):
            raise ValueError(f"variance must be >= 0, got {shown(self.variance)}")
        for name in ("mean", "variance", "start"):
            object.__setattr__(self, name, fixed(getattr(self, name)))
        object.__setattr__(self, "_constants", Constants(None, self.mean, self.variance))

    def affine(self, schedule: Schedule, t: Value) -> tuple[np.ndarray, np.ndarray]:
        """(A, B) with eps = A x + B, the exact noise prediction, in the arithmetic of t."""
        number = of(t).number
        alpha, sigma = schedule.alpha(t), schedule.sigma(t)
        slope = sigma / (number(self.variance) * alpha**2 + sigma**2)
        return slope, -slope * number(self.mean) * alpha

    def marginal(self, schedule: Schedule, t: Value) -> tuple[np.ndarray, np.ndarray]:
        """Mean and variance of x_t, each (d,), in the arithmetic of t."""
        number = of(t).number
        alpha, sigma = schedule.alpha(t), schedule.sigma(t)
        return number(self.mean) * alpha, number(self.variance) * alpha**2 + sigma**2

    def model(self, schedule: Schedule) -> Model:
        """The exact noise prediction for arrays of shape (..., d)."""
        checks.instance("schedule", schedule, Schedule)

        def eps(x: Array, t: Value) -> Array:
            alpha, sigma = alpha_sigma(schedule, t, x)
            mean, variance = self._constants.like(x)
            return (x - mean * alpha) * sigma / (variance * alpha**2 + sigma**2)

        return eps


@dataclass(frozen=True, eq=False)
class _Chebyshev:
    """The n + 1 points cos(pi j/n) on [-1, 1], increasing, and what follows from the values there.

    coefficients: (n + 1, n + 1), values -> Chebyshev coefficients.  weights: of Clenshaw & Curtis.
    """

    points: np.ndarray
    coefficients: np.ndarray
    weights: np.ndarray

    @property
    def degree(self) -> int:
        """n."""
        return len(self.points) - 1

    @staticmethod
    @cache
    def of_degree(n: int, xp: Arithmetic) -> _Chebyshev:
        """c_k = (2/n) sum'' f_j cos(pi j k/n), the first and the last of either index halved."""
        cosines = xp.cos(xp.number(np.arange(2 * n)) * xp.pi / n)
        index = np.arange(n + 1)
        halved = np.where((index == 0) | (index == n), 1, 2)
        matrix = cosines[np.outer(index, n - index) % (2 * n)] * np.outer(halved, halved) / (2 * n)
        integrals = xp.number(np.where(index % 2, 0, 2)) / np.where(index % 2, 1, 1 - index**2)
        return _Chebyshev(cosines[n - index], matrix, integrals @ matrix)


def _resolution(xp: Arithmetic) -> tuple[int, float]:
    """Degree of the interpolants and length of the panels in lambda.

    The coefficients are analytic up to poles at +- i pi/2 and beyond, so that the error falls like r^-n with
    r + 1/r = 2 pi/length or more, r = 18 and 5 here.  Differentiation costs n^2 units of rounding: float64
    takes short panels of a low degree, and multiprecision the fewest points.
    """
    return (20, 0.35) if xp.digits is None else (math.ceil(1.45 * xp.digits) + 12, 1.25)


def _product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a @ b; in multiprecision row by column, each sum rounded once, which takes a quarter of the time."""
    context = of(a).context
    if context is None:
        value: np.ndarray = a @ b
        return value
    rows, columns = a.tolist(), b.T.tolist()
    return np.array([[context.fdot(row, column) for column in columns] for row in rows], dtype=object)


FEWER = 4
"""By how many degrees the interpolants are lowered to estimate their error."""


@dataclass(frozen=True, eq=False)
class _Panel:
    """What is known on [start, end] in lambda, at the Chebyshev points.

    m, b: (points, d).  noise: g^2, (points, 1).  series: coefficients of (m, noise), (points, d + 1).
    """

    start: Value
    end: Value
    m: np.ndarray
    b: np.ndarray
    noise: np.ndarray
    series: np.ndarray

    def at(self, lam: np.ndarray) -> np.ndarray:
        """(m, noise) at any lambda of the panel, (len(lam), d + 1)."""
        unit = (lam * 2 - self.start - self.end) / (self.end - self.start)
        return _product(chebyshev.chebvander(unit, len(self.series) - 1), self.series)


@dataclass(frozen=True, eq=False)
class LinearLaw:
    """The law of the form's SDE between two times, from a point, on Gaussian data.

    form: of scalar Phi and moments, without a kernel's own factor.  t_start > t_end in noise, floats or
    mpmath numbers.  kinks: times where the form is not smooth, beyond those of its schedule and weight.
    degree: of the interpolants (default: enough for the arithmetic).
    Raises ValueError for a form whose state factor is not Phi's ratio.
    """

    form: Form
    data: Gaussians
    t_start: Value
    t_end: Value
    kinks: Sequence[float] = ()
    degree: int | None = None

    def __post_init__(self) -> None:
        if self.form.linear is not None:
            raise ValueError(f"form {self.form.name!r} is a discretised kernel: it is the step of no SDE")
        if not -np.inf < self.start < self.end < np.inf:
            raise ValueError(f"lambda must increase over finite values, got {self.start} to {self.end}")

    @cached_property
    def xp(self) -> Arithmetic:
        """That of the times."""
        return of(self.t_start)

    @cached_property
    def start(self) -> Value:
        """Lambda at the start."""
        return self._lam(self.t_start)

    @cached_property
    def end(self) -> Value:
        """Lambda at the end."""
        return self._lam(self.t_end)

    def _lam(self, t: Value) -> Value:
        return self.form.schedule.formulas.lam(self.xp.number(t))

    @cached_property
    def _rule(self) -> _Chebyshev:
        degree, _ = _resolution(self.xp)
        return _Chebyshev.of_degree(self.degree or degree, self.xp)

    @cached_property
    def _edges(self) -> np.ndarray:
        """Of the panels, in lambda."""
        inner = [*self.kinks, *self.form.schedule.breakpoints, *getattr(self.form.weight, "kinks", ())]
        between = sorted(v for v in map(self._lam, inner) if self.start < v < self.end)
        _, length = _resolution(self.xp)
        edges = [self.start]
        for a, b in itertools.pairwise([self.start, *between, self.end]):
            count = math.ceil(float(b - a) / length)
            edges += [a + (b - a) * k / count for k in range(1, count)] + [b]
        return np.array(edges)

    @cached_property
    def _solved(self) -> tuple[list[_Panel], np.ndarray]:
        """The panels, and the integral of a over all of them."""
        later = self.xp.number(np.zeros(self.data.mean.size))
        panels: list[_Panel] = []
        for a, b in reversed(list(itertools.pairwise(self._edges))):
            panel, later = self._panel(a, b, later)
            panels.insert(0, panel)
        return panels, later

    def _panel(self, start: Value, end: Value, later: np.ndarray) -> tuple[_Panel, np.ndarray]:
        """later: the integral of a over the panels that follow; returned for the panels before, too."""
        rule, xp, half = self._rule, self.xp, (end - start) / 2
        times = [self.form.schedule.t_of_lam(v) for v in start + half * (rule.points + 1)]
        nothing = (xp.number(0),) * 3
        known = np.array([*itertools.accumulate(itertools.pairwise(times), self._add, initial=nothing)])
        slopes = chebyshev.chebder(_product(rule.coefficients, known)) / half
        vander = chebyshev.chebvander(rule.points, rule.degree + 1)
        growth, weight, clock = _product(vander[:, : rule.degree], slopes).T[:, :, None]
        phi = xp.exp(known[:, :1])
        p, q = (np.array(v) for v in zip(*(self._integrand(t) for t in times), strict=True))
        integral = chebyshev.chebint(_product(rule.coefficients, growth + phi * weight * p), lbnd=1) * half
        exponent = later - _product(vander, integral)
        m, noise = xp.exp(exponent), phi**2 * clock
        series = _product(rule.coefficients, np.concatenate([m, noise], axis=1))
        return _Panel(start, end, m, phi * weight * q, noise, series), exponent[0]

    def _add(self, known: Sequence[Value], times: tuple[Value, Value]) -> tuple[Value, Value, Value]:
        """log Phi, int w dtau and the clock, where Phi = 1 at the panel's start, after one more interval."""
        form, xp = self.form, self.xp
        one, step, ratio = xp.number(1), form.step(*times, 1), form.ratio(*times)
        phi = xp.exp(known[0]) * ratio
        std = xp.number(0) if form.std is None else form.std(*times)
        moment = step.weight(one) * step.phi(1, one)
        return known[0] + xp.log(ratio), known[1] + moment / phi, known[2] + (std / phi) ** 2

    def _integrand(self, t: Value) -> tuple[np.ndarray, np.ndarray]:
        """(P, Q) with N = P x + Q."""
        slope, offset = self.data.affine(self.form.schedule, t)
        p, q = conversion(self.form.schedule, "eps", self.form.target, t)
        own, scale, constant = (0, 1, 0) if self.form.affine is None else self.form.affine(t)
        return (slope * q + p) * scale + own, offset * q * scale + constant

    def at(self, lam: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(M, g^2) at any lambda, (len(lam), d) and (len(lam), 1)."""
        which = np.clip(np.searchsorted(self._edges, lam, side="right") - 1, 0, len(self._edges) - 2)
        order = np.argsort(which, kind="stable")
        panels, _ = self._solved
        found = np.concatenate([panels[k].at(lam[which == k]) for k in np.unique(which)])
        both = found[np.argsort(order)]
        return both[:, :-1], both[:, -1:]

    @cached_property
    def moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and variance of x at the end, each (d,)."""
        panels, exponent = self._solved
        mean = self.xp.exp(exponent) * self.xp.number(self.data.start)
        variance = 0 * mean
        for panel in panels:
            weights = self._rule.weights * ((panel.end - panel.start) / 2)
            mean = mean + weights @ (panel.m * panel.b)
            variance = variance + weights @ (panel.m**2 * panel.noise)
        return mean, variance

    @cached_property
    def error(self) -> float:
        """How far mean and variance lie from those of interpolants of a lower degree: more than their own
        error, which falls geometrically with the degree, unless that is rounding.
        """
        lower = self._rule.degree - FEWER
        coarser = LinearLaw(self.form, self.data, self.t_start, self.t_end, self.kinks, lower)
        return max(float(abs(a - b).max()) for a, b in zip(self.moments, coarser.moments, strict=True))
