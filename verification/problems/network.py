"""A network as a problem: any torch model, measured against a numerical reference of its own flow."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from semilinear.integrators.common import checks
from semilinear.integrators.common.messages import shown
from semilinear.integrators.diffusion.prediction import (
    Model,
    check_prediction,
    convert,
    rescheduled,
    time_like,
)
from semilinear.integrators.diffusion.schedule import Schedule
from semilinear.integrators.numerics.tensors import dtype_of, is_tensor
from semilinear.integrators.run.boundary import unrecorded


@dataclass(frozen=True, eq=False)
class NetworkProblem:
    """A torch model, which need not be exact for any law: solvers are judged by the flow of the model itself.

    network: model(x, t) of states (n, *shape) in `dtype` and a time t, a float or a tensor without
    dimensions where it is differentiated, returning `prediction`.  samples: data (n, *shape), from which the
    initial states are drawn.  dtype: that the model computes in; a module of another one is copied to it, so
    that float32 weights are measured as the smooth function that they stand for, in float64.  trained: the
    schedule of its times; None for whichever a study runs on.
    The model must be smooth for orders to show.
    Raises TypeError or ValueError, naming the argument.
    """

    network: Callable[[torch.Tensor, Any], torch.Tensor]
    samples: torch.Tensor
    prediction: str = "eps"
    dtype: torch.dtype = torch.float64
    name: str = "network"
    trained: Schedule | None = None

    def __post_init__(self) -> None:
        if not callable(self.network):
            raise TypeError(f"network must be a function of states and a time, got {shown(self.network)}")
        if not (isinstance(self.samples, torch.Tensor) and self.samples.ndim >= 2 and len(self.samples)):
            raise TypeError("samples must be a tensor (n, *shape) with n >= 1")
        if not (isinstance(self.dtype, torch.dtype) and self.dtype.is_floating_point):
            raise TypeError(f"dtype must be a floating dtype of torch, got {shown(self.dtype)}")
        check_prediction(self.prediction)
        if self.trained is not None:
            checks.instance("trained", self.trained, Schedule)
        if isinstance(self.network, torch.nn.Module) and dtype_of(self.network) not in (None, self.dtype):
            object.__setattr__(self, "network", copy.deepcopy(self.network).to(self.dtype))

    @property
    def exact_flow(self) -> bool:
        """The flow is integrated."""
        return False

    @property
    def unit(self) -> float:
        """Of the model's rounding: half its dtype's epsilon."""
        return torch.finfo(self.dtype).eps / 2

    @property
    def dimension(self) -> int:
        """Components of one state."""
        return int(self.samples[0].numel())

    def model(self, schedule: Schedule) -> Model:
        """The noise prediction, for arrays or tensors (.., d): evaluated in the network's dtype and shape.

        Of tensors it can be differentiated, in t too.
        """
        checks.instance("schedule", schedule, Schedule)
        shape, device = self.samples.shape[1:], self.samples.device

        def network(x: torch.Tensor, t: Any) -> torch.Tensor:
            found = self.network(x.reshape(-1, *shape).to(device, self.dtype), time_like(t, x))
            return found.reshape(x.shape).to(x)

        if self.trained is None:
            eps = convert(schedule, network, self.prediction, "eps")
        else:
            eps = rescheduled(network, self.trained, schedule, self.prediction)

        eps = unrecorded(eps)
        return lambda x, t: eps(x, t) if is_tensor(x) else eps(torch.tensor(x), t).numpy()

    def data(self, n: int, seed: int) -> np.ndarray:
        """n samples of x_0, (n, d), float64, drawn with replacement."""
        chosen = np.random.default_rng([seed, 0]).integers(len(self.samples), size=n)
        flat = self.samples.detach().cpu().double().reshape(len(self.samples), -1).numpy()
        return np.asarray(flat[chosen])
