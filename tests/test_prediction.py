from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from semilinear.integrators.diffusion.prediction import PREDICTIONS, conversion, convert
from semilinear.integrators.diffusion.schedule import (
    Schedule,
    edm,
    rectified_flow,
    sub_vp,
    ve,
    vp_cosine,
    vp_linear,
)

from tests.roundings import AMPLIFIED, SOME_ULP

SCHEDULES = (vp_linear(), sub_vp(), ve(), edm(), rectified_flow())


def outputs(schedule: Schedule, t: float) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """A state made from known x_0 and eps, and what each model would say of it, from the definitions."""
    generator = torch.Generator().manual_seed(0)
    x0, eps = (torch.randn(4, 3, generator=generator, dtype=torch.float64) for _ in range(2))
    alpha, sigma, h = schedule.alpha(t), schedule.sigma(t), 1e-6
    velocity = [(f(t + h) - f(t - h)) / (2 * h) for f in (schedule.alpha, schedule.sigma)]
    said = {
        "eps": eps,
        "x0": x0,
        "v": alpha * eps - sigma * x0,
        "score": -eps / sigma,
        "flow": velocity[0] * x0 + velocity[1] * eps,
    }
    return alpha * x0 + sigma * eps, said


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: s.kind)
@pytest.mark.parametrize(("given", "wanted"), list(itertools.product(PREDICTIONS, PREDICTIONS)))
def test_every_output_converts_to_every_other(schedule: Schedule, given: str, wanted: str) -> None:
    t = 0.4 * schedule.t_max
    x, said = outputs(schedule, t)
    converted = convert(schedule, lambda x, t: said[given], given, wanted)(x, t)
    by_slopes = 1e-6 if "flow" in (given, wanted) else 0.0  # difference quotients: ulp/h in sigma_dot
    torch.testing.assert_close(converted, said[wanted], rtol=max(by_slopes, SOME_ULP), atol=AMPLIFIED)


@pytest.mark.parametrize("prediction", ["x0", "v", "flow"])
def test_data_is_determined_at_zero_signal(prediction: str) -> None:
    p, q = conversion(vp_cosine() if prediction != "flow" else rectified_flow(), prediction, "x0", 1.0)
    assert abs(p) < 10
    assert abs(q) < 10


@pytest.mark.parametrize(
    ("prediction", "target", "t"), [("eps", "x0", 1.0), ("score", "x0", 1.0), ("x0", "eps", 0.0)]
)
def test_undetermined_conversions_are_refused(prediction: str, target: Any, t: float) -> None:
    with pytest.raises(ValueError, match="does not give"):
        conversion(rectified_flow(), prediction, target, t)


@pytest.mark.parametrize("name", ["epsilon", "", None, 3])
def test_unknown_predictions_are_refused(name: Any) -> None:
    with pytest.raises(ValueError, match="prediction must be one of eps, x0, v, score, flow"):
        convert(vp_linear(), lambda x, t: x, name, "x0")
