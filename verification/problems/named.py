"""Problems whose score is known exactly: what every claim is measured on.

A problem is a law of x_0; under any schedule, x_t = alpha x_0 + sigma eps has an exact noise prediction
eps(x, t) = -sigma grad log p_t(x), in torch and in multiprecision.  Some have an exact solution of the
probability-flow ODE too: a Gaussian's flow is affine, and in one dimension the flow carries quantiles to
quantiles, F_t(x_t) = const, so products of one-dimensional mixtures, turned by a rotation, have exact
nonlinear flows in any dimension.  One, `learned-digits`, has the score of a trained network in place of an
exact one.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, Protocol

import numpy as np
from semilinear.integrators.common import checks
from semilinear.integrators.common.messages import shown
from semilinear.integrators.diffusion.prediction import Model
from semilinear.integrators.diffusion.schedule import Schedule

from .mixtures import EmpiricalMixture, GaussianMixture
from .products import RotatedProduct, rational_rotation


class Problem(Protocol):
    """A law with an exact score."""

    @property
    def name(self) -> str:
        """As listed."""

    @property
    def dimension(self) -> int:
        """Number of components of x."""

    @property
    def exact_flow(self) -> bool:
        """Whether `flow` is exact (to any number of digits)."""

    def model(self, schedule: Schedule) -> Model:
        """The exact noise prediction eps(x, t) for x of shape (..., d)."""

    def data(self, n: int, seed: int) -> np.ndarray:
        """n samples of x_0, shape (n, d), float64."""


def marginal_samples(problem: Problem, schedule: Schedule, t: float, n: int, seed: int) -> np.ndarray:
    """n samples of x_t, shape (n, d), float64: alpha x_0 + sigma eps, reproducible from the seed."""
    eps = np.random.default_rng([seed, 1]).standard_normal((n, problem.dimension))
    return float(schedule.alpha(t)) * problem.data(n, seed) + float(schedule.sigma(t)) * eps


# --- the named problems ---


def gaussian() -> GaussianMixture:
    """A correlated Gaussian in two dimensions: affine exact flow, so never the only evidence for an order."""
    covariance = [[[0.5, 0.2], [0.2, 0.3]]]
    return GaussianMixture(np.ones(1), np.array([[0.7, -0.4]]), np.array(covariance), "gaussian")


def mixture_1d() -> RotatedProduct:
    """Three components on the line, exact flow by quantile transport."""
    return RotatedProduct(
        np.array([[0.3, 0.45, 0.25]]),
        np.array([[-1.1, 0.2, 1.3]]),
        np.array([[0.12, 0.2, 0.09]]),
        name="mixture-1d",
    )


def rotated_product(d: int = 2) -> RotatedProduct:
    """A product of d different one-dimensional mixtures, turned: a nonlinear exact flow that couples all
    components.
    """
    weights = np.array([[0.3, 0.45, 0.25], [0.5, 0.2, 0.3]])
    means = np.array([[-1.1, 0.2, 1.3], [-0.8, 0.5, 1.0]])
    variances = np.array([[0.12, 0.2, 0.09], [0.15, 0.1, 0.18]])
    index = np.arange(d) % 2
    shift = 0.1 * (np.arange(d) // 2)[:, None]
    return RotatedProduct(
        weights[index],
        means[index] + shift,
        variances[index],
        rational_rotation(d),
        name=f"rotated-product-{d}d",
    )


def golden_mixture() -> GaussianMixture:
    """The public mixture of the golden files: three components in two dimensions."""
    return GaussianMixture(
        np.array([0.2, 0.5, 0.3]),
        np.array([[-2.0, 0.0], [1.0, 1.5], [2.0, -1.0]]),
        np.array([[[0.3, 0.1], [0.1, 0.2]], [[0.05, 0.0], [0.0, 0.05]], [[0.1, -0.05], [-0.05, 0.4]]]),
        "golden-mixture",
    )


def narrow_mixture() -> GaussianMixture:
    """The golden mixture at 0.15 of its size: seen from the prior, data near one point."""
    wide = golden_mixture()
    return GaussianMixture(wide.weights, wide.means * 0.15, wide.covariances * 0.15**2, "narrow-mixture")


def digits(bandwidth: float = 0.8) -> EmpiricalMixture:
    """scikit-learn's handwritten digits (1797 x 64, scaled to [-1, 1]), smoothed by `bandwidth`."""
    from sklearn.datasets import load_digits

    return EmpiricalMixture(load_digits().data / 8.0 - 1.0, bandwidth, f"digits-{bandwidth:g}")


def learned() -> Any:
    """A network's score on the digits, whose weights `semilinear train` makes."""
    from .learned_digits import learned_digits

    return learned_digits()


PROBLEMS: dict[str, Callable[[], Any]] = {
    "gaussian": gaussian,
    "mixture-1d": mixture_1d,
    "rotated-product-2d": rotated_product,
    "rotated-product-8d": lambda: rotated_product(8),
    "golden-mixture": golden_mixture,
    "narrow-mixture": narrow_mixture,
    "digits-0.8": digits,
    "digits-0.2": lambda: digits(0.2),
    "digits-0": lambda: digits(0.0),
    "learned-digits": learned,
}
"""Constructors by name."""


def problem(target: Any, samples: Any = None, **options: Any) -> Any:
    """A problem by name, or any torch model as one.

    target: a listed name; or a model(x, t), a plain torch module among them, with samples (n, *shape), the
    data that runs start from, and options of `NetworkProblem`: prediction, dtype, name, trained.
    Raises ValueError, with the names, for an unknown one; TypeError for samples that a name does not take,
    and as `NetworkProblem` does.
    """
    if callable(target):
        from .network import NetworkProblem

        return NetworkProblem(target, samples, **options)
    if samples is not None or options:
        raise TypeError(f"samples and options are for models, got a problem's name {shown(target)}")
    if not isinstance(target, str):
        raise TypeError(f"problem must be a listed name or a model, got {shown(target)}")
    checks.one_of("problem", target, PROBLEMS)
    return _listed(target)


@cache
def _listed(name: str) -> Any:
    return PROBLEMS[name]()
