"""Exact coefficients: a solver's steps as closed expressions, and proofs that two solvers are one map.

The schedule is left open: time is lambda itself (any schedule can be read in its half log-SNR), rho is
e^-lambda and alpha an undefined positive function, so that a proof holds for every schedule.  The grid is
left open too: lambda_0, lambda_1, .. are symbols.  Forms, tableaux and compiler are those of the numbers.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import sympy
from semilinear.integrators.common import checks
from semilinear.integrators.common.messages import shown
from semilinear.integrators.diffusion.schedule import Formulas, Schedule
from semilinear.integrators.numerics.arithmetic import SYMBOLIC, Value
from semilinear.integrators.plans.compiler import StepCompiler
from semilinear.integrators.plans.program import Evaluation, PlanStep, Row
from semilinear.integrators.solver import Solver

ALPHA = sympy.Function("alpha", positive=True)
ALPHA_DOT = sympy.Function("alpha_dot", real=True)
"""Its derivative, left open as well: what holds for any function holds for that one."""


class OpenSchedule(Schedule):
    """A schedule without a domain."""

    def check_time(self, t: Value, name: str) -> None:
        """Every time is allowed."""


def open_schedule(unit_alpha: bool = False) -> Schedule:
    """t = lambda, rho = e^-t, alpha(t) undefined, or 1 (variance exploding)."""

    def alpha(t: Any) -> Any:
        return sympy.Integer(1) if unit_alpha else ALPHA(t)

    def alpha_dot(t: Any) -> Any:
        return sympy.Integer(0) if unit_alpha else ALPHA_DOT(t)

    def rho(t: Any) -> Any:
        return sympy.exp(-t)

    formulas = Formulas(
        log_alpha=lambda t: sympy.log(alpha(t)),
        alpha=alpha,
        sigma=lambda t: alpha(t) * rho(t),
        rho=rho,
        lam=lambda t: t,
        rho_dot=lambda t: -sympy.exp(-t),
        alpha_dot=alpha_dot,
        sigma_dot=lambda t: (alpha_dot(t) - alpha(t)) * rho(t),
        t_of_lam=lambda lam: lam,
        t_of_rho=lambda r: -sympy.log(r),
    )
    name = "unit-alpha" if unit_alpha else "any"
    return OpenSchedule(name, (), -sympy.oo, sympy.oo, formulas)


def sigma_is_time() -> Schedule:
    """alpha = 1, sigma = t."""
    formulas = Formulas(
        log_alpha=lambda t: sympy.Integer(0),
        alpha=lambda t: sympy.Integer(1),
        sigma=lambda t: t,
        rho=lambda t: t,
        lam=lambda t: -sympy.log(t),
        rho_dot=lambda t: sympy.Integer(1),
        alpha_dot=lambda t: sympy.Integer(0),
        sigma_dot=lambda t: sympy.Integer(1),
        t_of_lam=lambda lam: sympy.exp(-lam),
        t_of_rho=lambda r: r,
    )
    return OpenSchedule("sigma-is-time", (), 0, sympy.oo, formulas)


def straight() -> Schedule:
    """alpha = 1 - t, sigma = t: rectified flow."""
    formulas = Formulas(
        log_alpha=lambda t: sympy.log(1 - t),
        alpha=lambda t: 1 - t,
        sigma=lambda t: t,
        rho=lambda t: t / (1 - t),
        lam=lambda t: sympy.log((1 - t) / t),
        rho_dot=lambda t: 1 / (1 - t) ** 2,
        alpha_dot=lambda t: sympy.Integer(-1),
        sigma_dot=lambda t: sympy.Integer(1),
        t_of_lam=lambda lam: 1 / (1 + sympy.exp(lam)),
        t_of_rho=lambda r: r / (1 + r),
    )
    return OpenSchedule("straight", (), 0, 1, formulas)


@cache
def node(i: int) -> sympy.Symbol:
    """lambda_i, the half log-SNR at the i-th time."""
    return sympy.Symbol(f"lambda{i}", real=True)


def exact_steps(
    solver: Solver, count: int, *, prediction: str = "eps", schedule: Schedule | None = None
) -> tuple[PlanStep, ...]:
    """A run of `count` steps on an open grid; on an open schedule, unless one is given.

    Raises ValueError for count < 1, or what cannot be written in closed form.
    """
    count = checks.integer("count", count, 1)
    schedule = open_schedule() if schedule is None else schedule
    compiler = StepCompiler(solver, schedule, prediction, SYMBOLIC)
    tableaux = solver.sequence.at(count, "full")
    times = [schedule.formulas.t_of_lam(node(i)) for i in range(len(tableaux) + 1)]
    return tuple(
        compiler.step(tableau, times[i], times[i + 1], i, count) for i, tableau in enumerate(tableaux)
    )


def is_zero(expression: Any) -> bool:
    """Whether an expression in lambda_i, exponentials of their combinations, and alpha is identically zero.

    Exponentials become powers of independent generators, after which the test is one of polynomials.
    """
    expression = checks.expression("expression", expression)
    if expression == 0:
        return True
    numerator, _ = sympy.fraction(sympy.together(canonical(expression)))
    return bool(sympy.expand(numerator) == 0)


def canonical(expression: Any) -> Any:
    """e^(q lambda_i) as powers of generators E_i = e^(lambda_i/r), r the common denominator of the exponents;
    logarithms of them undone, alpha's arguments brought to one form.
    """
    expression = checks.expression("expression", expression)
    exponents = [e.args[0] for e in expression.atoms(sympy.exp)]
    exponents += [p.exp for p in expression.atoms(sympy.Pow)]
    denominators = {int(r.q) for e in exponents for r in e.atoms(sympy.Rational)}
    return _canonical(expression, math.lcm(*denominators))


def _canonical(expression: Any, root: int) -> Any:
    if isinstance(expression, sympy.exp):
        return _power(sympy.expand(_canonical(expression.args[0], root)), root)
    if isinstance(expression, sympy.log):
        return _logarithm(_canonical(expression.args[0], root), root)
    if isinstance(expression, sympy.Pow) and not expression.exp.is_Integer:
        return _root_of(_canonical(expression.base, root), expression.exp)
    if not expression.args:
        return expression
    parts = [_canonical(a, root) for a in expression.args]
    if isinstance(expression, (ALPHA, ALPHA_DOT)):
        return expression.func(sympy.factor_terms(sympy.expand(parts[0])))
    return expression.func(*parts)


@cache
def _generator(symbol: sympy.Symbol) -> sympy.Symbol:
    return sympy.Symbol(f"E_{symbol.name}", positive=True)


@cache
def _of_generator(symbol: sympy.Symbol) -> sympy.Symbol | None:
    name = symbol.name
    return sympy.Symbol(name[2:], real=True) if name.startswith("E_") else None


def _power(exponent: sympy.Expr, root: int) -> sympy.Expr:
    """e^exponent for a rational combination of nodes; logarithms in the exponent are undone."""
    result: sympy.Expr = sympy.Integer(1)
    for term in sympy.Add.make_args(exponent):
        coefficient, rest = term.as_coeff_Mul()
        if isinstance(rest, sympy.log):
            result *= rest.args[0] ** coefficient
        elif isinstance(rest, sympy.Symbol) and (coefficient * root).is_Integer:
            result *= _generator(rest) ** (coefficient * root)
        else:
            result *= sympy.exp(term)
    return result


def _logarithm(argument: sympy.Expr, root: int) -> sympy.Expr:
    total: sympy.Expr = sympy.Integer(0)
    rest: sympy.Expr = sympy.Integer(1)
    for factor in sympy.Mul.make_args(sympy.powsimp(argument)):
        base, power = factor.as_base_exp()
        symbol = _of_generator(base) if isinstance(base, sympy.Symbol) else None
        if symbol is None:
            rest *= factor
        else:
            total += symbol * power / root
    return total if rest == 1 else total + sympy.log(sympy.factor(rest))


def _root_of(base: sympy.Expr, power: sympy.Expr) -> sympy.Expr:
    factors = [f.as_base_exp() for f in sympy.Mul.make_args(sympy.factor(base))]
    outside = [(b, e) for b, e in factors if b.is_positive]  # a root of another factor may change its sign
    inside = sympy.Mul(*(sympy.Pow(b, e) for b, e in factors if not b.is_positive))
    return sympy.Mul(*(sympy.Pow(b, e * power) for b, e in outside), sympy.Pow(inside, power))


def equal_steps(
    a: Sequence[PlanStep], b: Sequence[PlanStep], *, scale_a: Any = None, scale_b: Any = None, first: int = 0
) -> list[str]:
    """Where two exact programs differ: empty when they are the same map for every schedule, grid and model.

    Operations must correspond one to one, with equal times, coefficients, constants and covariances of noise.
    scale: t -> what states are divided by before they are compared (alpha, for "equal in x/alpha").
    first: the first step that is compared; the times of all states before it are compared too.
    """
    scale_a, scale_b = scale_a or _one, scale_b or _one
    if len(a) != len(b):
        return [f"{len(a)} steps against {len(b)}"]
    if not 0 <= first < len(a):
        raise ValueError(f"first must be from 0 to {len(a) - 1}, got {shown(first)}")
    times_a, times_b = _times(a), _times(b)
    if times_a.keys() != times_b.keys():
        return ["they make other states"]
    defects = [f"state {i}: at another time" for i in times_a if not is_zero(times_a[i] - times_b[i])]
    for i, (s, t) in enumerate(zip(a[first:], b[first:], strict=True), first):
        if len(s.operations) != len(t.operations):
            return [*defects, f"step {i}: {len(s.operations)} operations against {len(t.operations)}"]
        if (s.output, s.low) != (t.output, t.low) or not is_zero(_end(s) - _end(t)):
            defects.append(f"step {i}: ends elsewhere")
        x, y = _noise(s, scale_a, times_a), _noise(t, scale_b, times_b)
        defects += [
            f"step {i}: covariance of the noise in states {p} and {q}"
            for p, q in sorted(x.keys() | y.keys())
            if not is_zero(x.get((p, q), 0) - y.get((p, q), 0))
        ]
        for j, (p, q) in enumerate(zip(s.operations, t.operations, strict=True)):
            where = f"step {i}, operation {j}"
            if type(p) is not type(q) or p.state != q.state:
                defects.append(f"{where}: another operation")
            elif isinstance(p, Evaluation) and isinstance(q, Evaluation):
                defects += [] if is_zero(p.t - q.t) else [f"{where}: evaluated elsewhere"]
            elif isinstance(p, Row) and isinstance(q, Row):
                u, v = _scaled(p, scale_a, times_a), _scaled(q, scale_b, times_b)
                defects += [
                    f"{where}: coefficient of {kind}{index}"
                    for kind, index in sorted(u.keys() | v.keys())
                    if not is_zero(u.get((kind, index), 0) - v.get((kind, index), 0))
                ]
    return defects


def _end(step: PlanStep) -> Any:
    return step.t1


def _one(t: Any) -> Any:
    return sympy.Integer(1)


def _times(steps: Sequence[PlanStep]) -> dict[int, Any]:
    """The time of every state."""
    times: dict[int, Any] = {0: steps[0].t0}
    for step in steps:
        for op, following in itertools.zip_longest(step.operations, step.operations[1:]):
            if isinstance(op, Row):
                times[op.state] = following.t if isinstance(following, Evaluation) else step.t1
    return times


def _scaled(row: Row, scale: Any, times: dict[int, Any]) -> dict[tuple[str, int], Any]:
    own = scale(times[row.state])
    coefficients: dict[tuple[str, int], Any] = {
        (kind, state): value * (scale(times[state]) if kind == "x" else 1) / own
        for kind, state, value in row.terms
    }
    return coefficients if row.constant is None else coefficients | {("constant", 0): row.constant / own}


def _noise(step: PlanStep, scale: Any, times: dict[int, Any]) -> dict[tuple[int, int], Any]:
    """Covariances of the noise that a step adds to its states, which say all about its law."""
    rows = [op for op in step.operations if isinstance(op, Row)]
    weights = {row.state: {i: w / scale(times[row.state]) for i, w in row.noise} for row in rows if row.noise}
    return {
        (p, q): sum((u[i] * v[i] for i in u.keys() & v.keys()), sympy.Integer(0))
        for p, u in weights.items()
        for q, v in weights.items()
        if p <= q
    }
