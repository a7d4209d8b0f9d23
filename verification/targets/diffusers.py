"""The schedulers of diffusers: one loop, and how each of them keeps its state.

    y = start
    for timestep, rho in zip(scheduler.timesteps, told):
        output = what the model says at scheduler.scale_model_input(y, timestep) and noise level rho
        y = scheduler.step(output, timestep, y)

No `set_timesteps` takes an arbitrary grid in float64 that ends above 0: the levels are put in after it, where
the scheduler keeps them (`sigmas`, a table of `alphas_cumprod`, ..), and what it derives from them it derives
itself.  A grid that ends above 0 has `final_sigmas_type="sigma_min"`, one that ends at 0 "zero", unless that
is set.  The model is asked for what the scheduler's `prediction_type` says, at the exact level of the state,
or at another that it is told, as a network is (`Choice.sampler`).
"""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from types import ModuleType
from typing import Any

import numpy as np
import torch
from semilinear.integrators.common.constructors import refuse_unknown
from semilinear.integrators.common.messages import shown
from semilinear.integrators.common.names import nearest

from .arithmetic import modules_of, widened, wrapped
from .frames import Frame, Name
from .run import Run, Sampler

Settings = Mapping[str, Any]


@dataclass
class Path:
    """How a scheduler goes along the grid.

    told: rho of the state at every call of the model.  spans: between which levels the noise of that call's
    step is an increment; None for noise that is drawn for itself.
    """

    told: Sequence[float]
    spans: Sequence[tuple[float, float] | None]


def _one_a_step(grid: Sequence[float]) -> Path:
    return Path(grid[:-1], list(pairwise(grid)))


# --- where schedulers keep their levels: (scheduler, levels) -> Path ---


def _tensor(values: Sequence[float]) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.get_default_dtype())


def _in_sigmas(s: Any, grid: Sequence[float]) -> Path:
    """sigmas, n + 1 of them: rho, or s of the flow frame."""
    s.sigmas = _flow(grid) if s.config.get("use_flow_sigmas") else _tensor(grid)
    s.timesteps = s.sigmas[:-1].clone()
    return _one_a_step(grid)


def _flow(grid: Sequence[float]) -> torch.Tensor:
    return _tensor([r / (1 + r) for r in grid])


def _in_flow_sigmas(s: Any, grid: Sequence[float]) -> Path:
    s.num_inference_steps, s.sigmas = len(grid) - 1, _flow(grid)
    s.timesteps = s.sigmas[:-1].clone()
    return _one_a_step(grid)


def _in_flow_sigmas_from_data(s: Any, grid: Sequence[float]) -> Path:
    """MiniMax: its timesteps are alphas, which its step reads."""
    path = _in_flow_sigmas(s, grid)
    s.timesteps = 1 - s.timesteps
    return path


def _in_double_sigmas(s: Any, grid: Sequence[float], levels: Any = _tensor) -> Path:
    """Every inner sigma twice: two calls a step; a step to 0 has one."""
    twice = [grid[0], *(r for r in grid[1:] for _ in range(2))]
    calls = 2 * (len(grid) - 1) - (grid[-1] == 0)
    s.sigmas = levels(twice[: calls + 1])
    s.timesteps = s.sigmas[:calls].clone()
    steps = [pair for pair in pairwise(grid) for _ in range(2)]
    return Path(twice[:calls], steps[:calls])


def _in_double_flow_sigmas(s: Any, grid: Sequence[float]) -> Path:
    return _in_double_sigmas(s, grid, _flow)


def _in_brownian_sigmas(s: Any, grid: Sequence[float]) -> Path:
    """As in double sigmas, the second call in the middle of log sigma."""
    path = _in_double_sigmas(s, grid)
    told = [r for a, b in pairwise(grid) for r in (a, math.sqrt(a * b))]
    return Path(told[: len(path.told)], path.spans)


