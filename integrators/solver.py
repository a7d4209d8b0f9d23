"""A solver is data: a form, the tableau of every step, a claimed order and its source."""

from __future__ import annotations

import math
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate
from typing import Protocol, runtime_checkable

from sympy import Symbol

from .common import checks, limits
from .common.checks import is_number
from .common.choices import FINAL_CHOICES as FINAL_CHOICES
from .common.choices import FINALS as FINALS
from .common.choices import Final as Final
from .common.choices import FinalChoice as FinalChoice
from .common.messages import shown
from .diffusion.grids import Grid, Times
from .diffusion.schedule import Schedule
from .forms.form import Form, FormOf, Step, example, is_sde
from .numerics.arithmetic import Value
from .tableaux import printing
from .tableaux.tableau import Tableau


def lowered(final: Final, most: int) -> int:
    """How many of the last steps run at a lower order, of `most` that can."""
    return {"full": 0, "last": min(1, most), "lower": most}[final]


@runtime_checkable
class Sequence(Protocol):
    """Which tableau runs at which step; str() says it in a line."""

    @property
    def tableaux(self) -> tuple[Tableau, ...]:
        """Every tableau that can occur, the full-order one last."""

    @property
    def period(self) -> int:
        """Budgets that differ by this much end with the same tableaux."""

    def steps(self, budget: int) -> int:
        """The number of steps for a budget (steps, or evaluations where the sequence is made to a number of
        them).
        """

    def at(self, budget: int, final: Final) -> tuple[Tableau, ...]:
        """The tableau of each step, of a run that ends so."""

    def intervals(self, budget: int) -> int:
        """How many intervals the times have that a caller gives; the number of steps, but where steps span
        several (`Spanning`).
        """

    def times(self, grid: Grid, schedule: Schedule, t_start: Value, t_end: Value, budget: int) -> Times:
        """The times on a grid: as many as a caller would give."""

    def nodes(self, times: Times, budget: int) -> Times:
        """The times of the steps among those."""


def check_budget(budget: int, least: int, what: str) -> None:
    """Raises ValueError for a budget that is no integer from `least`; what: the words of what it counts."""
    if isinstance(budget, bool) or not isinstance(budget, int) or budget < least:
        raise ValueError(f"steps must be an integer >= {least}{what}, got {shown(budget)}")
    checks.integer("steps", budget, least, limits.STEPS)


class _OwnTimes(ABC):
    """Of a sequence whose callers give the times of its steps."""

    @abstractmethod
    def steps(self, budget: int) -> int:
        """As in `Sequence`."""

    def intervals(self, budget: int) -> int:
        return self.steps(budget)

    def nodes(self, times: Times, budget: int) -> Times:
        return times


class _Stepwise(_OwnTimes):
    """Of a sequence whose budgets are numbers of steps, each over one interval of the grid."""

    @property
    def period(self) -> int:
        return 1

    def steps(self, budget: int) -> int:
        check_budget(budget, 1, "")
        return budget

    def times(self, grid: Grid, schedule: Schedule, t_start: Value, t_end: Value, budget: int) -> Times:
        return _spaced(grid, schedule, t_start, t_end, self.steps(budget))


@dataclass(frozen=True)
class Ramp(_Stepwise):
    """A multistep method: step n uses `ramp[min(n, order - 1)]`, so the low-order start is visible.

    With final="lower" the last steps descend the ramp again: at most `ramp[r - 1]` when r steps remain; with
    "last" the last step alone does.  The start is not lowered unless the steps are too few to climb it
    (LuChengTHU/dpm-solver, wl-zhao/UniPC).
    last: the tableaux of the final step, order by order, where it differs (a corrector that is not used
    there); empty where it does not.
    """

    ramp: tuple[Tableau, ...]
    last: tuple[Tableau, ...] = ()

    def __post_init__(self) -> None:
        for name, least in (("ramp", 1), ("last", 0)):
            tableaux = checks.sequence(name, getattr(self, name), least)
            for tableau in tableaux:
                checks.instance(f"{name}[..]", tableau, Tableau)
            object.__setattr__(self, name, tableaux)
        if self.last and len(self.last) != len(self.ramp):
            raise ValueError(f"last must hold {len(self.ramp)} tableaux or none, got {len(self.last)}")

    def __str__(self) -> str:
        numbers = ", ".join(str(n) for n in range(1, len(self.ramp)))
        past = ", ".join(str(tableau.past) for tableau in self.ramp[:-1])
        steps = "step" if len(self.ramp) == 2 else "steps"
        start = f"{steps} {numbers} from {past} earlier evaluations, then " if numbers else ""
        return f"{start}every step alike{', the final one differs' if self.last else ''}"

    @property
    def tableaux(self) -> tuple[Tableau, ...]:
        return self.ramp

    def at(self, budget: int, final: Final) -> tuple[Tableau, ...]:
        n, top = self.steps(budget), len(self.ramp) - 1
        low = n - lowered(final, n)
        orders = [min(i, top) if i < low else min(i, top, n - 1 - i) for i in range(n)]
        if top < n:
            orders[:top] = range(top)
        end = (self.last or self.ramp)[orders[-1]]
        return (*(self.ramp[k] for k in orders[:-1]), end)


