"""Adaptive step sizes: steps are compiled one at a time, as a controller asks for them.

The steps themselves are the plan's: same compiler, same machine.  Only the choice of the next step looks at
the state, which costs one device synchronisation per attempt.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from ..common import checks
from ..diffusion.prediction import Model, check_prediction
from ..diffusion.schedule import Schedule
from ..numerics.arithmetic import FLOAT64, of
from ..plans.compile import StepCompiler
from ..solver import Repeat, Solver
from .boundary import NonFiniteError, State, check_states, finite, wrap_model
from .sampler import Machine, StepInfo


@dataclass(frozen=True)
class Controller:
    """DPM-Solver's step-size control in lambda: LuChengTHU/dpm-solver, dpm_solver_adaptive.

    After Jolicoeur-Martineau et al. 2021.
    A step is accepted when E <= 1, with E = max over the batch of RMS((high - low)/delta) and
    delta = max(atol, rtol max(|low|, |previous accepted low|)); then
    h <- min(safety h E^(-1/order), the rest).  The batch is coupled through E.
    recompute: evaluate the model again at the start of a rejected step, as the release does (and counts).
    """

    rtol: float = 0.05
    atol: float = 0.0078
    h_init: float = 0.05
    safety: float = 0.9
    t_tolerance: float = 1e-5
    recompute: bool = True
    max_attempts: int = 100_000

    def __post_init__(self) -> None:
        for name in ("rtol", "atol", "h_init", "safety", "t_tolerance"):
            checks.number(name, getattr(self, name), above=0)
        checks.integer("max_attempts", self.max_attempts, 1)

    def error(self, high: State, low: State, previous: State) -> float:
        """E of one attempt."""
        xp = of(high)
        delta = xp.maximum(xp.maximum(abs(low), abs(previous)) * self.rtol, 0 * high + self.atol)
        ratio = ((high - low) / delta).reshape(high.shape[0], -1)
        squares = (ratio * ratio).sum(-1) / ratio.shape[1]
        return math.sqrt(float(squares.max()))


@dataclass(frozen=True)
class Attempt:
    """One attempted step from time t, of size h in lambda, with its error."""

    t: float
    h: float
    error: float
    accepted: bool
    proposal: float
    """The step that the controller asks for next."""


@dataclass(frozen=True)
class AdaptiveSample:
    """The final state, the evaluations made (rejected attempts included), the accepted times and every
    attempt.
    """

    x: State
    nfe: int
    times: tuple[float, ...]
    attempts: tuple[Attempt, ...] = field(repr=False)


def sample_adaptive(
    solver: Solver,
    schedule: Schedule,
    model: Model,
    x: State,
    *,
    t_start: float,
    t_end: float,
    controller: Controller | None = None,
    prediction: str = "eps",
    denoise: bool = False,
    callback: Callable[[StepInfo], None] | None = None,
    recorded: Sequence[float] | None = None,
    gradients: bool = False,
) -> AdaptiveSample:
    """Run an embedded one-step solver in lambda from t_start to t_end with step-size control.

    solver: one-step, in a lambda form, with a lower-order row (`dpm_solver.singlestep(2 or 3, low=True)`).
    The run ends within controller.t_tolerance of t_end, as the release's does: x is the state at times[-1].
    x: torch tensor or numpy float array of shape (batch, ...).  The other arguments as in `compile_plan`
    and `sample`. recorded: steps in lambda to attempt, in place of the controller's proposals, for
    replaying a recorded run (an error estimate near rounding makes the proposals of two correct programs
    differ); what is accepted is still decided here. Raises ValueError for another solver or range,
    NonFiniteError when an error estimate is not finite, ArithmeticError after controller.max_attempts
    attempts.
    """
    controller = controller or Controller()
    check_prediction(prediction)
    checks.flag("gradients", gradients)
    sequence = solver.sequence
    if not isinstance(sequence, Repeat) or sequence.tableau.low is None or solver.stochastic:
        raise ValueError(
            f"solver must be a one-step method with a lower-order row (low=True), got {solver.name}"
        )
    schedule.check_time(t_start, "t_start")
    schedule.check_time(t_end, "t_end")
    if not t_end < t_start:
        raise ValueError(f"t_end must be less than t_start = {t_start}, got {t_end}")
    (state,), dtype = check_states(x, (t_start,), None)
    if state.ndim < 2:
        raise ValueError(f"x must have shape (batch, ...), got {tuple(state.shape)}")
    if not finite(state):
        raise NonFiniteError(f"x is not finite at t = {t_start}", 0, t_start, 0)
    if not controller.t_tolerance < t_start - t_end:
        raise ValueError(f"t_tolerance must be less than t_start - t_end, got {controller.t_tolerance}")
    if recorded is not None and not all(math.isfinite(step) and step > 0 for step in recorded):
        raise ValueError("recorded must hold positive steps in lambda")
    f = schedule.formulas
    lam_end = schedule.lam(float(t_end))
    if not (math.isfinite(lam_end) and math.isfinite(schedule.lam(float(t_start)))):
        raise ValueError("t_start and t_end must have a finite lambda for steps in lambda")

    compiler = StepCompiler(solver, schedule, prediction, FLOAT64)
    machine = Machine(wrap_model(model, state, dtype, gradients))
    machine.put(0, state)
    t, h, previous = float(t_start), controller.h_init, state
    times: list[float] = [t]
    attempts: list[Attempt] = []
    while abs(t - t_end) > controller.t_tolerance:
        if len(attempts) == controller.max_attempts:
            raise ArithmeticError(
                f"no end after {len(attempts)} attempts: at t = {t} the step in lambda is {h:g}"
            )
        if recorded is not None:
            if len(attempts) == len(recorded):
                raise ValueError(
                    f"recorded ends after {len(recorded)} attempts at t = {t}, before t_end = {t_end}"
                )
            h = float(recorded[len(attempts)])
        base, lam = compiler.base, float(f.lam(t))
        target = float(t_end) if lam + h >= lam_end else float(f.t_of_lam(lam + h))
        index = len(times) - 1
        step = compiler.step(sequence.tableau, t, target, index, index + 1)
        if 2 * base + 1 in machine.values:  # kept from a rejected attempt
            step = replace(step, operations=step.operations[1:])
        machine.prepare(step.arrays, state)
        machine.run(step, index)
        high, low = machine.state(step.output), machine.state(step.low or 0)
        error = controller.error(high, low, previous)
        if not math.isfinite(error):
            raise NonFiniteError(
                f"the error estimate is not finite at step {index}, t = {t}", index, t, machine.nfe
            )
        from_t = t
        if error <= 1:
            machine.keep((2 * step.output,))
            t, previous = target, low
            times.append(t)
            if callback is not None:
                callback(StepInfo(index, index + 1, t, high, low, machine.nfe))
        else:
            kept = (2 * base,) if controller.recompute else (2 * base, 2 * base + 1)
            machine.keep(kept)
            compiler.reject(base)
        growth = error ** (-1.0 / solver.claimed) if error > 0 else math.inf
        proposal = min(controller.safety * h * growth, lam_end - float(f.lam(t)))
        attempts.append(Attempt(from_t, h, error, error <= 1, proposal))
        h = proposal
    result = machine.state(compiler.base)
    if denoise:
        final = compiler.denoise(t)
        machine.prepare(final.arrays, state)
        machine.run(final, len(times) - 1)
        result = machine.state(final.output)
    result = result if dtype is None else result.to(dtype)
    return AdaptiveSample(result, machine.nfe, tuple(times), tuple(attempts))
