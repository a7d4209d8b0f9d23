"""Tableaux: the formula of one step, written as its paper writes it, as exact symbolic data.

The symbols of a formula:

    N(0), N(1), ..   evaluations in this step: N(0) at the step's start, or the one that the step before
                     carries over (`Tableau.carry`); N(i) at stage i
    P(1), P(2), ..   evaluations at the starts of earlier steps, the latest first
    omega(j)         (tau_n - tau_{n-j})/h > 0: how far back P(j) lies, in units of the step
    phi(k, c)        phi_k(c z), or the form's k-th moment on [0, c] where the weight is not exponential
    z                h times the form's linear operator; exp(c*z) likewise
    any other symbol a parameter, set per step by the solver (`Solver.parameters`)

A formula is linear in N and P.  A row at abscissa c means  x_c = Phi_c/Phi_0 x_n + weight(c) * formula, the
usual U_i = e^(c_i z) u_n + h sum_j a_ij(z) N_j of an exponential Runge-Kutta method.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache, cached_property, lru_cache
from itertools import pairwise
from types import MappingProxyType
from typing import Any, Literal

import sympy
from sympy import Expr, Integer, Rational, Symbol

from ..common import checks
from ..common.messages import shown

z = Symbol("z")


class phi(sympy.Function):  # type: ignore[misc]
    """phi_k(c z) as a symbol: phi(k, c).  phi(0, c) is exp(c z) and phi(k, 0) is 1/k!."""

    nargs = 2

    def __new__(cls, *arguments: Any, **options: Any) -> Any:
        """The symbol, or its special value; sympy itself would run an argument that is text."""
        named = zip(("k in phi(k, c)", "c in phi(k, c)"), arguments, strict=False)
        rest = arguments[2:]  # sympy says how many it takes
        return super().__new__(cls, *(checks.expression(n, a) for n, a in named), *rest, **options)

    @classmethod
    def eval(cls, k: Any, c: Any) -> Any:
        """The special values, and a check of k (sympy calls this)."""
        if not (k.is_Integer and k >= 0):
            raise ValueError(f"k in phi(k, c) must be a non-negative integer, got {k}")
        if k == 0:
            return sympy.exp(c * z)
        if c == 0:
            return 1 / sympy.factorial(k)
        return None


phi1, phi2, phi3, phi4 = (phi(k, 1) for k in range(1, 5))


MAX_STAGES = 64


def N(i: int) -> Symbol:
    """The integrand at stage i of this step, i < `MAX_STAGES`; i = 0 is the step's start."""
    return _symbol("N", checks.integer("i", i, 0, MAX_STAGES - 1))


def P(j: int) -> Symbol:
    """The integrand at the start of the step j steps ago, 1 <= j < `MAX_STAGES`."""
    return _symbol("P", checks.integer("j", j, 1, MAX_STAGES - 1))


def omega(j: int) -> Symbol:
    """(tau_n - tau_{n-j})/h, positive, 1 <= j < `MAX_STAGES`; a step ratio."""
    return _symbol("omega", checks.integer("j", j, 1, MAX_STAGES - 1), positive=True)


@cache
def _symbol(letter: str, index: int, **assumptions: bool) -> Symbol:
    return Symbol(f"{letter}{index}", **assumptions)


class StepRatio(Symbol):  # type: ignore[misc]
    """A parameter that is the ratio of neighbouring steps in another variable than the form's: 1 on equal
    steps, 1 + O(h) on a smooth grid.
    """

    def __new__(cls, name: str) -> StepRatio:
        """A positive symbol of that name."""
        made: StepRatio = super().__new__(cls, name, positive=True)
        return made

    def __getnewargs_ex__(self) -> tuple[tuple[str], dict[str, Any]]:
        """What a pickle calls `__new__` with: sympy would give it the assumption too."""
        return (self.name,), {}


MAX_ADAMS = 20
"""The highest order of `adams`: the weights of the next take a minute."""
MAX_COLLOCATION = 11
"""The highest order of `nested_collocation`: the next one has more than `MAX_STAGES` stages."""
_EVALUATIONS = {N(i): i for i in range(MAX_STAGES)} | {P(j): -j for j in range(1, MAX_STAGES)}
_OMEGAS = {omega(j): j for j in range(1, MAX_STAGES)}

Weights = Mapping[int, Expr]
"""Exact weights of one row: key i >= 0 for N(i), -j for P(j)."""


def evaluation(key: int) -> Symbol:
    """The evaluation that a weight with this key multiplies: N(i), or P(j) for -j."""
    return N(key) if key >= 0 else P(-key)


