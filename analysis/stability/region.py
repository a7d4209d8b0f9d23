"""Where a method is stable: regions in w = h mu for given z = h L, their sections, and the largest step.

The region {w : root condition} is bounded, because the method is explicit: the coefficients of its
characteristic polynomial are polynomials in w.  Its boundary lies on the boundary locus, the w for which an
eigenvalue of M(z, w) is e^(i theta); the locus gives the window, a grid inside it the region.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from semilinear.integrators.common import checks
from semilinear.integrators.common.messages import shown

from .amplification import Amplification

ANGLES = 720
RELATIVE, SMALL = 1e-12, 1e-3
"""Width of the bracket that a bisection ends with, relative to its end; and, where it closes on 0, relative
to the first gap of the scan.
"""
LARGEST = 1e150
"""Of |z|, which regions grow with: the area of a larger one overflows."""
TURN, TURNS = 32, 200
"""Of a scan over steps with complex L: steps in a period 2 pi/|Im L| of e^z, and periods."""


def boundary_locus(method: Amplification, z: complex, angles: int = ANGLES) -> np.ndarray:
    """All w for which e^(i theta) is an eigenvalue of M(z, w), theta = 2 pi (j + 1/2)/angles: shape (n,).

    For each theta, det(e^(i theta) - M) is a polynomial in w, found from its values on a circle by the
    discrete Fourier transform.
    Raises ValueError for z that is not finite, or a pole of a coefficient.
    """
    if not np.isfinite(complex(z)):
        raise ValueError(f"z must be a finite number, got {z}")
    if not np.isfinite(method.matrix(z, 0)).all():
        raise ValueError(f"z must be no pole of a coefficient, got {z}")
    stages = len(method.tableau.stages) + 1
    degree = method.size * stages * len(method.steps)
    count = 1 << degree.bit_length()
    on_circle = _reach(method, z, degree) * np.exp(2j * np.pi * np.arange(count) / count)
    theta = 2 * np.pi * (np.arange(angles) + 0.5) / angles
    circle = np.exp(1j * theta)[:, None, None, None] * np.eye(method.size)
    values = np.linalg.det(circle - method.matrix(z, on_circle)[None])
    polynomials = np.fft.fft(values, axis=1) / count  # coefficient j times reach^j
    polynomials[abs(polynomials) < 1e-13 * abs(polynomials).max(1, keepdims=True)] = 0
    locus: np.ndarray = _roots(polynomials) * abs(on_circle[0])
    return locus


def _roots(polynomials: np.ndarray) -> np.ndarray:
    """The roots of all rows, coefficients of 1, w, w^2, ..: to the bits of `np.roots`, at once for the rows
    whose first and last coefficients other than 0 are in the same places.
    """
    found: dict[int, np.ndarray] = {}
    ends = [(int(at[0]), int(at[-1])) if len(at := np.flatnonzero(p)) else (0, 0) for p in polynomials]
    for first, last in dict.fromkeys(ends):
        rows = [i for i, end in enumerate(ends) if end == (first, last)]
        degree = last - first
        companions = np.zeros((len(rows), degree, degree), dtype=complex)
        companions[:, np.arange(1, degree), np.arange(degree - 1)] = 1
        if degree:
            descending = polynomials[rows, first : last + 1][:, ::-1]
            companions[:, 0] = -descending[:, 1:] / descending[:, :1]
        roots = np.linalg.eigvals(companions) if degree else np.zeros((len(rows), 0), dtype=complex)
        padded = np.concatenate([roots, np.zeros((len(rows), first))], axis=1)
        found |= dict(zip(rows, padded, strict=True))
    return np.concatenate([found[i] for i in range(len(ends))])


def _reach(method: Amplification, z: complex, degree: int) -> float:
    """A radius of the size of the locus, which grows like |z| or, with exponentials, faster: the first power
    of 2 where det(e^(i theta) - M) exceeds 2^degree times what it is at w = 0.  On a circle of another size
    coefficients of the polynomial are lost to rounding.
    """
    circle = np.exp(2j * np.pi * (np.arange(8) + 0.5) / 8)

    def largest(w: Any) -> float:
        amplification = method.matrix(z, np.asarray(w)).reshape(-1, 1, method.size, method.size)
        values = np.linalg.det(circle[:, None, None] * np.eye(method.size) - amplification)
        return float(abs(values).max())

    with np.errstate(over="ignore", invalid="ignore"):
        least = 2.0**degree * largest(0.0)
        for power in range(-10, 1000):
            if not largest(2.0**power * circle) < least:
                return 2.0**power
    return 1.0  # w is in no coefficient


Window = tuple[float, float, float, float]
"""left, right, bottom, top."""


@dataclass(frozen=True, eq=False)
class Region:
    """{w : the root condition holds} for one z, sampled.

    real, imaginary: coordinates of the grid's columns and rows.  radius: the spectral radius there, shape
    (rows, columns).  area: of the region, by the part of each cell where the interpolated radius is below 1;
    area_error: the change from the grid of double width.
    """

    z: complex
    real: np.ndarray
    imaginary: np.ndarray
    radius: np.ndarray
    area: float
    area_error: float

    @property
    def window(self) -> Window:
        """The grid's ends, those of `window`."""
        left, right = float(self.real[0]), float(self.real[-1])
        return left, right, float(self.imaginary[0]), float(self.imaginary[-1])


