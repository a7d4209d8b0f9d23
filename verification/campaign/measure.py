"""The main job: measure every solver, compare with what is claimed and expected, replay the released code.

Work is split over processes by study; reference solutions are shared within a process.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import threadpoolctl
import torch
from semilinear.integrators.plans.program import Start
from semilinear.integrators.solvers import make

from ..claims.flow import EXPECTATIONS, Expectation
from ..claims.stochastic import STOCHASTIC_EXPECTATIONS, StochasticExpectation
from ..studies.flow import LADDER, LONG_LADDER, Experiment, Study, run
from ..studies.gaussian import LONG_LADDER as LONG_STOCHASTIC_LADDER
from ..studies.gaussian import StochasticExperiment, StochasticStudy
from ..studies.gaussian import study as stochastic_study
from ..studies.own_statistics import on_experiment
from ..studies.setting import MAIN_PROBLEM, Setting

MAIN = Setting("main", MAIN_PROBLEM, "vp-linear", "t-quadratic")
SECOND = Setting("general mixture", "golden-mixture", "vp-cosine", "karras")
DIGITS = Setting(
    "handwritten digits", "digits-0.8", "vp-linear", "lambda", batch=32, ladder=LADDER[:-2], tolerance=1e-12
)
HARD = tuple(
    replace(
        DIGITS,
        name=f"hard: {p}",
        problem=p,
        lam_end=3.5,
        statistics=("rms", "median", "max"),
        asserted=False,
    )
    for p in ("digits-0.2", "digits-0")
)
FIFTY = Setting(
    "50 digits",
    "mixture-1d",
    "vp-linear",
    "lambda",
    batch=4,
    digits=50,
    ladder=LADDER[2:],
)

ON_DIGITS = (
    "ddim",
    "dpm-solver++-2s",
    "dpm-solver++-3s",
    "dpm-solver++-2m",
    "dpm-solver++-3m-released",
    "dpm-solver++-3m-corrected",
    "deis-tab3",
)
ON_HARD = ("ddim", "dpm-solver++-2m")
IN_FIFTY = (
    "ddim",
    "dpm-solver++-2m",
    "dpm-solver-3",
    "dpm-solver++-3m-corrected",
    "deis-lambdaab3",
    "krogstad4",
    "exprk5s8",
)


@dataclass(frozen=True)
class Task:
    """One study to run."""

    setting: Setting
    expectation: Expectation
    start: Start
    long: bool = True

    def run(self) -> Study:
        """The study."""
        setting, expectation = self.setting, self.expectation
        if expectation.long and self.long:
            setting = replace(setting, ladder=LONG_LADDER)
        experiment = _experiment(setting)
        return run(
            on_experiment(expectation.solver, experiment),
            experiment,
            start=self.start,
            residue=expectation.residue,
            statistics=setting.statistics,
        )


@dataclass(frozen=True)
class StochasticTask:
    """One stochastic solver's weak and strong orders."""

    expectation: StochasticExpectation
    long: bool = True

    def run(self) -> StochasticStudy:
        """The study."""
        long = self.expectation.long and self.long
        experiment = StochasticExperiment(ladder=LONG_STOCHASTIC_LADDER) if long else StochasticExperiment()
        return stochastic_study(self.expectation.build(), experiment, form=self.expectation.sde)


@dataclass(frozen=True)
class StochasticMeasured:
    """A stochastic solver, measured."""

    expectation: StochasticExpectation
    study: StochasticStudy
    long: bool = True

    @property
    def as_expected(self) -> bool | None:
        """Whether the orders are the expected ones; None where none is asserted, or the expectation speaks of
        the long ladder and a quick run stopped before.
        """
        e = self.expectation
        if (e.long and not self.long) or (e.weak is None and e.strong is None):
            return None
        weak = e.weak is None or self.study.against(e.weak) == "consistent"
        strong = e.strong is None or self.study.strong_verdict(e.strong) == "consistent"
        return weak and strong


@dataclass(frozen=True)
class Measured:
    """A solver under one setting: its own start and exact starting values (one study where they are the
    same).
    """

    setting: Setting
    expectation: Expectation
    own: Study
    exact: Study
    long: bool = True
    """Whether the long ladder was run where the expectation asks for it."""

    @property
    def as_expected(self) -> bool | None:
        """Whether the measured orders are the expected ones; None where nothing is asserted, or a measurement
        is inconclusive and none contradicts.

        Nothing is asserted on the hard cases, nor where an expectation speaks of the long ladder and a quick
        run stopped before.
        """
        if not self.setting.asserted or (self.expectation.long and not self.long):
            return None
        pairs = ((self.own, self.expectation.own), (self.exact, self.expectation.exact))
        found = [_as_expected(study, order) for study, order in pairs]
        return False if False in found else None if None in found else True


def _as_expected(study: Study, order: int | None) -> bool | None:
    if order is None:
        return None if study.verdict == "inconclusive" else study.verdict == "lower"
    verdict = study.against(order)
    return None if verdict == "inconclusive" else verdict == "consistent"


def tasks(quick: bool) -> list[Task]:
    """Everything that a run measures."""
    planned = [(MAIN, e) for e in EXPECTATIONS]
    if not quick:
        planned += [(SECOND, e) for e in EXPECTATIONS if not e.long]
        by_name = {e.solver: e for e in EXPECTATIONS}
        planned += [(DIGITS, by_name[n]) for n in ON_DIGITS]
        planned += [(setting, by_name[n]) for setting in HARD for n in ON_HARD]
        planned += [(FIFTY, by_name[n]) for n in IN_FIFTY]
    return [Task(s, e, start, not quick) for s, e in planned for start in _starts(s, e)]


def _starts(setting: Setting, expectation: Expectation) -> tuple[Start, ...]:
    return ("own", "exact") if setting.asserted and make(expectation.solver).history else ("own",)


@lru_cache(maxsize=16)
def _experiment(setting: Setting) -> Experiment:
    return setting.build()


def stochastic_tasks(quick: bool) -> list[StochasticTask]:
    """The stochastic solvers that a run measures."""
    return [StochasticTask(e, not quick) for e in STOCHASTIC_EXPECTATIONS]


def measure(task: Task | StochasticTask) -> Study | StochasticStudy:
    """Run one study, on one thread: processes that share cores must not wait for each other."""
    torch.set_num_threads(1)
    with threadpoolctl.threadpool_limits(1):
        return task.run()


def measure_all(
    quick: bool, done: Callable[[Task | StochasticTask], None] | None = None, workers: int | None = None
) -> tuple[list[Measured], list[StochasticMeasured]]:
    """All studies, over processes; `done` is called after each."""
    planned, stochastic = tasks(quick), stochastic_tasks(quick)
    everything: list[Task | StochasticTask] = [*planned, *stochastic]
    studies: dict[Any, Any] = {}
    with ProcessPoolExecutor(workers or os.cpu_count()) as pool:
        for task, study in zip(everything, pool.map(measure, everything), strict=True):
            studies[task] = study
            if done is not None:
                done(task)
    return _pair(planned, studies), [
        StochasticMeasured(t.expectation, studies[t], t.long) for t in stochastic
    ]


def _pair(planned: Sequence[Task], studies: Mapping[Any, Any]) -> list[Measured]:
    measured = []
    for task in planned:
        if task.start == "own":
            exact = studies.get(replace(task, start="exact"), studies[task])
            measured.append(Measured(task.setting, task.expectation, studies[task], exact, task.long))
    return measured
