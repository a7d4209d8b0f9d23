"""One entry for every order study: what is measured, and where, decide how errors are got."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from semilinear.integrators.common import checks
from semilinear.integrators.common.messages import shown
from semilinear.integrators.plans.program import STARTS, Start
from semilinear.integrators.solver import FINAL_CHOICES, FinalChoice, Solver

from ..targets.named import Target, is_function
from ..targets.named import target as named_target
from . import coupled, flow, gaussian, sampler
from .coupled import CoupledExperiment, CoupledStudy
from .experiment import Experiment
from .flow import Study
from .gaussian import StochasticExperiment, StochasticStudy
from .own_statistics import suited
from .progress import Progress

AnyExperiment = Experiment | StochasticExperiment | CoupledExperiment
AnyStudy = Study | StochasticStudy | CoupledStudy


def measure(
    target: str | Solver | Target | Callable[..., Any],
    experiment: AnyExperiment | None = None,
    *,
    claimed: float | None = None,
    name: str | None = None,
    convention: str | None = None,
    start: Start = "own",
    final: FinalChoice | None = None,
    residue: tuple[int, int] | None = None,
    progress: Progress | None = None,
) -> AnyStudy:
    """Measure the order of a solver, by name or as it is, or of any sampler; the study prints itself.

    target: a solver or a sampler as `targets.named.target` finds them: a listed name, NAME[:KEY=VALUE,..],
    FILE.py:function, PACKAGE:NAME, a `Solver`, or a function of a run (`flow.measure` and
    `sampler.measure_stochastic` say what a run holds).  experiment: an `Experiment` for
    the probability flow, the default of deterministic solvers and of functions; a `StochasticExperiment` for
    exact weak and strong orders on Gaussian data, the default of stochastic solvers; a `CoupledExperiment`
    for Brownian paths on any problem.  claimed: the order to judge against: the solver's own where absent,
    needed for a function.  name, convention: of a function.  start, final: as in `flow.run`, and so is
    residue, for runs along the flow.  progress: called with (runs done, runs at most) on the way.
    Raises TypeError for another kind of target or experiment, ValueError for what does not go together.
    """
    if claimed is not None:
        checks.number("claimed", claimed, above=0)
    if name is not None:
        checks.text("name", name)
    checks.one_of("start", start, STARTS)
    if final is not None:
        checks.one_of("final", final, FINAL_CHOICES)
    if residue is not None:
        m, r = checks.pair("residue", residue)
        m = checks.integer("m in residue (m, r)", m, 1)
        residue = m, checks.integer("r in residue (m, r)", r, 0, m - 1)
    if progress is not None:
        checks.function("progress", progress)
    if name is not None and (isinstance(target, str) or not is_function(target)):
        raise ValueError(f"name is for functions, got {shown(name)}")
    found = named_target(target, takes=("solver", "sampler"), convention=convention, name=name)
    if found.kind == "sampler":
        return _function(found, experiment, claimed, start, final, residue, progress)
    solver = found.solver
    where = experiment
    if where is None:
        where = StochasticExperiment() if solver.stochastic else Experiment()
    if isinstance(where, Experiment):
        study: AnyStudy = flow.run(
            suited(found, where), where, start=start, final=final, residue=residue, progress=progress
        )
    else:
        if start != "own":
            raise ValueError(f"start must be 'own' for a stochastic solver, got {shown(start)}")
        _refuse(residue)
        study = _stochastic(suited(found, where), where, "released" if final is None else final, progress)
    return study if claimed is None else study.judged(claimed)


def _stochastic(
    solver: Solver, where: Any, final: FinalChoice, progress: Progress | None
) -> StochasticStudy | CoupledStudy:
    if isinstance(where, StochasticExperiment):
        return gaussian.study(solver, where, final=final, progress=progress)
    if isinstance(where, CoupledExperiment):
        return coupled.study(solver, where, final=final, progress=progress)
    raise TypeError(
        f"experiment must be an Experiment, StochasticExperiment or CoupledExperiment, got {shown(where)}"
    )


def _function(
    target: Target,
    experiment: AnyExperiment | None,
    claimed: float | None,
    start: Start,
    final: FinalChoice | None,
    residue: tuple[int, int] | None,
    progress: Progress | None,
) -> AnyStudy:
    if start != "own" or final is not None:
        raise ValueError("start and final are a solver's: a function starts and ends its runs itself")
    order = target.claimed if claimed is None else claimed
    if order is None:
        raise ValueError("claimed must be given for a function: the order to judge it against")
    if isinstance(experiment, StochasticExperiment):
        _refuse(residue)
        study = sampler.measure_stochastic(target.name, target.sampler, experiment, progress=progress)
        return study.judged(order)
    if experiment is not None and not isinstance(experiment, Experiment):
        raise TypeError(
            f"experiment of a function must be an Experiment or StochasticExperiment, got {shown(experiment)}"
        )
    where = Experiment() if experiment is None else experiment
    return flow.measure(target.name, order, target.sampler, where, residue=residue, progress=progress)


def _refuse(residue: tuple[int, int] | None) -> None:
    if residue is not None:
        raise ValueError(f"residue is for runs along the flow, got {shown(residue)}")
