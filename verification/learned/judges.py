"""How far samples are from digits that were held out, and what a nearest-neighbour rule takes them for."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.spatial.distance import cdist

from ..problems.digits_network import Digits

NEIGHBOURS = 3


@dataclass(frozen=True)
class Measured:
    """A number and its standard error, from n samples."""

    value: float
    error: float
    n: int


def mean(values: Any) -> Measured:
    """The mean of independent values, at least two of them."""
    v = np.asarray(values, dtype=float)
    return Measured(float(v.mean()), float(v.std(ddof=1)) / math.sqrt(len(v)), len(v))


def energy_distance(x: np.ndarray, y: np.ndarray) -> Measured:
    """2 E|X - Y| - E|X - X'| - E|Y - Y'| of samples (n, d) and (m, d), without bias: 0 on average where both
    have one law, whatever n is (Szekely & Rizzo 2013).  The error is that of the first projections, an upper
    bound on what is left where the laws are one.
    """
    n, m = len(x), len(y)
    between, first, second = cdist(x, y), cdist(x, x).sum(1) / (n - 1), cdist(y, y).sum(1) / (m - 1)
    of_x, of_y = between.mean(1) - first, between.mean(0) - second
    variance = 4 * (float(of_x.var(ddof=1)) / n + float(of_y.var(ddof=1)) / m)
    value = 2 * float(between.mean()) - float(first.mean()) - float(second.mean())
    return Measured(value, math.sqrt(variance), n)


def recognised(x: np.ndarray, known: Digits) -> np.ndarray:
    """The classes that the nearest of the known digits vote for, of images x (n, 64), (n,)."""
    from sklearn.neighbors import KNeighborsClassifier

    rule = KNeighborsClassifier(NEIGHBOURS).fit(known.x, known.classes)
    found: np.ndarray = rule.predict(np.asarray(x))
    return found


def agreement(x: np.ndarray, classes: np.ndarray, known: Digits) -> Measured:
    """The share of images that are taken for what they should be; its error is that of the share with two
    more of either kind, which is not 0 where all are (Agresti & Coull 1998).
    """
    right = int((recognised(x, known) == np.asarray(classes)).sum())
    n, share = len(x), (right + 2) / (len(x) + 4)
    return Measured(right / n, math.sqrt(share * (1 - share) / (n + 4)), n)