def region(method: Amplification, z: complex, points: int = 301) -> Region:
    """The stability region for one z, on a grid of `points` x `points` over its window.

    Its window is that of `window`.
    Raises ValueError for z as `boundary_locus` does, or fewer than 9 points.
    """
    points = checks.integer("points", points, 9)
    points += 1 - points % 2  # the grid of double width has the same corners
    left, right, bottom, top = window(method, z)
    x, y = np.linspace(left, right, points), np.linspace(bottom, top, points)
    radius = method.radius(z, x + 1j * y[:, None])
    fine, coarse = _area(x, y, radius), _area(x[::2], y[::2], radius[::2, ::2])
    return Region(complex(z), x, y, radius, fine, abs(fine - coarse))


def window(method: Amplification, z: complex) -> Window:
    """left, right, bottom, top of a box around 0 and the boundary of the region, a tenth wider.

    Parts that begin at twice the distance where the others end are left out: a coefficient function that is
    no Taylor polynomial has far zeros, each on an island of its own.
    Raises ValueError for z as `boundary_locus` does, or where coefficients over- or underflow.
    """
    if abs(z) > LARGEST:
        raise ValueError(f"z must be so small that floats hold the region's boundary, got {z}")
    locus = boundary_locus(method, z)
    edge = locus[method.radius(z, locus) < 1 + 1e-5]
    if not len(edge) and method.stable(z, 0.0):
        raise ValueError(f"z must be so small that floats hold the region's boundary, got {z}")
    if len(edge):  # else the region is empty: e^z is too large
        edge = edge[np.argsort(abs(edge))]
        reach = np.maximum(abs(edge), np.median(abs(edge)) / 4)
        far = np.flatnonzero(abs(edge[1:]) > 2 * reach[:-1])
        edge = edge[: far[0] + 1] if len(far) else edge
    x, y = np.append(edge.real, 0.0), np.append(edge.imag, 0.0)
    margin = 0.05 * max(float(np.ptp(x)), float(np.ptp(y)), 1e-3)
    return (
        float(x.min()) - margin,
        float(x.max()) + margin,
        float(y.min()) - margin,
        float(y.max()) + margin,
    )


def _area(x: np.ndarray, y: np.ndarray, radius: np.ndarray) -> float:
    """The area where the radius is below 1: every cell is cut into two triangles, on which it is linear."""
    cell = float(x[1] - x[0]) * float(y[1] - y[0])  # infinite where it overflows, without a warning
    f = np.minimum(radius, 1e6) - 1
    a, b, c, d = f[:-1, :-1], f[:-1, 1:], f[1:, :-1], f[1:, 1:]
    return float(cell / 2 * (_below(a, b, c) + _below(b, c, d)).sum())


