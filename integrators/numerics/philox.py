"""Counter-based random numbers: Philox 4x32-10, and normal numbers made of its words by exact operations.

Four words are a function of a counter and a key (Salmon et al. 2011, "Parallel random numbers: as easy as
1, 2, 3", Sec. 3), so that any number of a stream is drawn without those before it.  Words are integers below
2^32, in int64 tensors or as Python's: the same few operations draw on every device.

Normal numbers use nothing but what IEEE 754 rounds in one way (+, -, *, / and square roots of float64; bits),
each operation by itself, so that they too are the same bits on every device, in every batch, for every
blocking: a device's own log and cos differ in the last digits, on a CPU between the body and the tail of one
array.
"""

from __future__ import annotations

import math
from typing import Any

import torch

Words = tuple[Any, Any, Any, Any]
"""Integers in [0, 2^32), or int64 tensors of them, all of one shape."""

MASK = 2**32 - 1
ROUNDS = 10
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)
"""What a round adds to the key: 2^32 times the golden ratio's and sqrt 3's fractional parts."""


def philox(counter: Words, key: tuple[int, int]) -> Words:
    """Philox 4x32-10: the four words of a counter under a key of two words."""
    a, b, c, d = counter
    k, l = key
    for _ in range(ROUNDS):
        (high_a, low_a), (high_c, low_c) = _product(MULTIPLIERS[0], a), _product(MULTIPLIERS[1], c)
        high_c ^= b
        high_c ^= k
        high_a ^= d
        high_a ^= l
        a, b, c, d = high_c, low_c, high_a, low_a
        k, l = (k + WEYL[0]) & MASK, (l + WEYL[1]) & MASK
    return a, b, c, d


def _product(multiplier: int, x: Any) -> tuple[Any, Any]:
    """The high and the low word of multiplier x, without an integer of more than 63 bits: (m - 2^32) x."""
    low = x * (multiplier - 2**32)
    high = low >> 32
    high += x
    low &= MASK
    return high, low


def split(value: int) -> tuple[int, int]:
    """The low and the high word of an integer in [0, 2^64)."""
    return value & MASK, value >> 32


def normal(counter: Words, key: tuple[int, int]) -> torch.Tensor:
    """Four standard normal numbers for each counter, float64, along a last axis that is added.

    counter: tensors of one shape.  Two words make a pair (Box & Muller 1958): sqrt(-2 log u) times the
    cosine and the sine of an angle, with u and the angle at the middles of 2^32 equal parts, so |z| < 6.77;
    exact to 1e-13 of the radius.
    """
    words = philox(counter, key)
    radius, turn = torch.stack(words[::2]), torch.stack(words[1::2])
    sine, cosine = _circle(turn)
    radius = torch.sqrt(_log(radius.double().add_(0.5).mul_(2.0**-32)).mul_(-2.0))
    pairs = torch.stack([radius * cosine, radius * sine])  # (cos | sin, pair, ...)
    return pairs.movedim((1, 0), (-2, -1)).flatten(-2)


LOG_TERMS, SINE_TERMS = 8, 8
"""Of the series below: the first that is left out is 1e-14 of the sum."""


def _log(u: torch.Tensor) -> torch.Tensor:
    """log u = k log 2 + 2 artanh((m - 1)/(m + 1)) with u = m 2^k, m in [sqrt 1/2, sqrt 2)."""
    bits = u.view(torch.int64)
    k = (bits - _HALF) >> 52
    m = (bits - (k << 52)).view(torch.float64)
    s = (m - 1.0) / (m + 1.0)
    return (
        _series([2 / (2 * i + 1) for i in range(LOG_TERMS)], s * s).mul_(s).add_(k.double().mul_(math.log(2)))
    )


_HALF = 0x3FE6A09E667F3BCD
"""The bits of sqrt 1/2 as a float64."""


def _circle(word: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The sine and cosine of an angle of the circle's 2^32: 30 bits say where in a quarter, two which."""
    angle = ((word & (2**30 - 1)).double().add_(0.5).mul_(2.0**-30).sub_(0.5)).mul_(math.pi / 2)
    square = angle * angle
    signs = [(-1) ** i / math.factorial(2 * i + 1) for i in range(SINE_TERMS)]
    sine = _series(signs, square).mul_(angle)
    cosine = torch.sqrt(1.0 - sine * sine)
    sign = 1.0 - ((word >> 30) & 1).double().mul_(2.0)
    swap = word >= 2**31
    return torch.where(swap, cosine, sine).mul_(sign), torch.where(swap, sine, cosine).mul_(sign)


def _series(coefficients: list[float], x: torch.Tensor) -> torch.Tensor:
    """sum_i coefficients[i] x^i by Horner's rule, every operation rounded by itself."""
    total = torch.full_like(x, coefficients[-1])
    for c in coefficients[-2::-1]:
        total.mul_(x).add_(c)
    return total
