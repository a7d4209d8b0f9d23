"""The local error of one step, tree by tree: a tableau's Taylor coefficients against those of the solution.

With exact past values, the numerical solution after one step is a sum over the trees of `trees.py`,

    Phi_i(tree) = sum_j a_ij^(m) prod_leaves Phi_j prod_children Phi_j,

m the stem, a^(m) the m-th Taylor coefficient of a_ij, Phi_j(L^k u) = c_j^k/k!; the output row likewise with
b. The error coefficient of a tree is (Phi - exact)/sigma: what multiplies h^order times its elementary
differential in the local error.
Evaluations of earlier steps sit at abscissae -omega_j with exact values.  NUMERICS.md 3.3.

Three expansions share all of this and differ in what a weight's Taylor coefficients are:

    duhamel      u' = L u + N(u): coefficients of z^m, exact, by the ring; any formula in z, exp, phi
    unweighted   L = 0, w = 1: the tableau at z = 0 (noise in rho)
    weighted     y' = w(tau) N(tau, y) with any smooth w: coefficients of h^m w^(m), for rows linear in the
                 moments phi(k, c)
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial

import sympy
from semilinear.integrators.tableau import Tableau, Weights, omega, phi, z
from sympy import Expr

from .ring import Field, NotInRing, Ring, Scalar
from .trees import TIME, Integral, Kind, Tree, commuting, exact, order, symmetry, trees

Row = Sequence[tuple[int, Scalar]]
"""(position of an evaluation, weight) without zeros."""
Moment = Callable[[int, int], Fraction | Expr]
"""(k, m) -> (k-1)! m! times the moment of s^(k-1)/(k-1)! s^m/m! on [0, 1], by whatever rule is used."""

MAX_ORDER = 12


def check_order(name: str, value: int) -> None:
    """Raise ValueError unless value is an integer from 1 to 12."""
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_ORDER:
        raise ValueError(f"{name} must be an integer from 1 to {MAX_ORDER}, got {value!r}")


@dataclass(eq=False)
class Expansion:
    """A tableau's Taylor coefficients and what the trees make of them.

    abscissae: of the evaluations, those with exact values first (`known` of them), then the stages.
    stages, output: row of each stage and of the output by power m.  Raises nothing: its makers do.
    """

    field: Field
    abscissae: tuple[Scalar, ...]
    known: int
    stages: tuple[tuple[Row, ...], ...]
    output: tuple[Row, ...]
    integral: Integral
    kind: Kind
    _values: dict[Tree, list[Scalar]] = dataclasses.field(default_factory=dict)
    _powers: dict[int, list[Scalar]] = dataclasses.field(default_factory=dict)

    def coefficient(self, tree: Tree) -> Scalar:
        """(Phi - exact)/sigma: the error coefficient of a tree."""
        below = self._below(tree)
        total = -self._number(exact(tree, self.integral))
        for j, weight in self.output[tree.stem]:
            if below[j]:
                total += weight * below[j]
        return total / symmetry(tree)

    def errors(self, q: int) -> dict[Tree, Scalar]:
        """The error coefficients of order q that are not zero."""
        return {tree: value for tree in trees(q, self.kind) if (value := self.coefficient(tree))}

    def classes(self, q: int) -> dict[object, tuple[Tree, Scalar]]:
        """Error coefficients of order q, summed over trees that are one where stems commute, by class with a
        tree to stand for it; those that are not zero.
        """
        sums: dict[object, tuple[Tree, Scalar]] = {}
        for tree, value in self.errors(q).items():
            key = commuting(tree, self.integral)
            first, total = sums.get(key, (tree, self.field.zero))
            sums[key] = (first, total + value)
        return {key: pair for key, pair in sums.items() if pair[1]}

    def order(self, through: int, *, scalar: bool = False) -> int:
        """The largest q <= through such that no error coefficient of order <= q is left; scalar: summed
        over what is one where stems commute.
        """
        find = self.classes if scalar else self.errors
        return next((q - 1 for q in range(1, through + 1) if find(q)), through)

    def _number(self, value: Fraction) -> Scalar:
        return self.field.fraction(value.numerator, value.denominator)

    def _power(self, k: int) -> list[Scalar]:
        if k not in self._powers:
            self._powers[k] = [c**k / math.factorial(k) if c else self.field.zero for c in self.abscissae]
        return self._powers[k]

    def _below(self, tree: Tree) -> list[Scalar]:
        """The product of what hangs on a tree's node, at every evaluation."""
        product = [self.field.one] * len(self.abscissae)
        for leaf in tree.leaves:
            product = [a * b for a, b in zip(product, self._power(1 if leaf == TIME else leaf), strict=True)]
        for child in tree.children:
            product = [a * b if a else a for a, b in zip(product, self._value(child), strict=True)]
        return product

    def _value(self, tree: Tree) -> list[Scalar]:
        """Phi of a tree at every evaluation."""
        if tree not in self._values:
            below, own = self._below(tree), self._number(exact(tree, self.integral))
            values = [own * c ** order(tree) if c else c for c in self.abscissae[: self.known]]
            for rows in self.stages:
                total = self.field.zero
                for j, weight in rows[tree.stem]:
                    if below[j]:
                        total += weight * below[j]
                values.append(total)
            self._values[tree] = values
        return self._values[tree]


