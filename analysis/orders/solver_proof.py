"""The order of a solver as it is run, proved: its formula, its start, its first and last steps.

A form decides which expansion holds (`setting`).  The formula of a multistep method is expanded with exact
past values and the step ratios as symbols; three orders are told apart:

    any      on every grid, whatever the ratios
    smooth   on grids that are images of equal steps under a smooth map: omega_j = j + O(h), so a condition
             that fails by O(h^v) there counts as one of v orders more
    equal    on equal steps

Of a run with n steps, a local error O(h^(p+1)) of a step that recurs gives order p, and one made in a bounded
number of steps (start, end) order p + 1.  Last steps are those of the solver's release (`Solver.final`).

PEC lemma.  A solver that carries the evaluation at a predicted state has in its history N(u + delta), delta
the local error O(h^(q+1)) of the predicting row.  Since the weights of a row sum to 1 at z = 0, the step
gains the error h N' delta, O(h^(q+2)): order min(p, q + 1), or q + 2 where that happens a bounded number of
times.  The predicted state may lie inside the step (`Tableau.lag`); then the first step, before which nothing
was carried, has another formula than the others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property, partial
from typing import Any, Literal, get_args

import sympy
from semilinear.integrators.common import checks
from semilinear.integrators.common.files import Written
from semilinear.integrators.forms.form import Form, Measured
from semilinear.integrators.forms.model_statistics import StatisticsWeight
from semilinear.integrators.solver import Final, Solver
from semilinear.integrators.tableaux.tableau import MAX_STAGES, StepRatio, Tableau, check_carried, omega
from sympy import Expr, Integer, Symbol

from ..algebra.factoring import factored
from ..algebra.ring import Scalar
from .defects import Defects
from .exact import open_schedule
from .expansion import Expansion, duhamel, unweighted, weighted
from .moments import moments_of
from .proof import CAP, Term, leading_terms

Grid = Literal["any", "smooth", "equal"]
GRIDS: tuple[Grid, ...] = get_args(Grid)
SMALL = Symbol("delta", positive=True)
"""The step of the equal grid of which a smooth grid is the image."""
RUNS = (24, 48)
"""Numbers of steps from which the tableaux that recur are told from those at the start and the end."""


@dataclass(frozen=True)
class Setting:
    """Which equation a form makes of the sampling ODE, and the expansion that belongs to it.

    mark: a letter for it in tables.  expand: (tableau, through) -> the expansion.  scalar: whether stems
    commute with everything.
    """

    mark: str
    equation: str
    expand: Callable[[Tableau, int], Expansion]
    scalar: bool


def setting(form: Form, points: Any = None) -> Setting:
    """The setting of a form; points: of a release's quadrature, in place of its own number.

    Raises ValueError for a discretised kernel, which is the step of no equation.
    """
    if form.linear is not None:
        raise ValueError(f"form {form.name!r} is a discretised kernel, which has no formula of its own")
    rate = form.weight.rate
    if rate is None:
        moments = moments_of(form, points)
        if isinstance(form.weight, Measured) and form.weight.constant:
            expand = partial(weighted, moments=moments, constant=True)
            return Setting("1", f"y' = N(tau, y), {moments.name} moments", expand, True)
        elementwise = isinstance(form.weight, StatisticsWeight)
        mark, kind = ("W", "a diagonal operator") if elementwise else ("w", "a number")
        equation = f"y' = w N(tau, y), w(tau), {kind}, {moments.name} moments"
        return Setting(mark, equation, partial(weighted, moments=moments), not elementwise)
    if rate == 0:
        return Setting("1", "y' = N(tau, y)", unweighted, True)
    return Setting("L", "u' = L u + N(u), L a multiple of the identity", duhamel, True)


@dataclass(frozen=True, eq=False)
class FormulaProof:
    """The local error of one tableau with exact past values, in a setting.

    through: the highest order that is looked for.  stage: of the row of a stage, in place of the output.
    """

    tableau: Tableau
    setting: Setting
    through: int
    stage: int | None = None

    @cached_property
    def expansion(self) -> Expansion:
        """The tableau's Taylor coefficients, one order further."""
        expansion = self.setting.expand(self.tableau, self.through + 1)
        return expansion if self.stage is None else expansion.up_to(self.stage)

    @cached_property
    def defects(self) -> Defects:
        """Its defects along the solution."""
        return Defects(self.expansion)

    def failing(self, q: int) -> list[Scalar]:
        """The error coefficients of the conditions of order q that fail."""
        return [value for value, _ in self.defects.errors(q, scalar=self.setting.scalar)]

    def order(self, grid: Grid = "any", *, recurring: bool = False) -> int:
        """The order on such grids, at most `through`.

        recurring: of runs of such steps alone, where errors may cancel from step to step (`_telescopes`).
        """
        return self._known_order(grid, recurring)

    @cached_property
    def _known_order(self) -> Callable[[Grid, bool], int]:
        """Every part of a run asks for its orders again and again."""
        return cache(self._order)

    def _order(self, grid: Grid, recurring: bool) -> int:
        best = self.through
        for q in range(1, self.through + 1):
            if q > best:
                break
            for value in self.failing(q):
                expression = self.expansion.field.expression(value)
                smaller = self._vanishing(expression, grid, best + 1 - q)
                if recurring and smaller == 0 and _telescopes(expression, q):
                    smaller = 1
                best = min(best, q - 1 + smaller)
        return best

    def _vanishing(self, expression: Expr, grid: Grid, enough: int) -> int:
        """By how many powers of h an error coefficient is smaller on such a grid; `enough` if at least so
        much.
        """
        if grid == "any":
            return 0
        ratios = [s for s in expression.free_symbols if on_equal_steps(s)]
        if not ratios or sympy.cancel(at_equal_steps(expression)) != 0:
            return 0
        if grid == "equal":
            return enough
        curved = {s: on_smooth_grid(s, enough) for s in ratios}
        roots = {r: _root(curved[r.base], r.exp, enough) for r in _roots(expression) if r.base in curved}
        expression = expression.xreplace(roots).subs(curved)
        numerator, denominator = sympy.fraction(sympy.together(expression))
        low, below = (_lowest(part) for part in (numerator, denominator))
        return min(enough, low - below)

    def leading_error(self, grid: Grid = "smooth") -> tuple[Term, ...]:
        """The terms of the local error that decide the order, for step ratios as they are: those of size
        h^(p + 1) on such a grid, lower ones among them whose coefficients vanish on equal steps.
        """
        last = self.order(grid) + 1
        found = (t for q in range(1, last + 1) for t in self._terms(q))
        return tuple(
            t
            for t in found
            if t.order == last or t.order + self._vanishing(t.coefficient, grid, last + 1 - t.order) == last
        )

    def _terms(self, q: int) -> tuple[Term, ...]:
        return leading_terms(self.defects, q, scalar=self.setting.scalar)


