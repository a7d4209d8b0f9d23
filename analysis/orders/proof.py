"""What can be proved of a tableau: its orders, the conditions that fail, and its leading error term.

    classical   order for every u' = L u + N(u) with bounded L: L/N trees
    scalar      the same where L is a multiple of the identity, as in every diffusion ODE
    stiff       uniform in L: conditions of `stiff.py`; weak_stiff with b_i(0) in those of the last order,
                zero_stiff with everything at z = 0 in them (Hochbruck & Ostermann 2005)

The equation is that of a form (`expansion.FORMS`): u' = L u + N(u) with all of these orders, or one without
L, y' = N(tau, y) or y' = w(tau) N(tau, y), which has a classical order alone.  A stage that nothing reads
counts in no condition (`Proof.unread`).

Coefficients are exact throughout: a proof is one for all values of the tableau's parameters (step ratios,
abscissae) at which it exists.  At special values the orders may be higher, not lower; put the values into the
tableau to see.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from fractions import Fraction
from functools import cached_property
from typing import Any

import sympy
from semilinear.integrators.common import checks
from semilinear.integrators.common.files import Written, json_number
from semilinear.integrators.common.messages import shown
from semilinear.integrators.tableaux.tableau import Tableau
from sympy import Expr, Integer, Rational, Symbol

from ..algebra.factoring import factored
from ..algebra.printable import printable
from ..algebra.ring import Field, Ring, Scalar
from ..algebra.trees import Tree, differential
from .defects import Defects, residuals
from .expansion import FORMS, Expansion, FormName, expand, expressions, unread
from .stiff import StiffConditions

CAP = 8
"""The highest order that is looked for."""
ORDERS = ("classical", "scalar", "stiff", "weak_stiff", "zero_stiff")
"""The orders of a tableau; a form without L has the first."""


@dataclass(frozen=True)
class Violation:
    """A condition that fails.

    kind: "classical" or "stiff".  order: of the condition.  condition: the elementary differential that it
    belongs to, or its sum.  residual: the error coefficient (classical), or the lowest Taylor term of the
    condition in the arguments z_0, z_1, .. of its coefficient functions (stiff; None if beyond order 8).
    """

    kind: str
    order: int
    condition: str
    residual: Expr | None

    @property
    def data(self) -> dict[str, Any]:
        """As JSON data; decimal: the residual as a number, without the arguments z_i that it is multiplied
        by, None where it depends on parameters.
        """
        given = self.residual
        return {
            "kind": self.kind,
            "order": self.order,
            "condition": self.condition,
            "residual": None if given is None else printable(given),
            "decimal": None if given is None else _decimal(given),
        }


def _decimal(residual: Expr) -> float | None:
    arguments = {s: 1 for s in residual.free_symbols if s.name.startswith("z_")}
    value = residual.xreplace(arguments)
    if value.free_symbols:
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return json_number(number)


@dataclass(frozen=True)
class Term:
    """coefficient h^order times an elementary differential, or a total derivative of N along the solution."""

    coefficient: Expr
    differential: str
    order: int

    def __str__(self) -> str:
        return f"({printable(self.coefficient)}) h^{self.order} {self.differential}"


@dataclass(frozen=True, eq=False)
class Proof(Written):
    """The orders of a tableau, each as far as it was looked for (`CAP`), with the reasons.

    tableau: what was proved.  linearised: L is the Jacobian at u_n (Rosenbrock type).  form: whose equation
    the orders are for.  at: values of parameters, omega(j) = j on equal steps.  base: the field of the
    coefficients, by default the exact one.  within: the orders within the rounding of the coefficients
    (`within_rounding.WithinRounding`), where these were asked for and some are rounded.
    """

    tableau: Tableau
    linearised: bool = False
    form: FormName = "lambda"
    at: Mapping[Symbol, Expr] = field(default_factory=dict)
    base: Field | None = None
    within: Any = None

    def __str__(self) -> str:
        least = {name: "at least " if name in self.at_least else "" for name in self.orders}
        orders = ", ".join(f"{name} {least[name]}{order}" for name, order in self.orders.items())
        error = " + ".join(map(str, self.leading_error)) or "none found"
        rounded = ""
        if self.within is not None and self.within.classical is None:
            rounded = f"; within the rounding of the coefficients: {self.within.reason}"
        elif self.within is not None:
            found = (("classical", self.within.classical), ("stiff", self.within.stiff))
            words = ", ".join(f"{name} {order}" for name, order in found if order is not None)
            rounded = f"; within the rounding of the coefficients {words}"
        return f"orders: {orders}{rounded}; leading error {error}"

    @property
    def data(self) -> dict[str, Any]:
        """As JSON data, in the words of `semilinear prove --json`."""
        return {
            "form": self.form,
            "linearised": self.linearised,
            **dict.fromkeys(ORDERS),
            **self.orders,
            "at_least": list(self.at_least),
            "within_rounding": None if self.within is None else asdict(self.within),
            **self.told(),
        }

    def told(self, through: int | None = None) -> dict[str, Any]:
        """What stands behind the orders, as JSON data; through: as in `violated`."""
        return {
            "ignored_stages": [i + 1 for i in self.unread],
            "principal_error_norm": self._norm,
            "principal_error": printable(self.principal_error),
            "leading_error": [str(term) for term in self.leading_error],
            "parameters": sorted(str(s) for s in self.ring.field.symbols),
            "violated": [v.data for v in self.violated(through)],
        }

    @property
    def _norm(self) -> float | None:
        """The principal error norm, where it is a number that a float holds."""
        if "classical" in self.at_least:
            return None
        try:
            norm = self.principal_error_norm
        except OverflowError:
            return None
        return None if norm is None else json_number(norm)

    @cached_property
    def ring(self) -> Ring:
        """The ring of the tableau's coefficients."""
        return Ring(Field(expressions(self.tableau), self.at) if self.base is None else self.base)

    @cached_property
    def expansion(self) -> Expansion:
        """The Taylor coefficients, one order beyond the highest that is looked for."""
        return expand(self.tableau, CAP + 1, self.form, self.ring, linearised=self.linearised)

    @cached_property
    def _near(self) -> Expansion:
        """The Taylor coefficients as far as an order can need them: with parameters, no further than the
        orders are at one point, since those of a long weight are longer.
        """
        most = max(self._most("classical"), self._most("scalar"))
        if self._point is None or not most:
            return self.expansion
        return expand(self.tableau, most, self.form, self.ring, linearised=self.linearised)

    @cached_property
    def defects(self) -> Defects:
        """The local error by derivatives along the solution."""
        return Defects(self.expansion)

    @cached_property
    def conditions(self) -> StiffConditions:
        """The stiff order conditions.

        Raises ValueError for a form without L.
        """
        if self.form != "lambda":
            raise ValueError(f"stiff orders are those of u' = L u + N(u), got form {shown(self.form)}")
        return StiffConditions(self.tableau, self.ring, self.linearised)

    @cached_property
    def classical(self) -> int:
        """The classical order."""
        return local_order(self._near, self._most("classical"))

    @cached_property
    def scalar(self) -> int:
        """The classical order where L is a multiple of the identity."""
        return local_order(self._near, self._most("scalar"), scalar=True)

    @cached_property
    def stiff(self) -> int:
        """The stiff order, all conditions in the strong sense."""
        return self.conditions.order(self._most("stiff"))

    @cached_property
    def weak_stiff(self) -> int:
        """The stiff order with the conditions of the last order at b_i(0)."""
        return self.conditions.order(self._most("weak_stiff"), "weak")

    @cached_property
    def zero_stiff(self) -> int:
        """The stiff order with the conditions of the last order at z = 0."""
        return self.conditions.order(self._most("zero_stiff"), "zero")

    def _most(self, name: str) -> int:
        """The most that an order can be: what it is at one point of the parameters, where a condition that
        fails is refuted in numbers.
        """
        return CAP if self._point is None else getattr(self._point, name)

    @cached_property
    def _point(self) -> Proof | None:
        """The same at numbers for the parameters; None without parameters, with roots of them, and where the
        tableau does not exist there.
        """
        symbols = self.ring.field.symbols
        if self.base is not None or not self.ring.field.rational:
            return None
        point = [Fraction(sympy.prime(10 + i), sympy.prime(40 + i)) for i in range(len(symbols))]
        values = {s: Rational(x.numerator, x.denominator) for s, x in zip(symbols, point, strict=True)}
        proof = replace(self, base=Field(at={**self.at, **values}), within=None)
        try:
            for expression in expressions(self.tableau):
                proof.ring.learn(expression, self.ring(expression).at(proof.ring, point))
        except ZeroDivisionError:
            return None
        return proof

    @property
    def orders(self) -> dict[str, int]:
        """All of these that the form has, by name."""
        names = ORDERS if self.form == "lambda" else ORDERS[:1]
        return {name: getattr(self, name) for name in names}

    @cached_property
    def at_least(self) -> tuple[str, ...]:
        """Which of the orders are only known from below: nothing fails as far as was looked."""
        return tuple(name for name, order in self.orders.items() if order == CAP and not self._ends(name))

    def _ends(self, name: str) -> bool:
        """Whether a condition beyond the highest order is known to fail."""
        if name in ("classical", "scalar"):
            return bool(self.defects.errors(CAP + 1, scalar=name == "scalar"))
        return False

    @property
    def unread(self) -> list[int]:
        """The stages i that nothing reads, and that no condition counts."""
        return unread(self.tableau)

    @cached_property
    def quadrature_order(self) -> int:
        """P: the output row integrates polynomials of degree < P exactly."""
        return self.conditions.quadrature_order(CAP)

    @cached_property
    def stage_order(self) -> int:
        """Q: every stage integrates polynomials of degree < Q exactly; the cap where there is no stage."""
        return self.conditions.stage_order(CAP)

    @cached_property
    def embedded(self) -> Proof | None:
        """The same of the second output row; None where there is none."""
        if self.tableau.low is None:
            return None
        return replace(self, tableau=replace(self.tableau, output=self.tableau.low, low=None))

    @cached_property
    def errors(self) -> Mapping[Tree, Scalar]:
        """The error coefficients of order p + 1, p the classical order."""
        return self.expansion.errors(self.classical + 1)

    @cached_property
    def principal_error(self) -> Expr:
        """The principal error norm, exactly: the 2-norm of the error coefficients of order p + 1."""
        value = self.ring.field.expression
        return sympy.sqrt(sympy.Add(*(value(v) ** 2 for v in self.errors.values())))

    @property
    def principal_error_norm(self) -> float | None:
        """The principal error norm as a number; None where it depends on parameters."""
        if self.ring.field.domain.is_QQ:
            return math.sqrt(sum(float(v) ** 2 for v in self.errors.values()))
        norm = self.principal_error
        return None if norm.free_symbols else float(norm)

    @cached_property
    def leading_error(self) -> tuple[Term, ...]:
        """The terms of the local error of order p + 1."""
        return leading_terms(self.defects, self.classical + 1)

    def violated(self, through: int | None = None) -> list[Violation]:
        """Every condition that fails, of the orders up to `through`; by default, of the first order at which
        one fails, classical and stiff.

        Raises ValueError for an order that is not looked for.
        """
        if through is not None:
            through = checks.integer("through", through, 1, CAP)
        value = self.ring.field.expression
        last = self.classical + 1 if through is None else through
        found = [
            Violation("classical", q, words, value(error))
            for q in range(1, min(last, CAP + 1) + 1)
            for words, error in self._failing(q)
        ]
        if self.form != "lambda":
            return found
        last = self.stiff + 1 if through is None else through
        for q in range(1, min(last, CAP) + 1):
            for name, lowest in residuals(self.conditions, self.defects, q).items():
                found.append(Violation("stiff", q, name, None if lowest is None else self._monomial(*lowest)))
        return found

    def _failing(self, q: int) -> list[tuple[str, Scalar]]:
        """The classical conditions of order q that fail: by trees; with parameters, where those take long, by
        the fewer defects along the solution.
        """
        if self.ring.field.symbols:
            return [(words, error) for error, words in self.defects.errors(q)]
        stem = self.defects.symbol
        return [(differential(tree, stem), error) for tree, error in self.expansion.errors(q).items()]

    def _monomial(self, value: Scalar, powers: tuple[int, ...]) -> Expr:
        arguments = sympy.Mul(*(Symbol(f"z_{i}") ** m for i, m in enumerate(powers)))
        return self.ring.field.expression(value) * arguments