@dataclass(frozen=True)
class Repeat(_Stepwise):
    """A one-step method: the same tableau at every step; `last` at the final step, unless that is "full"."""

    tableau: Tableau
    last: Tableau

    def __str__(self) -> str:
        return "every step alike"

    @property
    def tableaux(self) -> tuple[Tableau, ...]:
        return (self.last, self.tableau)

    def at(self, budget: int, final: Final) -> tuple[Tableau, ...]:
        n = self.steps(budget)
        return (self.tableau,) * (n - 1) + ((self.tableau if final == "full" else self.last),)


@dataclass(frozen=True)
class Closed(_Stepwise):
    """A one-step method whose last steps are of their own: `ends`, in their order, however a run ends."""

    tableau: Tableau
    ends: tuple[Tableau, ...]

    def __str__(self) -> str:
        return f"every step alike but the last {len(self.ends)}"

    @property
    def tableaux(self) -> tuple[Tableau, ...]:
        return (*self.ends[::-1], self.tableau)

    def at(self, budget: int, final: Final) -> tuple[Tableau, ...]:
        n = self.steps(budget)
        return ((self.tableau,) * (n - len(self.ends)) + self.ends)[-n:]


@dataclass(frozen=True)
class Budgeted(_OwnTimes):
    """One-step tableaux of orders 1 .. p mixed so that the evaluations are exactly the budget
    (DPM-Solver-fast).

    `orders(nfe)` lists the order of each step.  On a grid uniform in lambda the steps are uniform; on
    another grid a step of order k spans k intervals of the grid with `nfe` intervals (the release's rule).
    always_spans: it does so on every grid (SciRE's rule).
    """

    by_order: tuple[Tableau, ...]
    orders: Callable[[int], tuple[int, ...]] = field(compare=False)
    always_spans: bool = False

    def __str__(self) -> str:
        return f"{len(self.by_order)} tableaux, as many of each as make the evaluations the budget"

    @property
    def tableaux(self) -> tuple[Tableau, ...]:
        return self.by_order

    @property
    def period(self) -> int:
        return len(self.by_order)

    def steps(self, budget: int) -> int:
        return len(self.at(budget, "full"))

    def at(self, budget: int, final: Final) -> tuple[Tableau, ...]:
        check_budget(budget, 1, " evaluations")
        orders = self.orders(budget)
        if final != "full" and orders[-1] > 1:
            orders = (*orders[:-1], 1)
        return tuple(self.by_order[k - 1] for k in orders)

    def times(self, grid: Grid, schedule: Schedule, t_start: Value, t_end: Value, budget: int) -> Times:
        check_budget(budget, 1, " evaluations")
        orders = self.orders(budget)
        if grid.name == "lambda" and not self.always_spans:
            return _spaced(grid, schedule, t_start, t_end, len(orders))
        fine = _spaced(grid, schedule, t_start, t_end, sum(orders))
        return tuple(fine[sum(orders[:i])] for i in range(len(orders) + 1))


class Spanning(ABC):
    """Of a sequence made to a number of evaluations, whose steps span several intervals of the grid.

    The formulas of a step may depend on the times between its own: `StepContext.times`.
    """

    @abstractmethod
    def spans(self, budget: int) -> tuple[int, ...]:
        """The intervals that each step spans.  Raises ValueError for a budget that there is none for."""

    def steps(self, budget: int) -> int:
        return len(self.spans(budget))

    def intervals(self, budget: int) -> int:
        return sum(self.spans(budget))

    def times(self, grid: Grid, schedule: Schedule, t_start: Value, t_end: Value, budget: int) -> Times:
        return _spaced(grid, schedule, t_start, t_end, self.intervals(budget))

    def nodes(self, times: Times, budget: int) -> Times:
        return tuple(times[i] for i in accumulate(self.spans(budget), initial=0))

    def around(self, context: StepContext) -> tuple[Times, int, int]:
        """The times of the run's grid, and which of them a step starts and ends at.

        Raises ValueError where they are not known.
        """
        if context.times is None or context.budget is None:
            raise ValueError("a formula is of the grid of the whole run, which must be known: not adaptive")
        *before, span = self.spans(context.budget)[: context.index + 1]
        return context.times, sum(before), sum(before) + span


