"""Every argument of every public function: a value of a wrong kind is a TypeError or ValueError that says
which argument, before any work; and no text is ever run.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import semilinear as sl
import sympy.parsing.sympy_parser
import torch


class Thing:
    """Of no kind that anything takes."""


VALUES: dict[str, Any] = {
    "none": None,
    "flag": True,
    "number": 2.5,
    "below": -1,
    "nan": float("nan"),
    "huge": 10**15,
    "text": "__import__('os').abort()",
    "bytes": b"x",
    "empty": [],
    "things": [Thing()],
    "thing": Thing(),
}
"""By kind."""

SCHEDULE = sl.schedules.vp_linear()
PLAN = sl.compile_plan(sl.make("ddim"), SCHEDULE, steps=2, t_start=1.0, t_end=1e-3)
MODEL = sl.problem("gaussian").model(SCHEDULE)
X = torch.zeros(2, 2, dtype=torch.float64)


def euler(run: Any) -> Any:
    """A sampler that is never run."""
    raise AssertionError("work was done before the arguments were looked at")


GOOD: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "N": (sl.N, {"i": 0}),
    "P": (sl.P, {"j": 1}),
    "omega": (sl.omega, {"j": 1}),
    "adams": (sl.adams, {"k": 2}),
    "per_sample": (sl.per_sample, {"seed": 0, "first_sample": 0, "stream": 0}),
    "classifier_free": (
        sl.classifier_free,
        {"conditional": print, "unconditional": print, "scale": 2.0},
    ),
    "interpolate": (sl.interpolate, {"values": {0: sl.N(0)}, "c": 1}),
    "Stage": (sl.Stage, {"c": 1, "formula": sl.N(0)}),
    "Tableau": (sl.Tableau, {"stages": (), "output": sl.N(0), "low": None, "carry": None}),
    "Ramp": (sl.Ramp, {"ramp": (sl.adams(1),), "last": ()}),
    "make": (lambda solver: sl.make(solver), {"solver": "ddim"}),
    "problem": (lambda problem: sl.problem(problem), {"problem": "gaussian"}),
    "schedules.vp_linear": (sl.schedules.vp_linear, {"beta_0": 0.1, "beta_1": 20}),
    "schedules.discrete": (sl.schedules.discrete, {"betas": (0.1, 0.2)}),
    "grids.karras": (sl.grids.karras, {"power": 7}),
    "compile_plan": (
        sl.compile_plan,
        {
            "solver": sl.make("ddim"),
            "schedule": SCHEDULE,
            "steps": 2,
            "grid": sl.grids.karras(),
            "t_start": 1.0,
            "t_end": 0.1,
            "prediction": "eps",
            "start": "own",
            "final": "full",
            "denoise": False,
            "noise_at_end": False,
            "digits": 20,
        },
    ),
    "sample": (
        sl.sample,
        {
            "plan": PLAN,
            "model": MODEL,
            "x": X,
            "noise": None,
            "callback": None,
            "between": None,
            "check": "end",
            "reuse": True,
            "gradients": False,
        },
    ),
    "prove": (sl.prove, {"target": "ddim"}),
    "derive": (
        sl.derive,
        {"abscissae": ["1/2"], "order": 1, "past": 0, "conditions": "stiff", "form": "lambda"},
    ),
    "estimate_order": (
        sl.estimate_order,
        {
            "n": [1, 2],
            "errors": [1.0, 0.5],
            "floors": [0.0, 0.0],
            "statistic": "rms",
            "known_floors": False,
        },
    ),
    "Experiment": (
        sl.Experiment,
        {
            "problem": sl.problem("gaussian"),
            "schedule": SCHEDULE,
            "grid": sl.grids.karras(),
            "lam_start": -0.7,
            "lam_end": 1.0,
            "ladder": (4, 8),
            "digits": None,
            "batch": 2,
            "seed": 0,
            "tolerance": 1e-8,
            "dtype": "float64",
            "shape": (2,),
        },
    ),
    "NoiseToData": (sl.NoiseToData, {"schedule": SCHEDULE, "t_start": 1.0, "t_end": 1e-3, "batch": 4}),
    "SampledExperiment": (
        sl.SampledExperiment,
        {"samples": 100, "seed": 0, "t_start": 1.0, "t_end": 1e-3, "exact": True, "schedule": SCHEDULE},
    ),
    "measure": (
        sl.measure,
        {
            "target": euler,
            "experiment": sl.Experiment(batch=2),
            "claimed": 1,
            "residue": (1, 0),
            "progress": None,
        },
    ),
    "work_precision": (
        sl.work_precision,
        {
            "targets": euler,
            "experiment": sl.NoiseToData(batch=4),
            "nfe": (5,),
            "grids": ["t"],
            "finals": ["full"],
            "as_released": False,
            "convention": None,
            "progress": None,
        },
    ),
    "in_distribution": (
        sl.in_distribution,
        {"target": euler, "experiment": None, "nfe": (5,), "final": "full", "name": "euler", "workers": 1},
    ),
    "audit": (
        sl.audit,
        {"target": euler, "claimed": 1, "convention": None, "settings": {}, "only": ["ends"]},
    ),
    "trace": (sl.trace, {"sampler": euler, "schedule": SCHEDULE, "times": (1.0, 0.1)}),
}
"""Calls that are right; `euler` fails where one begins to work."""

RIGHT: dict[str, set[str]] = {
    "i j k past": set(),
    "seed": {"huge"},
    "c formula output": {"flag", "number", "below", "nan", "huge"},  # what a formula may be is another law
    "low floors grid experiment convention settings claimed shape residue between callback": {"none"},
    "noise progress final name only grids digits carry": {"none"},
    "last ladder": {"none"},
    "power lam_start lam_end t_start t_end beta_0 beta_1": {"number", "none", "huge", "below"},
    "tolerance": set(),
    "denoise noise_at_end reuse gradients known_floors exact as_released": {"flag"},
    "abscissae": {"empty"},
}
"""Kinds that an argument takes, as far as they are not those of its value in `GOOD`."""


def cases() -> Iterator[Any]:
    """Every argument with every value of a kind that it does not take."""
    for name, (call, good) in GOOD.items():
        for argument in good:
            taken = next((kinds for names, kinds in RIGHT.items() if argument in names.split()), set())
            for kind, value in VALUES.items():
                if kind not in taken | SPECIAL.get(f"{name}.{argument}", set()):
                    yield pytest.param(call, good, argument, value, id=f"{name}-{argument}-{kind}")


SPECIAL: dict[str, set[str]] = {
    "Ramp.last": {"empty"},
    "estimate_order.floors": {"none"},
    "estimate_order.n": {"empty"},
    "classifier_free.scale": {"number", "below", "huge"},
    "per_sample.first_sample": {"huge"},
    "per_sample.stream": {"huge"},
    "Tableau.stages": {"empty"},
    "measure.claimed": {"number", "huge"},
    "measure.name": {"text", "none"},
    "in_distribution.name": {"text", "none"},
    "audit.claimed": {"number", "huge", "none"},
    "sample.noise": {"none", "empty", "things"},  # of a plan that draws none
    "interpolate.c": {"number", "below", "nan", "huge", "flag"},
}


@pytest.mark.parametrize(("call", "good", "argument", "value"), [*cases()])
def test_a_value_of_a_wrong_kind_is_named(
    call: Callable[..., Any], good: dict[str, Any], argument: str, value: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr(sympy.parsing.sympy_parser, "eval_expr", _run)
    with pytest.raises((TypeError, ValueError)) as caught:
        call(**(good | {argument: value}))
    names = rf"\b{ALSO.get(argument, argument)}\b"
    said = str(caught.value)
    assert re.search(names, said) or repr(value) in said, f"{argument}: {said}"


ALSO = {"abscissae": "abscissae|abscissa", "targets": "targets|target"}
"""How one of many is named."""


def _run(*_: Any) -> None:
    raise AssertionError("text was run")


def test_every_public_function_is_looked_at() -> None:
    functions = {name for name in dir(sl) if inspect.isroutine(getattr(sl, name))}
    assert functions - GOOD.keys() <= {"claims", "replay"}  # of which every argument is one of many


@pytest.mark.parametrize("value", [3, None, b"x", True, [], Thing()])
def test_one_of_many_arguments_is_named(value: Any) -> None:
    with pytest.raises(TypeError, match=r"^paths must be "):
        sl.replay(value)
    with pytest.raises(TypeError, match=r"^pattern must be "):
        sl.claims(value)


@pytest.mark.parametrize("target", ["ddim", sl.make("ddim"), sl.adams(2)], ids=["name", "solver", "tableau"])
def test_an_option_that_a_proof_does_not_have_is_named(target: Any) -> None:
    with pytest.raises(ValueError, match="does not take order; its parameters are"):
        sl.prove(target, order=2)
