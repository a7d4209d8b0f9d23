"""Functions sampler(model, x, times, ..) and objects with `.sample(model, x, times, ..)`.

model(x, t) is the noise prediction, or another that is asked for, at states x = alpha x_0 + sigma eps of the
run's schedule; times are floats, from the start to the end.  Noise is what the function draws from torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from semilinear.analysis.programs import arguments, called
from semilinear.integrators.common.constructors import refuse_unknown
from semilinear.integrators.common.messages import shown
from semilinear.integrators.diffusion.prediction import check_prediction

from .run import Run, Sampler


def sampler(function: Any, settings: Mapping[str, Any] | None = None, *, prediction: str = "eps") -> Sampler:
    """A function (model, x, times) -> final states, an object that has it as `sample`, or a class of these.

    settings: further parameters of the function, or of the class.
    Raises TypeError for what is none of these, ValueError for a prediction that is none and for settings that
    are not taken.
    """
    check_prediction(prediction)
    given = dict(settings or {})
    if isinstance(function, type):
        name = f"class {function.__name__}"
        _refuse_others(name, given, function)
        function, given = called(function, given, name), {}
    call = getattr(function, "sample", function)
    if not callable(call):
        raise TypeError(f"function must be callable or have a method sample, got {shown(function)}")
    if given:
        name = getattr(function, "__name__", type(function).__name__)
        _refuse_others(f"function {name}", given, call, RUN)

    def sample(run: Run) -> Any:
        return call(run.predict(prediction), run.x, [float(t) for t in run.times], **given)

    return sample


RUN = 3
"""Arguments that a run gives: model, x, times."""


def _refuse_others(name: str, given: Mapping[str, Any], call: Any, after: int = 0) -> None:
    """Raise ValueError for a parameter that a function or class does not take, after some arguments."""
    _, taken = arguments(call, given)
    if taken is not None:
        refuse_unknown(name, given, dict(list(taken.items())[after:]))