def key_of(symbol: Symbol) -> int | None:
    """The key of an evaluation's weight: i for N(i), -j for P(j); None for a symbol that is none."""
    return _EVALUATIONS.get(symbol)


def ratio_of(symbol: Symbol) -> int | None:
    """j for the step ratio omega(j), which says how far back P(j) lies; None for any other symbol."""
    return _OMEGAS.get(symbol)


def formula_of(weights: Weights) -> Expr:
    """The row with these weights, as `weights_of` takes it apart."""
    return sympy.Add(*(w * evaluation(key) for key, w in weights.items()))


@dataclass(frozen=True)
class Stage:
    """The state at abscissa c, where the model is then evaluated."""

    c: Expr
    formula: Expr

    def __post_init__(self) -> None:
        for name in ("c", "formula"):
            object.__setattr__(self, name, checks.expression(name, getattr(self, name)))


@dataclass(frozen=True)
class Tableau:
    """One step's formula: stages in order, then the output row at abscissa 1.

    low: a second output row of lower order, for step-size control. carry: index of the stage whose
    evaluation is the next step's N(0), or None: one at abscissa 1 (PEC: the corrected state is not evaluated
    again), or one inside the step (FireFlow), so that N(0) lies before the start (`lag`).
    stage_noise: stages of an SDE carry noise up to their abscissa: True, that of the step's own path;
    "independent", drawn for the stage alone (a released defect); False, none.
    Raises ValueError when a formula is not linear in its evaluations, or uses one that does not exist yet;
    for P(j) or omega(j) beside an evaluation from inside a step, since P(j) is one at the start of a step.
    """

    stages: tuple[Stage, ...]
    output: Expr
    low: Expr | None = None
    carry: int | None = None
    stage_noise: bool | Literal["independent"] = False

    def __post_init__(self) -> None:
        stages = checks.sequence("stages", self.stages)
        for stage in stages:
            checks.instance("stages[..]", stage, Stage)
        object.__setattr__(self, "stages", stages)
        self._weights()
        if not isinstance(self.stage_noise, bool) and self.stage_noise != "independent":
            raise ValueError(
                f"stage_noise must be False, True or 'independent', got {shown(self.stage_noise)}"
            )
        if self.carry is not None:
            if isinstance(self.carry, bool) or not isinstance(self.carry, int):
                raise TypeError(f"carry must be the number of a stage, got {shown(self.carry)}")
            if not 1 <= self.carry <= len(self.stages):
                raise ValueError(f"carry must name one of the {len(self.stages)} stages, got {self.carry}")
            c = self.stages[self.carry - 1].c
            if not (c.is_number and 0 < c <= 1):
                raise ValueError(f"carry must name a stage at an abscissa in (0, 1], got c = {c}")
            if self.lag and (self.past or any(ratio_of(s) for s in self._free)):
                raise ValueError(
                    f"carry must name a stage at abscissa 1 where formulas use P(j) or omega(j), got c = {c}"
                )

    def _weights(self) -> list[Weights]:
        """The weights of every row, the lower-order one last; what reads them checks them."""
        return [*self.a, self.b, *([] if self.b_low is None else [self.b_low])]

    def __getstate__(self) -> dict[str, Any]:
        """The fields, without what is cached of them."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def __str__(self) -> str:
        """The Butcher array (`printing.text`)."""
        from .printing import text

        return text(self)

    def _repr_latex_(self) -> str:
        """The Butcher array in a notebook (`printing.display`)."""
        from .printing import display

        return display(self)

    def _repr_html_(self) -> str:
        """The same where HTML is shown first."""
        from .printing import html

        return html(self)

    @cached_property
    def a(self) -> tuple[Weights, ...]:
        """Weights of the stages: a[i - 1][j] multiplies N(j) in stage i."""
        return tuple(weights_of(s.formula, f"stage {i}", available=i) for i, s in enumerate(self.stages, 1))

    @cached_property
    def b(self) -> Weights:
        """Weights of the output row."""
        return weights_of(self.output, "output", available=len(self.stages) + 1)

    @cached_property
    def b_low(self) -> Weights | None:
        """Weights of the lower-order row, if there is one."""
        return None if self.low is None else weights_of(self.low, "low", available=len(self.stages) + 1)

    @cached_property
    def c(self) -> tuple[Expr, ...]:
        """Abscissae of the stages."""
        return tuple(s.c for s in self.stages)

    def rows(self) -> tuple[tuple[str, Expr, Weights], ...]:
        """The rows as (name, abscissa, weights): the stages, then the output.

        Names are those of the literature, where the step's start is stage 1: N(i) belongs to stage i + 1.
        """
        stages = ((f"stage {i}", c, row) for i, (c, row) in enumerate(zip(self.c, self.a, strict=True), 2))
        return (*stages, ("output", Integer(1), self.b))

    @cached_property
    def past(self) -> int:
        """How many evaluations of earlier steps the formulas use."""
        return max([0, *(-k for row in self._weights() for k in row)])

    @property
    def lag(self) -> Expr:
        """By how much of its step an evaluation that is carried over lies before the step's end; 0 where none
        is.
        """
        return Integer(0) if self.carry is None else 1 - self.stages[self.carry - 1].c

    @cached_property
    def known(self) -> Mapping[int, Expr]:
        """Where the evaluations lie that a step begins with, by the keys of their weights: N(0), P(1), .., in
        units of the step from its start.  The step before is one of this tableau.
        """
        before = {-j: -omega(j) for j in range(1, self.past + 1)}
        return MappingProxyType({0: -self.lag * omega(1)} | before)

    @cached_property
    def ratios(self) -> tuple[Symbol, ...]:
        """omega(1), omega(2), .. on which `known` depends."""
        return tuple(omega(j) for j in range(1, max(self.past, int(self.lag != 0)) + 1))

    @cached_property
    def evaluations(self) -> int:
        """Model evaluations per step, N(0) included unless it is carried over."""
        return len(self.stages) + (0 if self.carry is not None else 1)

    @cached_property
    def moments(self) -> int:
        """The largest k in any phi(k, c)."""
        weights = (w for row in self._weights() for w in row.values())
        return max((int(p.args[0]) for w in weights for p in w.atoms(phi)), default=1)

    @cached_property
    def parameters(self) -> frozenset[Symbol]:
        """Symbols that the solver must set at every step."""
        return frozenset(s for s in self._free if s != z and ratio_of(s) is None)

    @property
    def _free(self) -> set[Symbol]:
        symbols = {s for row in self._weights() for w in row.values() for s in w.free_symbols}
        return symbols | {s for c in self.c for s in c.free_symbols}

    @cached_property
    def quadrature_order(self) -> int:
        """The largest q such that the output integrates 1, theta, .., theta^(q - 1) at z = 0 on equal steps.

        No smooth grid gives a higher order: those are order conditions of N(t) alone, where stages hold what
        the model says exactly.  Where a parameter decides, the number of evaluations that the row can use.
        """
        equal: dict[Symbol, Any] = {symbol: Integer(j) for symbol, j in _OMEGAS.items()}
        equal |= {s: Integer(1) for s in self.parameters if isinstance(s, StepRatio)}
        nodes = {key: node.subs(equal) for key, node in self.known.items()}
        nodes |= {i: c.subs(equal) for i, c in enumerate(self.c, 1)}
        weights = {key: at_zero(weight).subs(equal) for key, weight in self.b.items()}
        for q in range(2 * len(nodes) + 1):
            terms = (w * nodes[key] ** q for key, w in weights.items())
            defect = sum(terms, Integer(0)) - Rational(1, q + 1)
            if not _is_zero(defect) and (not defect.free_symbols or q == len(nodes)):
                return q
        return 2 * len(nodes)

    def consistency_defects(self) -> list[str]:
        """Rows that do not integrate a constant N at z = 0 (a formula of order 0): empty for every sound
        tableau.
        """
        defects = []
        rows = [(f"stage {i}", s.c, w) for i, (s, w) in enumerate(zip(self.stages, self.a, strict=True), 1)]
        for name, c, weights in [*rows, ("output", Integer(1), self.b)]:
            total = at_zero(sum(weights.values(), Integer(0)))
            if not _is_zero(total - c):
                defects.append(f"{name}: weights sum to {sympy.simplify(total)} at z = 0, not to {c}")
        return defects

    @staticmethod
    def from_arrays(c: Sequence[Any], a: Sequence[Sequence[Any]], b: Sequence[Any]) -> Tableau:
        """A one-step tableau from its arrays: c of length s (c[0] = 0), a of s rows, b of length s.

        Entries are sympy expressions or numbers; row i of a may be given with its first i entries only.
        Raises ValueError for other shapes, or entries on or above the diagonal.
        """
        c, b = (
            [checks.expression(f"{name}[..]", v) for v in checks.sequence(name, row)]
            for name, row in (("c", c), ("b", b))
        )
        a = [
            [checks.expression(f"a[{i}][..]", v) for v in checks.sequence(f"a[{i}]", row)]
            for i, row in enumerate(checks.sequence("a", a))
        ]
        s = len(c)
        if len(a) != s or len(b) != s:
            raise ValueError(f"c, a, b must have the same length, got {s}, {len(a)}, {len(b)}")
        if s == 0 or c[0] != 0:
            raise ValueError(f"c must start with 0, got {shown(list(c)[:1])}")
        for i, row in enumerate(a):
            for j, entry in enumerate(row):
                if j >= i and entry != 0:
                    raise ValueError(
                        f"a must be strictly lower triangular (explicit), got a[{i}][{j}] = {entry}"
                    )
        stages = tuple(
            Stage(c[i], sum((v * N(j) for j, v in enumerate(a[i][:i])), Integer(0))) for i in range(1, s)
        )
        return Tableau(stages, sum((v * N(j) for j, v in enumerate(b)), Integer(0)))


def check_carried(tableaux: Sequence[Tableau]) -> None:
    """Refuse consecutive steps of which one takes for its start's what the step before carries from inside.

    Raises ValueError where their `lag` differs.
    """
    for i, (before, tableau) in enumerate(pairwise(tableaux), 1):
        if before.lag != tableau.lag:
            raise ValueError(
                f"sequence must carry evaluations from one place in all steps, got one {before.lag} of a "
                f"step before the start of step {i}, whose tableau has N(0) {tableau.lag} before"
            )


def weights_of(formula: Any, name: str, available: int) -> Weights:
    """The weights of a formula that is linear in N(0) .. N(available - 1) and P(1), P(2), ..; zero weights
    are dropped.
    """
    terms = _linear(checks.expression(name, formula))
    if terms is None:
        raise ValueError(f"{name} must be linear in the evaluations, got {formula}")
    free = terms.get(None, Integer(0))
    weights: dict[int, Expr] = {}
    for symbol in sorted(terms.keys() - {None}, key=lambda symbol: -_EVALUATIONS[symbol]):
        index, weight = _EVALUATIONS[symbol], terms[symbol]
        if index >= available:
            raise ValueError(f"{name} uses {symbol}, which is not evaluated yet")
        if weight != 0:
            weights[index] = weight
    if free != 0 and sympy.expand(free) != 0:
        raise ValueError(f"{name} must be a combination of evaluations, got the free term {free}")
    return MappingProxyType(weights)


@lru_cache(maxsize=1024)
def _linear(expression: Expr) -> Mapping[Any, Expr] | None:
    """The coefficient of each evaluation in a formula, and of None the rest; None for one that is not linear.

    Read off the sums and products: what `sympy.diff` gives, in a tenth of its time.  Rows share terms, and
    tableaux rows.
    """
    if expression in _EVALUATIONS:
        return {expression: Integer(1)}
    if not _evaluates(expression):
        return {None: expression}
    if expression.is_Add:
        parts: dict[Any, list[Expr]] = {}
        for term in expression.args:
            found = _linear(term)
            if found is None:
                return None
            for key, weight in found.items():
                parts.setdefault(key, []).append(weight)
        return {key: sympy.Add(*weights) for key, weights in parts.items()}
    if expression.is_Mul:
        own = [f for f in expression.args if _evaluates(f)]
        found = _linear(own[0]) if len(own) == 1 else None
        if found is None:
            return None
        rest = sympy.Mul(*(f for f in expression.args if f is not own[0]))
        return {key: rest * weight for key, weight in found.items()}
    return None


def _evaluates(expression: Any) -> bool:
    """Whether an evaluation occurs in an expression."""
    return expression in _EVALUATIONS if not expression.args else any(map(_evaluates, expression.args))


def at_zero(weight: Expr) -> Expr:
    """A weight's limit at z = 0."""
    value = weight.replace(lambda e: isinstance(e, phi), lambda e: 1 / sympy.factorial(e.args[0]))
    if z not in weight.free_symbols:
        return value
    series = weight.replace(lambda e: isinstance(e, phi), lambda e: _taylor(int(e.args[0]), e.args[1]))
    regular = series.subs(z, 0)
    return sympy.limit(series, z, 0) if regular.has(sympy.nan, sympy.zoo) else regular


