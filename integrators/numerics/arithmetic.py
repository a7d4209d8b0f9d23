"""Number systems: one formula, evaluated in float64, in torch, in multiprecision, or exactly in symbols.

Schedules, forms and tableaux are written once against an `Arithmetic`; `of(value)` finds the one that a
number, array or tensor belongs to.  mpmath numbers live in contexts of their own (`multiprecision`), so that
no global precision is read or changed and two threads may work with different precisions.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields, replace
from fractions import Fraction
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

import mpmath
import numpy as np
import sympy
from mpmath.libmp import from_int, mpf_add, mpf_exp, mpf_pos, round_nearest

from ..common import checks
from .tensors import is_tensor

if TYPE_CHECKING:
    import torch

Value = Any
"""A float, numpy array, torch tensor, mpmath number, or numpy object array of mpmath numbers."""
Fn = Callable[[Value], Value]

MAX_DIGITS = 10_000


@dataclass(frozen=True, eq=False)
class Arithmetic:
    """Elementary functions over one kind of number; each accepts scalars and arrays of that kind."""

    name: str
    exp: Fn
    expm1: Fn
    log: Fn
    log1p: Fn
    sqrt: Fn
    sin: Fn
    cos: Fn
    sinh: Fn
    arcsinh: Fn
    arctan2: Callable[[Value, Value], Value]
    where: Callable[[Value, Value, Value], Value]
    maximum: Callable[[Value, Value], Value]
    divide: Callable[[Value, Value], Value]
    """a/b, with +infinity for a positive number by zero."""
    number: Fn
    """Exact conversion of an int, float, Fraction, sympy Rational or number of this kind."""
    pi: Value
    digits: int | None = None
    """Decimal digits carried, or None for float64."""
    context: Any = None
    """The mpmath context, or None."""
    exact: bool = False
    """Whether values are expressions, not numbers."""
    power: Callable[[Value, Value], Value] = operator.pow

    def softplus(self, x: Value) -> Value:
        """log(1 + e^x), to full relative accuracy for every x."""
        return self.maximum(x, self.number(0)) + self.log1p(self.exp(-abs(x)))


def limited(name: str, why: str, **operations: Any) -> Arithmetic:
    """An arithmetic of the operations given: all others raise TypeError, saying why."""

    def refuse(*_: Value) -> Value:
        raise TypeError(why)

    every: dict[str, Any] = {f.name: refuse for f in fields(Arithmetic) if f.default is MISSING}
    return Arithmetic(**(every | {"name": name, "pi": None} | operations))


def _float64(value: Value) -> Value:
    if isinstance(value, np.ndarray):
        return value.astype(np.float64, copy=False)
    return float(value)


def _tensor(value: Value) -> Value:
    return value if is_tensor(value) else float(value)


def _torch_unary(function: Callable[[torch.Tensor], torch.Tensor], host: Fn) -> Fn:
    """A torch function that takes a schedule's constants, Python floats, too."""
    return lambda x: function(x) if is_tensor(x) else float(host(x))


def _torch_binary(function: Callable[..., torch.Tensor]) -> Callable[..., Value]:
    """A torch function of two tensors that also takes Python numbers beside a tensor."""

    def call(*arguments: Value) -> Value:
        import torch

        like = next(a for a in arguments if is_tensor(a) and a.is_floating_point())
        return function(*(a if is_tensor(a) else torch.full_like(like, float(a)) for a in arguments))

    return call


def _host_where(condition: Value, yes: Value, no: Value) -> Value:
    chosen: Value = np.where(condition, yes, no)
    return chosen[()]  # a scalar for scalars


FLOAT64 = Arithmetic(
    name="float64",
    exp=np.exp,
    expm1=np.expm1,
    log=np.log,
    log1p=np.log1p,
    sqrt=np.sqrt,
    sin=np.sin,
    cos=np.cos,
    sinh=np.sinh,
    arcsinh=np.arcsinh,
    arctan2=np.arctan2,
    where=_host_where,
    maximum=np.maximum,
    divide=np.true_divide,
    number=_float64,
    pi=float(np.pi),
)


