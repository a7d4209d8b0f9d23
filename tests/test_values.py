"""What the front door gives are values: none can be assigned to, and what follows from one is its own.

A value that could be assigned to would keep what was derived from it before, and skip its checks.
"""

from __future__ import annotations

import dataclasses
import inspect
import math
import re
import typing
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import semilinear as sl
import sympy
from semilinear.integrators.numerics.arrays import fixed, rms
from semilinear.integrators.run.sampler import Sample
from semilinear.verification.studies.flow import Study

ROOT = Path(__file__).parents[1]
LAYERS = ("integrators", "analysis", "verification")

MUTABLE = {
    "Search": "of a derivation: cases that are left, families that were found",
    "Watch": "of a derivation: when it last told of its progress",
    "Parser": "of one text: the symbols and roots that it has met",
    "Expansion": "of a tableau: error coefficients by order, kept as they are asked for",
    "StiffConditions": "of a tableau: its weights in the ring of one proof",
    "Defects": "of a tableau: terms by order, kept as they are asked for",
    "Script": "of a traced run: what it asked for, written down while it runs",
    "Subject": "of an audit: traces and formulas, each made once",
    "Path": "of a diffusers scheduler: where it stands in its own table",
    "Record": "of a replayed case: what our run made, written down while it runs",
    "_TheirRuns": "of another's sampler: runs that were made, and what went wrong in the last",
}
"""Dataclasses that are not frozen, and what they write down; none is met at the front door."""
NO_DATACLASS = {"Audit": "of a sampler: checks are made when they are first printed, and kept"}
"""Results that are none, and why."""


def unfrozen() -> Iterator[str]:
    """The names of dataclasses that can be assigned to."""
    for layer in LAYERS:
        for path in (ROOT / layer).rglob("*.py"):
            for options, name in DATACLASS.findall(path.read_text()):
                if "frozen=True" not in options:
                    yield name


DATACLASS = re.compile(r"@dataclass(\([^)]*\)|)\n\s*class (\w+)")


def test_a_dataclass_is_frozen_unless_it_says_what_it_writes_down() -> None:
    assert sorted(unfrozen()) == sorted(MUTABLE)


def is_frozen(kind: Any) -> bool:
    parameters = getattr(kind, "__dataclass_params__", None)
    return parameters is not None and bool(parameters.frozen)


def returned(annotation: Any) -> Iterator[type]:
    """The classes of this package in what a function says that it returns."""
    if inspect.isclass(annotation) and annotation.__module__.startswith("semilinear"):
        yield annotation
    for part in typing.get_args(annotation):
        yield from returned(part)


def test_every_class_of_the_front_door_and_every_result_is_frozen() -> None:
    there = [getattr(sl, name) for name in dir(sl)]
    kinds = {c for c in there if inspect.isclass(c) and not issubclass(c, sympy.Basic)}
    for function in filter(inspect.isfunction, there):
        kinds |= set(returned(typing.get_type_hints(function).get("return")))
    assert {kind.__name__ for kind in kinds if not is_frozen(kind)} == NO_DATACLASS.keys()
    met = {type(VALUES[name]) for name in ("Plan", "Solver", "Tableau", "Proof", "OrderEstimate")}
    assert kinds >= met | {Study, Sample}  # those that stand there, and what functions there return


SCHEDULE = sl.schedules.vp_linear()
PLAN = sl.compile_plan(sl.make("ddim"), SCHEDULE, steps=2, t_start=1.0, t_end=0.1)
VALUES = {
    "Experiment": sl.Experiment(batch=2),
    "StochasticExperiment": sl.StochasticExperiment(),
    "CoupledExperiment": sl.CoupledExperiment(paths=128),
    "NoiseToData": sl.NoiseToData(batch=2),
    "SampledExperiment": sl.SampledExperiment(samples=100),
    "Plan": PLAN,
    "PlanStep": PLAN.steps[0],
    "Solver": sl.make("dpm-solver++-2m"),
    "Ramp": sl.make("dpm-solver++-2m").sequence,
    "Tableau": sl.adams(2),
    "Stage": sl.Stage(1, sl.N(0)),
    "Schedule": SCHEDULE,
    "Grid": sl.grids.karras(),
    "Form": sl.forms.data_in_lambda(SCHEDULE),
    "Step": sl.forms.data_in_lambda(SCHEDULE).step(0.5, 0.3),
    "Entry": sl.CATALOGUE["krogstad4"],
    "mixture": sl.problem("golden-mixture"),
    "product": sl.problem("mixture-1d"),
    "Proof": sl.prove("ddim"),
    "OrderEstimate": sl.estimate_order([4, 8, 16, 32], [1, 0.25, 0.0625, 0.015625]),
}


