"""Grids of times: `sl.grids.karras(7)`."""

from semilinear.integrators.diffusion.grids import (
    Grid,
    alternating,
    from_sigma,
    karras,
    nsr,
    uniform_lambda,
    uniform_t,
)

__all__ = ["Grid", "alternating", "from_sigma", "karras", "nsr", "uniform_lambda", "uniform_t"]