def _below(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """The part of a triangle where a linear function with these values at its corners is negative."""
    low, mid, high = np.sort(np.stack([a, b, c]), axis=0)
    with np.errstate(all="ignore"):
        one = low**2 / ((mid - low) * (high - low))  # a corner is below
        two = 1 - high**2 / ((high - low) * (high - mid))  # a corner is above
    part: np.ndarray = np.where(low >= 0, 0.0, np.where(high <= 0, 1.0, np.where(mid >= 0, one, two)))
    return part


# --- sections ---


@dataclass(frozen=True)
class Interval:
    """A stable interval of the real axis; its ends are known to 1e-12 of their size."""

    low: float
    high: float


def real_interval(
    method: Amplification, z: complex, points: int = 1000, *, within: Window | None = None
) -> Interval | None:
    """The stable interval of real w that contains 0, or the nearest to 0 where 0 is unstable; None: none.

    At z = 0 it is [-w*, 0] of the classical theory.  For real z the exact solution decays for w < -z, and a
    method whose rows sum to phi_1 is neutral at w = -z, usually an end of the interval.  For imaginary z the
    point 0 itself is neutral, and may be all of the interval on one side.
    Scanned at `points` places on each side of 0: an instability in a narrower gap is not seen.
    within: what `window` finds, where it is known.
    """
    left, right, _, _ = window(method, z) if within is None else within
    sides = [(-1.0, -left), (1.0, right)]
    if method.stable(z, 0.0):
        low, high = (
            sign * _exit(_on_ray(method, z, sign), np.linspace(0, end, points)) for sign, end in sides
        )
        return Interval(low + 0.0, high + 0.0)
    found = [i for sign, end in sides if (i := _first(method, z, sign, end, points))]
    return min(found, key=lambda i: min(abs(i.low), abs(i.high)), default=None)


def _first(method: Amplification, z: complex, sign: float, end: float, points: int) -> Interval | None:
    """The first stable interval on one side of an unstable 0."""
    stable, at = _on_ray(method, z, sign), np.linspace(0, end, points)
    inside = np.flatnonzero(stable(at))
    if not len(inside):
        return None
    enter = _exit(lambda r: ~stable(r), at[: inside[0] + 1])
    leave = _exit(stable, at[inside[0] :])
    return Interval(*sorted((sign * enter, sign * leave)))


def imaginary_section(
    method: Amplification, z: complex, points: int = 1000, *, within: Window | None = None
) -> Interval | None:
    """All y around 0 with w = i y stable, their ends to 1e-12; None where w = 0 is unstable.

    Symmetric for real z.  Scanned at `points` places on each side; decided in multiprecision where
    |zeta| - 1 is of rounding size, as it is near 0 for every method of some order.
    within: what `window` finds, where it is known.
    """
    if not method.stable(z, 0.0):
        return None
    _, _, bottom, top = window(method, z) if within is None else within
    high = _exit(_on_ray(method, z, 1j), np.linspace(0, top, points))
    if complex(z).imag == 0:
        return Interval(0.0 - high, high)
    return Interval(0.0 - _exit(_on_ray(method, z, -1j), np.linspace(0, -bottom, points)), high)


def imaginary_interval(method: Amplification, z: complex, points: int = 1000) -> float | None:
    """The largest y* with w = i y stable for all |y| <= y*, as `imaginary_section` finds it."""
    found = imaginary_section(method, z, points)
    return None if found is None else min(-found.low, found.high) + 0.0


def _on_ray(method: Amplification, z: complex, direction: complex) -> Callable[[np.ndarray], np.ndarray]:
    return lambda r: method.stable(z, direction * np.asarray(r))


def _exit(stable: Callable[[np.ndarray], np.ndarray], at: np.ndarray) -> float:
    """The end of the stable stretch that starts at at[0], by bisection; at[-1] where there is none."""
    start, count = 0, 4
    while start < len(at) and stable(at[start : start + count]).all():
        start, count = start + count, min(2 * count, 256)
    if start >= len(at):
        return float(at[-1])
    index = start + int(np.argmin(stable(at[start : start + count])))
    inside, outside = (float(at[max(index - 1, 0)]), float(at[index]))
    least = SMALL * (outside - inside)
    while outside - inside > max(RELATIVE * outside, least if inside == 0 else 0):
        middle = (inside + outside) / 2
        if bool(stable(np.array([middle]))[0]):
            inside = middle
        else:
            outside = middle
    return inside


# --- the largest step ---


@dataclass(frozen=True)
class StableStep:
    """All steps in (0, h] are stable, as far as the scan sees; the true end lies within `error` above h.

    h is infinite where no step up to `scanned` is unstable, and 0 where the smallest one scanned is.
    """

    h: float
    error: float
    scanned: float


def largest_stable_step(method: Amplification, linear: Any, mu: Any, *, ratio: float = 1.01) -> StableStep:
    """The largest h such that u' = L u + mu u is stable for all steps in (0, h], for every pair (L, mu).

    linear, mu: complex numbers or arrays of eigenvalues that broadcast, in inverse units of h; see the
    module `stability` for those of diffusion forms.  A negative direction of integration (rho) turns the
    signs of both.
    Each pair is scanned by itself: steps in geometric progression with `ratio`, from 1e-3/max(|L|, |mu|) to
    1e6 in units of 1/|L| and of 1/|mu|, whichever is longer; where Re L > 0, to Re z = 30; where Im L is not
    0, e^z turns, so that they are no further apart than a 32nd of a turn and end after 200 of them.  An
    instability in a window of h narrower than that is not seen; the end of the first stable stretch is then
    bisected to 1e-12.  With mu = 0 every method is exact, and nothing is scanned.
    Raises ValueError for numbers that are not finite, or a ratio that does not exceed 1.
    """
    given = {"linear": np.asarray(linear, dtype=complex), "mu": np.asarray(mu, dtype=complex)}
    for name, value in given.items():
        if not value.size or not np.isfinite(value).all():
            raise ValueError(f"{name} must be finite numbers, at least one, got {value.tolist()}")
    a, b = np.broadcast_arrays(*given.values())
    if not 1 < ratio <= 2:
        raise ValueError(f"ratio must lie in (1, 2], got {shown(ratio)}")
    pairs = np.unique(np.stack([a.ravel(), b.ravel()], axis=-1), axis=0)
    found = [_stable_step(method, L, m, ratio) for L, m in pairs]
    return min(found, key=lambda s: (s.h, s.scanned))


def _stable_step(method: Amplification, linear: complex, mu: complex, ratio: float) -> StableStep:
    """The largest step for one pair."""
    sizes = [abs(v) for v in (linear, mu) if v]
    if not sizes:
        return StableStep(math.inf, 0.0, math.inf)
    first, last = 1e-3 / max(sizes), 1e6 / min(sizes)
    if not mu and linear.real <= 0:
        return StableStep(math.inf, 0.0, math.inf)
    if linear.real > 0:
        last = max(30 / linear.real, 10 * first)
    steps = _scan(first, last, ratio, abs(linear.imag))

    def stable(h: np.ndarray) -> np.ndarray:
        return method.stable(h * linear, h * mu)

    if not stable(steps[:1])[0]:
        return StableStep(0.0, float(first), float(first))
    end = _exit(stable, steps)
    if end == steps[-1]:
        return StableStep(math.inf, 0.0, float(end))
    return StableStep(end, RELATIVE * end, float(end))


def _scan(first: float, last: float, ratio: float, frequency: float) -> np.ndarray:
    """Steps from first to last in geometric progression, a turn e^(i frequency h) in TURN parts or more."""
    gap = math.inf if frequency == 0 else 2 * math.pi / frequency / TURN
    last = min(last, max(TURNS * TURN * gap, 10 * first))
    even = min(last, max(gap / (ratio - 1), first))  # from here on the gap is the smaller one
    steps = first * ratio ** np.arange(math.ceil(math.log(even / first) / math.log(ratio)) + 1)
    if even == last:
        return steps
    return np.append(steps, np.arange(steps[-1] + gap, last + gap, gap))


def complex_json(value: complex) -> float | list[float]:
    """A complex number for JSON: a number where it is real, else [real, imaginary]."""
    return [value.real, value.imag] if value.imag else value.real


def sections_json(method: Any, region: Any) -> dict[str, Any]:
    """The stable intervals and the area for one z, as JSON data.

    imaginary: the symmetric interval in imaginary_interval, |Im w| <= y*.
    """
    found = (f(method, region.z, within=region.window) for f in (real_interval, imaginary_section))
    real, across = found
    return {
        "z": complex_json(region.z),
        "real": None if real is None else [real.low, real.high],
        "imaginary": None if across is None else min(-across.low, across.high) + 0.0,
        "imaginary_interval": None if across is None else [across.low, across.high],
        "area": region.area,
        "area_error": region.area_error,
    }
