"""The model statistics of a Gaussian mixture, exactly: expectations by quadrature instead of samples.

For an exact score they are functions of lambda alone, the same under every schedule, so they are computed
with alpha = 1.  The law at a given lambda is again a mixture; each component is integrated in its whitened
coordinates on a uniform grid, which converges geometrically, and faster than Gauss-Hermite where the
responsibilities are sharp.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from semilinear.integrators.diffusion.schedule import edm
from semilinear.integrators.numerics.series import Series, chebyshev_nodes, through
from semilinear.integrators.statistics.estimation import Derivatives, Draw, diagonal_mean, regress
from semilinear.integrators.statistics.smooth import Smooth, from_series

from .mixtures import GaussianMixture

REACH = 7.2
"""Standard deviations: the Gaussian's tail beyond is below 1e-12."""
POINTS = 2**14
"""Of a quadrature at once: forward mode has an overhead of some 20 ms a call, whatever the number."""


def quadrature(mixture: GaussianMixture, lam: float, spacing: float) -> Draw:
    """Nodes and weights of the law of y = x_0 + rho z."""
    side = np.arange(-math.floor(REACH / spacing), math.floor(REACH / spacing) + 1) * spacing
    z = np.stack(np.meshgrid(*[side] * mixture.dimension, indexing="ij"), -1).reshape(-1, mixture.dimension)
    weight = np.exp(-(z * z).sum(1) / 2)
    kept = weight > np.exp(-(REACH**2) / 2)
    z, weight = z[kept], weight[kept] / weight[kept].sum()
    spread = mixture.covariances + math.exp(-2 * lam) * np.eye(mixture.dimension)
    parts = [m + z @ np.linalg.cholesky(c).T for m, c in zip(mixture.means, spread, strict=True)]
    weights = np.outer(mixture.weights, weight).ravel()
    return Draw(torch.tensor(np.concatenate(parts)), None, torch.tensor(weights))


def exact_series(
    mixture: GaussianMixture, low: float, high: float, degree: int = 160, spacing: float = 0.11
) -> tuple[Series, Series, Series]:
    """l, s, b on [low, high] as Chebyshev series.

    spacing: of the quadrature grid, in standard deviations.  l' is that of l's series.
    Raises ValueError for more than three dimensions, where a grid is too large.
    """
    if mixture.dimension > 3:
        raise ValueError(f"mixture must have at most 3 dimensions, got {mixture.dimension}")
    schedule = edm(math.exp(-low))
    derivatives = Derivatives(mixture.model(schedule), schedule)
    knots = np.array([low, high])
    cells = chebyshev_nodes(knots, degree)
    nodes = [float(v) for v in cells.ravel()]

    def series(values: list[torch.Tensor]) -> Series:
        array = np.stack([v.numpy() for v in values])
        return through(knots, array.reshape(*cells.shape, *array.shape[1:]))

    draws = [quadrature(mixture, lam, spacing) for lam in nodes]
    l = [
        diagonal_mean(derivatives, draw, float(schedule.t_of_lam(lam)), POINTS)
        for draw, lam in zip(draws, nodes, strict=True)
    ]
    l_series = series(l)
    fits = [
        regress(derivatives, draw, lam, value, torch.tensor(l_series.slope(lam)), batch=POINTS)
        for draw, lam, value in zip(draws, nodes, l, strict=True)
    ]
    return l_series, series([fit.s for fit in fits]), series([fit.b for fit in fits])


def exact_statistics(
    mixture: GaussianMixture, low: float, high: float, degree: int = 160, spacing: float = 0.11
) -> Smooth:
    """The statistics of a mixture on [low, high], from `exact_series`."""
    return from_series(*exact_series(mixture, low, high, degree, spacing))