def _interpolated(s: Any, grid: Sequence[float]) -> Path:
    """sigmas and sigmas_interpol as set_timesteps made them of the grid, to which it adds a 0."""
    calls = 2 * (len(grid) - 1) - (grid[-1] == 0)
    back = int(hasattr(s, "sigmas_down"))  # the ancestral one keeps the middle of a step at the step's start
    told = [float(s.sigmas_interpol[k - back] if k % 2 else s.sigmas[k]) for k in range(calls)]
    steps = [pair for pair in pairwise(grid) for _ in range(2)]
    return Path(told, steps[:calls])


def _in_table(s: Any, grid: Sequence[float]) -> Path:
    """alphas_cumprod, a level for every training timestep, of which none is left out."""
    table = _table(grid)
    s.alphas_cumprod = table
    s.final_alpha_cumprod = s.one = 1 / (1 + _tensor(grid)[-1] ** 2)
    return _one_a_step(grid)


def _table(grid: Sequence[float]) -> torch.Tensor:
    levels = _tensor([r for r in reversed(grid) if r > 0])
    return 1 / (1 + levels**2)


def _in_betas_too(s: Any, grid: Sequence[float]) -> Path:
    path = _in_table(s, grid)
    ratio = s.alphas_cumprod[1:] / s.alphas_cumprod[:-1]
    s.alphas = torch.cat([s.alphas_cumprod[:1] / s.one if grid[-1] == 0 else ratio[:1], ratio])
    s.betas = 1 - s.alphas
    count = len(grid) - 1
    s.timesteps = torch.arange(count - 1, -1, -1) + int(grid[-1] > 0)
    return path


def _in_custom_timesteps(s: Any, grid: Sequence[float]) -> Path:
    """TCD: its last step goes to training timestep 0."""
    levels = _tensor(list(reversed(grid)))
    s.alphas_cumprod = 1 / (1 + levels**2)
    s.timesteps = torch.arange(len(grid) - 1, 0, -1)
    return _one_a_step(grid)


def _in_plms(s: Any, grid: Sequence[float]) -> Path:
    """PNDM without Runge-Kutta: the first step is made twice, from both of its ends."""
    _in_table(s, grid)
    told = list(grid[:-1])
    return Path([told[0], *told[1:2], *told[1:]], [None] * (len(told) + 1))


def _in_angles(s: Any, grid: Sequence[float]) -> Path:
    """IPNDM: alphas and betas are alpha and sigma."""
    rho = _tensor(grid)
    s.alphas, s.betas = 1 / torch.sqrt(1 + rho**2), rho / torch.sqrt(1 + rho**2)
    return _one_a_step(grid)


def _in_trigonometry(s: Any, grid: Sequence[float]) -> Path:
    s.timesteps = torch.atan(_tensor(grid))
    return Path(grid[:-1], [None] * (len(grid) - 1))


def _in_cosine_time(s: Any, grid: Sequence[float]) -> Path:
    """Wuerstchen: the times of its own cosine schedule."""
    cos = torch.sqrt(s._init_alpha_cumprod.reshape(()) / (1 + _tensor(grid) ** 2))
    s.timesteps = torch.acos(cos) * 2 / math.pi * (1 + float(s.s)) - float(s.s)
    return _one_a_step(grid)


def _in_discrete_sigmas(s: Any, grid: Sequence[float]) -> Path:
    """Score-SDE: a table of sigmas, found by the integer part of timestep times its length."""
    n = len(grid) - 1
    s.discrete_sigmas = _tensor(list(reversed(grid)))
    s.timesteps = (torch.arange(n, -1, -1) + 0.25) / n
    return _one_a_step(grid)


# --- and where those that set_timesteps chose are: (scheduler) -> rho, or s of the flow frame ---


def _sigmas(s: Any) -> Any:
    return s.sigmas


def _every_second(s: Any) -> Any:
    """Of sigmas that hold every inner one twice, or a middle between."""
    return torch.cat([s.sigmas[:1], s.sigmas[1::2]])[: int(s.num_inference_steps) + 1]