@dataclass(frozen=True)
class Spread(Spanning):
    """One-step tableaux by the intervals of the grid that they span, with as many evaluations, so that a run
    has as many evaluations as its grid has intervals.

    by_span: the tableau of one interval, of two, ..  rule: the intervals that each step of a budget spans.
    """

    by_span: tuple[Tableau, ...]
    rule: Callable[[int], tuple[int, ...]] = field(compare=False)

    def __str__(self) -> str:
        return f"steps over up to {len(self.by_span)} intervals of the grid, whose points are their stages"

    @property
    def tableaux(self) -> tuple[Tableau, ...]:
        return tuple(dict.fromkeys(self.by_span))

    @property
    def period(self) -> int:
        return len(self.by_span)

    def spans(self, budget: int) -> tuple[int, ...]:
        check_budget(budget, 1, " evaluations")
        return self.rule(budget)

    def at(self, budget: int, final: Final) -> tuple[Tableau, ...]:
        spans = self.spans(budget)
        if final != "full":
            spans = (*spans[:-1], 1)
        return tuple(self.by_span[span - 1] for span in spans)


def _spaced(grid: Grid, schedule: Schedule, t_start: Value, t_end: Value, n: int) -> Times:
    digits = getattr(getattr(t_start, "context", None), "dps", None)
    return grid(schedule, t_start, t_end, n, digits=digits)


@dataclass(frozen=True)
class StepContext:
    """What a per-step parameter may depend on."""

    index: int
    count: int
    tableau: Tableau
    step: Step
    grid: Grid | None
    schedule: Schedule
    past: tuple[Value, ...]
    """The times at which P(1), P(2), .. were evaluated, as many as there are."""
    budget: int | None = None
    """What the plan was made to: steps, or evaluations for a budgeted solver; None for an adaptive run."""
    nodes: Times | None = None
    """The times of all steps of the run; None for an adaptive one."""
    times: Times | None = None
    """The times of the run's grid, those that steps span included; None for an adaptive one."""


Parameters = Callable[[StepContext], Mapping[Symbol, Value]]
Noising = Callable[[Schedule, Value, Value, int, int], tuple[Value, Value]]
"""(schedule, t0, t1, index, count) -> the times between which the step's formula runs: from t >= t0, after
noise has been added (EDM's churn), to t <= t1, after which noise is added (ancestral sampling).  Of many
steps at once the times and the index are arrays; what takes none is asked step by step.
"""


@dataclass(frozen=True)
class FinalPolicy:
    """How a release ends its runs by default.

    below: runs of fewer steps descend the orders at the end (final="lower"); infinity: every run.  at_zero:
    how the others end where their last time has sigma = 0.  source: where the default stands.
    Raises ValueError for other values, or a policy without a source.
    """

    below: float = 0
    at_zero: Final = "full"
    source: str = ""

    def __post_init__(self) -> None:
        if isinstance(self.below, bool) or not (self.below == math.inf or self.below in range(10**6)):
            raise ValueError(f"below must be a number of steps or infinity, got {shown(self.below)}")
        checks.one_of("at_zero", self.at_zero, FINALS)
        if (self.below or self.at_zero != "full") and not self.source:
            raise ValueError("source must say where a policy that lowers steps was read")

    def final(self, steps: int, at_zero: bool) -> Final:
        """How a run of so many steps ends; at_zero: at sigma = 0."""
        if steps < self.below:
            return "lower"
        return self.at_zero if at_zero else "full"

    def __str__(self) -> str:
        if self.below == math.inf:
            return f"down the orders ({self.source})"
        low = {"full": "", "last": "a first-order last step", "lower": "down the orders"}[self.at_zero]
        cases = [f"down the orders in fewer than {self.below:g} steps"] if self.below else []
        cases += [f"{low} where sigma = 0"] if low else []
        return f"{', '.join(cases)}, else at full order ({self.source})" if cases else "at full order"

    @property
    def limit(self) -> Final:
        """How runs of ever more steps end, before sigma = 0: what the order of a run depends on."""
        return "lower" if self.below == math.inf else "full"

    @property
    def settled(self) -> int:
        """The number of steps from which on every run follows one rule."""
        return 1 if self.below == math.inf else max(int(self.below), 1)


FULL = FinalPolicy()
"""No step is lowered."""