OMEGAS = {omega(j): Integer(j) for j in range(1, MAX_STAGES)}


def on_equal_steps(symbol: Symbol) -> Expr | None:
    """The value of a step ratio on equal steps; None for another parameter."""
    return Integer(1) if isinstance(symbol, StepRatio) else OMEGAS.get(symbol)


def at_equal_steps(expression: Expr) -> Expr:
    """An expression with every step ratio at its value on equal steps."""
    return expression.subs({s: v for s in expression.free_symbols if (v := on_equal_steps(s)) is not None})


def on_smooth_grid(symbol: Symbol, terms: int) -> Expr:
    """A step ratio on the image of equal steps delta under a smooth map xi + g_1 xi^2/2 + ..; one in another
    variable as 1 + r_1 delta + ..

    terms: how many of the g and r, which are arbitrary.
    """
    if isinstance(symbol, StepRatio):
        r = [Symbol(f"{symbol.name}_{i}") for i in range(1, terms + 1)]
        return 1 + sum((c * SMALL**i for i, c in enumerate(r, 1)), Integer(0))
    g = [Integer(1), *(Symbol(f"g_{i}") for i in range(1, terms + 1))]

    def tau(xi: Expr) -> Expr:
        return sum((c * xi ** (i + 1) / math.factorial(i + 1) for i, c in enumerate(g)), Integer(0))

    return sympy.cancel(-tau(-OMEGAS[symbol] * SMALL) / tau(SMALL))


