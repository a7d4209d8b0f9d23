"""The extended reverse SDE of a noise-scale function, as a form: Phi = alpha phi(rho), w = (1/phi)', N = x_0.

It is interpolated in tau = rho.  Over a step from rho_0 to rho_1, with y = x/alpha and r = phi_1/phi_0,

    y_1 = r y_0 + phi_1 int (1/phi)' D drho + sqrt(rho_1^2 - rho_0^2 r^2) z,

where the linear part and the noise are exact and only D is interpolated (Cui et al. 2025, arXiv:2309.06169).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..diffusion.schedule import Schedule
from ..numerics.arithmetic import Value, of, uniform
from ..numerics.quadrature import GAUSS, LeftRiemann
from ..tableaux.evaluate import function
from .form import Form, Step, beside_nodes, no_limit
from .noise_scale import NoiseScale, Path

Moments = Callable[[NoiseScale, Path, Value, int], Value]
"""(scale, path, h, n) -> phi_1 int (1/phi)' ((rho - rho_0)/h)^k/k! drho, k < n; h = rho_1 - rho_0.

The path and h may be those of many steps, but for steps to rho_1 = 0.
"""


def exact(scale: NoiseScale, path: Path, h: Value, count: int) -> Value:
    """The moments to rounding: Gauss-Legendre in ln rho, where every integrand is positive.

    At rho_1 = 0 their limits 1/k!, by which D is extrapolated to the end.
    """
    if uniform(path.rho1 == 0):
        return np.stack([1 / path.xp.number(math.factorial(k)) for k in range(count)])
    growth, length = function(scale.growth, path.xp), beside_nodes(h)
    end = beside_nodes(path.rho1 * scale.over_x(path.rho1))

    def rows(s: Value) -> Value:
        rho, offset = path.rho(s), path.offset(s) / length
        values = [np.divide(end, rho * scale.along(rho)) * (growth(rho) + 1)]
        for k in range(1, count):
            values.append(values[-1] * offset / k)
        return np.stack(values)

    return GAUSS.integrate(rows, path.xp.number(0), beside_nodes(path.length), path.xp)


@dataclass(frozen=True)
class ByParts:
    """The moments as released: integrated by parts, the integrals of 1/phi by a rule that starts at rho_1.

    The first moment, 1 - r, is exact.  With N points the second keeps a relative error of -1/N, and the third
    an error of -h^2/(2 N), one power of h less than the moment itself.  At rho_1 = 0 a first-order step.
    QinpengCui/ER-SDE-Solver, er_sde_solver.py: s_int, s_d_int, and the branch on sigmas[i + 1] == 0, which
    its VP functions lack (they return NaN).
    """

    rule: LeftRiemann

    def __call__(self, scale: NoiseScale, path: Path, h: Value, count: int) -> Value:
        """As `exact`."""
        first = exact(scale, path, h, 1)
        if count == 1 or uniform(path.rho1 == 0):
            return np.concatenate([first, *[0 * first] * (count - 1)])
        rho0, rho1, length = beside_nodes(path.rho0), beside_nodes(path.rho1), beside_nodes(h)
        end = beside_nodes(path.rho1 * scale.over_x(path.rho1))

        def rows(rho: Value) -> Value:
            values, offset = [end / (rho * scale.along(rho)) / length], (rho - rho0) / length
            for k in range(1, count - 1):
                values.append(values[-1] * offset / k)
            return np.stack(values)

        sums = self.rule.integrate(rows, rho1, rho0, path.xp)
        ends = (1 / path.xp.number(math.factorial(k)) for k in range(1, count))
        return np.stack([*first, *(end + part for end, part in zip(ends, sums, strict=True))])


@dataclass(frozen=True)
class Relative:
    """The weight (1/phi)': phi(k, c) is the k-th moment over the first, alpha_c (1 - phi_c/phi_0)."""

    scale: NoiseScale
    moments: Moments
    rate: None = None

    def weight(self, step: Step, c: Value) -> Value:
        """The factor of a tableau entry in the row at abscissa c."""
        return step.form.schedule.formulas.alpha(step.time(c)) * self._moments(step, c)[0] / c

    def phi(self, step: Step, k: int, c: Value) -> Value:
        """The normalised moment phi(k, c)."""
        moments = self._moments(step, c)
        if k > len(moments):
            raise ValueError(no_limit(step))
        return moments[k - 1] / moments[0]

    def _moments(self, step: Step, c: Value) -> Value:
        def compute() -> Value:
            path = Path(step.tau0, step.form.tau(step.time(c)))
            if path.infinite:  # r = 0
                return np.stack([path.xp.number(1)])
            return self.moments(self.scale, path, step.h * c, step.moments)

        return step.once("moments", c, compute)


def extended_reverse_sde(
    schedule: Schedule, scale: NoiseScale, moments: Moments = exact, clip: float = 0.0
) -> Form:
    """d(x/(alpha phi)) = (1/phi)' x_0 drho + noise, the reverse SDE of a noise scale.

    A step's noise has the variance alpha_1^2 rho_1^2 (1 - (q_1/q_0)^2), q = phi(rho)/rho; phi = x is an ODE.
    moments, clip: as released, for reproducing it; rho_1^2 - rho_0^2 r^2 below `clip` counts as 0.
    Steps raise ValueError where phi(rho)/rho is not positive or decreases.
    """
    f = schedule.formulas

    def factor(t: Value) -> Value:
        rho = f.rho(t)
        return f.sigma(t) * scale.over_x(rho) if uniform(rho != 0) else f.sigma(t)

    def std(t0: Value, t1: Value) -> Value:
        rho1, xp = f.rho(t1), of(t1)
        if uniform(rho1 == 0):
            return xp.number(0)
        variance = -rho1 * rho1 * xp.expm1(-2 * scale.log_ratio(Path(f.rho(t0), rho1)))
        kept = variance if clip == 0 else xp.where(variance < clip, 0 * variance, variance)
        return f.alpha(t1) * xp.sqrt(kept)

    name, equation = "extended_reverse_sde_in_rho", "d(x/(alpha phi)) = (1/phi)' x_0 drho"
    noise, equation = (None, equation) if scale.deterministic else (std, f"{equation} + noise")
    weight = Relative(scale, moments)
    return Form(name, schedule, f.rho, f.t_of_rho, factor, weight, "x0", std=noise, equation=equation)
