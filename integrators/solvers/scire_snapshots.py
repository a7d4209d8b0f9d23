"""What ShiguiLi/SciRE-Solver released, snapshot by snapshot: phi_1 of each step, step ratios, abscissae.

Each snapshot but two lists phi_1(3), phi_1(4), .. and takes entries by the number of the step and of all
steps, never by the step's length: refinement does not bring phi_1 to 1.  Entries count from the end where
they are negative (Python's rule, which the release relies on).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Literal

from sympy import Expr, Integer, Rational, Symbol, exp, factorial

from ..common import checks
from ..numerics.arithmetic import Value, of
from ..solver import FULL, FinalPolicy, Parameters, StepContext
from ..tableaux.tableau import StepRatio

PHI = Symbol("phi_1")
"""phi_1(m) of the step, where it varies."""
R1, R2 = Symbol("r1"), Symbol("r2")
"""Abscissae, where the grid's rule sets them."""
LAMBDA_RATIO = StepRatio("q")
"""The step in lambda before this one, over this one."""
NEWER, OLDER = StepRatio("w1"), StepRatio("w2")
"""The step in rho before this one, over this one; and the step before that, over that one."""

Name = Literal["head", "d30", "sd", "disc", "edm"]
"""Of a snapshot: a key of `SNAPSHOTS`."""

LIMIT = 1 - exp(Integer(-1))
"""(e - 1)/e, the limit of phi_1(m)."""


@cache
def phi_1(m: int) -> Rational:
    """phi_1(m) = sum_{k=1}^m (-1)^(k-1)/k!, exactly: 1, 1/2, 2/3, 5/8, .. -> (e - 1)/e.

    m: the depth of the recursive difference.  Not a phi-function of exponential integrators.  Raises
    ValueError unless m is an integer >= 1.
    """
    m = checks.integer("m", m, 1)
    return sum((Rational((-1) ** (k - 1), factorial(k)) for k in range(1, m + 1)), Integer(0))


Rule = Callable[[int, int, int], int]
"""(step, count, order) -> m: steps from 0, `count` in all (agile: evaluations divided by the order)."""


def _listed(length: int, entry: int) -> int:
    return range(3, 3 + length)[entry]


def _head_singlestep(step: int, count: int, order: int) -> int:
    rising, middle = step < count // 2, step == count // 2
    return _listed(count, 2 * step if rising else -1 if middle else 2 * (count - step) - 1)


def _head_multistep(step: int, count: int, order: int) -> int:
    n, length = step + 1, count + 1 if count >= order else 0  # the release asserts steps >= order
    if n < order:
        return _listed(length, 2 * n - 1)
    rising, middle = n < count // 2, n == count // 2
    return _listed(length, 2 * (n - order) + 1 if rising else -1 if middle else 2 * (count - n))


