"""Checks of arguments.  What fails is told in one form, "NAME must be WHAT, got SHOWN".

A value of the wrong kind or out of range is a ValueError, or the `error` of a caller that reads a file; an
object of another class, or a flag that is none, is a TypeError.  No bool counts as a number.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Collection
from fractions import Fraction
from typing import Any

import numpy as np
from sympy import Expr, Float, Rational

from .messages import shown


def is_number(value: Any) -> bool:
    """Whether a value is one real number: of Python, numpy or mpmath, or an exact expression."""
    if isinstance(value, Expr):
        return bool(value.is_number and value.is_real)
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def integer(
    name: str, value: Any, least: int, most: float = math.inf, error: type[ValueError] = ValueError
) -> int:
    """The value as an int, if it is an integer, of Python or numpy, from `least` to `most`."""
    if type(value) is int and least <= value <= most:  # the most frequent by far: phi asks for every k
        return value
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not least <= value <= most:
        wanted = f">= {least}" if most == math.inf else f"from {least} to {most}"
        raise error(f"{name} must be an integer {wanted}, got {shown(value)}")
    return int(value)


def number(
    name: str,
    value: Any,
    *,
    least: float = -math.inf,
    above: float = -math.inf,
    most: float = math.inf,
    below: float = math.inf,
) -> Any:
    """The value, if it is a finite real number with  least <= value <= most  and  above < value < below."""
    if is_number(value) and least <= value <= most and above < value < below and abs(value) < math.inf:
        return value
    raise ValueError(f"{name} must be {_range(least, above, most, below)}, got {shown(value)}")


def _range(least: float, above: float, most: float, below: float) -> str:
    low, high = max(least, above), min(most, below)
    if (low, high) == (-math.inf, math.inf):
        return "a finite number"
    if (low, high) == (0, math.inf):
        return "a positive number" if above == 0 else "a non-negative number"
    return f"a number in {'(' if above == low else '['}{low:g}, {high:g}{')' if below == high else ']'}"


def exact(name: str, value: Any, **bounds: float) -> Expr:
    """The value of a `number` as an exact expression: sympy would fold a float's weights in float64."""
    found = number(name, value, **bounds)
    if isinstance(found, Expr) and not isinstance(found, Float):
        return found
    return Rational(found) if isinstance(found, int | Fraction | Float | float) else Rational(float(found))


def one_of(
    name: str, value: Any, allowed: Collection[str | int], error: type[ValueError] = ValueError
) -> None:
    """Raise unless the value is one of those allowed: names, or a few integers."""
    if isinstance(value, bool) or not isinstance(value, (str, int)) or value not in allowed:
        raise error(f"{name} must be one of {', '.join(map(str, allowed))}, got {shown(value)}")


def flag(name: str, value: Any) -> None:
    """Raise TypeError unless the value is True or False."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, got {shown(value)}")


def instance(name: str, value: Any, kind: type) -> None:
    """Raise TypeError unless the value is an object of that class."""
    if not isinstance(value, kind):
        article = "an" if kind.__name__[0] in "AEIOU" else "a"
        raise TypeError(f"{name} must be {article} {kind.__name__}, got {shown(value)}")
