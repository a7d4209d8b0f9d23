"""Changes to a model's output, as models: the sampling loop knows nothing of them.

Thresholding makes the integrand non-smooth, so it voids every claim of an order above one.
"""

from __future__ import annotations

import torch

from ..diffusion.prediction import Model, convert
from ..diffusion.schedule import Schedule
from ..numerics import checks


def dynamic_thresholding(
    model: Model, schedule: Schedule, *, prediction: str = "eps", ratio: float = 0.995, max_value: float = 1.0
) -> Model:
    """A data-prediction model whose output is clipped to its `ratio` quantile and rescaled, per sample.

    With q the quantile of |x_0| over a sample's components (linear interpolation) and m = max(q,
    max_value), the output is clamp(x_0, -m, m)/m.  Compile the plan with prediction="x0".  Saharia et al.
    2022 (Imagen), Sec. 2.3. model: returns `prediction` for torch tensors of shape (batch, ...).  Half
    precision is thresholded in float32. Raises ValueError for a ratio outside (0, 1] or max_value <= 0.
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