def _of_table(s: Any) -> Any:
    """Those of the training timesteps, each once, and the last one."""
    steps = torch.unique(torch.as_tensor(s.timesteps).long()).flip(0)
    last = s.final_alpha_cumprod if hasattr(s, "final_alpha_cumprod") else s.one
    return _of_alphas(torch.cat([s.alphas_cumprod[steps], last.reshape(1)]))


def _of_alphas(alphas: torch.Tensor) -> Any:
    return torch.sqrt((1 - alphas.double()) / alphas.double())


def _of_custom_timesteps(s: Any) -> Any:
    """TCD: those of the training timesteps, and that of timestep 0."""
    return _of_alphas(torch.cat([s.alphas_cumprod[s.timesteps.long()], s.alphas_cumprod[:1]]))


def _of_angles(s: Any) -> Any:
    return s.betas.double() / s.alphas.double()


def _of_cosine_time(s: Any) -> Any:
    return _of_alphas(s._alpha_cumprod(s.timesteps, s.timesteps.device))


def _of_discrete_sigmas(s: Any) -> Any:
    """Score-SDE: a second call chooses them; its last step goes to 0."""
    s.set_sigmas(len(s.timesteps))
    return torch.cat([s.discrete_sigmas.flip(0), torch.zeros(1)])


CHOSEN: dict[Callable[[Any, Sequence[float]], Path], Callable[[Any], Any]] = {
    _in_sigmas: _sigmas,
    _in_flow_sigmas: _sigmas,
    _in_flow_sigmas_from_data: _sigmas,
    _in_double_sigmas: _every_second,
    _in_double_flow_sigmas: _every_second,
    _in_brownian_sigmas: _every_second,
    _interpolated: _every_second,
    _in_table: _of_table,
    _in_betas_too: _of_table,
    _in_plms: _of_table,
    _in_custom_timesteps: _of_custom_timesteps,
    _in_angles: _of_angles,
    _in_cosine_time: _of_cosine_time,
    _in_discrete_sigmas: _of_discrete_sigmas,
}
UNCHOSEN: dict[Callable[[Any, Sequence[float]], Path], str] = {
    _in_trigonometry: "takes the times of its user, but for two that belong to runs of two steps",
}
"""Why a scheduler chooses none."""


# --- what the model is asked, at an input: (scheduler, frame, input, rho, prediction_type) -> output ---

Ask = Callable[[Any, Frame, Any, float, str], Any]
PREDICTIONS = {"epsilon": "eps", "sample": "x0", "v_prediction": "v", "flow_prediction": "velocity"}


def _asked(s: Any, frame: Frame, y: Any, rho: float, prediction: str) -> Any:
    return frame.predict(PREDICTIONS[prediction], y, rho)


def _velocity(s: Any, frame: Frame, y: Any, rho: float, prediction: str) -> Any:
    return frame.predict("velocity", y, rho)


def _back(s: Any, frame: Frame, y: Any, rho: float, prediction: str) -> Any:
    return -frame.predict("velocity", y, rho)


def _v(s: Any, frame: Frame, y: Any, rho: float, prediction: str) -> Any:
    return frame.predict("v", y, rho)


def _score(s: Any, frame: Frame, y: Any, rho: float, prediction: str) -> Any:
    return -frame.predict("eps", y, rho) / rho


def _raw(s: Any, frame: Frame, y: Any, rho: float, prediction: str) -> Any:
    """The network F of  x_0 = c_skip y + c_out F(c_in y)  (Karras et al. 2022, eq. 7)."""
    one, sigma = torch.ones((), dtype=torch.float64), torch.tensor(rho, dtype=torch.float64)
    if hasattr(s, "precondition_outputs"):
        skip, out = (float(s.precondition_outputs(*v, sigma)) for v in ((one, 0 * one), (0 * one, one)))
        inside = float(s.precondition_inputs(one, sigma))
    else:
        skip, out = (float(c) for c in s.get_scalings_for_boundary_condition(sigma))
        inside = 1 / math.hypot(rho, s.config.sigma_data)
    state = y / inside
    return (frame.predict("x0", state, rho) - skip * state) / out


