"""Models made of models: of discrete time, guided, thresholded.  The sampling loop knows nothing of them.

Each function takes models, functions (x, t) -> output with x of shape (batch, ...), and returns one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from ..common import checks
from ..diffusion.prediction import Model, convert, in_own_dtype, time_like
from ..diffusion.schedule import Schedule
from ..numerics.tensors import dtype_of

Network = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""network(x, label): x of shape (batch, ...), labels of shape (batch,), at least float32."""

LABELS: dict[str, Callable[[Any, int], Any]] = {
    "offset": lambda t, n: 1000 * (t - 1 / n),
    "scaled": lambda t, n: 1000 * (n - 1) / n * t,
    "index": lambda t, n: n * t - 1,
}
"""Time t in (0, 1] of a model trained on n steps -> the label that its network expects.

"offset" maps [1/n, 1] to [0, 1000 (n - 1)/n] and "scaled" maps [0, 1] there: the two conventions of
LuChengTHU/dpm-solver (model_wrapper, formerly time_input_type 1 and 2); "scaled" with
n = 1000 is Score-SDE's 999 t.  "index" is the position in the table
of betas, which "offset" is for n = 1000.
"""


def discrete_time(network: Network, n: int, *, labels: str = "offset") -> Model:
    """A model of continuous time from a network trained on n discrete steps.

    Labels are not rounded.  Raises ValueError for n < 1 or an unknown convention, and, when called, for a t
    whose label would be negative (before the table's first entry).
    """
    n = checks.integer("n", n, 1)
    checks.one_of("labels", labels, LABELS)
    label_of, own, called = LABELS[labels], dtype_of(network), in_own_dtype(network)

    def model(x: torch.Tensor, t: Any) -> torch.Tensor:
        dtype = torch.promote_types(own or x.dtype, torch.float32)  # a half cannot tell 990 from 991
        label = label_of(time_like(t, x), n)
        if label < -1e-9 * n:
            raise ValueError(f"t must be at least 1/{n} for labels {labels!r}, got {t}")
        given = torch.as_tensor(label, dtype=dtype, device=x.device).clamp_min(0)
        found: torch.Tensor = called(x, given.expand(x.shape[0]))
        return found

    return model


def classifier_free(conditional: Model, unconditional: Model, scale: float) -> Model:
    """m_uncond + scale (m_cond - m_uncond): affine in the outputs, so right for every prediction type.

    scale 1 is the conditional model, 0 the unconditional one: the other is then not called.  Ho & Salimans
    2021, eq. 6 with scale = 1 + w.  Both models must predict the same quantity.
    Raises ValueError for a scale that is not a finite number.
    """
    weight = float(checks.number("scale", scale))
    checks.function("conditional", conditional)
    checks.function("unconditional", unconditional)
    if weight == 1:
        return conditional
    if weight == 0:
        return unconditional
    told, untold = in_own_dtype(conditional), in_own_dtype(unconditional)

    def model(x: Any, t: Any) -> Any:
        base = untold(x, t)
        return base + weight * (told(x, t) - base)

    return model


def cfg_plus_plus(
    conditional: Model, unconditional: Model, scale: float, schedule: Schedule, times: Sequence[Any]
) -> Model:
    """`classifier_free` with the scale at each time of a run with which a step of DDIM is one of CFG++, whose
    noise is the unconditional model's:

        x' = alpha' x_0 + sigma' eps_uncond,   x_0 from eps_uncond + scale (eps_cond - eps_uncond)

    is DDIM's step under guidance by scale rho/(rho - rho'), since both are affine in eps.  Chung et al. 2024,
    arXiv:2406.08070, Alg. 2; sample_euler_cfg_pp of ComfyUI.
    times: of the plan, decreasing, as `Plan.times`; the model is asked at those of its steps' starts, as
    first-order solvers do.  The scale grows like 1/h as steps shrink: what is added up to the end depends on
    the number of steps, so that there is no flow that this converges to, and no order.
    Raises ValueError for a scale that is not a finite number and times that do not decrease; when called, for
    a time at which no step starts.
    """
    weight = float(checks.number("scale", scale))
    checks.function("conditional", conditional)
    checks.function("unconditional", unconditional)
    checks.instance("schedule", schedule, Schedule)
    nodes = checks.sequence("times", times, 2)
    lam = schedule.formulas.lam
    factors: dict[float, float] = {}
    for t, end in pairwise(nodes):
        if not end < t:
            raise ValueError(f"times must decrease, got {t} and then {end}")
        with np.errstate(divide="ignore"):  # lambda may be infinite: the scale is its own there
            factors[float(t)] = weight / -math.expm1(float(lam(t)) - float(lam(end)))
    told, untold = in_own_dtype(conditional), in_own_dtype(unconditional)

    def model(x: Any, t: Any) -> Any:
        if float(t) not in factors:
            raise ValueError(f"t must be a time at which a step of the run starts, got {t}")
        base = untold(x, t)
        return base + factors[float(t)] * (told(x, t) - base)

    return model


