"""The exact law of a form's SDE on Gaussian data: a linear SDE, whose coefficients are read off the form.

Where the data are Gaussian the model is affine, N = P x + Q, so the sampling SDE x = Phi y, dy = w N dtau +
noise is linear:

    dx = (a x + b) dlambda + g dW,     a = (log Phi)' + u P,     b = u Q,     u dlambda = Phi w dtau.

Nothing but the form's own step is asked: log Phi, the first moment int w dtau and the variance of the noise
are additive over intervals, and their Chebyshev interpolants on short panels in lambda are differentiated.
With  M(lambda) = exp(int_lambda^end a)  the law at the end of a run from x is Gaussian with

    mean = M x + int M b dlambda,      variance = int M^2 g^2 dlambda.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.polynomial import chebyshev
from semilinear.integrators.arithmetic import Value
from semilinear.integrators.form import Form
from semilinear.integrators.prediction import Model, conversion
from semilinear.integrators.schedule import Schedule

from .constants import Array, alpha_sigma

DEGREE = 20
PANEL = 0.35
"""Length of a panel in lambda."""


@dataclass(frozen=True, eq=False)
class Gaussians:
    """Independent one-dimensional Gaussian laws N(mean, variance) of x_0, one for each component of x.

    mean, variance, start: (d,); start is the point from which runs start.
    """

    mean: np.ndarray
    variance: np.ndarray
    start: np.ndarray

    def __post_init__(self) -> None:
        shape = np.shape(self.mean)
        if len(shape) != 1 or np.shape(self.variance) != shape or np.shape(self.start) != shape:
            raise ValueError("mean, variance and start must have one shape (d,)")
        if not np.all(np.asarray(self.variance) >= 0):
            raise ValueError(f"variance must be >= 0, got {self.variance!r}")

    def affine(self, schedule: Schedule, t: Value) -> tuple[np.ndarray, np.ndarray]:
        """(A, B) with eps = A x + B, the exact noise prediction."""
        alpha, sigma = float(schedule.alpha(t)), float(schedule.sigma(t))
        slope = sigma / (alpha**2 * self.variance + sigma**2)
        return slope, -slope * alpha * self.mean

    def model(self, schedule: Schedule) -> Model:
        """The exact noise prediction for arrays of shape (..., d)."""

        def eps(x: Array, t: Value) -> Array:
            alpha, sigma = alpha_sigma(schedule, t, x)
            return sigma * (x - alpha * self.mean) / (alpha**2 * self.variance + sigma**2)

        return eps


@dataclass(eq=False)
class _Panel:
    """Chebyshev coefficients on [start, end] in lambda of int_lambda^end a, b and g^2, each (degree, d)."""

    start: float
    end: float
    exponent: np.ndarray
    b: np.ndarray
    noise: np.ndarray

    def unit(self, lam: np.ndarray) -> np.ndarray:
        """lambda on [-1, 1]."""
        return (2 * lam - self.start - self.end) / (self.end - self.start)


@dataclass(eq=False)
class LinearLaw:
    """The law of the form's SDE between two times, from a point, on Gaussian data.

    form: of scalar Phi and moments, without a kernel's own factor.  t_start > t_end in noise.  kinks: times
    where the form is not smooth, beyond those of its schedule and weight.
    Raises ValueError for a form whose state factor is not Phi's ratio.
    """

    form: Form
    data: Gaussians
    t_start: float
    t_end: float
    kinks: Sequence[float] = ()
    length: float = PANEL

    def __post_init__(self) -> None:
        if self.form.linear is not None:
            raise ValueError(f"form {self.form.name!r} is a discretised kernel: it is the step of no SDE")
        lam = self.form.schedule.formulas.lam
        inner = [*self.kinks, *self.form.schedule.breakpoints, *getattr(self.form.weight, "kinks", ())]
        self.start, self.end = float(lam(self.t_start)), float(lam(self.t_end))
        if not -np.inf < self.start < self.end < np.inf:
            raise ValueError(f"lambda must increase over finite values, got {self.start} to {self.end}")
        between = sorted(v for v in (float(lam(t)) for t in inner) if self.start < v < self.end)
        corners = [self.start, *between, self.end]
        edges = [self.start]
        for a, b in itertools.pairwise(corners):
            edges += list(np.linspace(a, b, 1 + int(np.ceil((b - a) / self.length)))[1:])
        later = np.zeros_like(self.data.mean, dtype=float)
        panels: list[_Panel] = []
        for a, b in reversed(list(itertools.pairwise(edges))):
            panels.insert(0, self._panel(float(a), float(b), later))
            later = self.propagator(np.array([a]), panels[0], log=True)[0]
        self._panels, self._edges = panels, np.array(edges)

    def _panel(self, start: float, end: float, later: np.ndarray) -> _Panel:
        form, schedule = self.form, self.form.schedule
        unit = np.cos(np.pi * np.arange(DEGREE, -1, -1) / DEGREE)
        lams = (start + end) / 2 + (end - start) / 2 * unit
        times = [float(schedule.t_of_lam(v)) for v in lams]
        additive = np.zeros((3, DEGREE + 1))  # log Phi, int w dtau and the clock, from the panel's start
        for j, t in enumerate(times[1:], 1):
            step = form.step(times[0], t, 1)
            ratio = float(form.ratio(times[0], t))
            std = 0.0 if form.std is None else float(form.std(times[0], t))
            additive[:, j] = np.log(ratio), step.weight(1.0) * step.phi(1, 1.0) / ratio, (std / ratio) ** 2
        to_coefficients = np.linalg.inv(chebyshev.chebvander(unit, DEGREE))
        slopes = chebyshev.chebval(unit, chebyshev.chebder(to_coefficients @ additive.T))  # (3, nodes)
        slopes *= 2 / (end - start)
        phi = np.exp(additive[0])[:, None]
        u, noise = phi * slopes[1][:, None], phi**2 * slopes[2][:, None]
        p, q = (np.array(v) for v in zip(*(self._integrand(t) for t in times), strict=True))
        a, b = slopes[0][:, None] + u * p, u * q
        integral = chebyshev.chebint(to_coefficients @ a, lbnd=1) * (end - start) / 2  # from the end back
        integral[0] -= later
        shape = (DEGREE + 1, self.data.mean.size)
        return _Panel(
            start, end, -integral, to_coefficients @ b, to_coefficients @ np.broadcast_to(noise, shape)
        )

    def _integrand(self, t: float) -> tuple[np.ndarray, np.ndarray]:
        """(P, Q) with N = P x + Q."""
        slope, offset = self.data.affine(self.form.schedule, t)
        p, q = conversion(self.form.schedule, "eps", self.form.target, t)
        own, scale, constant = (0.0, 1.0, 0.0) if self.form.affine is None else self.form.affine(t)
        return own + scale * (p + q * slope), scale * q * offset + constant

    def propagator(self, lam: np.ndarray, panel: _Panel, log: bool = False) -> np.ndarray:
        """M at some lambda of one panel, (len(lam), d); log: its logarithm."""
        value: np.ndarray = chebyshev.chebval(panel.unit(lam), panel.exponent).T
        return value if log else np.exp(value)

    def at(self, lam: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(M, b, g^2) at any lambda, each (len(lam), d)."""
        which = np.clip(np.searchsorted(self._edges, lam, side="right") - 1, 0, len(self._panels) - 1)
        result = np.empty((3, len(lam), self.data.mean.size))
        for k in np.unique(which):
            here, panel = which == k, self._panels[k]
            unit = panel.unit(lam[here])
            result[0, here] = self.propagator(lam[here], panel)
            result[1, here] = chebyshev.chebval(unit, panel.b).T
            result[2, here] = chebyshev.chebval(unit, panel.noise).T
        return result[0], result[1], result[2]

    @cached_property
    def moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and variance of x at the end, each (d,)."""
        nodes, weights = np.polynomial.legendre.leggauss(DEGREE + 4)
        half = np.diff(self._edges)[:, None] / 2
        lam = (self._edges[:-1, None] + half + half * nodes).ravel()
        weight = (half * weights).ravel()[:, None]
        m, b, noise = self.at(lam)
        whole = np.exp(self.propagator(self._edges[:1], self._panels[0], log=True)[0])
        return whole * self.data.start + np.sum(weight * m * b, 0), np.sum(weight * m**2 * noise, 0)

    @cached_property
    def error(self) -> float:
        """How far mean and variance move when the panels are halved."""
        finer = LinearLaw(self.form, self.data, self.t_start, self.t_end, self.kinks, self.length / 2)
        return float(max(np.abs(a - b).max() for a, b in zip(self.moments, finer.moments, strict=True)))
