"""The phi-functions of exponential integrators: accurate for every argument and every kind of number.

phi_0(z) = e^z,   phi_k(z) = int_0^1 e^((1-u) z) u^(k-1)/(k-1)! du = sum_j z^j/(j+k)!.

The recurrence phi_{k+1} = (phi_k - 1/k!)/z cancels for small z (phi_3 in float64 has no digit left at z =
1e-5). Real arguments: the series near 0 (for z > 0 far out: all its terms are positive),
the recurrence elsewhere.  Complex arguments in the disc of radius
10: phi_2 and phi_3 have zeros there, where neither is accurate, so the series is summed with a compensated
Horner scheme (error terms of every product and sum carried along; Graillat, Langlois & Louvet 2009), as if
in twice the precision. Source: Hochbruck & Ostermann, Acta Numerica 2010, Sec. 2.
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np
import sympy

from ..common import checks
from .arithmetic import Value, of
from .tensors import is_tensor
from .twofold import two_product, two_sum

MAX_K = 32
_RADIUS = 10.5
"""Complex arguments within this radius are summed by the compensated series."""


def _high(k: int) -> float:
    """The real series is used up to here: its terms are positive, while the recurrence cancels."""
    return max(10.5, k + 6.0)


def _low(k: int) -> float:
    """The real series is used from here: below, its terms cancel more than the recurrence does.

    -(k + 1) keeps both branches within 4 ulp on [-60, 0]; a common seam at -5 costs 19 ulp at k = 8.
    """
    return -(k + 1.0) if k > 1 else -1.0


@cache
def _series(k: int, radius: float, bits: int) -> tuple[Fraction, ...]:
    """1/(j+k)! for j = 0, 1, .. until the terms at |z| = radius fall below 2^-bits of the sum."""
    terms: list[Fraction] = []
    term, j = 1.0, 0
    smallest = min(1.0, k / (radius + k)) if k else math.exp(-radius)  # of k! phi_k on the disc, roughly
    while term > smallest * 2.0**-bits or j < radius:
        terms.append(Fraction(1, math.factorial(j + k)))
        j += 1
        term *= radius / (j + k)
    return tuple(terms)


@cache
def _real_coefficients(k: int) -> tuple[float, ...]:
    return tuple(float(c) for c in _series(k, _high(k), 58))


def _horner(coefficients: tuple[float, ...], z: Value) -> Value:
    total = 0.0 * z + coefficients[-1]
    for c in reversed(coefficients[:-1]):
        total = total * z + c
    return total


def _upward(k: int, z: Value, phi_1: Value) -> Value:
    value = phi_1
    for j in range(1, k):
        value = (value - 1.0 / math.factorial(j)) / z
    return value


_HUGE = 700.0
"""e^z overflows soon above; phi_k does so later."""


def _float(k: int, z: float) -> float:
    if k == 0:
        return math.exp(z) if not z > 709.782712893384 else math.inf
    if _low(k) < z < _high(k):
        return _horner(_real_coefficients(k), z)  # type: ignore[no-any-return]
    if z <= _HUGE or z != z:
        return _upward(k, z, math.expm1(z) / z)  # type: ignore[no-any-return]
    half = math.exp(z / 2) if z < 1400 else math.inf
    return _upward(k, z, half * (half / z)) if half < math.inf else math.inf


# --- arrays: numpy and torch share the code through their common function names ---


def _real_array(xp: Any, k: int, z: Value) -> Value:
    if k == 0:
        return xp.exp(z)
    small = (z > _low(k)) & (z < _high(k))
    zero = xp.zeros_like(z)
    outside = xp.where(small | (z == math.inf), zero + 20.0, z)  # no 0/0 and no inf/inf reaches autograd
    if xp is np and not np.any(outside > _HUGE):
        first = np.expm1(outside) / outside
    else:
        half = xp.exp(xp.where(outside > _HUGE, outside, zero) / 2)
        first = xp.where(outside > _HUGE, half * (half / outside), xp.expm1(outside) / outside)
    value = xp.where(z == math.inf, z, _upward(k, outside, first))
    if xp is np:  # the series where it is used
        value[small] = _horner(_real_coefficients(k), z[small])
        return value
    return xp.where(small, _horner(_real_coefficients(k), xp.where(small, z, zero)), value)


@cache
def _split_coefficients(k: int) -> tuple[tuple[float, float], ...]:
    pairs = []
    for c in _series(k, _RADIUS, 120):
        high = float(c)
        pairs.append((high, float(c - Fraction(high))))
    return tuple(pairs)


def _compensated(k: int, x: Value, y: Value) -> tuple[Value, Value]:
    """Real and imaginary part of phi_k(x + iy) by a Horner scheme that also sums its own rounding errors."""
    coefficients = _split_coefficients(k)
    zero = 0.0 * x
    re, im, re_error, im_error = zero + coefficients[-1][0], zero, zero, zero
    for high, low in reversed(coefficients[:-1]):
        a, da = two_product(re, x)
        b, db = two_product(im, y)
        c, dc = two_product(re, y)
        d, dd = two_product(im, x)
        p, dp = two_sum(a, -b)
        q, dq = two_sum(c, d)
        re, dr = two_sum(p, zero + high)
        re_error, im_error = (
            re_error * x - im_error * y + (((da - db) + dp) + (dr + low)),
            re_error * y + im_error * x + ((dc + dd) + dq),
        )
        im = q
    return re + re_error, im + im_error


def _complex_array(xp: Any, k: int, z: Value) -> Value:
    if k == 0:
        return xp.exp(z)
    small = abs(z) <= _RADIUS
    zero = xp.zeros_like(z)
    inside = xp.where(small, z, zero)
    re, im = _compensated(k, inside.real, inside.imag)
    outside = xp.where(small, zero + 20.0, z)
    return xp.where(small, re + 1j * im, _upward(k, outside, (xp.exp(outside) - 1.0) / outside))


def _array(xp: Any, k: int, z: Value, is_complex: bool) -> Value:
    return (_complex_array if is_complex else _real_array)(xp, k, z)


# --- multiprecision ---


def _mp(k: int, z: Value) -> Value:
    context = z.context
    with context.workdps(context.dps + 15):
        if k == 0:
            value = context.exp(z)
        elif abs(z) < 1:
            term = value = context.mpf(1) / math.factorial(k)
            j, stop = 0, abs(term) * context.eps * context.mpf("1e-3")
            while abs(term) > stop:
                j += 1
                term = term * z / (j + k)
                value = value + term
        else:
            # The recurrence loses the digits of k! |phi_k|: two per step are plenty for |z| >= 1.
            with context.workdps(context.dps + 2 * k + int(context.log10(abs(z)) * k) + 5):
                value = context.expm1(z) / z if k else context.exp(z)
                for j in range(1, k):
                    value = (value - context.mpf(1) / math.factorial(j)) / z
    return +value


def _exact(k: int, z: Value) -> Value:
    xp = of(z)
    if z == 0:
        return xp.number(Fraction(1, math.factorial(k)))
    value = xp.exp(z)
    for j in range(k):
        value = (value - xp.number(Fraction(1, math.factorial(j)))) / z
    return value


def phi(k: int, z: Value) -> Value:
    """phi_k(z), to 5 ulp for real z in [-60, 10] and |z| <= 10 complex (k <= 8), in the number system of z.

    k: integer, 0 <= k <= 32. z: dimensionless (h times the linear operator).  Python number, numpy array or
    scalar, torch tensor (half precision, float32 and complex64 are computed in float64), mpmath number, or
    numpy object array of mpmath numbers; a sympy expression or a germ gives the closed form.  Returns the
    same kind, dtype and shape; integers become float64.
    Near a zero of phi_k (the nearest lie at 2 pi i for k = 1, 2.09 +- 7.46 i for k = 2) the bound holds in
    units of the last place of the larger of |phi_k| and 1e-10. Raises ValueError for another k, TypeError
    for another kind of z.
    """
    checks.integer("k", k, 0, MAX_K)
    k = int(k)
    if is_tensor(z):
        import torch

        if z.is_complex():
            return _array(torch, k, z.to(torch.complex128), True).to(z.dtype)
        dtype = z.dtype if z.is_floating_point() else torch.float64
        return _array(torch, k, z.to(torch.float64), False).to(dtype)
    if isinstance(z, np.ndarray) and z.dtype == object:
        return np.frompyfunc(lambda v: phi(k, v), 1, 1)(z)
    if isinstance(z, (np.ndarray, np.generic)):
        array = np.asarray(z)
        if array.dtype.kind not in "iufc":
            raise TypeError(f"z must be numeric, got an array of dtype {array.dtype}")
        wide = np.complex128 if array.dtype.kind == "c" else np.float64
        result = array.dtype if array.dtype.kind in "fc" else np.dtype(np.float64)
        with np.errstate(over="ignore", invalid="ignore"):
            return _array(np, k, array.astype(wide), array.dtype.kind == "c").astype(result)[()]
    if hasattr(z, "context") and hasattr(z.context, "workdps"):
        return _mp(k, z)
    if isinstance(z, (int, float)) and not isinstance(z, bool):
        return _float(k, float(z))
    if isinstance(z, sympy.Expr) or of(z).exact:
        return _exact(k, z)
    if isinstance(z, complex):
        return complex(_array(np, k, np.asarray(z), True)[()])
    raise TypeError(f"z must be a number, numpy array, torch tensor or mpmath number, got {type(z).__name__}")


def phi_matrix(k: int, a: Value) -> Value:
    """phi_k of a square matrix, as the last block of the exponential of an augmented matrix.

    a: shape (..., d, d): torch tensor or numpy array of float32, float64 or complex; or an mpmath matrix.
    exp([[A, I, 0], [0, 0, I], [0, 0, 0]]) holds phi_2(A) in its upper right block (Sidje 1998, Thm. 1;
    Al-Mohy & Higham 2011, Thm. 2.1); k blocks of identity give phi_k.  The exponential is torch's (for
    numpy too: scipy's loses four digits of the block at k = 8) or mpmath's; the error is about 1e-16 times
    the norm of a, relative to the largest entry.
    Raises ValueError for another k or a matrix that is not square.
    """
    checks.integer("k", k, 0, MAX_K)
    k = int(k)
    is_mp = hasattr(a, "ctx") and hasattr(a, "rows")
    shape = (a.rows, a.cols) if is_mp else tuple(getattr(a, "shape", ()))
    if len(shape) < 2 or shape[-1] != shape[-2]:
        raise ValueError(f"a must be a square matrix of shape (..., d, d), got shape {shape}")
    d = shape[-1]
    if is_mp:
        big = a.ctx.zeros(d * (k + 1))
        with a.ctx.workdps(a.ctx.dps + 10):
            for i in range(d):
                for j in range(d):
                    big[i, j] = a[i, j]
            for i in range(d * k):
                big[i, i + d] = 1
            return a.ctx.expm(big)[:d, d * k :]
    import torch

    if is_tensor(a):
        wide = torch.complex128 if a.is_complex() else torch.float64
        augmented = torch.zeros((*shape[:-2], d * (k + 1), d * (k + 1)), dtype=wide, device=a.device)
        augmented[..., :d, :d] = a
        augmented.diagonal(d, -2, -1).fill_(1.0)
        return torch.linalg.matrix_exp(augmented)[..., :d, d * k :].to(a.dtype)
    array = np.asarray(a)
    if array.dtype.kind not in "iufc":
        raise TypeError(f"a must be numeric, got dtype {array.dtype}")
    wide_np = np.complex128 if array.dtype.kind == "c" else np.float64
    value = phi_matrix(k, torch.from_numpy(np.ascontiguousarray(array, dtype=wide_np))).numpy()
    return value.astype(array.dtype) if array.dtype.kind in "fc" else value