def classifier_free_network(
    network: Callable[[torch.Tensor, Any, torch.Tensor], torch.Tensor],
    condition: torch.Tensor,
    null: torch.Tensor,
    scale: float,
) -> Model:
    """`classifier_free` of a network(x, t, condition), in one call with a doubled batch.

    condition, null: of shape (batch, ...), what the network gets for the two halves: on the device of x, and
    in its dtype if they are floating (labels stay integers).
    Raises ValueError for a scale that is not finite or conditions of different shapes.
    """
    weight = float(checks.number("scale", scale))
    if condition.shape != null.shape:
        raise ValueError(f"null must have the shape {tuple(condition.shape)}, got {tuple(null.shape)}")
    both, own, called = torch.cat([null, condition]), dtype_of(network), in_own_dtype(network)

    def model(x: torch.Tensor, t: Any) -> torch.Tensor:
        given = both.to(x.device, own or x.dtype) if both.is_floating_point() else both.to(x.device)
        base, guided = called(torch.cat([x, x]), t, given).chunk(2)
        mixed: torch.Tensor = base + weight * (guided - base)
        return mixed

    return model


def classifier(
    model: Model,
    schedule: Schedule,
    log_probability: Callable[[torch.Tensor, Any], torch.Tensor],
    scale: float = 1.0,
    *,
    prediction: str = "eps",
) -> Model:
    """eps - scale sigma_t grad_x log p_t(c|x), in the model's own prediction type.

    log_probability: (x, t) -> log p_t(c|x) of shape (batch,), each entry of its own sample; differentiated
    by torch.func.vjp, so it works within torch.no_grad, torch.inference_mode, vmap and other derivatives
    (jvp, vjp, grad), and must be made of what torch.func transforms: an autograd.Function in it needs
    setup_context.  Dhariwal & Nichol 2021, Alg. 2.
    Raises ValueError for a scale that is not finite; when called, for a result of another shape.
    """
    weight = float(checks.number("scale", scale))
    to_eps = convert(schedule, model, prediction, "eps")
    sigma = schedule.formulas.sigma

    def guided(x: torch.Tensor, t: Any) -> torch.Tensor:
        log_p, pull = torch.func.vjp(lambda at: log_probability(at, t), x)[:2]
        if log_p.shape != x.shape[:1]:
            raise ValueError(f"log_probability must return shape ({x.shape[0]},), got {tuple(log_p.shape)}")
        (gradient,) = pull(torch.ones_like(log_p))
        eps: torch.Tensor = to_eps(x, t) - gradient * (weight * sigma(time_like(t, x)))
        return eps

    return convert(schedule, guided, "eps", prediction)


def dynamic_thresholding(
    model: Model, schedule: Schedule, *, prediction: str = "eps", ratio: float = 0.995, max_value: float = 1.0
) -> Model:
    """A data-prediction model whose output is clipped to its `ratio` quantile and rescaled, per sample.

    With q the quantile of |x_0| over a sample's components (linear interpolation) and m = max(q,
    max_value), the output is clamp(x_0, -m, m)/m.  Compile the plan with prediction="x0".  Saharia et al.
    2022 (Imagen), Sec. 2.3.  It makes the integrand non-smooth, which voids any claim of an order above one.
    model: returns `prediction` for torch tensors of shape (batch, ...).  Half precision is thresholded in
    float32.  Raises ValueError for a ratio outside (0, 1] or max_value <= 0.
    """
    checks.number("ratio", ratio, above=0, most=1)
    checks.number("max_value", max_value, above=0)
    to_data = convert(schedule, model, prediction, "x0")

    def thresholded(x: torch.Tensor, t: float) -> torch.Tensor:
        x0: torch.Tensor = to_data(x, t)
        wide = x0.float() if x0.dtype in (torch.float16, torch.bfloat16) else x0
        q = torch.quantile(wide.abs().flatten(1), ratio, dim=1)
        bound = q.clamp_min(max_value).reshape(-1, *(1,) * (x0.ndim - 1))
        return (wide.clamp(-bound, bound) / bound).to(x0.dtype)

    return thresholded
