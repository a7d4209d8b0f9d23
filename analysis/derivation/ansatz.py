"""Tableaux with unknown weights: what order conditions are solved for.

A row at abscissa c is   c phi_1(c z) N(0) + sum_j a_j(z) (N_j - N(0)),   a_j = sum_f x_(j,f) f(z),

so that it integrates a constant exactly; the x are unknown, the functions f are chosen: phi_k(c z), k = 1, 2,
.., perhaps those at the abscissae of earlier stages too, constants where the form has no linear operator.
Abscissae are numbers or free symbols.  Rows may also be given (the stages, for an embedded row).

Names are those of the literature: stage 1 is the evaluation at the step's start, c_1 = 0, so that a3_2 and
b_2 are weights of the stage at c_2, which is N(1) in the language of tableaux.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from typing import Any, Literal, get_args

import sympy
from semilinear.integrators.common import checks
from semilinear.integrators.common.messages import shown
from semilinear.integrators.tableaux.tableau import (
    MAX_STAGES,
    Stage,
    Tableau,
    Weights,
    formula_of,
    omega,
    phi,
    ratio_of,
    z,
)
from sympy import Expr, Integer, Rational, Symbol

from ..algebra.factoring import factored
from ..algebra.ring import Field, NotInRing
from ..orders.expansion import FORMS, FormName

Arguments = Literal["own", "earlier"]
"""At which arguments the functions of a stage are taken: c z, or those of the stages before it too."""
ARGUMENTS: tuple[Arguments, ...] = get_args(Arguments)

Terms = Mapping[tuple[int, Expr], Expr]
"""(evaluation, function) -> coefficient: evaluation i >= 0 for N(i), -j for P(j)."""


@dataclass(frozen=True)
class AnsatzRow:
    """One row: its terms besides what N(0) takes so that a constant is integrated.

    given: a row that is no unknown, as it stands.
    """

    c: Expr
    terms: Terms
    given: Weights | None = None

    def weights(self, first: Expr) -> Weights:
        """The weights, c times the function `first` for their sum."""
        if self.given is not None:
            return self.given
        weights: dict[int, Expr] = {}
        rest = {first: self.c}
        for (j, function), x in self.terms.items():
            weights[j] = weights.get(j, Integer(0)) + x * function
            rest[function] = rest.get(function, Integer(0)) - x
        return {0: sympy.Add(*(factored(x) * f for f, x in rest.items()))} | weights

    def at(self, values: Mapping[Symbol, Expr], unsolved: bool = False) -> AnsatzRow:
        """The row with some unknowns and abscissae determined; unsolved: where functions become one, so do
        their unknowns.
        """
        terms: dict[tuple[int, Expr], Expr] = {}
        for (j, f), x in self.terms.items():
            key, new = (j, f.xreplace(values)), _replaced(x, values)
            old = terms.get(key, Integer(0))
            both = unsolved and old.is_Symbol and new.is_Symbol
            terms[key] = old if both else factored(old + new) if old else new
        given = None if self.given is None else {j: w.xreplace(values) for j, w in self.given.items()}
        return AnsatzRow(self.c.xreplace(values), {key: x for key, x in terms.items() if x != 0}, given)


@dataclass(frozen=True)
class Ansatz:
    """Rows with unknowns: the stages', then the output's.

    unknowns: in the order in which they are solved for, those that stay free last.  form: which expansion the
    conditions are those of; linearised: with the Jacobian for L (Rosenbrock type).
    """

    rows: tuple[AnsatzRow, ...]
    unknowns: tuple[Symbol, ...]
    form: FormName = "lambda"
    linearised: bool = False

    @cached_property
    def tableau(self) -> Tableau:
        """The tableau, with symbols."""
        first = [Integer(1) if self.form == "rho" else phi(1, row.c) for row in self.rows]
        formulas = [formula_of(row.weights(f)) for row, f in zip(self.rows, first, strict=True)]
        stages = tuple(Stage(row.c, f) for row, f in zip(self.rows[:-1], formulas[:-1], strict=True))
        return Tableau(stages, formulas[-1])

    @cached_property
    def symbols(self) -> frozenset[Symbol]:
        """What is free: unknown weights, abscissae, and parameters of given rows."""
        found = {s for row in self.rows for s in row.c.free_symbols}
        found |= {s for row in self.rows for x in row.terms.values() for s in x.free_symbols}
        found |= {s for row in self.rows for w in (row.given or {}).values() for s in w.free_symbols}
        return frozenset(s for s in found if s != z and ratio_of(s) is None)

    @property
    def names(self) -> tuple[str, ...]:
        """What can be set: free abscissae, then unknown weights."""
        return tuple(s.name for s in (*reversed(self.abscissae), *self.unknowns))

    @cached_property
    def abscissae(self) -> tuple[Symbol, ...]:
        """The free abscissae, the last first."""
        found: dict[Symbol, None] = {}
        for row in reversed(self.rows):
            for symbol in sorted(row.c.free_symbols, key=str):
                found.setdefault(symbol)
        return tuple(found)

    def at(self, values: Mapping[Symbol, Expr]) -> Ansatz:
        """With some unknowns and abscissae determined."""
        weights = [x for row in self.rows for x in row.terms.values()]
        unsolved = len(set(weights)) == len(weights) and all(x.is_Symbol for x in weights)
        rows = tuple(row.at(values, unsolved) for row in self.rows)
        left = set().union(*(x.free_symbols for row in rows for x in row.terms.values()))
        return replace(self, rows=rows, unknowns=tuple(x for x in self.unknowns if x in left))

    def by_values(self) -> tuple[Ansatz, dict[Symbol, Symbol]]:
        """With the weights' values at z = 0 as unknowns, each in place of its first function's coefficient;
        and which is in place of which.

        Most classical conditions hold these alone: one unknown in place of a sum of as many as there are
        functions.  Weights of one function, and those of which something is determined, stay.
        """
        values: dict[Symbol, Expr] = {}
        names: dict[Symbol, Symbol] = {}
        for i, row in enumerate(self.rows, 1):
            for j in dict.fromkeys(j for j, _ in row.terms):
                own = [(x, f) for (k, f), x in row.terms.items() if k == j]
                if len(own) > 1 and all(x in self.unknowns for x, _ in own):
                    (first, function), *others = own
                    value = Symbol(f"{_row_name(i, i == len(self.rows))}_{_label(j)}_0")
                    rest = sympy.Add(*(x * _at_zero(f) for x, f in others))
                    values[first], names[value] = (value - rest) / _at_zero(function), first
        own_names = {first: value for value, first in names.items()}
        changed = replace(self, rows=tuple(row.at(values) for row in self.rows))
        return replace(changed, unknowns=tuple(own_names.get(x, x) for x in self.unknowns)), names

    def by_coefficients(self, names: Mapping[Symbol, Symbol]) -> Ansatz:
        """With a coefficient again for each value at z = 0 that no other coefficient depends on."""
        places: dict[Symbol, list[tuple[int, tuple[int, Expr]]]] = {}
        for i, row in enumerate(self.rows):
            for key, x in row.terms.items():
                for value in x.free_symbols & names.keys():
                    places.setdefault(value, []).append((i, key))
        back = {value: found[0] for value, found in places.items() if len(found) == 1}
        rows = [dict(row.terms) for row in self.rows]
        for value, (i, key) in back.items():
            rows[i][key] = names[value]
        return replace(
            self,
            rows=tuple(replace(row, terms=terms) for row, terms in zip(self.rows, rows, strict=True)),
            unknowns=tuple(names[x] if x in back else x for x in self.unknowns),
        )


def ansatz(
    abscissae: Sequence[Any] = (),
    *,
    past: int = 0,
    indices: Sequence[int],
    stage_indices: Sequence[int] | None = None,
    arguments: Arguments = "own",
    form: FormName = "lambda",
    parallel: Sequence[Sequence[int]] = (),
) -> Ansatz:
    """A method with unknown weights.

    abscissae: of the stages, numbers or symbols.  past: how many earlier evaluations each row uses.  indices:
    the k of the phi_k that weights are made of; stage_indices: those of the stages, by default the same.
    arguments: see `Arguments`.  In the form "rho" weights are numbers and there are no functions to choose.
    parallel: groups of stages, by number from 2, that do not use one another.  Raises ValueError.
    """
    checks.one_of("form", form, FORMS)
    checks.one_of("arguments", arguments, ARGUMENTS)
    past = checks.integer("past", past, 0, MAX_STAGES - 1)
    at = tuple(_abscissa(i, c) for i, c in enumerate(abscissae, 1))
    own = indices if stage_indices is None else stage_indices
    for name, values in (("indices", indices), ("stage_indices", own)):
        if not values or not all(isinstance(k, int) and 1 <= k <= 16 for k in values):
            raise ValueError(f"{name} must be integers from 1 to 16, got {list(values)}")
    apart = _apart(parallel, len(at) + 1)
    rows: list[AnsatzRow] = []
    unknowns: list[Symbol] = []
    for i, c in enumerate((*at, Integer(1)), 1):
        output = i > len(at)
        places = [c] if output or arguments == "own" else list(dict.fromkeys((c, *at[: i - 1])))
        functions = _functions(form, indices if output else own, places)
        evaluations = [j for j in range(1, i) if (i, j) not in apart]
        evaluations += [-j for j in range(past, 0, -1)]
        terms = {
            (j, f): Symbol(f"{_row_name(i, output)}_{_label(j)}{suffix}")
            for j in evaluations
            for suffix, f in functions.items()
        }
        rows.append(AnsatzRow(c, terms))
        unknowns += terms.values()
    return Ansatz(tuple(rows), tuple(unknowns), form)


def _apart(parallel: Sequence[Sequence[int]], stages: int) -> set[tuple[int, int]]:
    """The pairs of evaluations N(i), N(j), i > j, of which the first does not use the second."""
    for group in parallel:
        if len(set(group)) < 2 or not all(isinstance(i, int) and 2 <= i <= stages for i in group):
            raise ValueError(
                f"parallel must be groups of two or more of the stages 2 to {stages}, got {list(group)}"
            )
    return {(i - 1, j - 1) for group in parallel for i in group for j in group if i > j}


def embedded_ansatz(
    tableau: Tableau, *, indices: Sequence[int], form: FormName = "lambda", linearised: bool = False
) -> Ansatz:
    """A second output row on the stages of a tableau, of phi_k(z) with k in indices."""
    rows = [AnsatzRow(s.c, {}, weights) for s, weights in zip(tableau.stages, tableau.a, strict=True)]
    evaluations = [*range(1, len(tableau.stages) + 1), *(-j for j in range(tableau.past, 0, -1))]
    functions = _functions(form, indices, [Integer(1)])
    terms = {(j, f): Symbol(f"b_{_label(j)}{suffix}") for j in evaluations for suffix, f in functions.items()}
    return Ansatz((*rows, AnsatzRow(Integer(1), terms)), tuple(terms.values()), form, linearised)


def given_ansatz(tableau: Tableau, form: FormName = "lambda") -> Ansatz:
    """A tableau as it stands, nothing unknown."""
    rows = [AnsatzRow(s.c, {}, weights) for s, weights in zip(tableau.stages, tableau.a, strict=True)]
    return Ansatz((*rows, AnsatzRow(Integer(1), {}, tableau.b)), (), form)


def _functions(form: FormName, indices: Sequence[int], places: Sequence[Expr]) -> dict[str, Expr]:
    """What weights are made of, by the end of the coefficient's name."""
    if form == "rho":
        return {"": Integer(1)}
    marks = ["", *(f"_{n}" for n in range(1, len(places)))]
    return {f"_{k}{mark}": phi(k, c) for mark, c in zip(marks, places, strict=True) for k in indices}