def _set_timesteps(s: Any, n: int) -> None:
    s.set_timesteps(n)


def _list_timesteps(s: Any, n: int) -> None:
    count = s.config.num_train_timesteps
    s.set_timesteps(timesteps=list(range(count - 1, -1, -1))[:n], original_inference_steps=count)


def _count_timesteps(s: Any, n: int) -> None:
    s.num_inference_steps = n


@dataclass(frozen=True)
class Convention:
    """A family of schedulers.

    frame: of the state.  inputs: of what scale_model_input makes of it.  place: where the levels go.
    fixed: what is set where nothing else is.  interpolates: set_timesteps makes more of the levels than
    sigmas, so that it is given them by the interpolation in its table.  table: every step is one training
    timestep.  renoises: draws noise for itself.  times_per_sample: step is told a timestep per sample.
    timesteps: sets their number.
    """

    frame: Name
    place: Callable[[Any, Sequence[float]], Path]
    inputs: Name | None = None
    ask: Ask = _asked
    fixed: Settings = field(default_factory=dict)
    interpolates: bool = False
    table: bool = False
    renoises: bool = False
    times_per_sample: bool = False
    timesteps: Callable[[Any, int], None] = _set_timesteps


_VP = Convention("vp", _in_sigmas)
_VE = Convention("ve", _in_sigmas, "vp")
_EDM = Convention("ve", _in_sigmas, ask=_raw)
_TABLE = Convention("vp", _in_table, fixed={"clip_sample": False}, table=True)
_INTERPOLATED = Convention("ve", _interpolated, "vp", interpolates=True, table=True)
_FLOW = Convention("flow", _in_flow_sigmas, ask=_velocity)

CONVENTIONS: dict[str, Convention] = {
    "DPMSolverMultistepScheduler": _VP,
    "DPMSolverSinglestepScheduler": Convention("vp", _in_sigmas, renoises=True),
    "DEISMultistepScheduler": _VP,
    "UniPCMultistepScheduler": _VP,
    "SASolverScheduler": _VP,
    "EulerDiscreteScheduler": Convention("ve", _in_sigmas, "vp", renoises=True),
    "EulerAncestralDiscreteScheduler": _VE,
    "LMSDiscreteScheduler": _VE,
    "HeunDiscreteScheduler": Convention("ve", _in_double_sigmas, "vp"),
    "DPMSolverSDEScheduler": Convention("ve", _in_brownian_sigmas, "vp"),
    "KDPM2DiscreteScheduler": _INTERPOLATED,
    "KDPM2AncestralDiscreteScheduler": _INTERPOLATED,
    "EDMEulerScheduler": Convention("ve", _in_sigmas, ask=_raw, renoises=True),
    "EDMDPMSolverMultistepScheduler": _EDM,
    "CosineDPMSolverMultistepScheduler": _EDM,
    "CMStochasticIterativeScheduler": Convention(
        "ve", _in_sigmas, ask=_raw, fixed={"clip_denoised": False}, table=True, renoises=True
    ),
    "FlowMatchEulerDiscreteScheduler": Convention("flow", _in_flow_sigmas, ask=_velocity, renoises=True),
    "FlowMatchHeunDiscreteScheduler": Convention(
        "flow", _in_double_flow_sigmas, ask=_velocity, renoises=True
    ),
    "FlowMatchLCMScheduler": Convention("flow", _in_flow_sigmas, ask=_velocity, renoises=True),
    "LTXEulerAncestralRFScheduler": Convention(
        "flow", _in_flow_sigmas, ask=_velocity, timesteps=_count_timesteps
    ),
    "FlowMapEulerDiscreteScheduler": _FLOW,
    "MiniMaxH3Scheduler": Convention("flow", _in_flow_sigmas_from_data, ask=_back),
    "DDIMScheduler": _TABLE,
    "DDIMParallelScheduler": _TABLE,
    "DDPMScheduler": _TABLE,
    "DDPMParallelScheduler": _TABLE,
    "CogVideoXDDIMScheduler": _TABLE,
    "CogVideoXDPMScheduler": _TABLE,
    "UnCLIPScheduler": Convention("vp", _in_betas_too, fixed={"clip_sample": False}, table=True),
    "TCDScheduler": Convention(
        "vp",
        _in_custom_timesteps,
        fixed={"clip_sample": False, "eta": 0.0},
        table=True,
        renoises=True,
        timesteps=_list_timesteps,
    ),
    "PNDMScheduler": Convention("vp", _in_plms, fixed={"skip_prk_steps": True}, table=True),
    "IPNDMScheduler": Convention("vp", _in_angles, ask=_v),
    "SCMScheduler": Convention(
        "vp",
        _in_trigonometry,
        ask=_v,
        fixed={"sigma_data": 1.0},
        renoises=True,
        timesteps=_count_timesteps,
    ),
    "DDPMWuerstchenScheduler": Convention("vp", _in_cosine_time, times_per_sample=True),
    "ScoreSdeVeScheduler": Convention("ve", _in_discrete_sigmas, ask=_score),
}
"""What can be driven, by name."""

