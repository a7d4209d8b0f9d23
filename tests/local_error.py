"""The local error of one step by power series in h over Q: an oracle that knows neither trees nor conditions.

u' = L u + N(tau, u) or y' = w(tau) N(tau, y), N_i a product of affine forms: polynomial, so that everything
is rational, with derivatives of every order that a tree has.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import sympy
from semilinear.analysis.algebra.trees import TIME, Tree
from semilinear.analysis.orders.stiff import LEAF, bushy
from semilinear.integrators.tableaux.tableau import Tableau, omega, phi, z

Vector = tuple[Fraction, ...]
Series = list[Vector]
"""Coefficients of ascending powers of h."""
Forms = tuple[tuple[Fraction, Vector], ...]
"""Affine forms: (constant, coefficients of u and tau)."""


@dataclass(frozen=True)
class System:
    """forms[i]: those whose product is N_i.  operators[m]: L^m, or the m-th derivative of
    w as a matrix.  start: u at tau = 0.  linear: whether the operators are powers of L, which acts on u too.
    """

    forms: tuple[Forms, ...]
    operators: tuple[tuple[Vector, ...], ...]
    start: Vector
    linear: bool

    def act(self, m: int, v: Vector) -> Vector:
        return tuple(dot(row, v) for row in self.operators[m])

    def nonlinear(self, u: Series, c: Fraction, directions: Sequence[Vector] = ()) -> Series:
        """N^(r)(tau, u)(directions) at tau = c h, as a series; directions have a component for tau."""
        terms = len(u)
        clock = [Fraction(0), c, *[Fraction(0)] * terms][:terms]
        point = [(*v, t) for v, t in zip(u, clock, strict=True)]
        columns = []
        for forms in self.forms:
            total = [Fraction(0)] * terms
            for chosen in itertools.permutations(range(len(forms)), len(directions)):
                product = [Fraction(1), *[Fraction(0)] * (terms - 1)]
                for index, v in zip(chosen, directions, strict=True):
                    product = [dot(forms[index][1], v) * x for x in product]
                for index in set(range(len(forms))) - set(chosen):
                    constant, slope = forms[index]
                    factor = [dot(slope, v) for v in point]
                    factor[0] += constant
                    product = convolve(product, factor)
                total = [a + b for a, b in zip(total, product, strict=True)]
            columns.append(total)
        return list(zip(*columns, strict=True))

    def solution(self, terms: int) -> Series:
        """The Taylor coefficients of the exact solution."""
        u = [self.start]
        while len(u) < terms:
            n, k = self.nonlinear(u, Fraction(1)), len(u)
            if self.linear:
                rate = add(self.act(1, u[-1]), n[-1])
            else:
                parts = [self.act(m, n[k - 1 - m]) for m in range(k)]
                rate = add(*(scale(Fraction(1, math.factorial(m)), v) for m, v in enumerate(parts)))
            u.append(scale(Fraction(1, k), rate))
        return u

    def step(self, tableau: Tableau, terms: int, ratios: Sequence[Fraction] = ()) -> Series:
        """The numerical solution after one step from exact past values, omega_j as given."""
        exact = self.solution(terms)
        values = {
            0: self.nonlinear([self.start] + [scale(Fraction(0), self.start)] * (terms - 1), Fraction(0))
        }
        for j, ratio in enumerate(ratios[: tableau.past], 1):
            values[-j] = self.nonlinear([scale((-ratio) ** k, v) for k, v in enumerate(exact)], -ratio)
        given = {omega(j): sympy.Rational(r.numerator, r.denominator) for j, r in enumerate(ratios, 1)}

        def row(weights: Any, c: Fraction) -> Series:
            zero = scale(Fraction(0), self.start)
            total = [self.start, *[zero] * (terms - 1)]
            if self.linear:
                total = [scale(c**m / math.factorial(m), self.act(m, self.start)) for m in range(terms)]
            for key, weight in weights.items():
                for m, x in enumerate(self.taylor(weight.subs(given), terms)):
                    for n in range(terms - m - 1):
                        total[n + m + 1] = add(total[n + m + 1], scale(x, self.act(m, values[key][n])))
            return total

        for i, weights in enumerate(tableau.a, 1):
            c = fraction(tableau.c[i - 1])
            values[i] = self.nonlinear(row(weights, c), c)
        return row(tableau.b, Fraction(1))

    def taylor(self, weight: Any, terms: int) -> list[Fraction]:
        """The coefficients of the operators in a weight, from the definitions of phi and exp."""

        def moment(k: Any, c: Any) -> Any:
            own = (sympy.factorial(k - 1) * (k + m) * sympy.factorial(m) for m in range(terms))
            classical = (sympy.factorial(k + m) for m in range(terms))
            return sum((c * z) ** m / d for m, d in enumerate(classical if self.linear else own))

        def power(e: Any) -> Any:
            return sum(e.args[0] ** m / sympy.factorial(m) for m in range(terms))

        value = weight.replace(phi, moment).replace(lambda e: isinstance(e, sympy.exp), power)
        polynomial = sympy.Poly(sympy.expand(value), z)
        return [fraction(polynomial.coeff_monomial(z**m)) for m in range(terms)]

    def error(self, tableau: Tableau, terms: int, ratios: Sequence[Fraction] = ()) -> Series:
        """Numerical minus exact solution after one step."""
        pairs = zip(self.step(tableau, terms, ratios), self.solution(terms), strict=True)
        return [add(a, scale(Fraction(-1), b)) for a, b in pairs]

    def differential(self, tree: Tree) -> Vector:
        """The elementary differential of an L/N tree at the start."""
        arguments = [
            self.clock if k == TIME else (*self.act(k, self.start), Fraction(0)) for k in tree.leaves
        ]
        arguments += [(*self.differential(child), Fraction(0)) for child in tree.children]
        return self.act(tree.stem, self.nonlinear([self.start], Fraction(0), arguments)[0])

    def along(self, tree: Tree, powers: list[int]) -> Vector:
        """The differential of a defect, with D along the exact solution; powers are used up."""
        m, leaves = powers.pop(0), tree.children.count(LEAF)
        arguments = [] if bushy(tree) else [c for c in tree.children if c != LEAF]
        directions = [(*self.along(child, powers), Fraction(0)) for child in arguments]
        series = self.nonlinear(self.solution(leaves + 1), Fraction(1), directions)
        return self.act(m, scale(Fraction(math.factorial(leaves)), series[leaves]))

    @property
    def clock(self) -> Vector:
        return (*[Fraction(0)] * len(self.start), Fraction(1))


def duhamel_system(
    seed: int, *, scalar: bool = False, timed: bool = False, linearised: bool = False, terms: int = 9
) -> System:
    """A random system u' = L u + N; scalar: L a multiple of the identity; timed: N depends on tau;
    linearised: N' = 0 at the start.
    """
    draw = random.Random(seed)
    matrix: tuple[Vector, ...] = tuple((number(draw), number(draw)) for _ in range(2))
    if scalar:
        matrix = ((matrix[0][0], Fraction(0)), (Fraction(0), matrix[0][0]))
    powers: list[tuple[Vector, ...]] = [((Fraction(1), Fraction(0)), (Fraction(0), Fraction(1)))]
    for _ in range(terms):
        columns = list(zip(*powers[-1], strict=True))
        powers.append(tuple(tuple(dot(row, column) for column in columns) for row in matrix))
    start = (number(draw), number(draw))
    forms = _forms(draw, timed)
    if linearised:
        forms = tuple(_level(own, start) for own in forms)
    return System(forms, tuple(powers), start, True)


def weighted_system(seed: int, *, scalar: bool = False, timed: bool = False, terms: int = 9) -> System:
    """A random system y' = w(tau) N; scalar: w a number, otherwise a full matrix."""
    draw = random.Random(seed)
    operators = []
    for _ in range(terms):
        w = [[number(draw) for _ in range(2)] for _ in range(2)]
        if scalar:
            w = [[w[0][0], Fraction(0)], [Fraction(0), w[0][0]]]
        operators.append(tuple(map(tuple, w)))
    return System(_forms(draw, timed), tuple(operators), (number(draw), number(draw)), False)


