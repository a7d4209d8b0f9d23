"""Semilinear forms of the diffusion ODE and SDE: `sl.forms.data_in_lambda`."""

from semilinear.integrators.forms.extended import extended_reverse_sde
from semilinear.integrators.forms.form import (
    Form,
    data_in_inverse_rho,
    data_in_lambda,
    noise_in_lambda,
    noise_in_rho,
    noise_in_time,
)
from semilinear.integrators.forms.model_statistics import model_statistics
from semilinear.integrators.forms.reverse import (
    sde_data,
    sde_data_in_lambda,
    sde_noise,
    sde_noise_in_lambda,
)
from semilinear.integrators.forms.whole import score_in_time, velocity_in_lambda, velocity_in_time

__all__ = [
    "Form",
    "data_in_inverse_rho",
    "data_in_lambda",
    "extended_reverse_sde",
    "model_statistics",
    "noise_in_lambda",
    "noise_in_rho",
    "noise_in_time",
    "score_in_time",
    "sde_data",
    "sde_data_in_lambda",
    "sde_noise",
    "sde_noise_in_lambda",
    "velocity_in_lambda",
    "velocity_in_time",
]
