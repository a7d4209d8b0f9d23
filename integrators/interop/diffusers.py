"""Any solver as a scheduler of diffusers, which must be installed: nothing else here imports this module.

A scheduler owns neither the model nor the loop: a pipeline calls the model at `timesteps`, one for each
evaluation, and hands its outputs to `step`.  The plan's own rows are run (`stepwise.py`); there is no formula
here.  States are alpha x_0 + sigma eps, unscaled, from standard normal noise.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from typing import Any

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.schedulers.scheduling_utils import (
    KarrasDiffusionSchedulers,
    SchedulerMixin,
    SchedulerOutput,
)
from diffusers.utils.torch_utils import randn_tensor

from ..common import checks
from ..common.messages import shown
from ..diffusion import discrete
from ..diffusion.grids import karras, nsr, uniform_lambda, uniform_t
from ..diffusion.grids import shift as shifted
from ..diffusion.schedule import Schedule, rectified_flow
from ..numerics.arithmetic import Value
from ..plans.program import Evaluation, Plan
from ..solver import FINAL_CHOICES
from ..solvers import make
from .ending import plan_through
from .k_diffusion import STARTS
from .stepwise import Stepwise, cut, drawn_once

PREDICTIONS = {"epsilon": "eps", "sample": "x0", "v_prediction": "v", "flow_prediction": "flow"}
BETAS = ("linear", "scaled_linear", "squaredcos_cap_v2")
GRIDS = {"t": uniform_t, "lambda": uniform_lambda, "karras": karras, "nsr": nsr}
ENDINGS = ("zero", "sigma_min")
NOT_OF_FLOWS = (
    *("shift_terminal", "invert_sigmas", "stochastic_sampling"),
    *("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas"),
)
"""What diffusers' flow-matching schedulers do to their levels besides the shift."""