_TOKENS = "its states are discrete tokens"
_UPWARD = "it goes from data to noise, by formulas of the scheduler that it inverts"
REFUSED: dict[str, str] = {
    "AmusedScheduler": _TOKENS,
    "BlockRefinementScheduler": _TOKENS,
    "DiscreteDDIMScheduler": _TOKENS,
    "EntropyBoundScheduler": _TOKENS,
    "VQDiffusionScheduler": _TOKENS,
    "DDIMInverseScheduler": _UPWARD,
    "DPMSolverMultistepInverseScheduler": _UPWARD,
    "LCMScheduler": "its boundary scalings are functions of training timesteps, which a free grid has not",
    "ConsistencyDecoderScheduler": "its boundary scalings are functions of training timesteps",
    "RePaintScheduler": "it wants an image and a mask, and goes back up",
    "RFD4ProteinaScheduler": "it wants a mask, and its noise scales belong to proteins",
    "HeliosScheduler": "it works in stages of different resolution",
    "HeliosDMDScheduler": "it works in stages of different resolution",
    "PiflowScheduler": "its model returns a policy, not a prediction",
    "KarrasVeScheduler": "diffusers has deprecated it",
    "ScoreSdeVpScheduler": "its formulas hold on steps of equal length in its own time",
}
"""What cannot, and why."""


def names() -> tuple[str, ...]:
    """The schedulers that can be driven."""
    return tuple(CONVENTIONS)


def sampler(scheduler: Any, settings: Settings | None = None, *, exact: bool = True) -> Sampler:
    """A scheduler as a sampler of runs.

    scheduler: a name of `CONVENTIONS`, or a class whose name, or that of a class it derives from, is one.
    settings: of its configuration, and of its `step` (`eta`, `order`, `s_churn`, ..); `tau` of SA-Solver is
    a number, disable_corrector=True of UniPC disables it in every step, `correct_steps` of Score-SDE are made
    before every step where they are given.  exact: its float32 is float64, so
    that what is read off are its formulas.
    Raises ValueError for a scheduler that cannot be driven, with the reason, and for settings that it does
    not take.
    """
    choice = choose(scheduler, settings)
    return choice.sampler(exact=exact)