def _replaced(x: Expr, values: Mapping[Symbol, Expr]) -> Expr:
    """A weight with some symbols determined, in factors; those of a family are so already."""
    if x in values:
        return values[x]
    return factored(x.xreplace(values)) if x.free_symbols & values.keys() else x


def _row_name(i: int, output: bool) -> str:
    """Of the weights of the i-th row."""
    return "b" if output else f"a{i + 1}"


def _at_zero(function: Expr) -> Expr:
    """A function of a weight at z = 0; of phi_k(0 z) nothing but the number is left."""
    return Rational(1, math.factorial(int(function.args[0]))) if isinstance(function, phi) else function


def _label(j: int) -> str:
    return str(j + 1) if j >= 0 else f"P{-j}"


def exactly(name: str, value: Any) -> Expr:
    """An integer, fraction or sympy expression without floats, as an expression.

    Texts are refused: sympy would evaluate them.  Raises ValueError for anything else.
    """
    if isinstance(value, (int, Fraction)) and checks.is_number(value):
        return Rational(value)
    if isinstance(value, Expr) and not value.has(sympy.Float):
        return value
    raise ValueError(f"{name} must be an exact number or expression, got {shown(value)}")


NAME = re.compile(r"[A-MOQ-Za-df-y]\d{0,2}", re.ASCII)
"""Of a free abscissa: no word of a formula (z, e, N0, P1), and nothing that may be meant as a number."""
_FRACTION = re.compile(r"\d{1,20}(/0*[1-9]\d{0,19})?", re.ASCII)


def _abscissa(i: int, c: Any) -> Expr:
    if isinstance(c, str) and NAME.fullmatch(c):
        c = Symbol(c)
    elif isinstance(c, str) and _FRACTION.fullmatch(c):
        c = Rational(c)
    value = exactly(f"abscissa {i}", c)
    reserved = {z, *(omega(j) for j in range(1, MAX_STAGES))}
    if isinstance(value, Symbol) and value not in reserved:
        return value
    if value.is_number and _algebraic(value) and value != 0:
        return value
    raise ValueError(
        f"abscissa {i} must be a rational number other than 0, one with square roots, or a symbol, "
        f"got {shown(c)}"
    )


def _algebraic(value: Expr) -> bool:
    try:
        return not Field([value]).symbols
    except NotInRing:
        return False
