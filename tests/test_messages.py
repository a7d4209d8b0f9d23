"""What was given stands in a message as it is typed: no np.float64(0.5), no mpf('0.5'), no array(..)."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import mpmath
import numpy as np
import pytest
from semilinear.analysis.stability.amplification import Amplification
from semilinear.analysis.stability.region import largest_stable_step, real_interval, region
from semilinear.integrators.common.messages import shown
from semilinear.integrators.diffusion import discrete, grids, schedule
from semilinear.integrators.diffusion.grids import uniform_lambda
from semilinear.integrators.diffusion.schedule import vp_linear
from semilinear.integrators.numerics.arithmetic import multiprecision
from semilinear.integrators.numerics.phi import phi
from semilinear.integrators.plans.compile import compile_plan
from semilinear.integrators.run.adaptive import Controller
from semilinear.integrators.solvers import SOLVERS, make
from semilinear.integrators.tableaux.tableau import adams, nested_collocation
from semilinear.verification.problems.mixtures import GaussianMixture
from semilinear.verification.problems.named import problem
from semilinear.verification.studies.coupled import CoupledExperiment
from semilinear.verification.studies.gaussian import StochasticExperiment

F: Any = np.float64
I: Any = np.int64
MP = multiprecision(20).number
FOREIGN = ("np.", "mpf(", "mpc(", "array(", "dtype(")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (F(0.5), "0.5"),
        (np.float32(0.5), "0.5"),
        (I(3), "3"),
        (np.bool_(True), "True"),
        (np.complex128(1 - 2j), "(1-2j)"),
        (np.str_("a"), "'a'"),
        (np.longdouble(0.25), "0.25"),
        (F("nan"), "nan"),
        (mpmath.mpf("0.5"), "0.5"),
        (MP(0.25), "0.25"),
        (np.array(0.5), "0.5"),
        (np.array([0.5, 1.0]), "[0.5, 1.0]"),
        (np.array([MP(0.5)], dtype=object), "[0.5]"),
        ([F(0.5), (I(1), {"a": F(2.0)})], "[0.5, (1, {'a': 2.0})]"),
        ("3", "'3'"),
        (3, "3"),
        (None, "None"),
    ],
)
def test_a_number_is_shown_as_it_is_typed(value: Any, text: str) -> None:
    assert shown(value) == text


def test_long_values_are_cut() -> None:
    assert shown(np.arange(1000)) == "[0, 1, 2, 3, 4, 5, 6, 7, ...]"
    assert len(shown("x" * 10**6)) < 250
    assert len(shown([["y" * 1000] * 100] * 100)) < 20000


S = vp_linear()
EULER = Amplification(adams(1))
DDIM = make("ddim")
PLAN = partial(compile_plan, DDIM, S, t_start=1.0, t_end=1e-3)
COUPLED: Any = partial(CoupledExperiment, problem("mixture-1d"))
REFUSED: dict[str, Callable[[], Any]] = {
    "steps": lambda: PLAN(steps=F(3.5)),
    "t_start": lambda: PLAN(steps=3, t_start=F(7.5)),
    "t_end": lambda: PLAN(steps=3, t_end=F("nan")),
    "times": lambda: compile_plan(DDIM, S, times=np.array([1.0, 0.5, 0.75])),
    "times as a list": lambda: compile_plan(DDIM, S, times=[F(1.0), F(0.5), F(2.5)]),
    "times in multiprecision": lambda: compile_plan(DDIM, S, times=[MP(1), MP(2)], digits=20),
    "digits": lambda: PLAN(steps=3, digits=F(20)),
    "start": lambda: PLAN(steps=3, start=F(1)),
    "schedule": lambda: compile_plan(DDIM, F(1), steps=3, t_start=1.0, t_end=0.1),
    "grid": lambda: PLAN(steps=3, grid=F(1)),
    "rho of a schedule": lambda: S.t_of_rho(F(-1.5)),
    "t of a schedule": lambda: S.alpha(F(-1.5)),
    "lambda": lambda: S.t_of_lam(F("nan")),
    "many lambda": lambda: S.t_of_lam(np.array([0.5, np.nan])),
    "n of a grid": lambda: uniform_lambda()(S, 1.0, 0.1, F(4)),
    "ends of a grid": lambda: uniform_lambda()(S, F(0.5), F(0.5), 4),
    "k of phi": lambda: phi(F(1.5), 0.5),
    "adams": lambda: adams(F(2.5)),
    "collocation": lambda: nested_collocation(F(2.5)),
    "steps of an amplification": lambda: Amplification(adams(2), [F(1.5), F(-0.5)]),
    "points": lambda: region(EULER, 1j, F(9.5)),
    "z": lambda: region(EULER, F("nan")),
    "z of a section": lambda: real_interval(EULER, np.complex128(complex("nan"))),
    "ratio": lambda: largest_stable_step(EULER, -1, -1, ratio=F(3.5)),
    "mu": lambda: largest_stable_step(EULER, -1, [F("nan"), F(2)]),
    "controller": lambda: Controller(rtol=F(-1.5)),
    "problem": lambda: problem(F(1)),
    "weights": lambda: GaussianMixture(np.array([0.5, -0.5]), np.zeros((2, 1)), np.ones((2, 1, 1))),
    "ladder": lambda: StochasticExperiment(ladder=(I(8), I(4))),
    "paths": lambda: COUPLED(paths=F(10)),
    "ladder of paths": lambda: COUPLED(ladder=(I(8), I(4))),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_refusal_shows_plain_numbers(what: str) -> None:
    with pytest.raises((ValueError, TypeError)) as caught:
        REFUSED[what]()
    assert not [word for word in FOREIGN if word in str(caught.value)], str(caught.value)


BAD = (F(-7.5), F("nan"), I(-3), np.array([1.5, 2.5]), [F(-1.5)], mpmath.mpf("-7.5"))


def refusals(function: Callable[..., Any]) -> Iterator[str]:
    """What a function says to bad numbers in the place of each of its arguments, the others left out."""
    for name in inspect.signature(function).parameters:
        for value in BAD:
            try:
                function(**{name: value})
            except (ValueError, TypeError) as error:
                yield str(error)


def parameters(function: Callable[..., Any]) -> list[Any]:
    return [p.annotation for p in inspect.signature(function, eval_str=True).parameters.values()]


MAKERS = {
    name: build
    for name, build in SOLVERS.items()
    if any(p.default is not p.empty for p in inspect.signature(build).parameters.values())
}
MODULES = {
    f"{module.__name__.rsplit('.', 1)[1]}.{name}": function
    for module in (grids, schedule, discrete)
    for name, function in inspect.getmembers(module, inspect.isfunction)
    if function.__module__ == module.__name__ and not name.startswith("_") and name != "alternating"
}


@pytest.mark.parametrize("functions", [MAKERS, MODULES], ids=["solvers", "schedules and grids"])
def test_no_maker_of_solvers_schedules_or_grids_shows_another(functions: dict[str, Any]) -> None:
    """Each that takes an argument refuses a bad one, each that takes a number of a range shows it."""
    said = [(name, text) for name, function in functions.items() for text in refusals(function)]
    taken = {name: parameters(function) for name, function in functions.items()}
    assert {name for name, _ in said} == {name for name, kinds in taken.items() if kinds}
    ranged = {name for name, kinds in taken.items() if any("Range(" in str(kind) for kind in kinds)}
    assert ranged & {"unipc-3-bh2", "grids.karras"}
    assert {name for name, text in said if "-7.5" in text} >= ranged
    assert not [(name, text) for name, text in said if any(word in text for word in FOREIGN)]
