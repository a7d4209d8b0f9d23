"""One run from noise to data: the samples themselves, and how far those of a flow are from the exact ones."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from semilinear.integrators.common import checks, limits
from semilinear.integrators.common.files import Written, json_number, write_atomically
from semilinear.integrators.common.kinds import STEPPING
from semilinear.integrators.numerics.arrays import rms
from semilinear.integrators.run.adaptive import Controller, sample_adaptive
from semilinear.integrators.run.noise import per_sample
from semilinear.integrators.run.sampler import NonFiniteError, sample
from semilinear.integrators.solver import FINAL_CHOICES, FinalChoice

from ..studies.findings import repeated, run_once
from ..studies.flow import norms
from ..studies.own_statistics import suited
from ..targets.named import Target
from ..targets.named import target as named_target
from .entrants import OWN_END
from .experiment import NoiseToData


@dataclass(frozen=True)
class Samples(Written):
    """What one run made.

    states: (batch, d), float64.  times: of its steps; after the last one it may denoise.  final: how it
    ended.  error: RMS distance from the exact flow of the same starts, None for a run that drew noise and for
    one that denoised.  attempts: of an adaptive run, None of another.
    """

    solver: str
    place: str
    grid: str
    final: str
    nfe: int
    times: tuple[float, ...]
    states: np.ndarray
    error: float | None
    attempts: int | None = None

    @property
    def data(self) -> dict[str, Any]:
        """As JSON data: mean and deviation of every component in place of the states."""
        finite = bool(np.all(np.isfinite(self.states)))
        moments = {"mean": self.states.mean(0), "deviation": self.states.std(0)} if finite else {}
        return {
            "solver": self.solver,
            "place": self.place,
            "grid": self.grid,
            "final": self.final,
            "nfe": self.nfe,
            "steps": len(self.times) - 1,
            "attempts": self.attempts,
            "batch": len(self.states),
            "finite": finite,
            "error": None if self.error is None else json_number(self.error),
            **{name: [float(v) for v in value] for name, value in moments.items()},
        }

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write states and times as an .npz archive of float64 arrays; the file is replaced whole."""
        archive = io.BytesIO()
        np.savez(archive, states=self.states, times=np.array(self.times))
        write_atomically(path, archive.getvalue())

    def __str__(self) -> str:
        error = "" if self.error is None else f", RMS error {self.error:.3g} against the exact flow"
        steps = f"{len(self.times) - 1} steps" + (
            "" if self.attempts is None else f" of {self.attempts} tried"
        )
        return f"{self.solver} on {self.place}: {len(self.states)} samples, {steps}, {self.nfe} NFE{error}"


def draw(
    solver: Any,
    experiment: NoiseToData | None = None,
    *,
    steps: int = 20,
    final: FinalChoice = "released",
    denoise: bool = False,
    controller: Controller | None = None,
    convention: str | None = None,
) -> Samples:
    """Samples of one run of a solver or a sampler on an experiment; its seed is that of the noise, too.

    solver: a solver, a tableau or a sampler as `targets.named.target` finds them: a listed name with
    parameters, FILE.py:function, PACKAGE:NAME, a Solver, a function of a run.  steps: (or evaluations, of a
    solver made to a number of them).  final, denoise: of a solver, as in `compile_plan`.  controller: for
    steps that the embedded error chooses (`sample_adaptive`), in place of the grid and of steps; the solver
    must have a row of lower order (dpm-solver-2:low=true).  convention: of a function.
    Raises TypeError or ValueError, naming the argument, before any run, NonFiniteError in it; a sampler's own
    run as ValueError, whatever it raises.
    """
    e = NoiseToData() if experiment is None else experiment
    checks.instance("experiment", e, NoiseToData)
    steps = checks.integer("steps", steps, 1, limits.STEPS)
    checks.one_of("final", final, FINAL_CHOICES)
    checks.flag("denoise", denoise)
    target = named_target(solver, takes=STEPPING, convention=convention)
    place = f"{e.problem.name} on {e.schedule.kind}, t = {e.times[0]:g} to {e.times[1]:g}"
    if target.kind == "sampler":
        if denoise or final != "released" or controller is not None:
            raise ValueError("final, denoise and controller are a solver's: a sampler ends its runs itself")
        return _sampled(target, e, steps, place)
    made = suited(target, e)
    x, (start, end) = e.given(e.x), e.times
    if controller is not None:
        checks.instance("controller", controller, Controller)
        if denoise or final != "released":
            raise ValueError("controller must be absent where final or denoise are given: it ends as it is")
        found = sample_adaptive(made, e.schedule, e.model, x, t_start=start, t_end=end, controller=controller)
        states, times, tried = _array(found.x), found.times, len(found.attempts)
        apart = rms(norms(states, e.states([times[-1]])[0]))
        return Samples(made.name, place, "adaptive", "full", found.nfe, times, states, apart, tried)
    plan = e.plan(made, steps, final, denoise=denoise)
    result = sample(plan, e.model, x, noise=per_sample(e.seed) if plan.stochastic else None)
    states = _array(result.x)
    exact = None if plan.stochastic or denoise else e.states([end])[0]
    error = None if exact is None else rms(norms(states, exact))
    times = tuple(float(t) for t in plan.times if t is not None)
    return Samples(made.name, place, e.grid.name, plan.final, result.nfe, times, states, error)


def _sampled(target: Target, e: NoiseToData, steps: int, place: str) -> Samples:
    """A sampler's run on the experiment's grid; torch is seeded for what it draws."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(e.seed)
        run = e.run(steps)
        try:
            found = run_once(target.sampler, run, e.x.shape, keep=False)
        except ValueError:
            raise
        except Exception as raised:
            raise ValueError(f"{target.name} raised {type(raised).__name__}: {raised}") from raised
        noise = repeated(target.sampler, e, found)
    states = np.asarray(found.states, dtype=float).reshape(len(e.x), -1)
    if not np.all(np.isfinite(states)):
        raise NonFiniteError(f"{target.name}: a state is not finite after {found.nfe} evaluations")
    error = None if noise is not None else rms(norms(states, e.states([e.times[1]])[0]))
    times = tuple(float(t) for t in run.times)
    return Samples(target.name, place, e.grid.name, OWN_END, found.nfe, times, states, error)


def _array(states: torch.Tensor) -> np.ndarray:
    found: np.ndarray = states.double().numpy()
    return found.reshape(len(found), -1)