def prove(
    tableau: Tableau,
    *,
    linearised: bool = False,
    form: FormName = "lambda",
    at: Mapping[Symbol, Expr] | None = None,
) -> Proof:
    """Prove the orders of a tableau; each is worked out when it is asked for.

    linearised: for a method of Rosenbrock type, whose L is the Jacobian at u_n, so that N'(u_n) = 0.
    form: "lambda" for u' = L u + N(u); "rho" for y' = N(tau, y), where the table is that of a plain
    Runge-Kutta or multistep method (what it holds of z is taken at z = 0); "t" for y' = w(tau) N(tau, y).
    at: values of parameters, as `equal_steps` gives them.
    Raises TypeError for another kind of object, NotInRing (a ValueError) for coefficients that are not in
    Q(parameters)[z, 1/z, e^(q z)], ValueError for a coefficient with a pole at z = 0, for another form, and
    for a linearised method of a form without L.
    """
    checks.instance("tableau", tableau, Tableau)
    checks.one_of("form", form, FORMS)
    if linearised and form != "lambda":
        raise ValueError(f"a linearised method is one of form 'lambda', got form {shown(form)}")
    proof = Proof(tableau, linearised, form, at or {})
    for where, _, row in tableau.rows():
        for key, weight in row.items():
            pole = proof.ring(weight).pole
            if pole:
                raise ValueError(
                    f"{where}: the weight of {key_name(key)} has a pole of order {pole} at z = 0"
                )
    return proof


def equal_steps(tableau: Tableau) -> dict[Symbol, Expr]:
    """The step ratios of a tableau with their values on equal steps."""
    return {ratio: Integer(j) for j, ratio in enumerate(tableau.ratios, 1)}


def key_name(key: int) -> str:
    """N(i) or P(j)."""
    return f"N({key})" if key >= 0 else f"P({-key})"


def leading_terms(defects: Defects, q: int, *, scalar: bool = False) -> tuple[Term, ...]:
    """The terms of order q of the local error (`Defects.errors`)."""
    value = defects.expansion.field.expression
    return tuple(Term(factored(value(error)), words, q) for error, words in defects.errors(q, scalar=scalar))


def local_order(expansion: Expansion, through: int, *, scalar: bool = False) -> int:
    """The order of the formula, at most `through`; scalar: where stems commute."""
    defects = Defects(expansion)
    return next((q - 1 for q in range(1, through + 1) if defects.errors(q, scalar=scalar)), through)
