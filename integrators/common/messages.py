"""How a value that was given stands in a message."""

from __future__ import annotations

import reprlib
from typing import Any

import mpmath
import numpy as np

_MPMATH = (mpmath.mpf, mpmath.mpc, mpmath.ctx_mp_python.mpnumeric)


class _Plain(reprlib.Repr):
    """As it would be typed: numbers of numpy and mpmath as plain ones, arrays as lists, long values cut."""

    def repr1(self, x: Any, level: int) -> str:
        if isinstance(x, np.generic):
            x = x.item()
        elif isinstance(x, np.ndarray):
            x = x.tolist()
        if isinstance(x, (*_MPMATH, np.generic)):
            return str(x)
        return super().repr1(x, level)


_PLAIN = _Plain()
_PLAIN.maxlist = _PLAIN.maxtuple = _PLAIN.maxdict = _PLAIN.maxset = 8
_PLAIN.maxstring = _PLAIN.maxother = _PLAIN.maxlong = 200


def shown(value: Any) -> str:
    """The text of a value for a message: its repr, but 0.5 for np.float64(0.5), mpf('0.5') and array(0.5),
    also inside lists, tuples and dicts; at most 8 entries and 200 characters of each.
    """
    return _PLAIN.repr(value)


def written(value: complex) -> str:
    """A number as it is typed: -1, 1j, -1+2j."""
    if not value.imag:
        return f"{value.real:g}"
    return f"{value.real:g}{value.imag:+g}j" if value.real else f"{value.imag:g}j"