@dataclass(frozen=True)
class Choice:
    """A scheduler in a configuration.

    made: its class.  config: of its constructor.  in_step: of its `step`.
    """

    made: Any
    convention: Convention
    config: Settings
    in_step: Settings

    @property
    def taken(self) -> Collection[str]:
        """Which settings its constructor takes."""
        return _parameters(self.made.__init__).keys()

    @property
    def flow(self) -> bool:
        """Whether a scheduler of another frame is made to go along a flow."""
        return bool(self.config.get("use_flow_sigmas"))

    @property
    def frame(self) -> Name:
        """Of its states."""
        return "flow" if self.flow else self.convention.frame

    @cached_property
    def modules(self) -> tuple[ModuleType, ...]:
        """Where it is written."""
        return modules_of(self.made)

    def sampler(self, told: Sequence[float] | None = None, *, exact: bool = True) -> Sampler:
        """The sampler of runs.

        told: rho of what the model is told at every call, in place of the state's own.
        """

        def sample(run: Run) -> Any:
            with wrapped():
                return _Drive(run, self, exact, told).sample()

        return sample


def choose(scheduler: Any, settings: Settings | None = None) -> Choice:
    """A scheduler and its settings, as `sampler` takes them.  Raises ValueError as it does."""
    made = _class(scheduler)
    convention = _convention(made)
    given = dict(convention.fixed) | dict(settings or {})
    configured, stepped = _parameters(made.__init__), _parameters(_stepper(made))
    if "tau_func" in configured:
        tau = float(given.pop("tau", 1.0))
        given.setdefault("tau_func", lambda _: tau)
    unknown = {key for key in given if key in (settings or {}) or key not in convention.fixed}
    refuse_unknown(made.__name__, unknown, configured | stepped)
    if convention.timesteps is _list_timesteps and given["eta"] != 0:
        raise ValueError(f"eta must be 0 for {made.__name__}: it is a fraction of training timesteps")
    if not given.get("skip_prk_steps", True):
        raise ValueError(
            f"skip_prk_steps must be True for {made.__name__}: a grid has no middles of its steps"
        )
    config = {key: value for key, value in given.items() if key in configured}
    in_step = {key: value for key, value in given.items() if key in stepped}
    return Choice(made, convention, config, in_step)


GIVEN = ("self", "model_output", "timestep", "sample", "return_dict", "generator", "variance_noise")


def _parameters(function: Any) -> dict[str, inspect.Parameter]:
    return {key: p for key, p in inspect.signature(function).parameters.items() if key not in GIVEN}


def _class(scheduler: Any) -> Any:
    if isinstance(scheduler, type):
        return scheduler
    listed = (*CONVENTIONS, *REFUSED)
    if not isinstance(scheduler, str) or scheduler not in listed:
        hint = nearest(scheduler, listed)
        raise ValueError(f"scheduler must be one of diffusers.schedulers, got {shown(scheduler)}{hint}")
    if scheduler in REFUSED:
        raise ValueError(f"{scheduler} cannot be driven: {REFUSED[scheduler]}")
    from diffusers import schedulers

    return getattr(schedulers, scheduler)


def _convention(made: type) -> Convention:
    for name in (parent.__name__ for parent in made.__mro__):
        if name in REFUSED:
            raise ValueError(f"{made.__name__} cannot be driven: {REFUSED[name]}")
        if name in CONVENTIONS:
            return CONVENTIONS[name]
    raise ValueError(
        f"scheduler must be, or derive from, one of {', '.join(CONVENTIONS)}, got {made.__name__}"
    )


def _stepper(made: Any) -> Callable[..., Any]:
    found: Callable[..., Any] = getattr(made, "step_pred", None) or made.step
    return found


