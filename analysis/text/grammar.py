"""Coefficient functions as text: a grammar of our own, parsed node by node.  No text is ever evaluated.

    sum     = product (("+" | "-") product)*
    product = factor (("*" | "/") factor)*
    factor  = ("+" | "-") factor | atom [("**" | "^") power]
    power   = ["+" | "-"] digits | "(" ["+" | "-"] digits ")"
    atom    = number | "z" | parameter
            | "phi(" digits "," sum ")" | "exp(" sum ")" | "sqrt(" sum ")" | "(" sum ")"
    number  = digits ["." digits]

phi(k, c) is phi_k(c z) with a constant c; the argument of exp is a constant times z, that of sqrt a rational
number; a divisor is a constant or a single power of z times an exponential.  Decimals are exact, and what was
typed is kept beside (`Parser.typed`), so that a table can be judged within its rounding too.  There is no
1e-3: it looks like a float, and a fraction or a decimal says the same exactly.  The names of parameters are
given; no other name is read.

What is parsed is bounded before it is computed: no text makes a large object, whatever it says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, NoReturn

import sympy
from semilinear.integrators.tableaux.tableau import phi, z
from sympy import Expr, Rational, Symbol

from ..algebra.ring import Field, NotInRing, Ring
from ..orders.typed import Decimal
from .tokens import EntryError, Token, fail, tokens

MAX_DEPTH = 40
MAX_POWER = 32
MAX_INDEX = 32
MAX_RADICAND = 10**6
MAX_ROOTS = 3
"""Different square roots: each doubles the degree of the field that a proof computes in."""
MAX_BITS = 16_384
MAX_DEGREE = 64
MAX_TERMS = 2_000
"""Terms z^p e^(q z) of one entry, multiplied out."""
MAX_TOTAL = 20_000
"""Terms of everything that one parser reads."""

_FUNCTIONS = ("phi", "exp", "sqrt")
RESERVED = ("z", *_FUNCTIONS)
_ATOM = "a number, z, phi(k, c), exp(c*z), sqrt(n){} or '('"


class _Size(NamedTuple):
    """Bounds, known before a value is: terms, degree in z and 1/z, and bits of the coefficients."""

    terms: int = 1
    degree: int = 0
    bits: int = 0

    def plus(self, other: _Size) -> _Size:
        return _Size(self.terms + other.terms, max(self.degree, other.degree), self.bits + other.bits + 1)

    def times(self, other: _Size) -> _Size:
        return _Size(self.terms * other.terms, self.degree + other.degree, self.bits + other.bits)

    def to(self, power: int) -> _Size:
        return _Size(self.terms**power, self.degree * power, self.bits * power)


class _Value(NamedTuple):
    expression: Expr
    size: _Size


@dataclass
class Parser:
    """Reads entries as sympy expressions in z, phi(k, c), exp(c z) and algebraic constants.

    One parser for all entries of a file: square roots and the size of everything are bounded together.
    parameters: symbols by the names that entries may use.  decimals: what the symbols of `typed` stand for.
    Raises EntryError for text outside the grammar and for what is too large.
    """

    parameters: Mapping[str, Symbol] = field(default_factory=dict)
    roots: set[Expr] = field(default_factory=set)
    total: int = 0
    decimals: dict[Symbol, Decimal] = field(default_factory=dict)

    def __call__(self, text: str) -> Expr:
        """The expression that a text stands for."""
        return self.exact(self.typed(text))

    def exact(self, expression: Expr) -> Expr:
        """An expression with the values of its decimals."""
        return expression.xreplace({s: d.value for s, d in self.decimals.items()})

    def typed(self, text: str) -> Expr:
        """The same with a symbol for each decimal."""
        run = _Run(self, text)
        value = run.sum()
        if run.token.text:
            run.refuse("an operator or the end")
        self.total += value.size.terms
        if self.total > MAX_TOTAL:
            raise EntryError(f"all entries together have more than {MAX_TOTAL} terms, multiplied out")
        return value.expression


class _Run:
    """The parsing of one text."""

    def __init__(self, parser: Parser, text: str) -> None:
        self.parser, self.text = parser, text
        self.tokens, self.depth, self.next = tokens(text), 0, 0

    # --- the grammar, rule by rule ---

    def sum(self) -> _Value:
        """The rule of the same name."""
        self._deeper()
        first = self._product()
        parts, size = [first.expression], first.size
        while self.token.text in ("+", "-"):
            sign, at = self._take().text, self.token.at
            part = self._product()
            parts.append(part.expression if sign == "+" else -part.expression)
            size = self._check(size.plus(part.size), at)
        self.depth -= 1
        return _Value(sympy.Add(*parts), size)

    def _product(self) -> _Value:
        value = self._factor()
        while self.token.text in ("*", "/"):
            operator, at = self._take().text, self.token.at
            other = self._factor()
            size = self._check(value.size.times(other.size), at)
            if operator == "/":
                self._check_divisor(other.expression, at)
                other = _Value(1 / other.expression, other.size)
            value = _Value(value.expression * other.expression, size)
        return value

    def _factor(self) -> _Value:
        if self.token.text in ("+", "-"):
            self._deeper()
            sign = self._take().text
            value = self._factor()
            self.depth -= 1
            return value if sign == "+" else _Value(-value.expression, value.size)
        at = self.token.at
        base = self._atom()
        if self.token.text not in ("**", "^"):
            return base
        self._take()
        power = self._power()
        if self.token.text in ("**", "^"):
            self.refuse("parentheses around a power that is raised to another")
        size = self._check(base.size.to(abs(power)), at)
        if power < 0:
            self._check_divisor(base.expression, at)
        return _Value(base.expression**power, size)

    def _power(self) -> int:
        closing = self.token.text == "(" and bool(self._take())
        sign = self._take().text if self.token.text in ("+", "-") else "+"
        power = self._integer("an integer power", MAX_POWER)
        if closing:
            self._expect(")")
        return -power if sign == "-" else power

    def _atom(self) -> _Value:
        token = self.token
        if token.text[:1].isdigit():
            return self._number(self._take().text)
        if token.text == "(":
            self._take()
            inside = self.sum()
            self._expect(")")
            return inside
        if token.text == "z":
            self._take()
            return _Value(z, _Size(degree=1))
        if token.text in self.parser.parameters:
            return _Value(self.parser.parameters[self._take().text], _Size())
        functions = dict(zip(_FUNCTIONS, (self._phi, self._exp, self._sqrt), strict=True))
        if token.text not in functions:
            names = ", ".join(self.parser.parameters)
            self.refuse(_ATOM.format(f", {names}" if names else ""))
        self._take()
        self._expect("(")
        value = functions[token.text]()
        self._expect(")")
        return _Value(value.expression, self._check(value.size, token.at))

    def _number(self, text: str) -> _Value:
        value = Rational(text)
        size = _Size(bits=value.p.bit_length() + value.q.bit_length())
        if value.q == 1 or "." not in text:
            return _Value(value, size)
        symbol = Symbol(text, positive=True)
        self.parser.decimals[symbol] = Decimal(value, len(text.partition(".")[2]))
        return _Value(symbol, size)

    def _phi(self) -> _Value:
        k = self._integer("an integer k >= 0 in phi(k, c)", MAX_INDEX)
        self._expect(",")
        at = self.token.at
        c = self.sum()
        if c.expression.has(z, phi):
            self._fail(at, f"expected a constant c in phi(k, c), which is phi_k(c z); got {c.expression}")
        # phi_k(c z) multiplied out has the denominator (c z)^k.
        return _Value(phi(k, c.expression), _Size(k + 1, k, c.size.bits * max(k, 1) + 5 * k))

    def _exp(self) -> _Value:
        at = self.token.at
        argument = self.sum()
        rate = sympy.expand(argument.expression / z)
        if rate.has(z, phi):
            self._fail(at, f"expected a constant times z in exp(c*z), got {argument.expression}")
        return _Value(sympy.exp(rate * z), _Size(bits=argument.size.bits))

    def _sqrt(self) -> _Value:
        at = self.token.at
        n = self.parser.exact(self.sum().expression)
        if not (n.is_Rational and n >= 0 and max(n.p, n.q) <= MAX_RADICAND):
            self._fail(at, f"expected a rational number >= 0 of integers <= {MAX_RADICAND} in sqrt(n)")
        root = sympy.sqrt(n)
        self.parser.roots |= {p for p in root.atoms(sympy.Pow) if not p.is_rational}
        if len(self.parser.roots) > MAX_ROOTS:
            self._fail(at, f"at most {MAX_ROOTS} different square roots are read")
        return _Value(root, _Size(bits=n.p.bit_length() + n.q.bit_length()))

    # --- tokens and checks ---

    @property
    def token(self) -> Token:
        """The token that is looked at; empty at the end."""
        return self.tokens[self.next]

    def _take(self) -> Token:
        self.next += 1
        return self.tokens[self.next - 1]

    def _expect(self, text: str) -> None:
        if self.token.text != text:
            self.refuse(f"{text!r}" if text != ")" else "an operator or ')'")
        self._take()

    def _integer(self, what: str, largest: int) -> int:
        if not self.token.text.isdigit() or int(self.token.text) > largest:
            self.refuse(f"{what}, at most {largest}")
        return int(self._take().text)

    def _deeper(self) -> None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            self._fail(self.token.at, f"expected at most {MAX_DEPTH} signs and parentheses inside each other")

    def _check(self, size: _Size, at: int) -> _Size:
        limits = (MAX_TERMS, MAX_DEGREE, MAX_BITS)
        words = ("terms when multiplied out", "as the power of z", "bits in its coefficients")
        for got, limit, what in zip(size, limits, words, strict=True):
            if got > limit:
                self._fail(at, f"expected a smaller expression: at most {limit} {what}")
        return size

    def _check_divisor(self, typed: Expr, at: int) -> None:
        divisor = self.parser.exact(typed)
        try:
            element = Ring(Field([divisor]))(divisor)
            if not element:
                self._fail(at, "expected a divisor that is not zero")
            element.inverse()
        except NotInRing:
            what = "; rational functions of z are outside the ring of exact proofs" if divisor.has(z) else ""
            self._fail(
                at, f"expected a constant, a power of z or an exponential to divide by, got {divisor}{what}"
            )

    def refuse(self, expected: str) -> NoReturn:
        """Say what is expected at the present token."""
        got = self.token.text
        self._fail(self.token.at, f"expected {expected}, got {repr(got[:20]) if got else 'the end'}")

    def _fail(self, at: int, message: str) -> NoReturn:
        fail(self.text, at, message)