@cache
def torch_arithmetic() -> Arithmetic:
    """Of tensors."""
    import torch

    return Arithmetic(
        name="torch",
        exp=_torch_unary(torch.exp, np.exp),
        expm1=_torch_unary(torch.expm1, np.expm1),
        log=_torch_unary(torch.log, np.log),
        log1p=_torch_unary(torch.log1p, np.log1p),
        sqrt=_torch_unary(torch.sqrt, np.sqrt),
        sin=_torch_unary(torch.sin, np.sin),
        cos=_torch_unary(torch.cos, np.cos),
        sinh=_torch_unary(torch.sinh, np.sinh),
        arcsinh=_torch_unary(torch.arcsinh, np.arcsinh),
        arctan2=_torch_binary(torch.arctan2),
        where=_torch_binary(torch.where),
        maximum=_torch_binary(torch.maximum),
        divide=_torch_binary(torch.true_divide),
        number=_tensor,
        pi=float(np.pi),
    )


def _elementwise(function: Callable[..., Any], arity: int = 1) -> Callable[..., Value]:
    made: Callable[..., Value] = np.frompyfunc(function, arity, 1)
    return made


SYMBOLIC = Arithmetic(
    name="symbolic",
    exp=_elementwise(sympy.exp),
    expm1=_elementwise(lambda x: sympy.exp(x) - 1),
    log=_elementwise(sympy.log),
    log1p=_elementwise(lambda x: sympy.log(1 + x)),
    sqrt=_elementwise(sympy.sqrt),
    sin=_elementwise(sympy.sin),
    cos=_elementwise(sympy.cos),
    sinh=_elementwise(sympy.sinh),
    arcsinh=_elementwise(sympy.asinh),
    arctan2=_elementwise(sympy.atan2, 2),
    where=lambda condition, yes, no: sympy.Piecewise((yes, condition), (no, True)),
    maximum=sympy.Max,
    divide=lambda a, b: a / b,
    number=_elementwise(lambda value: value if isinstance(value, sympy.Expr) else sympy.Rational(value)),
    pi=sympy.pi,
    exact=True,
)
"""sympy expressions: exact coefficients for proofs (finite wherever an expression is)."""


class NotFinite(ValueError):
    """A coefficient that is infinite, NaN or complex, or has no limit where it has to be taken."""


def finite(value: Value) -> bool:
    """Whether every component is a finite number; expressions are taken to be."""
    if isinstance(value, float):
        return math.isfinite(value)
    if is_tensor(value):
        return bool(value.isfinite().all())
    if isinstance(value, np.ndarray) and value.dtype.kind in "fc":
        return bool(np.isfinite(value).all())
    return of(value).exact or bool(np.all(abs(value) < float("inf")))


def _expm1(context: Any) -> Fn:
    """mpmath's own, step by step with the same roundings, without its machinery for long sums: a fourth of
    the time.
    """
    minus_one = from_int(-1)

    def expm1(x: Value) -> Value:
        prec = context.prec + 10
        value = getattr(x, "_mpf_", None)
        if value is None or not value[1] or value[2] + value[3] < -prec:  # 0, not finite, tiny
            return context.expm1(x)
        extra = 10
        while True:
            working = prec + extra + 5
            grown = mpf_exp(value, working, round_nearest)
            total = mpf_add(grown, minus_one, working, round_nearest)
            if not total[1]:
                return context.expm1(x)
            lost = max(grown[2] + grown[3], 1) - (total[2] + total[3])
            if lost < extra:
                return context.make_mpf(mpf_pos(total, context.prec, round_nearest))
            extra += min(working, lost)

    return expm1