class PlanScheduler(SchedulerMixin, ConfigMixin):  # type: ignore[misc]
    """A solver of this package as a scheduler.

    solver, solver_parameters: what `make` takes.  grid: what the levels of n steps are uniform in: "t" (flow:
    t before the shift), "lambda", "karras" or "nsr".  start, final: as `compile_plan` takes them; no start is
    exact.
    The others are diffusers' and have its defaults, so that `from_config` of another scheduler's config
    means the same schedule: num_train_timesteps, beta_start, beta_end, beta_schedule, trained_betas;
    prediction_type "epsilon", "sample", "v_prediction" or "flow_prediction"; final_sigmas_type "zero" (the
    last of n steps returns the data that are predicted) or "sigma_min" (it ends at timestep 0);
    use_flow_sigmas (alpha = 1 - t, sigma = t) with flow_shift.
    betas, alphas_cumprod: the table in float32, (num_train_timesteps,), where there is one.
    The configuration is JSON.  Raises ValueError for values that do not fit, and for thresholding,
    rescale_betas_zero_snr and variance_type, which are diffusers' but not taken.
    """

    _compatibles = [scheduler.name for scheduler in KarrasDiffusionSchedulers]  # noqa: RUF012

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        solver: str = "dpm-solver++-3m-corrected",
        solver_parameters: dict[str, Any] | None = None,
        grid: str = "t",
        start: str = "own",
        final: str = "released",
        num_train_timesteps: int = 1000,
        beta_start: float = 0.0001,
        beta_end: float = 0.02,
        beta_schedule: str = "linear",
        trained_betas: Sequence[float] | None = None,
        prediction_type: str = "epsilon",
        final_sigmas_type: str = "zero",
        use_flow_sigmas: bool = False,
        flow_shift: float = 1.0,
        thresholding: bool = False,
        rescale_betas_zero_snr: bool = False,
        variance_type: str | None = None,
    ) -> None:
        named: dict[str, tuple[str, Collection[str]]] = {
            "grid": (grid, GRIDS),
            "start": (start, STARTS),
            "final": (final, FINAL_CHOICES),
            "beta_schedule": (beta_schedule, BETAS),
            "prediction_type": (prediction_type, PREDICTIONS),
            "final_sigmas_type": (final_sigmas_type, ENDINGS),
        }
        for name, (value, allowed) in named.items():
            checks.one_of(name, value, allowed)
        refused = {"thresholding": thresholding, "rescale_betas_zero_snr": rescale_betas_zero_snr}
        if variance_type not in ("fixed_small", "fixed_large"):  # DDPM's: of its noise, not of the model
            refused["variance_type"] = variance_type is not None
        for name, is_set in refused.items():
            if is_set:
                raise ValueError(
                    f"{name} must not be set, it is not taken here, got {shown(self.config[name])}"
                )
        if prediction_type == "flow_prediction" and not use_flow_sigmas:
            raise ValueError("use_flow_sigmas must be True where prediction_type is 'flow_prediction'")
        checks.number("flow_shift", flow_shift, above=0)
        self._grid = GRIDS[grid]()
        self._solver = make(solver, **(solver_parameters or {}))
        self._schedule, self._count = self._made_schedule()
        self.order = self._solver.sequence.tableaux[-1].evaluations
        self.init_noise_sigma = 1.0
        self.num_inference_steps: int | None = None
        self.plan: Plan | None = None
        """What `set_timesteps` compiled: the plan of a run from the first timestep."""
        self.timesteps = torch.arange(self._count - 1, -1, -1, dtype=torch.float32)
        self.sigmas = self._levels(self.timesteps.double())
        self._labels: list[float] = []
        self._forget()

    @classmethod
    def from_config(
        cls, config: Any = None, return_unused_kwargs: bool = False, **kwargs: Any
    ) -> PlanScheduler | tuple[PlanScheduler, dict[str, Any]]:
        """As diffusers' own; the configuration of a flow-matching scheduler, with a `shift` and no betas,
        means rectified flow with that shift (`set_timesteps(mu=..)` where it shifts dynamically).

        Raises ValueError for what such a one sets and is not taken here.
        """
        if isinstance(config, Mapping) and "shift" in config and "beta_schedule" not in config:
            for name in NOT_OF_FLOWS:
                if config.get(name) and not (name in kwargs and not kwargs[name]):
                    raise ValueError(
                        f"{name} must not be set, it is not taken here, got {shown(config[name])}"
                    )
            shift = 1.0 if config.get("use_dynamic_shifting") else config["shift"]
            flow = {"use_flow_sigmas": True, "prediction_type": "flow_prediction", "flow_shift": shift}
            config = {k: v for k, v in config.items() if k != "shift"}
            kwargs = flow | kwargs
        return super().from_config(config, return_unused_kwargs, **kwargs)  # type: ignore[no-any-return]

    def _made_schedule(self) -> tuple[Schedule, int]:
        c = self.config
        count = checks.integer("num_train_timesteps", c.num_train_timesteps, 2)
        if c.use_flow_sigmas:
            return rectified_flow(), count
        betas = self._table(count)
        self.betas = torch.tensor(betas, dtype=torch.float32)
        self.alphas_cumprod = torch.cumprod(1 - torch.tensor(betas, dtype=torch.float64), 0).float()
        return _through(betas), len(betas)

    def _table(self, count: int) -> tuple[float, ...]:
        c = self.config
        if c.trained_betas is not None:
            return tuple(float(b) for b in c.trained_betas)
        if c.beta_schedule == "squaredcos_cap_v2":
            return discrete.cosine_betas(count)
        build = {"linear": discrete.linear_betas, "scaled_linear": discrete.scaled_linear_betas}
        return build[c.beta_schedule](c.beta_start, c.beta_end, count)

    # --- timesteps and times ---

    def _time(self, label: Any) -> Any:
        """The time of a timestep, which the model is told: k stands for the k-th beta; flow: 1000 t."""
        return (label if self.config.use_flow_sigmas else label + 1) / self._count

    def _label(self, t: Value) -> float:
        label = float(t) * self._count - (0 if self.config.use_flow_sigmas else 1)
        return max(label, 0.0) if label > -1e-6 else label  # rounding

    def _levels(self, labels: torch.Tensor) -> torch.Tensor:
        """sigma/alpha at timesteps, in flow sigma, and where the last step ends."""
        formulas, t = self._schedule.formulas, self._time(labels)
        levels = formulas.sigma(t) if self.config.use_flow_sigmas else formulas.rho(t)
        end = levels[-1:] if self.config.final_sigmas_type == "sigma_min" else torch.zeros(1)
        return torch.cat([levels.float(), end.float()])

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: str | torch.device | None = None,
        mu: float | None = None,
        timesteps: Sequence[float] | None = None,
        sigmas: Sequence[float] | None = None,
    ) -> None:
        """Compile the plan of a run: `timesteps` has an entry for every evaluation of the model.

        num_inference_steps: the number of steps (of evaluations for a budgeted solver).  Or the levels
        themselves, decreasing: timesteps, or sigmas (sigma/alpha, in flow sigma before the shift), which may
        end with 0.  With final_sigmas_type "zero" the last of them is that from which the last step returns
        the data, with "sigma_min" the run ends at it.  device: of `timesteps`.  mu: the logarithm of the flow
        shift, in place of the configuration's.
        Raises ValueError for none or several of the three, and for levels that cannot be compiled.
        """
        given = {"num_inference_steps": num_inference_steps, "timesteps": timesteps, "sigmas": sigmas}
        given = {name: value for name, value in given.items() if value is not None}
        named = given.keys() - {"num_inference_steps"} or given.keys()
        if len(named) != 1:
            got = ", ".join(given) or "none"
            raise ValueError(f"one of num_inference_steps, timesteps, sigmas must be given, got {got}")
        if mu is not None and not self.config.use_flow_sigmas:
            raise ValueError(f"mu must be given with use_flow_sigmas alone, got {shown(mu)}")
        shift = float(self.config.flow_shift if mu is None else math.exp(checks.number("mu", mu)))
        times: Sequence[Value]
        budget = None
        if timesteps is not None:
            times = [self._time(float(label)) for label in timesteps]
        elif sigmas is not None:
            times = self._times_of(sigmas, shift)
        else:
            n = checks.integer("num_inference_steps", num_inference_steps, 1)
            times, budget = self._spaced(n, shift)
        self.plan = self._compiled(times, budget)
        self._labels = [self._label(part.evaluation.t) for part in cut(self.plan)]
        self.num_inference_steps = len(self.plan.steps)
        self.timesteps = torch.tensor(self._labels, dtype=torch.float32, device=device)
        self.sigmas = self._levels(torch.tensor(self._labels, dtype=torch.float64))
        calls = {sum(isinstance(op, Evaluation) for op in step.operations) for step in self.plan.steps[:-1]}
        self.order = calls.pop() if len(calls) == 1 else 1
        self._forget()

    def _spaced(self, n: int, shift: float) -> tuple[Sequence[Value], int | None]:
        """Times of n steps on the grid, and the budget that the solver counts in."""
        flow, to_data = self.config.use_flow_sigmas, self.config.final_sigmas_type == "zero"
        if self.config.grid == "t" and flow:
            self._grid = shifted(shift)
        top, low = (1 - 1 / self._count, 1 / self._count) if flow else (1.0, 1 / self._count)
        if flow:
            top, low = (_shift(t, shift) for t in (top, low))
        if to_data and n == 1:
            return [top], None
        if to_data and self.config.grid == "t":  # n intervals, of which the last leads to the data
            low = self._grid(self._schedule, top, low, n)[-2]
        budget = n - to_data
        return self._solver.sequence.times(self._grid, self._schedule, top, low, budget), budget

    def _times_of(self, sigmas: Sequence[float], shift: float) -> list[Value]:
        levels = [float(s) for s in sigmas]
        if len(levels) > 1 and levels[-1] == 0 and self.config.final_sigmas_type == "zero":
            levels = levels[:-1]
        if self.config.use_flow_sigmas:
            return [_shift(s, shift) for s in levels]
        return [self._schedule.t_of_rho(s) for s in levels]

    def _compiled(self, times: Sequence[Value], budget: int | None = None) -> Plan:
        c, alone = self.config, len(times) == 1
        return plan_through(
            self._solver,
            self._schedule,
            times,
            to_data=c.final_sigmas_type == "zero",
            prediction=PREDICTIONS[c.prediction_type],
            **({} if alone else {"start": c.start, "final": c.final, "grid": self._grid, "steps": budget}),
        )

    def index_for_timestep(self, timestep: Any, schedule_timesteps: Any = None) -> int:
        """The last place in `timesteps` (or those given) of the nearest one: it may have been rounded.

        Raises ValueError for a timestep that is further than 1 from all of them.
        """
        labels = self._labels if schedule_timesteps is None else [float(v) for v in schedule_timesteps]
        value = float(timestep)
        off = [abs(label - value) for label in labels]
        best = min(off, default=math.inf)
        if not best < 1:
            raise ValueError(f"timestep must be one of the scheduler's timesteps, got {shown(value)}")
        return max(i for i, d in enumerate(off) if d <= best + 1e-4)

    # --- a run ---

    def _forget(self) -> None:
        self._run: Stepwise | None = None
        self._generator: Any = None
        self._step_index: int | None = None
        self._begin_index: int | None = None

    @property
    def step_index(self) -> int | None:
        """How many of the timesteps lie behind; None before the first step."""
        return self._step_index

    @property
    def begin_index(self) -> int | None:
        """Where the run begins in `timesteps`, if that was said."""
        return self._begin_index

    def set_begin_index(self, begin_index: int = 0) -> None:
        """Begin the run at this place of `timesteps`, where a step must begin (img2img)."""
        self._begin_index = checks.integer("begin_index", begin_index, 0)

    def scale_model_input(self, sample: torch.Tensor, timestep: Any = None) -> torch.Tensor:
        """The sample itself."""
        return sample

    def step(
        self,
        model_output: torch.Tensor,
        timestep: Any,
        sample: torch.Tensor,
        generator: Any = None,
        return_dict: bool = True,
    ) -> Any:
        """The state at the next of `timesteps`, from the model's output at this one: a SchedulerOutput, or a
        tuple of one where return_dict is False.

        timestep: says where a run begins if `set_begin_index` did not.  sample: the state at which the model
        was called; one that is not what the last step returned takes its place, and as long as it is, half
        precision is accumulated in float32.  generator: torch's, or a list with one for each sample, for
        stochastic solvers.
        A run that begins inside the grid is the plan of the timesteps that are left.
        Raises ValueError before `set_timesteps`, after the last timestep, and where no run can begin.
        """
        if self.plan is None:
            raise ValueError("set_timesteps must be called before step: there is no plan")
        self._generator = generator
        if self._run is None:
            begin = self.index_for_timestep(timestep) if self._begin_index is None else self._begin_index
            plan = self._plan_from(begin)
            noise = drawn_once(plan, self._drawn) if plan.stochastic else None
            self._run, self._step_index = Stepwise(plan, sample, noise), begin
        state = self._run.advance(model_output, sample)
        assert self._step_index is not None
        self._step_index += 1
        return SchedulerOutput(prev_sample=state) if return_dict else (state,)

    def _plan_from(self, begin: int) -> Plan:
        assert self.plan is not None
        if begin == 0:
            return self.plan
        times, left = self.plan.times, self._labels[begin:]
        reason = "no step begins there"
        for i in [i for i, t in enumerate(times) if left and self._label(t) == left[0]]:
            try:
                plan = self._compiled(times[i:])
            except ValueError as error:
                reason = str(error)
                continue
            if [self._label(part.evaluation.t) for part in cut(plan)] == left:
                return plan
            reason = "a run from there has other timesteps"
        raise ValueError(
            f"begin_index must be where a run of {self.config.solver} with start={self.config.start!r} can "
            f"begin, got {begin} of {len(self._labels)}: {reason}"
        )

    def _drawn(self, which: int, like: torch.Tensor) -> torch.Tensor:
        noise: torch.Tensor = randn_tensor(
            like.shape, generator=self._generator, device=like.device, dtype=like.dtype
        )
        return noise

    def add_noise(
        self, original_samples: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor
    ) -> torch.Tensor:
        """alpha x_0 + sigma noise at timesteps of shape (batch,) or (1,)."""
        labels = torch.as_tensor(timesteps).detach().to("cpu", torch.float64).reshape(-1)
        formulas, t = self._schedule.formulas, self._time(labels)
        alpha, sigma = (
            f(t).to(original_samples).reshape(-1, *(1,) * (original_samples.ndim - 1))
            for f in (formulas.alpha, formulas.sigma)
        )
        noisy: torch.Tensor = alpha * original_samples + sigma * noise
        return noisy

    def scale_noise(self, sample: torch.Tensor, timestep: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """`add_noise` by the name that pipelines of flow models call."""
        return self.add_noise(sample, noise, timestep)

    def __len__(self) -> int:
        return self._count


@lru_cache(maxsize=8)
def _through(betas: tuple[float, ...]) -> Schedule:
    """The whole table's schedule, whose knots take a moment in multiprecision."""
    return discrete.discrete(betas, clip_lambda=None)


def _shift(t: Value, shift: float) -> Value:
    """Esser et al. 2024, eq. 23."""
    return shift * t / (1 + (shift - 1) * t)
