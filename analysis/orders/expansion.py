"""The local error of one step, tree by tree: a tableau's Taylor coefficients against those of the solution.

With exact past values, the numerical solution after one step is a sum over the trees of `trees.py`,

    Phi_i(tree) = sum_j a_ij^(m) prod_leaves Phi_j prod_children Phi_j,

m the stem, a^(m) the m-th Taylor coefficient of a_ij, Phi_j(L^k u) = c_j^k/k!; the output row likewise with
b. The error coefficient of a tree is (Phi - exact)/sigma: what multiplies h^order times its elementary
differential in the local error.
Evaluations of earlier steps sit at abscissae -omega_j (`Tableau.known`) with exact values.
docs/mathematics.md, 3.

Three expansions share all of this and differ in what a weight's Taylor coefficients are:

    duhamel      u' = L u + N(u): coefficients of z^m, exact, by the ring; any formula in z, exp, phi
    unweighted   L = 0, w = 1: the tableau at z = 0 (noise in rho)
    weighted     y' = w(tau) N(tau, y) with any smooth w: coefficients of h^m w^(m), for rows linear in the
                 moments phi(k, c)
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, partial
from typing import Literal, get_args

import sympy
from semilinear.integrators.common import checks
from semilinear.integrators.forms.form import Form
from semilinear.integrators.tableaux.tableau import Tableau, Weights, phi, z
from sympy import Expr

from ..algebra.ring import Field, NotInRing, Ring, Scalar
from ..algebra.trees import (
    TIME,
    Integral,
    Kind,
    Tree,
    commuting,
    exact,
    forest_exact,
    forest_order,
    symmetry,
    trees,
)
from .moments import EXACT, Moments

Row = Sequence[tuple[int, Scalar]]
"""(position of an evaluation, weight) without zeros."""
MAX_ORDER = 12
FormName = Literal["lambda", "rho", "t"]
"""An equation, by the variable that diffusion forms of its kind step in: u' = L u + N(u), y' = N(tau, y),
y' = w(tau) N(tau, y).
"""
FORMS: tuple[FormName, ...] = get_args(FormName)


@dataclass(eq=False)
class Expansion:
    """A tableau's Taylor coefficients and what the trees make of them.

    abscissae: of the evaluations, those with exact values first (`known` of them), then the stages.
    stages, output: row of each stage and of the output by power m.  free: the output's weights that neither h
    nor w multiplies (a release's quadrature leaves some), as a stem -1.
    """

    field: Field
    abscissae: tuple[Scalar, ...]
    known: int
    stages: tuple[tuple[Row, ...], ...]
    output: tuple[Row, ...]
    integral: Integral
    kind: Kind
    free: Row = ()
    _coefficients: dict[Tree, Scalar] = dataclasses.field(default_factory=dict)
    _values: dict[Tree, list[Scalar]] = dataclasses.field(default_factory=dict)
    _products: dict[tuple[tuple[int, ...], tuple[Tree, ...]], list[Scalar]] = dataclasses.field(
        default_factory=dict
    )
    _powers: dict[int, list[Scalar]] = dataclasses.field(default_factory=dict)
    _moments: dict[tuple[int, int, int], Scalar] = dataclasses.field(default_factory=dict)

    def coefficient(self, tree: Tree) -> Scalar:
        """(Phi - exact)/sigma: the error coefficient of a tree; kept."""
        if tree not in self._coefficients:
            self._coefficients[tree] = self._error(tree)
        return self._coefficients[tree]

    def _error(self, tree: Tree) -> Scalar:
        row = self.free if tree.stem < 0 else self.output[tree.stem]
        total = self._sum(-1, tree, row)
        if tree.stem >= 0:
            total -= self._number(exact(tree, self.integral))
        return total / symmetry(tree)

    def errors(self, q: int) -> dict[Tree, Scalar]:
        """The error coefficients of order q that are not zero."""
        return {tree: value for tree in self.trees(q) if (value := self.coefficient(tree))}

    def trees(self, q: int) -> tuple[Tree, ...]:
        """The trees of order q that the local error has."""
        own = trees(q, self.kind)
        if not self.free:
            return own
        bare = (tree for tree in trees(q + 1, self.kind) if tree.stem == 0)
        return (*(tree._replace(stem=-1) for tree in bare), *own)

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

    @cached_property
    def integrates_constants(self) -> bool:
        """Whether every stage that is read integrates a constant N, to the order of the expansion
        (psi_1 = 0).
        """
        powers = range(max(len(self.output) - 1, 1))
        return not any(
            sum((w for _, w in rows[m]), -self.exact_moment(1, m) * self.field.power(c, 1 + m))
            for j, (rows, c) in enumerate(
                zip(self.stages, self.abscissae[self.known :], strict=True), self.known
            )
            if j in self.read
            for m in powers
        )

    @cached_property
    def read(self) -> frozenset[int]:
        """The evaluations that the output depends on, by position."""
        return reached((j for row in (*self.output, self.free) for j, _ in row), self._reads)

    def _reads(self, position: int) -> Iterator[int]:
        if position >= self.known:
            yield from (j for row in self.stages[position - self.known] for j, _ in row)

    def up_to(self, stage: int) -> Expansion:
        """The expansion of a stage's row, in units of the part of the step that ends there."""
        c, last = self.abscissae[self.known + stage - 1], stage - 1

        def scaled(rows: Iterable[Row]) -> tuple[Row, ...]:
            return tuple(
                [(j, weight / self.field.power(c, 1 + m)) for j, weight in row] for m, row in enumerate(rows)
            )

        return Expansion(
            self.field,
            tuple(a / c for a in self.abscissae[: self.known + last]),
            self.known,
            tuple(map(scaled, self.stages[:last])),
            scaled(self.stages[last]),
            self.integral,
            self.kind,
        )

    def exact_moment(self, k: int, m: int) -> Scalar:
        """What psi_k^(m) is measured against, at c = 1: [z^m] phi_k, or the coefficient of w^(m) in the k-th
        moment.
        """
        if self.integral == "duhamel":
            return self.field.fraction(1, math.factorial(k + m))
        return self.field.fraction(1, math.factorial(k - 1) * math.factorial(m) * (k + m))

    def _number(self, value: Fraction) -> Scalar:
        return self.field.fraction(value.numerator, value.denominator)

    def _power(self, k: int) -> list[Scalar]:
        """c^k/k! of every stage."""
        if k not in self._powers:
            self._powers[k] = [
                c**k / math.factorial(k) if c else self.field.zero for c in self.abscissae[self.known :]
            ]
        return self._powers[k]

    def _sum(self, index: int, tree: Tree, row: Row) -> Scalar:
        """A row, that of a stage or of the output (-1), times the product of what hangs on the tree's node.

        Where values are exact, the product is a number times a power of the abscissa.
        """
        below, k = self._below(tree.leaves, tree.children), forest_order(tree)
        key = (index, tree.stem, k)
        if key not in self._moments:
            power, c = self.field.power, self.abscissae
            known = (weight * power(c[j], k) for j, weight in row if j < self.known and (c[j] or not k))
            self._moments[key] = sum(known, self.field.zero)
        total = self._moments[key]
        if total:
            total = total * self._number(forest_exact(tree, self.integral))
        for j, weight in row:
            if j >= self.known and below[j - self.known]:
                total += weight * below[j - self.known]
        return total

    def _below(self, leaves: tuple[int, ...], children: tuple[Tree, ...]) -> list[Scalar]:
        """The product of what hangs on a tree's node, at every stage; kept: trees share them."""
        key = (leaves, children)
        if key in self._products:
            return self._products[key]
        if children:
            rest, last = self._below(leaves, children[:-1]), self._value(children[-1])
            product = [a * b if a else a for a, b in zip(rest, last, strict=True)]
        elif leaves:
            rest, leaf = self._below(leaves[:-1], ()), leaves[-1]
            power = self._power(1 if leaf == TIME else leaf)
            product = [a * b for a, b in zip(rest, power, strict=True)]
        else:
            product = [self.field.one] * len(self.stages)
        self._products[key] = product
        return product

    def _value(self, tree: Tree) -> list[Scalar]:
        """Phi of a tree at every stage."""
        if tree not in self._values:
            self._values[tree] = [self._sum(i, tree, rows[tree.stem]) for i, rows in enumerate(self.stages)]
        return self._values[tree]


def reached(first: Iterable[int], reads: Callable[[int], Iterable[int]]) -> frozenset[int]:
    """What is read, in the end: the first, what these read, and so on."""
    found: set[int] = set()
    waiting = list(first)
    while waiting:
        if (at := waiting.pop()) not in found:
            found.add(at)
            waiting += reads(at)
    return frozenset(found)


def unread(tableau: Tableau) -> list[int]:
    """The stages i, evaluated at N(i), that neither the output nor a stage of its reads; a stage whose
    evaluation is carried to the next step is read.
    """
    carried = [] if tableau.carry is None else [tableau.carry]
    used = reached([*tableau.b, *carried], lambda i: tableau.a[i - 1] if i > 0 else ())
    return [i for i in range(1, len(tableau.stages) + 1) if i not in used]


def positions(tableau: Tableau) -> dict[int, int]:
    """Where the evaluation with key i of a tableau's weights stands: N(0), P(1), .. P(past), N(1), .."""
    keys = [*tableau.known, *range(1, len(tableau.stages) + 1)]
    return {key: i for i, key in enumerate(keys)}


def expressions(tableau: Tableau) -> Iterator[Expr]:
    """Every abscissa and weight of a tableau, for the field that they live in."""
    yield from tableau.c
    yield from tableau.known.values()
    for row in (*tableau.a, tableau.b):
        yield from row.values()


def form_name(form: Form) -> FormName:
    """Of which kind a form is."""
    rate = form.weight.rate
    return "t" if rate is None else "lambda" if rate else "rho"


def expand(
    tableau: Tableau, through: int, form: FormName, ring: Ring | None = None, *, linearised: bool = False
) -> Expansion:
    """The expansion for the equation of a form, to order `through`; linearised: as in `duhamel`."""
    if form == "lambda":
        return duhamel(tableau, through, ring, linearised=linearised)
    return (unweighted if form == "rho" else weighted)(tableau, through, ring=ring)


def duhamel(
    tableau: Tableau, through: int, ring: Ring | None = None, *, linearised: bool = False
) -> Expansion:
    """The expansion for u' = L u + N(u), to order `through`.

    linearised: for a method of Rosenbrock type, whose L is the Jacobian at u_n.
    Raises NotInRing for entries outside the ring, ValueError for entries with a pole at z = 0.
    """
    through = checks.integer("through", through, 1, MAX_ORDER)
    ring = Ring(Field(expressions(tableau))) if ring is None else ring
    taylor = partial(_taylor, ring, through)
    return _expand(tableau, ring.field, taylor, through, "duhamel", Kind(linearised=linearised))


def unweighted(tableau: Tableau, through: int, ring: Ring | None = None) -> Expansion:
    """The expansion for y' = N(tau, y): every phi(k, c) is 1/k!, exp(c z) is 1.

    Raises NotInRing and ValueError as `duhamel`.
    """
    through = checks.integer("through", through, 1, MAX_ORDER)
    ring = Ring(Field(expressions(tableau))) if ring is None else ring
    return _expand(tableau, ring.field, partial(_taylor, ring, 1), 1, "weight", Kind(False, False))


def _taylor(ring: Ring, powers: int, weight: Expr) -> list[Scalar]:
    """The first Taylor coefficients of a weight in z."""
    element = ring(weight)
    if element.pole:
        raise ValueError(f"{weight} has a pole of order {element.pole} at z = 0")
    return [element.taylor(m) for m in range(powers)]


def weighted(
    tableau: Tableau,
    through: int,
    moments: Moments = EXACT,
    *,
    constant: bool = False,
    ring: Ring | None = None,
) -> Expansion:
    """The expansion for y' = w(tau) N(tau, y) with any smooth w, to order `through`.

    moments: by the quadrature rule of a release.  constant: for w = 1, which has no derivatives.
    Raises NotInRing for rows that are not linear in the moments phi(k, c); ValueError for a rule that leaves
    a constant N, or a stage, with weights that w does not multiply.
    """
    through = checks.integer("through", through, 1, MAX_ORDER)
    base = Field([*expressions(tableau), moments.moment(2, 0)]) if ring is None else ring.field
    powers = 1 if constant else through
    coefficients = partial(_moments, base, moments, powers)
    expansion = _expand(tableau, base, coefficients, powers, "weight", Kind(not constant, False))
    free = [_free(base, moments, row) for row in (*tableau.a, tableau.b)]
    if any(any(values.values()) for values in free[:-1]) or sum(free[-1].values(), base.zero):
        raise ValueError(f"moments must be consistent, got {moments.name}")
    at = positions(tableau)
    return dataclasses.replace(expansion, free=tuple((at[key], v) for key, v in free[-1].items() if v))


def _moments(base: Field, moments: Moments, through: int, weight: Expr) -> list[Scalar]:
    """Coefficients of h^m w^(m) in a row weight that is linear in phi(k, c)."""
    total = [base.zero] * through
    for k, c, factor in _linear(weight):
        for m in range(through):
            scale = base(moments.moment(k, m)) / (math.factorial(k - 1) * math.factorial(m))
            total[m] += base(factor) * base.power(base(c), m) * scale
    return total


def _free(base: Field, moments: Moments, weights: Weights) -> dict[int, Scalar]:
    """The part of each weight that w does not multiply."""
    return {
        key: sum(
            (base(x) * base(moments.free(k)) / math.factorial(k - 1) for k, _, x in _linear(w)), base.zero
        )
        for key, w in weights.items()
    }


def _linear(weight: Expr) -> Iterator[tuple[int, Expr, Expr]]:
    """A weight as terms factor * phi(k, c): (k, c, factor)."""
    for part in sympy.Add.make_args(sympy.expand(weight)):
        factors = [f for f in sympy.Mul.make_args(part) if isinstance(f, phi)]
        rest = part / factors[0] if len(factors) == 1 else part
        if rest.has(phi, z):
            raise NotInRing(f"{part} is not a constant times one moment phi(k, c)")
        if not factors:
            raise NotInRing(f"{part} has no moment phi(k, c)")
        yield int(factors[0].args[0]), factors[0].args[1], rest


def _expand(
    tableau: Tableau,
    base: Field,
    taylor: Callable[[Expr], list[Scalar]],
    powers: int,
    integral: Integral,
    kind: Kind,
) -> Expansion:
    """taylor: a weight's coefficients, `powers` of them."""
    at = positions(tableau)
    abscissae = [base(node) for node in (*tableau.known.values(), *tableau.c)]

    def rows(weights: Weights) -> tuple[Row, ...]:
        columns: Mapping[int, list[Scalar]] = {at[key]: taylor(w) for key, w in weights.items()}
        return tuple([(j, c[m]) for j, c in columns.items() if c[m]] for m in range(powers))

    expansion = Expansion(
        base,
        tuple(abscissae),
        len(tableau.known),
        tuple(map(rows, tableau.a)),
        rows(tableau.b),
        integral,
        kind,
    )
    # The leaf tau adds no condition beside leaves L u, which have its values, nor where all stages integrate
    # a constant N, so that only derivatives along the solution count.
    if kind.u_leaves or expansion.integrates_constants:
        return expansion
    return dataclasses.replace(expansion, kind=kind._replace(time=True))