@lru_cache(maxsize=64)
def _of_context(context: Any, digits: int) -> Arithmetic:
    def number(value: Value) -> Value:
        if isinstance(value, np.ndarray):
            return np.frompyfunc(number, 1, 1)(value)
        if isinstance(value, (Fraction, sympy.Rational)):
            return context.mpf(int(value.numerator)) / int(value.denominator)
        if isinstance(value, (np.integer, np.floating)):
            return context.mpf(value.item())
        if isinstance(value, sympy.Expr):
            return context.mpf(sympy.N(value, digits + 10))
        return context.mpf(value)

    return Arithmetic(
        name=f"mpmath-{digits}",
        exp=_elementwise(context.exp),
        expm1=_elementwise(_expm1(context)),
        log=_elementwise(context.log),
        log1p=_elementwise(context.log1p),
        sqrt=_elementwise(context.sqrt),
        sin=_elementwise(context.sin),
        cos=_elementwise(context.cos),
        sinh=_elementwise(context.sinh),
        arcsinh=_elementwise(context.asinh),
        arctan2=_elementwise(context.atan2, 2),
        where=_host_where,
        maximum=_elementwise(lambda a, b: a if a >= b else context.mpf(b), 2),
        divide=_elementwise(lambda a, b: a / b if b else context.inf, 2),
        number=number,
        pi=+context.pi,
        digits=digits,
        context=context,
    )


def multiprecision(digits: int) -> Arithmetic:
    """mpmath arithmetic with `digits` decimal digits, in a context shared by every caller of that precision.

    Raises ValueError unless 1 <= digits <= 10000.
    """
    return _multiprecision(checks.integer("digits", digits, 1, MAX_DIGITS))


class _Context(mpmath.MPContext):  # type: ignore[misc]
    """mpmath's, which prints an array that it is asked to convert to a number, to say that it cannot: a
    product of a number and an array asks, before the array has its turn.
    """

    def npconvert(self, value: Value) -> Value:
        if isinstance(value, np.ndarray) and value.ndim:
            raise TypeError("an array is no number")
        return super().npconvert(value)


@lru_cache(maxsize=64)
def _multiprecision(digits: int) -> Arithmetic:
    context = _Context()
    context.dps = digits
    return _of_context(context, digits)


def of(value: Value) -> Arithmetic:
    """The arithmetic that `value` belongs to: torch, symbols, its own, multiprecision; else float64."""
    if isinstance(value, float):  # the most frequent by far
        return FLOAT64
    if type(value) is np.ndarray:
        if value.dtype != object:
            return FLOAT64
        value = value.flat[0] if value.size else 0.0
    if is_tensor(value):
        return torch_arithmetic()
    if isinstance(value, sympy.Expr):
        return SYMBOLIC
    own = getattr(value, "arithmetic", None)
    if isinstance(own, Arithmetic):
        return own
    context = getattr(value, "context", None)
    if context is not None and hasattr(context, "dps"):
        return _of_context(context, int(context.dps))
    return FLOAT64


def nonzero(value: Value) -> bool:
    """Whether any component is other than zero."""
    if isinstance(value, float):
        return value != 0
    if isinstance(value, np.ndarray):
        return bool(value.any())
    return bool((value != 0).any() if is_tensor(value) else np.any(value != 0))


def squared(value: Value) -> Value:
    """value^2, rounded once and the same for a number and in an array: the power of a number need not be."""
    return value * value


def _each_power(base: Value, exponent: Value) -> Value:
    if not isinstance(base, np.ndarray):
        return base**exponent
    return np.array([v**exponent for v in base.ravel().tolist()]).reshape(base.shape)


EACH = replace(FLOAT64, name="float64, each by itself", power=_each_power)
"""float64 for arrays of one number a step: every power is that of the number alone, where arrays have other
ways for some exponents.
"""


def uniform(condition: Value) -> bool:
    """A condition on one number, or on many of which all agree.  Raises ValueError where they do not: they
    have to be taken one by one.
    """
    if isinstance(condition, np.ndarray) and condition.ndim:
        if condition.all():
            return True
        if condition.any():
            raise ValueError("what holds of some of many steps is decided one by one")
        return False
    return bool(condition)


def choose(digits: int | None) -> Arithmetic:
    """float64 for None, else multiprecision with that many digits."""
    return FLOAT64 if digits is None else multiprecision(digits)