def _telescopes(expression: Expr, q: int) -> bool:
    """Whether errors  kappa h_n^q F(t_n)  of all steps cancel but for one power of h, on any grid.

    Where kappa is a multiple of  omega_1^q - 1  they are  c (h_(n-1)^q - h_n^q) F(t_n):  summed by parts,
    c h_n^q (F(t_(n+1)) - F(t_n)) = O(h^(q+1))  a step is left.  c must be a number: a parameter of the
    formula may change from step to step as it likes.
    """
    return bool(sympy.cancel(expression / (omega(1) ** q - 1)).is_number)


def _roots(expression: Expr) -> list[Expr]:
    """The powers with a fraction for exponent."""
    return [p for p in expression.atoms(sympy.Pow) if p.exp.is_Rational and not p.exp.is_Integer]


def _root(ratio: Expr, exponent: Expr, terms: int) -> Expr:
    """A fractional power of a step ratio on a smooth grid, as far as delta^terms."""
    return sympy.series(ratio**exponent, SMALL, 0, terms + 1).removeO()


def _lowest(expression: Expr) -> int:
    """The lowest power of delta in a polynomial."""
    poly = sympy.Poly(expression, SMALL)
    return min(power for (power,), _ in poly.terms()) if not poly.is_zero else 10**6


Place = Literal["recurring", "start", "end", "released end"]
"""Where a tableau occurs in runs: in ever more steps as they are refined; in a bounded number of steps before
there is a whole history; in a bounded number of steps after that, of runs that end at full order, or as the
release does by default (`Solver.final`).
"""


@dataclass(frozen=True)
class Part:
    """A tableau of a run, where it occurs, and the row whose evaluation it carries to the next step."""

    formula: FormulaProof
    predictor: FormulaProof | None
    place: Place

    def order(self, grid: Grid, *, summed: bool = True) -> int:
        """The order that a run can have for this part.

        summed: where it recurs, by the sum of its errors, not by each.
        """
        spared = 0 if self.place == "recurring" else 1
        cancelling = summed and self.place == "recurring" and self.predictor is None
        order = self.formula.order(grid, recurring=cancelling) + spared
        return order if self.predictor is None else min(order, self.predictor.order(grid) + 1 + spared)


@dataclass(frozen=True, eq=False)
class SolverProof(Written):
    """The proved orders of a solver of the probability flow, none of them looked for beyond `CAP`.

    setting: the equation that the orders are for.  parts: the tableaux of its runs, the most frequent first.
    """

    solver: Solver
    setting: Setting
    parts: tuple[Part, ...]

    def __str__(self) -> str:
        orders = f"formula {self.formula()}, exact start {self.exact_start()}, as it is run {self.run()}"
        error = " + ".join(map(str, self.leading_error)) or "none found"
        return f"{self.solver.name}: claimed {self.solver.claimed}; proved: {orders}; leading error {error}"

    @property
    def data(self) -> dict[str, Any]:
        """As JSON data.

        mark, equation: its form's.  formula: the order of the steps that recur, on any grid, on smooth ones
        and on equal steps.  start: what the starting steps allow, null without any.  exact_start, run: of
        runs from exact starting values, and as they are run, on smooth grids.  leading_error: of the formula
        with exact past values, on equal steps.
        """
        return {
            "solver": self.solver.name,
            "claimed": self.solver.claimed,
            "mark": self.setting.mark,
            "equation": self.setting.equation,
            "formula": {grid: self.formula(grid) for grid in GRIDS},
            "start": self.start(),
            "exact_start": self.exact_start(),
            "run": self.run(),
            "leading_error": [str(term) for term in self.error_on_equal_steps],
        }

    def formula(self, grid: Grid = "smooth") -> int:
        """The order of the formula of the steps that recur."""
        return self._order(grid, "recurring")

    def start(self, grid: Grid = "smooth") -> int | None:
        """The order that the starting steps allow a run; None for a method that needs no start."""
        orders = [part.order(grid) for part in self.parts if part.place == "start"]
        return min(orders, default=None)

    def exact_start(self, grid: Grid = "smooth") -> int:
        """The order of runs from exact starting values that end at full order."""
        return self._order(grid, "recurring", "end")

    def run(self, grid: Grid = "smooth", *, released: bool = True) -> int:
        """The order of the method as it is run: with its own first steps, and with last steps as released, or
        at full order.
        """
        return self._order(grid, "recurring", "start", "released end" if released else "end")

    def across_kinks(self) -> int:
        """The order of the method as it is run on grids that are smooth but for a bounded number of kinks:
        there a step is one on any grid, by itself, and costs one power of h less than where all are.
        """
        recurring = [part for part in self.parts if part.place == "recurring"]
        return min(self.run(), *(part.order("any", summed=False) + 1 for part in recurring))

    def _order(self, grid: Grid, *places: Place) -> int:
        return min(part.order(grid) for part in self.parts if part.place in places)

    @property
    def leading_error(self) -> tuple[Term, ...]:
        """The leading local error of the formula with exact past values, for step ratios as they are; of the
        tableau that decides the order, where several recur.
        """
        return self._leading("smooth")

    @property
    def error_on_equal_steps(self) -> tuple[Term, ...]:
        """The same where the steps are equal in every variable: of a higher order, where that on equal steps
        is higher than on smooth grids.
        """
        found = self._leading("equal")
        terms = (replace(t, coefficient=factored(at_equal_steps(t.coefficient))) for t in found)
        return tuple(t for t in terms if t.coefficient != 0)

    def _leading(self, grid: Grid) -> tuple[Term, ...]:
        recurring = (part.formula for part in self.parts if part.place == "recurring")
        return min(recurring, key=lambda formula: formula.order(grid)).leading_error(grid)


