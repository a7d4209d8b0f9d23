"""The grid of Xue et al. 2024, "Accelerating Diffusion Sampling with Optimized Time Steps", arXiv:2402.17376.

It minimises a bound on the error that a model's error makes in DPM-Solver++ or UniPC of order 3, from the
schedule alone: the sum over the evaluations of their weights in the final state, times the size of an error
there, sigma^2/alpha.  The first three steps and those of order 1 are bounded each by itself.  Weights are
those of the Lagrange polynomials in lambda through the last 1, 2, 3, .., 3, 2, 1 evaluations, integrated
against e^lambda.  Source: scxue/DM-NonUniform, step_optim.py, StepOptim with initType "unif_t", whose alpha
and sigma are those of a variance-preserving schedule at the same lambda.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from ..common.remaking import remade
from ..numerics.arithmetic import Value, of
from ..numerics.phi import phi
from .grids import Placed
from .schedule import Schedule

ORDER = 3
"""Of the multistep method, and the number of first steps that are bounded by themselves."""
MOST = 32
"""Steps: the paper has up to 25; more take long to search."""
STEP = 1e-6
"""In lambda, of the central differences that make a gradient."""
ITERATIONS = 1000
"""At most, scipy's default: the bound has kinks, at which the search does not end by itself."""


@remade
def optimised() -> Placed:
    """Minimises a bound on the error of a third-order multistep run; to 32 steps.  Xue et al. 2024."""
    return Placed("optimised", inner=_inner)


def _inner(schedule: Schedule, t_start: Value, t_end: Value, n: int) -> Sequence[Value]:
    if n > MOST:
        raise ValueError(f"grid 'optimised' must have at most {MOST} steps, got n = {n}")
    lam, t_of_lam = schedule.formulas.lam, schedule.formulas.t_of_lam
    start, end = float(t_start), float(t_end)
    with np.errstate(divide="ignore"):
        guess = [float(lam(start + (end - start) * i / n)) for i in range(n + 1)]
    if not np.all(np.isfinite(guess)):
        raise ValueError(f"grid 'optimised' needs finite lambda at both ends, got {guess[0]} and {guess[-1]}")
    number = of(t_start).number
    return [t_of_lam(number(v)) for v in minimised(tuple(guess))]


@lru_cache(maxsize=256)
def minimised(guess: tuple[float, ...]) -> tuple[float, ...]:
    """The inner lambdas of the smallest bound that is found, increasing, from a guess with its ends."""
    from scipy.optimize import LinearConstraint, minimize  # whoever lists grids needs none of it

    ends, inner = (guess[0], guess[-1]), guess[1:-1]
    if not inner:
        return ()
    count = len(inner)
    steps = np.eye(count + 1, count) - np.eye(count + 1, count, -1)
    least = np.zeros(count + 1)
    least[0], least[-1] = ends[0], -ends[1]

    def at(inner: np.ndarray) -> Any:
        return bound(np.pad(inner, [(0, 0), (1, 1)], constant_values=[(0, 0), ends]))

    def gradient(inner: np.ndarray) -> np.ndarray:
        moves = STEP * np.eye(count)
        found: np.ndarray = (at(inner + moves) - at(inner - moves)) / (2 * STEP)
        return found

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "delta_grad == 0.0")  # between kinks the bound may be linear
        found = minimize(
            lambda x: float(at(x[None])[0]),
            np.array(inner),
            jac=gradient,
            method="trust-constr",
            constraints=[LinearConstraint(steps, least, np.inf)],
            options={"maxiter": ITERATIONS},
        )
    return tuple(float(v) for v in found.x)


def bound(lams: np.ndarray) -> Any:
    """The bound for lambdas (.., n + 1), shape (..)."""
    n = lams.shape[-1] - 1
    size = np.sqrt(1 + np.exp(-2 * lams)) / (1 + np.exp(2 * lams))  # sigma^2/alpha
    shared, total = np.zeros_like(lams), np.zeros(lams.shape[:-1])
    orders = np.array([min(s + 1, ORDER, n - s) for s in range(n)])
    for order in range(1, ORDER + 1):
        (last,) = np.nonzero(orders == order)
        nodes = last[:, None] + np.arange(1 - order, 1)
        errors = weights(lams[..., nodes], (lams[..., 1:] - lams[..., :-1])[..., last]) * size[..., nodes]
        alone = (last < ORDER) | (order == 1)
        total += np.linalg.norm(errors[..., alone, :], axis=-1).sum(-1)
        for j in range(order):  # steps of one order share no j-th node
            shared[..., nodes[~alone, j]] += errors[..., ~alone, j]
    return total + np.abs(shared).sum(-1)


def weights(nodes: np.ndarray, h: np.ndarray) -> Any:
    """int_0^h e^(lambda + tau) l_j(tau) dtau: lambda the last of nodes (.., k), l_j Lagrange's polynomials.

    The moments are int_0^h e^tau tau^m dtau = e^h h^(m+1) m! phi_(m+1)(-h), m = 0, 1, 2.
    """
    scale = np.exp(nodes[..., -1] + h) * h
    first, second, third = (scale * c * h**m * phi(m + 1, -h) for m, c in enumerate((1, 1, 2)))
    order = nodes.shape[-1]
    if order == 1:
        return first[..., None]
    place = nodes - nodes[..., -1:]
    if order == 2:
        older = second / place[..., 0]
        return np.stack([older, first - older], -1)
    a, b = place[..., 0], place[..., 1]
    oldest, older = (third - b * second) / (a * (a - b)), (third - a * second) / (b * (b - a))
    return np.stack([oldest, older, first - oldest - older], -1)