def positions(tableau: Tableau) -> dict[int, int]:
    """Where the evaluation with key i of a tableau's weights stands: N(0), P(1), .. P(past), N(1), .."""
    keys = [0, *(-j for j in range(1, tableau.past + 1)), *range(1, len(tableau.stages) + 1)]
    return {key: i for i, key in enumerate(keys)}


def expressions(tableau: Tableau) -> Iterator[Expr]:
    """Every abscissa and weight of a tableau, for the field that they live in."""
    yield from tableau.c
    yield from (omega(j) for j in range(1, tableau.past + 1))
    for row in (*tableau.a, tableau.b):
        yield from row.values()


def duhamel(
    tableau: Tableau, through: int, ring: Ring | None = None, *, linearised: bool = False
) -> Expansion:
    """The expansion for u' = L u + N(u), to order `through`.

    linearised: for a method of Rosenbrock type, whose L is the Jacobian at u_n.
    Raises NotInRing for entries outside the ring, ValueError for entries with a pole at z = 0.
    """
    check_order("through", through)
    ring = Ring(Field(expressions(tableau))) if ring is None else ring

    def taylor(weight: Expr) -> list[Scalar]:
        element = ring(weight)
        if element.pole:
            raise ValueError(f"{weight} has a pole of order {element.pole} at z = 0")
        return [element.taylor(m) for m in range(through)]

    return _expand(tableau, ring.field, taylor, "duhamel", Kind(linearised=linearised))


def unweighted(tableau: Tableau, through: int) -> Expansion:
    """The expansion for y' = N(tau, y): every phi(k, c) is 1/k!, exp(c z) is 1."""
    check_order("through", through)
    ring = Ring(Field(expressions(tableau)))
    return _expand(tableau, ring.field, lambda w: [ring(w).taylor(0)], "weight", Kind(False, False))


def exact_moment(k: int, m: int) -> Fraction:
    """int_0^1 s^(k-1+m) ds."""
    return Fraction(1, k + m)


def weighted(tableau: Tableau, through: int, moment: Moment = exact_moment) -> Expansion:
    """The expansion for y' = w(tau) N(tau, y) with any smooth w, to order `through`.

    moment: int_0^1 s^(k-1+m) ds by the quadrature rule of a release.
    Raises NotInRing for rows that are not linear in the moments phi(k, c).
    """
    check_order("through", through)
    sample = sympy.sympify(moment(2, 0))
    base = Field([*expressions(tableau), sample])
    return _expand(tableau, base, partial(_moments, base, moment, through), "weight", Kind(True, False))


def _moments(base: Field, moment: Moment, through: int, weight: Expr) -> list[Scalar]:
    """Coefficients of h^m w^(m) in a row weight that is linear in phi(k, c)."""
    total = [base.zero] * through
    for part in sympy.Add.make_args(sympy.expand(weight)):
        factors = [f for f in sympy.Mul.make_args(part) if isinstance(f, phi)]
        rest = part / factors[0] if len(factors) == 1 else part
        if rest.has(phi, z):
            raise NotInRing(f"{part} is not a constant times one moment phi(k, c)")
        k, c = int(factors[0].args[0]), base(factors[0].args[1])
        scale = base(rest) / math.factorial(k - 1)
        for m in range(through):
            total[m] += scale * c**m * base(sympy.sympify(moment(k, m))) / math.factorial(m)
    return total


def _expand(
    tableau: Tableau,
    base: Field,
    taylor: Callable[[Expr], list[Scalar]],
    integral: Integral,
    kind: Kind,
) -> Expansion:
    at = positions(tableau)
    abscissae = [base.zero, *(-base(omega(j)) for j in range(1, tableau.past + 1)), *map(base, tableau.c)]
    known = 1 + tableau.past

    def rows(weights: Weights) -> tuple[Row, ...]:
        columns: Mapping[int, list[Scalar]] = {at[key]: taylor(w) for key, w in weights.items()}
        powers = len(next(iter(columns.values()), [base.zero]))
        return tuple([(j, c[m]) for j, c in columns.items() if c[m]] for m in range(powers))

    stages = tuple(map(rows, tableau.a))
    sums = (sum((w for _, w in r[0]), base.zero) for r in stages)
    consistent = all(total == c for total, c in zip(sums, abscissae[known:], strict=True))
    # Where a stage's row sums to c, the leaf tau has the tree values of the tree N, and adds no condition.
    return Expansion(
        base, tuple(abscissae), known, stages, rows(tableau.b), integral, kind._replace(time=not consistent)
    )