def _level(forms: Forms, start: Vector) -> Forms:
    """The last form replaced such that the product's gradient vanishes at the start."""
    values = [constant + dot(slope[:2], start) for constant, slope in forms]
    parts = [scale(1 / value, slope) for value, (_, slope) in zip(values[:-1], forms[:-1], strict=True)]
    slope = scale(-values[-1], add(*parts))
    return (*forms[:-1], (values[-1] - dot(slope[:2], start), slope))


def _forms(draw: random.Random, timed: bool) -> tuple[Forms, ...]:
    def form() -> tuple[Fraction, Vector]:
        return number(draw), (number(draw), number(draw), number(draw) if timed else Fraction(0))

    return tuple(tuple(form() for _ in range(4)) for _ in range(2))


def number(draw: random.Random) -> Fraction:
    return Fraction(draw.choice([-3, -2, -1, 1, 2, 3]), draw.choice([1, 2, 3]))


def fraction(value: Any) -> Fraction:
    value = sympy.Rational(value)
    return Fraction(int(value.p), int(value.q))


def add(*vectors: Vector) -> Vector:
    return tuple(sum(parts, Fraction(0)) for parts in zip(*vectors, strict=True))


def scale(factor: Fraction, v: Vector) -> Vector:
    return tuple(factor * x for x in v)


def dot(a: Sequence[Fraction], b: Sequence[Fraction]) -> Fraction:
    return sum((x * y for x, y in zip(a, b, strict=True)), Fraction(0))


def convolve(a: Sequence[Fraction], b: Sequence[Fraction]) -> list[Fraction]:
    return [sum((a[i] * b[n - i] for i in range(n + 1)), Fraction(0)) for n in range(len(a))]