def _is_zero(expression: Expr) -> bool:
    """Whether an expression is zero: decided in the field of rational functions, where it lies in that."""
    symbols = sorted(expression.free_symbols, key=str)
    if symbols:
        try:
            return bool(sympy.QQ.frac_field(*symbols).from_sympy(expression) == 0)
        except sympy.CoercionFailed:
            pass
    return bool(sympy.simplify(expression) == 0)


def _taylor(k: int, c: Expr, terms: int = 8) -> Expr:
    return sum(((c * z) ** j / sympy.factorial(j + k) for j in range(terms)), Integer(0))


# --- formulas from interpolation ---


def interpolate(values: Mapping[Any, Any], c: Any = 1) -> Expr:
    """The row at abscissa c that integrates exactly the polynomial through {node: evaluation}.

    values: {0: N(0), -omega(1): P(1), ..}, nodes in units of h, numbers or symbols.  The weight of the
    evaluation at theta_j is  sum_m m! c^(m+1) phi_{m+1}(c z) [theta^m] l_j(theta), l_j the Lagrange
    polynomial (Hochbruck & Ostermann 2010, Sec. 2.5; exact for any step ratios).
    """
    checks.instance("values", values, Mapping)
    nodes = tuple(checks.expression("a node of values", node) for node in values)
    found = tuple(checks.expression("an evaluation of values", value) for value in values.values())
    at = checks.expression("c", c)
    known = [float(node) for node in nodes if node.is_number]
    if len({*known, *(node for node in nodes if not node.is_number)}) < len(nodes):
        raise ValueError(f"values must stand at nodes that differ, got {shown([*map(str, nodes)])}")
    return _interpolated(nodes, found, at)


