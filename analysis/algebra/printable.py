"""Expressions as text, however large their integers are."""

from __future__ import annotations

import sympy
from sympy import Expr, Rational

DIGITS = 20
MAX_BITS = 3_300
"""Of an integer that is written out, some 1000 digits; Python refuses to write more than 4300."""


def printable(expression: Expr) -> str:
    """The text of an expression; fractions of more than some 1000 digits as decimals of `DIGITS` digits."""
    large = {
        n: sympy.Float(n, DIGITS)
        for n in expression.atoms(Rational)
        if max(abs(n.p).bit_length(), n.q.bit_length()) > MAX_BITS
    }
    return str(expression.xreplace(large))
