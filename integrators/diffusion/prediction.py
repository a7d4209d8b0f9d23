"""What a model predicts, and its conversion to noise and data prediction: the one place where this happens.

Every usual output is m = a x_0 + b eps for known a, b; with x = alpha x_0 + sigma eps that is a 2 x 2 system:

    x_0 = (b x - sigma m)/(alpha b - sigma a),      eps = (alpha m - a x)/(alpha b - sigma a).

| prediction | a         | b         |
|------------|-----------|-----------|
| "eps"      | 0         | 1         |
| "x0"       | 1         | 0         |
| "v"        | -sigma    | alpha     |  Salimans & Ho 2022, App. D
| "score"    | 0         | -1/sigma  |
| "flow"     | alpha'(t) | sigma'(t) |  Lipman et al. 2023: the velocity dx/dt at fixed x_0 and eps
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from ..common import checks
from ..numerics.arithmetic import Value, finite, nonzero, of
from ..numerics.tensors import dtype_of, is_tensor
from .schedule import Formulas, Schedule

Prediction = Literal["eps", "x0", "v", "score", "flow"]
BASES: tuple[Prediction, ...] = ("x0", "eps")
"""What every output is a combination of, a of the first and b of the second."""
Model = Callable[[Any, Any], Any]
"""model(x, t) -> output: x of any batch shape, t a float (an mpmath number in multiprecision runs, a tensor
without dimensions where it is differentiated in t)."""

PREDICTIONS: dict[str, Callable[[Formulas, Value], tuple[Value, Value]]] = {
    "eps": lambda f, t: (0 * f.alpha(t), 1 + 0 * f.alpha(t)),
    "x0": lambda f, t: (1 + 0 * f.alpha(t), 0 * f.alpha(t)),
    "v": lambda f, t: (-f.sigma(t), f.alpha(t)),
    "score": lambda f, t: (0 * f.alpha(t), -1 / f.sigma(t)),
    "flow": lambda f, t: (f.alpha_dot(t), f.sigma_dot(t)),
}


def check_prediction(prediction: Any) -> None:
    """Raise ValueError for a name that is not a prediction type."""
    checks.one_of("prediction", prediction, PREDICTIONS)


def conversion(schedule: Schedule, prediction: str, target: str, t: Value) -> tuple[Value, Value]:
    """(p, q) with target = p x + q m, for a model output m of the given type at time t.

    Raises ValueError where the output does not determine the target: noise or score at alpha = 0, data at
    sigma = 0.
    """
    check_prediction(prediction)
    check_prediction(target)
    f = schedule.formulas
    if target in BASES and prediction != target:
        return _to_basis(f, prediction, target, t)
    with np.errstate(divide="ignore", invalid="ignore"):
        zero = 0 * f.alpha(t)
        if prediction == target:
            return zero, 1 + zero
        weights = PREDICTIONS[target](f, t)
    p = q = zero
    for basis, weight in zip(BASES, weights, strict=True):
        if nonzero(weight):
            basis_p, basis_q = conversion(schedule, prediction, basis, t)
            p, q = p + weight * basis_p, q + weight * basis_q
    return p, q


def _to_basis(f: Formulas, prediction: str, target: str, t: Value) -> tuple[Value, Value]:
    with np.errstate(divide="ignore", invalid="ignore"):
        alpha, sigma = f.alpha(t), f.sigma(t)
        try:
            a, b = PREDICTIONS[prediction](f, t)
            determinant = alpha * b - sigma * a
            if target == "x0":
                p, q = b / determinant, -sigma / determinant
            else:
                p, q = -a / determinant, alpha / determinant
        except ZeroDivisionError:
            p = q = float("inf")
    if not (finite(p) and finite(q)):
        raise ValueError(
            f"a model that predicts {prediction!r} does not give {target!r} at t = {t}, where "
            f"alpha = {float(alpha):g} and sigma = {float(sigma):g}: use another "
            "prediction type, or keep the grid away from that time"
        )
    return p, q


def time_like(t: Any, x: Any) -> Value:
    """t as a number that combines with x.  A tensor without dimensions stays one: it may be a dual number,
    whose derivative a float would lose without a word.
    """
    if is_tensor(t) and t.ndim == 0 and t.is_floating_point():
        return t
    xp = of(x)
    return float(t) if xp.context is None else xp.number(t)


def in_own_dtype(model: Callable[..., Any]) -> Callable[..., Any]:
    """A torch module called in its parameters' dtype, with outputs in that of the states; any other model as
    it is: what a function computes in is its own affair.
    """
    dtype = dtype_of(model)
    if dtype is None:
        return model

    def called(x: Any, *more: Any) -> Any:
        if not is_tensor(x) or x.dtype == dtype:
            return model(x, *more)
        output = model(x.to(dtype), *more)
        return output.to(x.dtype) if is_tensor(output) else output

    return called


def rescheduled(model: Model, trained: Schedule, schedule: Schedule, prediction: str = "eps") -> Model:
    """The noise prediction under another schedule than the one that a model was trained with.

    A law's noise prediction is a function of x/alpha and lambda alone: at time t of `schedule` the model is
    asked at the time of the same lambda, of the state scaled by the ratio of both alphas.  prediction: what
    the model returns.  It follows derivatives in t.
    """
    eps = convert(trained, model, prediction, "eps")
    if trained == schedule:
        return eps
    own, other = trained.formulas, schedule.formulas

    def model_there(x: Any, t: Any) -> Any:
        at = time_like(t, x)
        there = own.t_of_lam(other.lam(at))
        return eps(x * (own.alpha(there) / other.alpha(at)), there)

    return model_there


def convert(schedule: Schedule, model: Model, prediction: str, target: str) -> Model:
    """A model that returns `target` ("eps", "x0", "v", "score" or "flow"), from one that returns
    `prediction`; a module is called in its own dtype.
    """
    check_prediction(prediction)
    check_prediction(target)
    model = in_own_dtype(model)
    if prediction == target:
        return model

    def converted(x: Any, t: Any) -> Any:
        p, q = conversion(schedule, prediction, target, time_like(t, x))
        return x * p + model(x, t) * q

    return converted