@lru_cache(maxsize=256)  # the rows of a family of tableaux are often the same
def _interpolated(nodes: tuple[Expr, ...], values: tuple[Expr, ...], at: Expr) -> Expr:
    moments = [sympy.factorial(m) * at ** (m + 1) * phi(m + 1, at) for m in range(len(nodes))]
    terms = []
    for value, (numerator, denominator) in zip(values, lagrange(nodes), strict=True):
        weight = sympy.Add(*(moment * v for moment, v in zip(moments, numerator, strict=True)))
        terms.append(weight / denominator * value)
    return sympy.Add(*terms)


@lru_cache(maxsize=256)
def lagrange(nodes: tuple[Expr, ...]) -> tuple[tuple[tuple[Expr, ...], Expr], ...]:
    """The Lagrange polynomials of the nodes: l_j = numerator/denominator, the numerator prod (theta - node)
    as its coefficients of ascending powers of theta.
    """
    polynomials = []
    for j, own in enumerate(nodes):
        others = [*nodes[:j], *nodes[j + 1 :]]
        numerator: list[Expr] = [Integer(1)]
        for node in others:
            shifted = [Integer(0), *numerator]
            numerator = [
                high - node * low for high, low in zip(shifted, [*numerator, Integer(0)], strict=True)
            ]
        polynomials.append((tuple(numerator), sympy.prod([own - node for node in others])))
    return tuple(polynomials)


