"""DPM-Solver-v3 (arXiv:2310.13268): exponential Adams methods for an integrand that model statistics choose.

Predictor and corrector are the rows of any exponential multistep method; the model statistics are the form.
"Pseudo-order" rows replace the derivatives of the interpolating polynomial by its divided differences, taken
as they are: second order whatever their number of nodes.  The corrector evaluates nothing: it uses the
evaluation at the predicted state, which the next step keeps (PEC), and is not run at the last step.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, Literal, get_args

import sympy
from sympy import Expr, Integer, Rational, Symbol

from ..common import checks
from ..common.messages import shown
from ..diffusion.grids import Grid, Times
from ..diffusion.schedule import Schedule
from ..forms.model_statistics import model_statistics
from ..numerics.arithmetic import Value
from ..solver import Final, FinalPolicy, Ramp, Repeat, Sequence, Solver, StepContext
from ..statistics.files import load
from ..statistics.smooth import ABSENT, Statistics
from ..statistics.table import smooth
from ..tableaux.tableau import N, P, Stage, Tableau, adams, interpolate, omega, phi

PAPER = "DPM-Solver-v3 (Zheng et al. 2023), arXiv:2310.13268"
RELEASE = "thu-ml/DPM-Solver-v3, multistep_predictor_update"
FINAL = FinalPolicy(
    below=math.inf, source="thu-ml/DPM-Solver-v3, README.md and sample.sh: lower_order_final has no default"
)
"""What the README's call and the scripts pass, but for 5 evaluations on ScoreSDE's CIFAR-10."""
HALF_TIME = 0.5
"""The time that divides the steps of the half-corrector."""

Corrector = Literal["none", "same", "pseudo", "true"]
Half = Literal["no", "written", "released"]
CORRECTORS: tuple[Corrector, ...] = get_args(Corrector)
HALVES: tuple[Half, ...] = get_args(Half)

CORRECT = Symbol("correct")
"""1 where a step of the half-corrector is corrected, else 0."""
Given = Statistics | str | os.PathLike[str]


def pseudo(values: Mapping[Any, Any], c: Any = 1) -> Expr:
    """The row at c that integrates sum_k [theta_0 .. theta_k] theta^k: divided differences of the values,
    where a Taylor polynomial has derivatives over k!.  Zheng et al. 2023, Theorem 3.4 ("pseudo-order").

    values: {node: evaluation} as for `interpolate`; their order counts, and the first node must be 0.
    """
    nodes = [checks.expression("a node of values", node) for node in values]
    at = checks.expression("c", c)
    differences = list(values.values())
    total: Expr = Integer(0)
    for k in range(len(nodes)):
        total += sympy.factorial(k) * at ** (k + 1) * phi(k + 1, at) * differences[0]
        differences = [
            (differences[j + 1] - differences[j]) / (nodes[j + k + 1] - nodes[j])
            for j in range(len(differences) - 1)
        ]
    return total


def _nodes(count: int, predicted: bool) -> dict[Any, Any]:
    """The start of the step, the predicted state if it is used, then earlier starts: `count` in all."""
    latest = {Integer(0): N(0)} | ({Integer(1): N(1)} if predicted else {})
    return latest | {-omega(j): P(j) for j in range(1, count - len(latest) + 1)}


@cache
def predictor(order: int, pseudo_order: bool = False) -> Tableau:
    """The predictor through `order` nodes.  Zheng et al. 2023, eq. 10 and Theorem 3.4."""
    row = pseudo if pseudo_order else interpolate
    return Tableau((), row(_nodes(order, False)))


@cache
def corrected(order: int, pseudo_order: bool, nodes: int, pseudo_corrector: bool, half: bool) -> Tableau:
    """The predictor of that order, then the corrector through `nodes` nodes, the predicted one among them.

    half: the correction is multiplied by the parameter `CORRECT`.
    """
    first = predictor(order, pseudo_order)
    if nodes < 2:
        return first
    row = (pseudo if pseudo_corrector else interpolate)(_nodes(nodes, True))
    output = first.output + CORRECT * (row - first.output) if half else row
    return Tableau((Stage(Integer(1), first.output),), output, carry=1)


def singlestep_tableau(order: int) -> Tableau:
    """Order k by k - 1 inner states at equal distances, each interpolating all before it.  Zheng et al. 2023,
    Alg. 3.
    """
    known: dict[Any, Any] = {Integer(0): N(0)}
    stages: list[Stage] = []
    for i in range(1, order):
        c = Rational(i, order)
        stages.append(Stage(c, interpolate(known, c)))
        known[c] = N(i)
    return Tableau(tuple(stages), interpolate(known))


@dataclass(frozen=True)
class Placed:
    """A sequence whose times are moved to where the statistics are known (nodes of their grid)."""

    sequence: Sequence
    statistics: Statistics

    def __str__(self) -> str:
        return f"{self.sequence}; times moved to nodes of the statistics"

    @property
    def tableaux(self) -> tuple[Tableau, ...]:
        """Those of the sequence."""
        return self.sequence.tableaux

    @property
    def period(self) -> int:
        """That of the sequence."""
        return self.sequence.period

    def steps(self, budget: int) -> int:
        """Those of the sequence."""
        return self.sequence.steps(budget)

    def at(self, budget: int, final: Final) -> tuple[Tableau, ...]:
        """Those of the sequence."""
        return self.sequence.at(budget, final)

    def times(self, grid: Grid, schedule: Schedule, t_start: Value, t_end: Value, budget: int) -> Times:
        """The grid's times, placed."""
        return self.statistics.place(schedule, self.sequence.times(grid, schedule, t_start, t_end, budget))

    def intervals(self, budget: int) -> int:
        """Those of the sequence."""
        return self.sequence.intervals(budget)

    def nodes(self, times: Times, budget: int) -> Times:
        """Those of the sequence."""
        return self.sequence.nodes(times, budget)


