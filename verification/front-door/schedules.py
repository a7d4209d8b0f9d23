"""Noise schedules: `sl.schedules.vp_linear()`."""

from semilinear.integrators.diffusion.discrete import (
    cosine_betas,
    discrete,
    discrete_alpha_squared,
    linear_betas,
    scaled_linear_betas,
)
from semilinear.integrators.diffusion.schedule import (
    Schedule,
    edm,
    rectified_flow,
    sub_vp,
    ve,
    vp_cosine,
    vp_linear,
)

__all__ = [
    "Schedule",
    "cosine_betas",
    "discrete",
    "discrete_alpha_squared",
    "edm",
    "linear_betas",
    "rectified_flow",
    "scaled_linear_betas",
    "sub_vp",
    "ve",
    "vp_cosine",
    "vp_linear",
]