@dataclass(frozen=True, kw_only=True)
class Solver:
    """A form, the tableaux of its steps, and what is claimed of it.

    name: as listed.  form: schedule -> Form.  sequence: which tableau when.  claimed: the order that its
    paper or release claims (data, not a premise).  source: equation or algorithm, or repository and function.
    paper: whose method it is; empty for a method of your own.
    parameters: values of the formulas' free symbols at a step, for methods whose coefficients depend on it.
    noising: for samplers that go back to a noisier time before or after a step.
    noise_scale: what multiplies every noise weight, 1 where the law is that of the SDE (EDM's S_noise).
    final: how its release ends a run by default; full order where there is no such rule.
    rounding: within how much its coefficients are known; 0 where they are exact.
    sde: schedule -> the form whose SDE is solved, where its own form is a release's approximation of that.
    own_grid: why it runs on its own grid alone, so that studies leave it out; empty where it runs on any.
    A listed solver can be pickled; one of your own where its functions can.
    """

    name: str
    form: FormOf
    sequence: Sequence
    claimed: int
    source: str
    parameters: Parameters | None = None
    paper: str = ""
    noising: Noising | None = None
    noise_scale: Value = 1
    final: FinalPolicy = FULL
    rounding: float = 0.0
    sde: FormOf | None = None
    own_grid: str = ""

    def __post_init__(self) -> None:
        if not callable(self.form):
            raise ValueError(f"form must be a function of a schedule, got {shown(self.form)}")
        if isinstance(self.claimed, bool) or not isinstance(self.claimed, int) or self.claimed < 1:
            raise ValueError(f"claimed must be an integer >= 1, got {shown(self.claimed)}")
        if not is_number(self.noise_scale) or not 0 <= self.noise_scale <= sys.float_info.max:
            raise ValueError(f"noise_scale must be a finite number >= 0, got {str(self.noise_scale)[:40]}")
        if not isinstance(self.own_grid, str):
            raise TypeError(f"own_grid must be a reason in words, got {shown(self.own_grid)}")
        if not isinstance(self.final, FinalPolicy):
            raise TypeError(f"final must be a FinalPolicy, got {shown(self.final)}")
        if not isinstance(self.sequence, Sequence):
            raise TypeError(f"sequence must say which tableau runs when, as Ramp, got {shown(self.sequence)}")
        if not self.sequence.tableaux:
            raise ValueError("sequence must hold at least one tableau")

    def __repr__(self) -> str:
        """One line: the fields that tell solvers apart."""
        made = getattr(self.form, "func", self.form)  # of a partial
        form = getattr(made, "__qualname__", type(made).__name__).partition(".<locals>")[0]
        sequence = type(self.sequence).__name__
        return (
            f"Solver(name={shown(self.name)}, form={form}, sequence={sequence}, claimed={self.claimed}, ..)"
        )

    def __str__(self) -> str:
        """What is said of it and its full-order tableau (`printing.text`)."""
        return printing.text(self.sequence.tableaux[-1], self._heading())

    def _repr_latex_(self) -> str:
        """The same in a notebook (`printing.display`)."""
        return printing.display(self.sequence.tableaux[-1], self._heading())

    def _repr_html_(self) -> str:
        """The same where HTML is shown first."""
        return printing.html(self.sequence.tableaux[-1], self._heading())

    def _heading(self) -> printing.Heading:
        form = self._form()
        facts = {
            "form": "" if form is None else form.name,
            "symbols": "" if form is None else _symbols(form),
            "paper": self.paper,
            "source": self.source,
            "claimed": f"order {self.claimed}",
            "rounding": f"coefficients known within {self.rounding:g}" if self.rounding else "",
            "stochastic": "" if form is None else "yes" if self.stochastic else "no",
            "noise": f"{self.noise_scale} times that of the SDE" if self.noise_scale != 1 else "",
            "noising": "goes back to a noisier time before or after a step" if self.noising else "",
            "steps": str(self.sequence),
            "end": str(self.final),
        }
        equation = "" if form is None else form.equation
        return printing.Heading(self.name, equation, tuple((k, v) for k, v in facts.items() if v))

    def _form(self) -> Form | None:
        """The form on one of the known schedules, where it takes one."""
        try:
            return example(self.form)
        except ValueError:
            return None

    @cached_property
    def stochastic(self) -> bool:
        """Whether its runs draw noise: its form is an SDE's (`Form.std`), or it goes back to a noisier time.

        A `noise_scale` of 0 changes nothing in that.  Raises ValueError for a form that takes no known
        schedule (`form.EXAMPLES`).
        """
        return self.noising is not None or is_sde(self.form)

    @property
    def history(self) -> int:
        """How many earlier evaluations the full-order tableau uses."""
        return self.sequence.tableaux[-1].past


def _symbols(form: Form) -> str:
    """What z, or phi(k, c) where there is none, is under a form."""
    rate = form.weight.rate
    if rate is None:
        return "phi(k, c) is the k-th moment of the form's weight, exp(c*z) u_n is Phi_c/Phi_0 x_n"
    return {"0": "z = 0", "1": "z = h", "-1": "z = -h"}.get(str(rate), f"z = {rate} h")
