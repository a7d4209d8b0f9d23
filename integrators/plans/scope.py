"""What the symbols of a formula mean in one step of a plan."""

from __future__ import annotations

from collections.abc import Mapping

from sympy import Symbol

from ..forms.form import Step
from ..numerics.arithmetic import Value, finite
from ..tableaux.tableau import omega, ratio_of, z


class Scope:
    """What the symbols of a formula mean in one step: the step's moments, past nodes and the solver's
    parameters.
    """

    def __init__(self, step: Step, past_tau: tuple[Value, ...], parameters: Mapping[Symbol, Value]) -> None:
        self.step = step
        self._past_tau = past_tau
        self._known = dict(parameters)
        infinite = [not finite(tau) for tau in past_tau] if finite(step.h) else []
        self.far: frozenset[Symbol] = frozenset(omega(j) for j, far in enumerate(infinite, 1) if far)
        """The step ratios that are infinite: the evaluation was made where alpha or sigma is 0."""

    def symbol(self, symbol: Symbol) -> Value:
        """The value of z, omega(j) or a parameter."""
        if symbol not in self._known:
            self._known[symbol] = self._of_step(symbol)
        return self._known[symbol]

    def _of_step(self, symbol: Symbol) -> Value:
        if symbol == z:
            return self.step.z
        j = ratio_of(symbol)
        if j is None:
            raise KeyError(symbol)
        return (self.step.tau0 - self._past_tau[j - 1]) / self.step.h

    def phi(self, k: int, c: Value) -> Value:
        """The step's normalised moment."""
        return self.step.phi(k, c)
