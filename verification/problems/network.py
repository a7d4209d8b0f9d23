"""A network as a problem: any torch model, measured against a numerical reference of its own flow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from semilinear.integrators.diffusion.prediction import Model, check_prediction, convert
from semilinear.integrators.diffusion.schedule import Schedule
from semilinear.integrators.numerics.messages import shown


@dataclass(frozen=True, eq=False)
class NetworkProblem:
    """A torch model, which need not be exact for any law: solvers are judged by the flow of the model itself.

    network: model(x, t) of states (n, *shape) in `dtype` and a float t, returning `prediction`.  samples:
    data (n, *shape), from which the initial states are drawn.  The model must be smooth for orders to show.
    Raises TypeError or ValueError, naming the argument.
    """

    network: Callable[[torch.Tensor, float], torch.Tensor]
    samples: torch.Tensor
    prediction: str = "eps"
    dtype: torch.dtype = torch.float64
    name: str = "network"

    def __post_init__(self) -> None:
        if not callable(self.network):
            raise TypeError(f"network must be a function of states and a time, got {shown(self.network)}")
        if not (isinstance(self.samples, torch.Tensor) and self.samples.ndim >= 2 and len(self.samples)):
            raise TypeError("samples must be a tensor (n, *shape) with n >= 1")
        check_prediction(self.prediction)

    @property
    def exact_flow(self) -> bool:
        """The flow is integrated."""
        return False

    @property
    def dimension(self) -> int:
        """Components of one state."""
        return int(self.samples[0].numel())

    def model(self, schedule: Schedule) -> Model:
        """The noise prediction, for arrays or tensors (.., d): evaluated in the network's dtype and shape."""
        shape = self.samples.shape[1:]
        eps = convert(schedule, self.network, self.prediction, "eps")

        def model(x: Any, t: Any) -> Any:
            given = torch.as_tensor(np.asarray(x) if not isinstance(x, torch.Tensor) else x)
            with torch.no_grad():
                out = eps(given.reshape(-1, *shape).to(self.samples.device, self.dtype), float(t))
            found = out.reshape(given.shape).to(given)
            return found if isinstance(x, torch.Tensor) else found.cpu().numpy()

        return model

    def data(self, n: int, seed: int) -> np.ndarray:
        """n samples of x_0, (n, d), float64, drawn with replacement."""
        chosen = np.random.default_rng([seed, 0]).integers(len(self.samples), size=n)
        flat = self.samples.detach().cpu().double().reshape(len(self.samples), -1).numpy()
        return np.asarray(flat[chosen])