def _d30_singlestep(step: int, count: int, order: int) -> int:
    return _listed(count, 2 * step + 1 if step < count // 2 else 2 * (count - step - 1))


def _d30_multistep(step: int, count: int, order: int) -> int:
    n, half, length = step + 1, (count + 1 - order) // 2, count if count >= order else 0
    if n < order:
        return _listed(length, -n)
    return _listed(length, 2 * (n - order) + 1 if n < half + order else 2 * (order + 2 * half - n))


def _hard_coded(step: int, count: int, order: int) -> int:
    """The factor 3/4 = 1/(2 phi_1(3)) of the discrete-time and EDM copies."""
    return 3


@dataclass(frozen=True)
class Snapshot:
    """One released state of the code.

    name: suffix of its solvers.  source: commit and file.  versions: by `scire.VERSIONS`.  singlestep: phi_1
    of each step.  multistep: the same, and the r of the difference (N_0 - N_{-1})/r in 2m; None where it was
    not released.  inner_grid: abscissae by the grid's rule on every schedule.  always_spans: the agile mode's
    outer times are cumulative sums on every grid.  final: how multistep ends.
    """

    name: str
    source: str
    versions: tuple[str, ...]
    singlestep: Rule
    multistep: tuple[Rule, Expr] | None = None
    inner_grid: bool = False
    always_spans: bool = True
    final: FinalPolicy = FULL


FINAL = FinalPolicy(below=math.inf, source="ShiguiLi/SciRE-Solver, scire_solver.py: lower_order_final=True")
"""Of the last commit."""
OLDER_FINAL = FinalPolicy(below=10, source="ShiguiLi/SciRE-Solver: lower_order_final and steps < 10")

SNAPSHOTS: dict[str, Snapshot] = {
    s.name: s
    for s in (
        Snapshot(
            "head",
            "f820770, scire_solver.py",
            ("v1", "v2"),
            _head_singlestep,
            (_head_multistep, LAMBDA_RATIO ** Rational(1, 4)),
            final=FINAL,
        ),
        Snapshot(
            "d30",
            "d30bca2, scire_solver.py",
            ("v1", "v2"),
            _d30_singlestep,
            (_d30_multistep, LAMBDA_RATIO),
            final=OLDER_FINAL,
        ),
        Snapshot(
            "sd",
            "5ebe126, sd_scire/stable-diffusion/ldm/models/diffusion/scire_solver/scire_solver.py",
            ("v1", "v2"),
            _d30_singlestep,
            (_d30_multistep, PHI * NEWER),
            inner_grid=True,
            final=OLDER_FINAL,
        ),
        Snapshot(
            "disc",
            "a0a73a8, discrete_scire/scire_solver/scire-sampler.py",
            ("v1", "ei"),
            _hard_coded,
            always_spans=False,
        ),
        Snapshot(
            "edm",
            "c6f6d31, edm_scire/scire_sampler/scire_solver.py",
            ("v1",),
            _hard_coded,
            inner_grid=True,
            always_spans=False,
        ),
    )
}


# --- values of the symbols at a step ---


PhiOf = Callable[[StepContext], Value]
"""phi_1 of a step."""


def phi_as_released(rule: Rule, order: int, per_entry: int = 1) -> PhiOf:
    """phi_1 of each step by a snapshot's rule; `per_entry`: evaluations of the budget for one of its steps.

    The function raises ValueError where the release's list has no entry for the step.
    """
    return partial(_phi_of, rule, order, per_entry)


def _phi_of(rule: Rule, order: int, per_entry: int, context: StepContext) -> Value:
    if context.budget is None:
        raise ValueError("phi_1 as released depends on the number of steps: give phi for an adaptive run")
    try:
        m = rule(context.index, context.budget // per_entry, order)
    except IndexError:
        raise ValueError(
            f"the release lists no phi_1 for this step of a budget of {context.budget} (it fails there): "
            "give phi, or a larger budget"
        ) from None
    digits = of(context.step.t0).digits or 0
    return phi_1(min(m, 20 + digits))  # later terms are below 10^-(digits + 18)


def _lambda_ratio(context: StepContext) -> Value:
    lam, step = context.schedule.formulas.lam, context.step
    return (lam(step.t0) - lam(context.past[0])) / (lam(step.t1) - lam(step.t0))


def _rho_ratio(steps_ago: int) -> Callable[[StepContext], Value]:
    def value(context: StepContext) -> Value:
        times = (context.step.t1, context.step.t0, *context.past)[steps_ago : steps_ago + 3]
        after, at, before = (context.schedule.formulas.rho(t) for t in times)
        return (at - before) / (after - at)

    return value


def _inner(i: int) -> Callable[[StepContext], Value]:
    """Where the grid's own rule puts the i-th inner point of the step, as a fraction in rho: the release
    uses this fraction in 1/rho too.
    """

    def value(context: StepContext) -> Value:
        if context.grid is None:
            raise ValueError("abscissae='grid' needs the grid's rule: pass grid= beside times=")
        t0, t1, intervals = context.step.t0, context.step.t1, len(context.tableau.stages) + 1
        inner = context.grid.divide(context.schedule, t0, t1, intervals)[i]
        start, at, end = (context.schedule.formulas.rho(t) for t in (t0, inner, t1))
        return (at - start) / (end - start)

    return value


_GEOMETRY: Mapping[Symbol, Callable[[StepContext], Value]] = {
    R1: _inner(1),
    R2: _inner(2),
    LAMBDA_RATIO: _lambda_ratio,
    NEWER: _rho_ratio(0),
    OLDER: _rho_ratio(1),
}


def parameters(phi: PhiOf) -> Parameters:
    """The values of a step's free symbols."""
    return partial(_values, phi)


def _values(phi: PhiOf, context: StepContext) -> Mapping[Symbol, Value]:
    values = {**_GEOMETRY, PHI: phi}
    return {symbol: values[symbol](context) for symbol in context.tableau.parameters}
