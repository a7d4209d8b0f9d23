"""Checks of arguments.  What fails is told in one form, "NAME must be WHAT, got SHOWN".

A value of the wrong kind or out of range is a ValueError, or the `error` of a caller that reads a file; an
object of another class, or a flag that is none, is a TypeError.  No bool counts as a number.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Collection, Iterable, Mapping
from fractions import Fraction
from typing import Any

import numpy as np
from sympy import Expr, Float, Rational, SympifyError, nan, oo, sympify, zoo

from .messages import shown
from .ranges import Range


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
        raise error(f"{name} must be {Range(least, most=most, integer=True)}, got {shown(value)}")
    return int(value)


def number(name: str, value: Any, **bounds: float) -> Any:
    """The value, if it is a finite real number in `Range(**bounds)`."""
    allowed = Range(**bounds)  # type: ignore[arg-type]  # of numbers, never `integer`
    if is_number(value) and allowed.holds(value):
        return value
    raise ValueError(f"{name} must be {allowed}, got {shown(value)}")


def exact(name: str, value: Any, **bounds: float) -> Expr:
    """The value of a `number` as an exact expression: sympy would fold a float's weights in float64."""
    found = number(name, value, **bounds)
    if isinstance(found, Expr) and not isinstance(found, Float):
        return found
    return Rational(found) if isinstance(found, int | Fraction | Float | float) else Rational(float(found))


def expression(name: str, value: Any) -> Expr:
    """The value of an expression or a number as sympy's, without NaN and infinities.  Text is none: sympy
    would run it as a program.
    """
    if isinstance(value, Expr):
        if value.has(nan, zoo, oo, -oo):
            raise ValueError(f"{name} must be finite, got {shown(value)}")
        return value
    try:
        found = sympify(value, strict=True)
    except (SympifyError, ValueError, AttributeError):
        found = None
    if not isinstance(found, Expr):
        raise TypeError(f"{name} must be an expression or a number, got {shown(value)}")
    return expression(name, found)


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


def text(name: str, value: Any) -> str:
    """The value, if it is a str with something in it."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be text, got {shown(value)}")
    if not value:
        raise ValueError(f"{name} must not be empty, got ''")
    return value


def function(name: str, value: Any) -> None:
    """Raise TypeError unless the value can be called."""
    if not callable(value):
        raise TypeError(f"{name} must be a function, got {shown(value)}")


def sequence(name: str, value: Any, least: int = 0) -> tuple[Any, ...]:
    """The entries of a list, tuple, array or another iterable, `least` of them or more; text is no sequence,
    and no mapping is.
    """
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
        raise TypeError(f"{name} must be a sequence, got {shown(value)}")
    try:
        entries = tuple(value)
    except TypeError as error:  # an array without dimensions says that it can be iterated over
        raise TypeError(f"{name} must be a sequence, got {shown(value)}") from error
    if len(entries) < least:
        wanted = "not be empty" if least == 1 else f"hold at least {least} entries"
        raise ValueError(f"{name} must {wanted}, got {shown(value)}")
    return entries


def pair(name: str, value: Any) -> tuple[Any, Any]:
    """The two entries of a sequence of two."""
    entries = sequence(name, value)
    if len(entries) != 2:
        raise ValueError(f"{name} must be a pair, got {shown(value)}")
    return entries[0], entries[1]
