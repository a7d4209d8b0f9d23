"""Functions sampler(model, x, times) and objects with `.sample(model, x, times)`.

model(x, t) is the noise prediction, or another that is asked for, at states x = alpha x_0 + sigma eps of the
run's schedule; times are floats, from the start to the end.  Noise is what the function draws from torch.
"""

from __future__ import annotations

from typing import Any

from semilinear.integrators.common.messages import shown
from semilinear.integrators.diffusion.prediction import check_prediction

from .run import Run, Sampler


def sampler(function: Any, *, prediction: str = "eps") -> Sampler:
    """A function (model, x, times) -> final states, or an object that has it as `sample`.

    Raises TypeError for what is neither, ValueError for a prediction that is none.
    """
    check_prediction(prediction)
    call = getattr(function, "sample", function)
    if not callable(call):
        raise TypeError(f"function must be callable or have a method sample, got {shown(function)}")

    def sample(run: Run) -> Any:
        return call(run.predict(prediction), run.x, [float(t) for t in run.times])

    return sample
