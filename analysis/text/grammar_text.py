"""Coefficient functions written as texts of `grammar.py`."""

from __future__ import annotations

import sympy
from semilinear.integrators.common import checks
from semilinear.integrators.tableaux.tableau import phi
from sympy import Expr, Rational

from .tokens import EntryError

_SUM, _PRODUCT, _FACTOR, _ATOMIC = range(4)


def text_of(expression: Expr) -> str:
    """The text of an expression: parsed, it is the same function of z again.

    Raises EntryError for anything that the grammar has no words for (other functions).
    """
    return _text(checks.expression("expression", expression), _SUM)


def _text(e: Expr, context: int) -> str:
    text, own = _plain(e)
    return f"({text})" if own < context else text


def _plain(e: Expr) -> tuple[str, int]:
    """The text of a node, and how tightly it binds."""
    if isinstance(e, Rational):
        return str(e), _SUM if e < 0 else (_ATOMIC if e.q == 1 else _PRODUCT)
    if e.is_Symbol and e.name.isidentifier():
        return e.name, _ATOMIC
    if isinstance(e, phi):
        return f"phi({e.args[0]}, {_text(e.args[1], _SUM)})", _ATOMIC
    if isinstance(e, sympy.exp):
        return f"exp({_text(e.args[0], _SUM)})", _ATOMIC
    if e.is_Add:
        return " + ".join(_text(part, _SUM) for part in e.args).replace(" + -", " - "), _SUM
    if e.is_Pow and e.base.is_Rational and e.exp == Rational(1, 2):
        return f"sqrt({e.base})", _ATOMIC
    if e.is_Pow and e.exp.is_Integer and e.exp > 0:
        return f"{_text(e.base, _ATOMIC)}**{e.exp}", _FACTOR
    if e.is_Mul or (e.is_Pow and e.exp.is_Integer):
        return _fraction(e)
    raise EntryError(f"expected numbers, z, phi(k, c), exp(c*z) and square roots of numbers, got {e}")


def _fraction(e: Expr) -> tuple[str, int]:
    """A product as  -a*b/c/d."""
    sign, above, below = "", [], []
    for factor in sympy.Mul.make_args(e):
        if isinstance(factor, Rational):
            sign = "-" if factor < 0 else ""
            above += [str(abs(factor.p))] if abs(factor.p) != 1 else []
            below += [str(factor.q)] if factor.q != 1 else []
        elif factor.is_Pow and factor.exp.is_Integer and factor.exp < 0:
            below.append(_text(1 / factor, _FACTOR))
        else:
            above.append(_text(factor, _FACTOR))
    return "/".join([f"{sign}{'*'.join(above) or '1'}", *below]), _SUM if sign else _PRODUCT