def _written(context: StepContext) -> Mapping[Symbol, Value]:
    return {CORRECT: int(context.step.t1 <= HALF_TIME)}


def _released(context: StepContext) -> Mapping[Symbol, Value]:
    return {CORRECT: int(context.step.t1 > HALF_TIME)}


def multistep(
    order: int,
    corrector: Corrector = "none",
    *,
    pseudo_predictor: bool = False,
    half: Half = "no",
    statistics: Given | None = None,
) -> Solver:
    """DPM-Solver-v3 multistep, orders 1, 2, 3; every run descends them at its end (`FINAL`).

    corrector: "none"; "same", through as many nodes as the predictor; "pseudo", through one more with pseudo
    order, the release's other choice; "true", through one more, of order + 1 (paper, Table 10).
    pseudo_predictor: divided differences for the predictor too.  half: correct states at t <= 1/2 only, as
    "written" (paper, Sec. 3.3), or at t > 1/2 only, as "released".
    statistics: of the model, or a file of them (`statistics.files.save`), made smooth.  Without them the
    solver is a formula only: it can be proved, but not compiled.
    Raises ValueError for another order or word, or a half of no corrector; TypeError for statistics or a
    pseudo_predictor of another class.
    """
    order, given = checks.integer("order", order, 1, 3), _smooth(statistics)
    checks.one_of("corrector", corrector, CORRECTORS)
    checks.one_of("half", half, HALVES)
    checks.flag("pseudo_predictor", pseudo_predictor)
    if half != "no" and corrector == "none":
        raise ValueError("half must be 'no' where corrector is 'none'")
    if corrector == "same" and order == 1:
        raise ValueError("corrector must not be 'same' for order 1: a corrector needs two nodes")
    more = 0 if corrector == "same" else 1
    plain = tuple(predictor(k, pseudo_predictor) for k in range(1, order + 1))
    ramp = Ramp(plain)
    if corrector != "none":
        ramp = Ramp(
            tuple(
                corrected(k, pseudo_predictor, k + more, corrector == "pseudo", half != "no")
                for k in range(1, order + 1)
            ),
            last=plain,
        )
    name = f"dpm-solver-v3-{order}" + ("m" if order > 1 else "") + ("-pseudo" if pseudo_predictor else "")
    if corrector != "none":
        name += f"-{'pc' if corrector == 'pseudo' else 'c'}{order + more}"
    return Solver(
        name=name + {"no": "", "written": "-half", "released": "-half-released"}[half],
        form=model_statistics(given),
        sequence=Placed(ramp, given),
        claimed=order + (1 if corrector == "true" else 0),
        source=RELEASE + ("" if corrector == "none" else " and multistep_corrector_update"),
        parameters={"no": None, "written": _written, "released": _released}[half],
        paper=PAPER,
        final=FINAL,
    )


def singlestep(order: int, *, statistics: Given | None = None) -> Solver:
    """DPM-Solver-v3 singlestep, orders 1, 2, 3 with as many evaluations a step; it was never released.

    statistics: as for `multistep`, but at every lambda: its inner states lie between the nodes of a grid.
    Raises ValueError for another order.
    """
    order, given = checks.integer("order", order, 1, 3), _smooth(statistics)
    return Solver(
        name=f"dpm-solver-v3-{order}" + ("s" if order > 1 else ""),
        form=model_statistics(given),
        sequence=Placed(Repeat(singlestep_tableau(order), adams(1)), given),
        claimed=order,
        source="Algorithm 3",
        paper=PAPER,
    )


def _smooth(statistics: Given | None) -> Statistics:
    if isinstance(statistics, (str, os.PathLike)):
        try:
            return smooth(load(statistics))
        except OSError as error:
            raise ValueError(f"statistics: {statistics} cannot be read: {error.strerror}") from error
    if statistics is not None and not all(hasattr(statistics, part) for part in ("at", "moments", "place")):
        raise TypeError(
            f"statistics must be Statistics (see `statistics/smooth.py`), got {shown(statistics)}"
        )
    return ABSENT if statistics is None else statistics


LISTED = (
    *(partial(multistep, order) for order in (1, 2, 3)),
    *(partial(multistep, order, corrector) for order in (2, 3) for corrector in CORRECTORS[1:]),
    *(partial(singlestep, order) for order in (2, 3)),
    partial(multistep, 3, pseudo_predictor=True),
    *(partial(multistep, 2, "pseudo", half=half) for half in HALVES[1:]),
)
"""Constructors of the solvers that have a name of their own."""