def prove_solver(
    solver: Solver, *, residue: tuple[int, int] | None = None, points: Any = None
) -> SolverProof:
    """Prove the orders of a solver of the probability flow.

    residue: (m, r): of runs with budgets r mod m only, for a solver that is made to a number of evaluations.
    points: of a release's quadrature, in place of its own number (`moments.POINTS` leaves it open).
    Raises TypeError for another kind of object; ValueError for a stochastic solver (whose orders are those of
    `verification.studies.gaussian`), for one that moves to a noisier time, and for a discretised kernel.
    Rows outside the setting's expansion raise NotInRing when an order is asked for.
    """
    checks.instance("solver", solver, Solver)
    if solver.stochastic or solver.noising is not None:
        raise ValueError(f"{solver.name} is stochastic: its orders are weak and strong ones, on an SDE")
    given = setting(solver.form(open_schedule()), points)
    period, remainder = (solver.sequence.period, 0) if residue is None else residue
    endings: dict[Place, Final] = {"end": "full", "released end": solver.final.limit}
    found: dict[tuple[Tableau, Place], None] = {}
    starting = max(solver.history, int(any(t.lag for t in solver.sequence.tableaux)))
    for end, final in endings.items():
        runs = [as_run(solver.sequence.at(n * period + remainder, final)) for n in RUNS]
        for tableau in sorted(dict.fromkeys(runs[1]), key=runs[1].count, reverse=True):
            found |= {(tableau, place): None for place in _places(tableau, runs, starting, end)}
    formulas = {tableau: _formula(tableau, given) for tableau, _ in found}
    return SolverProof(solver, given, tuple(Part(*formulas[t], place) for t, place in found))


def as_run(tableaux: Sequence[Tableau]) -> tuple[Tableau, ...]:
    """The tableaux of a run's steps: the first evaluates its own start, where the others have what the step
    before carried over from inside.  Raises ValueError as `check_carried`.
    """
    check_carried(tableaux)
    first, *rest = tableaux
    return (replace(first, carry=None) if first.lag else first, *rest)


def _places(tableau: Tableau, runs: list[tuple[Tableau, ...]], history: int, end: Place) -> list[Place]:
    if runs[1].count(tableau) > runs[0].count(tableau):
        return ["recurring"]
    where: dict[Place, bool] = {"start": tableau in runs[1][:history], end: tableau in runs[1][history:]}
    return [place for place, there in where.items() if there]


def _formula(tableau: Tableau, given: Setting) -> tuple[FormulaProof, FormulaProof | None]:
    through = min(tableau.past + len(tableau.stages) + 2, CAP)
    predictor = None if tableau.carry is None else FormulaProof(tableau, given, through, tableau.carry)
    return FormulaProof(tableau, given, through), predictor