class _Drive:
    """One run of one scheduler."""

    def __init__(self, run: Run, choice: Choice, exact: bool, told: Sequence[float] | None) -> None:
        self.run, self.made, self.convention, self.exact = run, choice.made, choice.convention, exact
        self.in_step, self.told, self.modules = choice.in_step, told, choice.modules
        self.frame = Frame(run, choice.frame)
        self.inputs = Frame(run, self.convention.inputs or choice.frame, self.frame.levels)
        self.grid = self.frame.levels.grid
        if not all(b <= a for a, b in pairwise(self.grid)):  # some grids that are shipped repeat a level
            raise ValueError(f"times must not go up for {self.made.__name__}, got {shown(run.times)}")
        self.config = self._config(choice.config, choice.flow)

    def _config(self, config: Settings, flow: bool) -> dict[str, Any]:
        taken = inspect.signature(self.made.__init__).parameters
        zero = self.grid[-1] == 0
        own: dict[str, Any] = {"final_sigmas_type": "zero" if zero else "sigma_min"}
        if flow:
            own["prediction_type"] = "flow_prediction"
        if self.convention.place is _in_brownian_sigmas:  # its constructor looks for the time of every entry
            own["num_train_timesteps"] = 2
        if self.convention.table:
            to_end = not zero or self.convention.timesteps is _list_timesteps
            own |= {"num_train_timesteps": int(self.run) + to_end, "steps_offset": int(not zero)}
            own |= {"timestep_spacing": "leading"}
        chosen = {key: value for key, value in (own | dict(config)).items() if key in taken}
        if chosen.get("disable_corrector") is True:
            chosen["disable_corrector"] = list(range(int(self.run)))
        return chosen

    def _alone(
        self, span: tuple[float, float] | None = None, levels: bool = False
    ) -> AbstractContextManager[None]:
        """The scope of one call of the scheduler's own code.

        span: of the increment that its noise is.  levels: np.interp finds the grid's in its table.
        """
        numpy = {"interp": lambda *_: np.array([r for r in self.grid if r > 0])} if levels else {}
        noise = {} if span is None else {"randn_tensor": self._increment(span)}
        return widened(self.modules, self.exact, numpy=numpy, names=noise)

    def _increment(self, span: tuple[float, float]) -> Callable[..., Any]:
        def drawn(shape: Any, generator: Any = None, device: Any = None, dtype: Any = None, **_: Any) -> Any:
            like = torch.empty(tuple(shape), device=device, dtype=dtype or self.run.x.dtype)
            return self.frame.increment(*span, like)

        return drawn

    def _make(self) -> tuple[Any, Path]:
        interpolates = self.convention.interpolates
        with self._alone(), warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # algorithm types that are to go
            s = self.made(**self.config)
        with self._alone(levels=interpolates):
            self.convention.timesteps(s, int(self.run) + (interpolates and self.grid[-1] > 0))
            path = self.convention.place(s, self.grid)
        if hasattr(s, "set_begin_index"):
            s.set_begin_index(0)
        if hasattr(s, "noise_sampler"):
            s.noise_sampler = lambda a, b: self.frame.increment(a, b, self.run.x)
        return s, path

    def sample(self) -> Any:
        """The final states."""
        s, path = self._make()
        step = _stepper(s)
        remembers = "old_pred_original_sample" in inspect.signature(step).parameters
        prediction = s.config.get("prediction_type", "epsilon")
        y, memory = self.frame.enter(), {}
        if remembers:
            memory = {"old_pred_original_sample": None, "timestep_back": None}
        levels = path.told if self.told is None else self.told
        for timestep, rho, span in zip(s.timesteps, levels, path.spans, strict=False):
            told = timestep.expand(len(y)) if self.convention.times_per_sample else timestep
            for _ in range(self.config.get("correct_steps", 0)):
                output = self.convention.ask(s, self.inputs, y, rho, prediction)
                with self._alone():
                    (y,) = s.step_correct(output, y, return_dict=False)
            with self._alone():
                given = s.scale_model_input(y, told) if hasattr(s, "scale_model_input") else y
            output = self.convention.ask(s, self.inputs, given, rho, prediction)
            with self._alone(None if self.convention.renoises else span):
                y, *more = step(output, timestep=told, sample=y, return_dict=False, **memory, **self.in_step)
            if remembers:
                memory = {"old_pred_original_sample": more[0], "timestep_back": timestep}
        return self.frame.leave(y)