def adams(k: int) -> Tableau:
    """Exponential Adams-Bashforth of order k on any step ratios: no stages, k - 1 past evaluations.

    Raises ValueError for an order outside 1 .. `MAX_ADAMS`.
    """
    return _adams(checks.integer("k", k, 1, MAX_ADAMS))


@cache
def _adams(k: int) -> Tableau:
    return Tableau((), interpolate({Integer(0): N(0)} | {-omega(j): P(j) for j in range(1, k)}))


def nested_collocation(order: int) -> Tableau:
    """A one-step method of any order: groups of 1, 2, .., order - 1 stages, each interpolating the group
    before it.

    1 + order (order - 1)/2 evaluations; stiff order `order`.  Luan & Alhsmy, arXiv:2311.08600;
    docs/mathematics.md, 10.  Raises ValueError for an order outside 1 .. `MAX_COLLOCATION`.
    """
    return _nested_collocation(checks.integer("order", order, 1, MAX_COLLOCATION))


@cache
def _nested_collocation(order: int) -> Tableau:
    return nested([[Rational(i, size + 1) for i in range(1, size + 1)] for size in range(1, order)])


def nested(groups: Sequence[Sequence[Any]]) -> Tableau:
    """Stages in groups of abscissae: each interpolates N at 0 and at the group before it, the output at 0 and
    at the last group.
    """
    stages: list[Stage] = []
    known: dict[Any, Any] = {Integer(0): N(0)}
    for group in groups:
        found: dict[Any, Any] = {Integer(0): N(0)}
        for c in group:
            stages.append(Stage(c, interpolate(known, c)))
            found[c] = N(len(stages))
        known = found
    return Tableau(tuple(stages), interpolate(known))