@pytest.mark.parametrize("name", VALUES)
def test_nothing_can_be_assigned_to_a_value(name: str) -> None:
    value: Any = VALUES[name]
    for field in dataclasses.fields(value):
        before = getattr(value, field.name)
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(value, field.name, None)
        assert getattr(value, field.name) is before


@pytest.mark.parametrize("name", ["mixture", "product"])
def test_the_arrays_of_a_law_are_its_own(name: str) -> None:
    """A listed law is one for the whole process."""
    law: Any = VALUES[name]
    for array in (law.weights, law.means):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 5


def test_a_law_does_not_change_with_what_it_was_made_of() -> None:
    points = np.zeros((3, 2))
    made = type(sl.problem("digits-0"))(points, 0.5)
    points[0] = 7.0
    assert not made.points.any()


def test_the_catalogue_takes_no_entry() -> None:
    catalogue: Any = sl.CATALOGUE
    with pytest.raises(TypeError, match="does not support item assignment"):
        catalogue["mine"] = catalogue["krogstad4"]


def test_experiments_of_the_same_arguments_are_equal() -> None:
    for kind in (sl.Experiment, sl.NoiseToData):
        a, b, other = (kind(schedule=SCHEDULE, grid=sl.grids.karras(), batch=n) for n in (2, 2, 3))
        assert (a == b, a == other) == (True, False)
        assert hash(a) == hash(b)


def test_what_follows_from_an_experiment_follows_from_the_one_that_replaces_it() -> None:
    e = sl.Experiment(batch=2, ladder=(4, 8))
    assert (len(e.x), e.times) == (2, sl.Experiment().times)
    more = replace(e, batch=3, lam_end=1.0)
    assert len(more.x) == 3
    assert more.times[1] > e.times[1]
    with pytest.raises(ValueError, match="batch must be"):
        replace(e, batch=0)
    flow = replace(sl.NoiseToData(batch=2), schedule=sl.schedules.edm())
    assert flow.times[0] == sl.NoiseToData(batch=2, schedule=sl.schedules.edm()).times[0] > 1
    law = sl.SampledExperiment(samples=100)
    assert replace(law, t_end=0.5).law.covariance.shape == law.law.covariance.shape
    assert not replace(law, t_end=0.5).has_law_of(law)


def test_grids_share_states_that_no_run_can_write_to() -> None:
    e = sl.NoiseToData(sl.problem("gaussian"), batch=2)
    other = e.on(sl.grids.karras())
    assert (other.grid.name, e.grid.name) == ("rho-power", "t")
    assert other.x is e.x
    (end,) = e.states([e.times[1]])
    assert other.states([e.times[1]])[0] is end
    for array in (e.x, end):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0.0


def test_a_root_mean_square_is_of_numbers_or_of_the_norms_of_vectors() -> None:
    draws = np.random.default_rng(0).standard_normal((100, 9))
    assert rms(draws[:, 0]) == math.sqrt(float(np.mean(draws[:, 0] ** 2)))
    assert rms(draws) == math.sqrt(float(np.mean(np.sum(draws**2, axis=1))))
    assert rms(np.array([1.0, np.inf])) == math.inf


def test_what_is_fixed_is_a_copy_in_float64() -> None:
    given = np.array([1, 2])
    kept = fixed(given)
    given[0] = 5
    assert kept.dtype == np.float64
    assert kept.tolist() == [1.0, 2.0]
    assert not kept.flags.writeable
